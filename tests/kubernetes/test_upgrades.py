"""New versions and other new revisions, there and back, on a real API server with simulated nodes."""

import asyncio

import pytest
import yaml

from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import (
    Operator,
    get_deployment,
    get_palaver,
    image_of,
    palaver,
    patch_spec,
    until_state,
)

pytestmark = pytest.mark.needs_servers
ROLES = ("auth", "presence", "messaging", "gateway")


async def test_a_new_version_migrates_and_rolls_and_a_jump_is_refused(
    plane: ControlPlane, namespace: str, operator: Operator
) -> None:
    await plane.apply(palaver(namespace, version="0.0.9"))
    await until_state(plane, namespace, "Ready")
    order: list[str] = []

    async def watch() -> None:
        while len(order) < len(ROLES):
            for role in ROLES:
                if role not in order and image_of(await get_deployment(plane, namespace, role)) == "palaver:0.1.0":
                    order.append(role)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    await patch_spec(plane, namespace, {"version": "0.1.0"})

    async def runs() -> bool:
        return bool((await get_palaver(plane, namespace))["status"].get("version") == "0.1.0")

    await plane.until(runs, 120)
    await asyncio.wait_for(watching, 60)
    assert order == list(ROLES)
    events = await plane.list_objects("events.k8s.io/v1", "events", namespace)
    assert {"Migrating", "RollingOut", "VersionRuns"} <= {event["reason"] for event in events}

    async def has_cleared_up() -> bool:
        return await plane.list_objects("batch/v1", "jobs", namespace) == []

    await plane.until(has_cleared_up, 120)
    before = await get_deployment(plane, namespace, "auth")
    for version, state in (("0.0.9", "VersionRefused"), ("0.4.0", "VersionRefused"), ("0.2.0", "OperatorOlder")):
        # An image of its own is no way round it; nor is what else would make other pods.
        tag = {"image": {"tag": f"{version}-mirror"}, "drain": {"seconds": 7}}
        await patch_spec(plane, namespace, {"version": version, **tag})
        status = await until_state(plane, namespace, state)
        assert (status["version"], status["ready"]) == ("0.1.0", "4/4")
        after = await get_deployment(plane, namespace, "auth")
        assert image_of(after) == "palaver:0.1.0"
        assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert await plane.list_objects("batch/v1", "jobs", namespace) == []
    # What comes back without a status is known by what runs.
    cleared = yaml.safe_dump({"status": {"version": None}})
    await plane.kubectl(
        "patch", "palaver", "chat", "-n", namespace, "--subresource=status", "--type=merge", f"--patch={cleared}"
    )
    await plane.until(runs, 120)
    await patch_spec(plane, namespace, {"version": "0.1.0", "image": None, "drain": {"seconds": 1}})
    await until_state(plane, namespace, "Ready")


async def test_a_revision_that_fails_is_taken_back(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    # No node has so much: these pods never start, and one of them is made to look as if it had ended again and again.
    await patch_spec(plane, namespace, {"roles": {"presence": {"resources": {"requests": {"cpu": "1000"}}}}})

    async def waiting() -> Object | None:
        pods = await plane.list_objects("v1", "pods", namespace, "app.kubernetes.io/component=presence")
        return next((pod for pod in pods if pod["status"]["phase"] == "Pending"), None)

    pod = await plane.until(waiting, 120)
    fallen = {"name": "palaver", "image": "x", "imageID": "", "ready": False, "restartCount": 4, "state": {}}
    change = yaml.safe_dump({"status": {"containerStatuses": [fallen]}})
    name = pod["metadata"]["name"]
    await plane.kubectl(
        "patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", f"--patch={change}"
    )
    status = await until_state(plane, namespace, "RolledBack")
    assert "has ended 4 times" in status["rollout"]["message"]

    async def is_back() -> bool:
        found = await get_deployment(plane, namespace, "presence")
        requests = found["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
        return bool(requests["cpu"] != "1k" and requests["cpu"] != "1000")

    await plane.until(is_back, 120)
    await patch_spec(plane, namespace, {"roles": {"presence": None}})
    await until_state(plane, namespace, "Ready")
