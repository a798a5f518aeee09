"""The operator's own appetite: many workspaces of ten pods each, whose metrics are served here.

In its usual form a few of them. The budget is for a hundred workspaces with a thousand pods, which keep two cores busy
for minutes: PALAVER_TEST_WORKSPACES=100, and pytest's `-o faulthandler_timeout=0`.
"""

import asyncio
import os
import time

import pytest

from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import PALAVERS, Operator, palaver, running_operator
from tests.kubernetes.simulated_metrics import serving_metrics

pytestmark = pytest.mark.needs_servers

WORKSPACES = int(os.environ.get("PALAVER_TEST_WORKSPACES", "20"))
PODS = 10  # of each: two of every role, a MongoDB and a NATS
READY_SECONDS = 300 + 10 * WORKSPACES
MEMORY = 120 * 1024 * 1024
CPU_SECONDS = 0.05
"""Of a round of a workspace in which nothing has changed, where the yardstick takes what follows."""
YARDSTICK_SECONDS = 0.02

_DONE = 'palaver_operator_reconciles_finished_total{outcome="done"}'


def workspaces(namespace: str) -> list[Object]:
    found = []
    for number in range(WORKSPACES):
        body = palaver(namespace)
        body["metadata"]["name"] = f"chat-{number}"
        found.append(body)
    return found


def yardstick() -> float:
    """CPU seconds that the same work always takes: more of them on a slower machine, and on one that is busy."""
    began = time.process_time()
    found: dict[int, int] = {}
    for number in range(200_000):
        found[number % 997] = found.get(number % 991, 0) + number
    return time.process_time() - began


async def pass_rounds(plane: ControlPlane, operator: Operator, count: int) -> dict[str, float]:
    """The operator's metrics when each workspace has had so many rounds more."""
    before = (await operator.metrics())[_DONE]

    async def have_passed() -> dict[str, float] | None:
        await asyncio.sleep(3)  # to be asked costs it more than a round does
        found = await operator.metrics()
        return found if found[_DONE] >= before + count * WORKSPACES else None

    return await plane.until(have_passed, 300)


async def test_the_appetite_of_an_operator_with_many_workspaces(plane: ControlPlane, namespace: str) -> None:
    async def all_versions() -> set[str]:
        return {one["metadata"]["resourceVersion"] for one in await plane.list_objects(PALAVERS, "palavers", namespace)}

    async def are_ready() -> bool:
        await asyncio.sleep(1)
        found = await plane.list_objects(PALAVERS, "palavers", namespace)
        statuses = [one.get("status") or {} for one in found]
        # Of both gateways: a figure of one alone would be written anew within a minute.
        return all(status.get("state") == "Ready" and status.get("connections") == 20 for status in statuses)

    async with serving_metrics(lambda role, name: 10) as template:
        options = ("--lease", "", "--metrics-url-template", template)
        async with running_operator(plane, namespace, options=options) as operator:
            await plane.apply(*workspaces(namespace))
            await plane.until(are_ready, READY_SECONDS)
            assert len(await plane.list_objects("v1", "pods", namespace)) == PODS * WORKSPACES
            await pass_rounds(plane, operator, 2)  # the last of its own changes has been seen

            versions, written, before = await all_versions(), await operator.written(), await operator.metrics()
            measured = [yardstick()]
            after = await pass_rounds(plane, operator, 2)
            measured.append(yardstick())
            assert await operator.written() == written
            assert await all_versions() == versions
            spent = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
            each, memory = spent / (after[_DONE] - before[_DONE]), after["process_resident_memory_bytes"]
            slowness = max(1.0, sum(measured) / len(measured) / YARDSTICK_SECONDS)
            print(
                f"{WORKSPACES} workspaces: {each * 1000:.0f} ms of CPU a round, {memory / 1024**2:.0f} MiB, "
                f"on a machine that takes {slowness:.1f} times as long"
            )
            assert each <= CPU_SECONDS * slowness
            assert memory <= MEMORY
