"""An operator that is killed in the middle of something: the next one goes on from what stands in the cluster."""

import asyncio
from datetime import datetime

import pytest

from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import (
    Operator,
    get_deployment,
    get_palaver,
    image_of,
    palaver,
    patch_spec,
    running_operator,
    until_state,
)
from tests.kubernetes.simulated_metrics import serving_metrics

pytestmark = pytest.mark.needs_servers
ROLES = ("auth", "presence", "messaging", "gateway")


async def kill(operator: Operator) -> None:
    operator.process.kill()
    await asyncio.to_thread(operator.process.wait)


async def test_in_a_roll_out(plane: ControlPlane, namespace: str) -> None:
    async def drains() -> list[str]:
        """What each role was told last, in the order in which they roll."""
        found = []
        for role in ROLES:
            (container,) = (await get_deployment(plane, namespace, role))["spec"]["template"]["spec"]["containers"]
            found.append(next(one["value"] for one in container["env"] if one["name"] == "PALAVER_DRAIN_SECONDS"))
        return found

    async with running_operator(plane, namespace) as first:
        await plane.apply(palaver(namespace))
        await until_state(plane, namespace, "Ready")
        await patch_spec(plane, namespace, {"drain": {"seconds": 2}})

        async def is_midway() -> bool:
            return (await drains())[:2] == ["2", "1"]

        await plane.until(is_midway, 120)
        await kill(first)
    assert (await drains())[-1] == "1"
    async with running_operator(plane, namespace):
        status = await until_state(plane, namespace, "Ready")
        assert status["rollout"]["phase"] == "Complete"
        assert await drains() == ["2"] * 4


async def test_in_a_migration(plane: ControlPlane, namespace: str) -> None:
    names = set()

    async def jobs() -> set[str]:
        found = {job["metadata"]["uid"] for job in await plane.list_objects("batch/v1", "jobs", namespace)}
        names.update(found)
        return found

    async with running_operator(plane, namespace) as first:
        await plane.apply(palaver(namespace, version="0.0.9"))
        await until_state(plane, namespace, "Ready")
        await patch_spec(plane, namespace, {"version": "0.1.0"})
        await plane.until(jobs, 120)
        await kill(first)
    assert image_of(await get_deployment(plane, namespace, "gateway")) == "palaver:0.0.9"
    async with running_operator(plane, namespace):

        async def runs() -> bool:
            await jobs()
            return bool((await get_palaver(plane, namespace))["status"].get("version") == "0.1.0")

        await plane.until(runs, 150)
    assert len(names) == 1, "it was done once"


async def test_in_a_scale_down(plane: ControlPlane, namespace: str) -> None:
    def gateways(least: int) -> dict[str, dict[str, int]]:
        return {"gateway": {"min": least, "max": 10}}

    async def size() -> int:
        return int((await get_deployment(plane, namespace, "gateway"))["spec"]["replicas"])

    async def shrunk_to(count: int) -> datetime | None:
        """When the operator decided so."""
        status = (await get_palaver(plane, namespace))["status"]
        last = status.get("scaling", {}).get("gateway", {})
        return datetime.fromisoformat(last["at"]) if last.get("to") == count else None

    async with serving_metrics(lambda role, name: 1) as template:
        options = ("--lease", "", "--metrics-url-template", template)
        scaling = {"downStabilizationSeconds": 5}
        async with running_operator(plane, namespace, options=options) as first:
            await plane.apply(palaver(namespace, roles=gateways(6), scaling=scaling))
            await until_state(plane, namespace, "Ready")
            await patch_spec(plane, namespace, {"roles": gateways(2)})
            one_step = await plane.until(lambda: shrunk_to(5), 300)
            assert await size() == 5
            await kill(first)
        async with running_operator(plane, namespace, options=options):
            another = await plane.until(lambda: shrunk_to(4), 300)
            assert await size() == 4
            assert (another - one_step).total_seconds() >= 59, "who starts anew does not begin with a step"
