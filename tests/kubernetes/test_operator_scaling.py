"""The operator sizes roles by what their pods say: simulated pods, whose metrics are served here."""

import pytest

from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import get_palaver, palaver, running_operator, until_state
from tests.kubernetes.simulated_metrics import serving_metrics

pytestmark = pytest.mark.needs_servers


async def test_up_at_once_and_down_by_the_emptiest(plane: ControlPlane, namespace: str) -> None:
    counts: dict[str, int] = {}

    def connections(role: str, name: str) -> int:
        return counts.get(name, 10) if role == "gateway" else 0

    async def gateways() -> list[Object]:
        found = await plane.list_objects("v1", "pods", namespace, "app.kubernetes.io/component=gateway")
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

            await plane.until(all_are_counted, 120)
            for pod in await gateways():
                counts[pod["metadata"]["name"]] = 1900

            async def is_four() -> bool:
                return await size() == 4

            await plane.until(is_four, 120)

            async def four_are_ready() -> bool:
                status = (await get_palaver(plane, namespace))["status"]
                return bool(status["roles"]["gateway"]["ready"] == 4)

            await plane.until(four_are_ready, 120)
            scaling = (await get_palaver(plane, namespace))["status"]["scaling"]["gateway"]
            assert (scaling["from"], scaling["to"], scaling["reason"]) == (2, 4, "Demand")
            assert scaling["inputs"]["connections"] == 3800

            names = sorted(pod["metadata"]["name"] for pod in await gateways())
            counts.update(dict.fromkeys(names, 300))
            counts[names[2]] = 1

            async def is_smaller() -> bool:
                return await size() == 3

            await plane.until(is_smaller, 240)  # stabilization, and one step a minute

            async def three_stay() -> list[str] | None:
                there = sorted(pod["metadata"]["name"] for pod in await gateways())
                return there if len(there) == 3 else None

            assert await plane.until(three_stay, 60) == sorted(set(names) - {names[2]})
