"""The operator sizes roles by what their pods say: simulated pods, whose metrics are served here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import get_palaver, palaver, running_operator, until_state

pytestmark = pytest.mark.needs_servers


@asynccontextmanager
async def serving_metrics(connections: Callable[[str, str], int]) -> AsyncIterator[str]:
    """A template of addresses at which each pod has so many connections (by its role and name), and nothing to do."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        role, name = request.split(b" ")[1].decode().strip("/").split("/")
        lines = [
            f"palaver_connections {connections(role, name)}",
            "palaver_event_loop_lag_last_seconds 0.001",
            "palaver_outbox_age_seconds 0",
            "palaver_follower_oldest_seconds 0",
            "process_cpu_seconds_total 1",
        ]
        body = "\n".join([*lines, ""]).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/{{role}}/{{name}}"


async def test_up_at_once_and_down_by_the_emptiest(plane: ControlPlane, namespace: str) -> None:
    counts: dict[str, int] = {}

    def connections(role: str, name: str) -> int:
        return counts.get(name, 10) if role == "gateway" else 0

    async def gateways() -> list[Object]:
        found = await plane.list_objects("v1", "pods", namespace, "app.plane.io/component=gateway")
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    async def size() -> int:
        found = await plane.get("apps/v1", "deployments", namespace, "chat-gateway")
        replicas: int = found["spec"]["replicas"]
        return replicas

    spec = palaver(
        namespace,
        roles={"gateway": {"min": 2, "max": 6, "targets": {"connections": 1000}}},
        scaling={"downStabilizationSeconds": 20},
    )
    async with serving_metrics(connections) as template:
        options = ("--lease", "", "--metrics-url-template", template)
        async with running_operator(plane, namespace, options=options):
            await plane.apply(spec)
            status = await until_state(plane, namespace, "Ready")
            assert status["roles"]["gateway"]["desired"] == 2

            async def all_are_counted() -> bool:
                return bool((await get_palaver(plane, namespace))["status"].get("connections") == 20)

            await plane.until(all_are_counted, 60)
            for pod in await gateways():
                counts[pod["metadata"]["name"]] = 1900

            async def is_four() -> bool:
                return await size() == 4

            await plane.until(is_four, 20)  # the decision: 15 s after the metric, and what the test itself takes

            async def four_are_ready() -> bool:
                status = (await get_palaver(plane, namespace))["status"]
                return bool(status["roles"]["gateway"]["ready"] == 4)

            await plane.until(four_are_ready, 60)
            scaling = (await get_palaver(plane, namespace))["status"]["scaling"]["gateway"]
            assert (scaling["from"], scaling["to"], scaling["reason"]) == (2, 4, "Demand")
            assert scaling["inputs"]["connections"] == 3800

            names = sorted(pod["metadata"]["name"] for pod in await gateways())
            counts.update(dict.fromkeys(names, 300))
            counts[names[2]] = 1

            async def is_smaller() -> bool:
                return await size() == 3

            await plane.until(is_smaller, 150)  # stabilization, and one step a minute

            async def three_stay() -> list[str] | None:
                there = sorted(pod["metadata"]["name"] for pod in await gateways())
                return there if len(there) == 3 else None

            assert await plane.until(three_stay, 30) == sorted(set(names) - {names[2]})
