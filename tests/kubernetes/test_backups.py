"""Backups and restores by the operator on a real API server; kwok plays the pods, and ends those of Jobs."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from palaver_operator.objects.backup import SCHEDULED
from tests.kubernetes.access import CommandFailed, Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import (
    PALAVERS,
    Operator,
    palaver,
    patch_spec,
    running_operator,
    until_state,
)

pytestmark = pytest.mark.needs_servers

STORAGE: Object = {
    "objectStorage": {"endpoint": "http://s3.example.org:9000", "bucket": "b", "prefix": "chat", "secretName": "keys"}
}
VOLUME: Object = {"volume": {"claimName": "backups", "path": "chat"}}


@pytest_asyncio.fixture
async def operator(plane: ControlPlane, namespace: str) -> AsyncIterator[Operator]:
    """In a namespace where the secrets and the volume of backups are."""
    keys = {"accessKey": "a", "secretKey": "s"}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "keys", "namespace": namespace},
            "stringData": keys,
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "backups", "namespace": namespace},
            "spec": claim,
        },
    )
    async with running_operator(plane, namespace) as found:
        yield found


def backup(namespace: str, name: str = "now", **spec: Any) -> Object:
    return {
        "apiVersion": PALAVERS,
        "kind": "PalaverBackup",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"workspace": "chat", "to": STORAGE, **spec},
    }


async def until_phase(plane: ControlPlane, namespace: str, name: str, phase: str) -> Object:
    async def look() -> Object | None:
        found = await plane.find(PALAVERS, "palaverbackups", namespace, name)
        status: Object = (found or {}).get("status") or {}
        return status if status.get("phase") == phase else None

    return await plane.until(look, 120)


async def test_a_backup_becomes_a_job_and_goes_with_it(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    await plane.apply(backup(namespace))
    assert (await until_phase(plane, namespace, "now", "Pending"))["message"] == "chat is not there yet"
    await plane.apply(palaver(namespace))
    status = await until_phase(plane, namespace, "now", "Complete")
    assert status["startedAt"] <= status["completedAt"]
    (job,) = await plane.list_objects("batch/v1", "jobs", namespace)
    assert job["status"]["succeeded"] == 1
    name = job["metadata"]["name"]
    assert await plane.get("networking.k8s.io/v1", "networkpolicies", namespace, name)
    shown = await plane.kubectl("get", "palaverbackups", "-n", namespace)
    assert "Complete" in shown
    # a change of the workspace takes nothing of it away
    await plane.kubectl(
        "patch", "palaver", "chat", "-n", namespace, "--type=merge", '--patch={"spec":{"settings":{"Site_Name":"a"}}}'
    )
    await until_state(plane, namespace, "Ready")
    assert await plane.get("batch/v1", "jobs", namespace, name)
    with pytest.raises(CommandFailed, match="a backup can't be changed"):
        await plane.apply(backup(namespace, to=VOLUME))
    await plane.kubectl("delete", "palaverbackup", "now", "-n", namespace)

    async def is_gone() -> bool:
        policies = await plane.find("networking.k8s.io/v1", "networkpolicies", namespace, name)
        return policies is None and await plane.find("batch/v1", "jobs", namespace, name) is None

    await plane.until(is_gone, 60)


async def test_a_single_pod_is_backed_up_beside_itself(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    await plane.apply(palaver(namespace, size="single", mongodb=None, nats=None, storage={"size": "1Gi"}))
    await until_state(plane, namespace, "Ready")
    await plane.apply(backup(namespace, to=VOLUME))
    await until_phase(plane, namespace, "now", "Complete")
    pods = await plane.list_objects("v1", "pods", namespace, "app.kubernetes.io/instance=chat")
    nodes = {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["spec"]["nodeName"] for pod in pods}
    assert nodes["backup"] == nodes["single"]


async def test_a_schedule_makes_backups_and_keeps_some(plane: ControlPlane, namespace: str, operator: Operator) -> None:
    old = [f"chat-2026010{day}0000" for day in (1, 2, 3)]
    for name in old:
        one = backup(namespace, name, to=VOLUME)
        labels = {SCHEDULED: "true", "app.kubernetes.io/instance": "chat"}
        await plane.apply(one | {"metadata": one["metadata"] | {"labels": labels}})
    await plane.apply(palaver(namespace, backup={"schedule": "* * * * *", "keep": 2, "to": VOLUME}))

    async def look() -> Object | None:
        found = await plane.list_objects(PALAVERS, "palaverbackups", namespace)
        made = [one for one in found if one["metadata"]["name"] not in old]
        return next((one for one in made if (one.get("status") or {}).get("phase") == "Complete"), None)

    made = await plane.until(look, 240)
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Palaver", "chat")
    assert made["spec"]["to"] == VOLUME
    jobs = await plane.list_objects("batch/v1", "jobs", namespace)
    (args,) = [
        job["spec"]["template"]["spec"]["containers"][0]["args"]
        for job in jobs
        if job["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    ]
    assert args[-2:] == ["--keep", "2"]

    async def are_few() -> bool:
        found = await plane.list_objects(PALAVERS, "palaverbackups", namespace)
        return not {one["metadata"]["name"] for one in found} & set(old[:2])

    await plane.until(are_few, 240)


async def test_a_schedule_waits_for_any_backup_of_the_workspace(
    plane: ControlPlane, namespace: str, operator: Operator
) -> None:
    await plane.apply(palaver(namespace))
    await until_state(plane, namespace, "Ready")
    # No node has so much: so the Job of that backup goes on and on.
    large = {"schedule": "@yearly", "to": VOLUME, "resources": {"requests": {"cpu": "1000"}}}
    await patch_spec(plane, namespace, {"backup": large})
    await until_state(plane, namespace, "Ready")
    await plane.apply(backup(namespace, to=VOLUME))
    await until_phase(plane, namespace, "now", "Pending")
    await patch_spec(plane, namespace, {"backup": {"schedule": "* * * * *"}})
    due = (datetime.now(UTC) + timedelta(minutes=1)).replace(second=20)
    await asyncio.sleep((due - datetime.now(UTC)).total_seconds())
    found = await plane.list_objects(PALAVERS, "palaverbackups", namespace)
    assert [one["metadata"]["name"] for one in found] == ["now"]
    await plane.kubectl("delete", "palaverbackup", "now", "-n", namespace)

    async def is_made() -> bool:
        found = await plane.list_objects(PALAVERS, "palaverbackups", namespace)
        return any(one["metadata"]["name"].startswith("chat-") for one in found)

    await plane.until(is_made, 120)


@pytest.mark.parametrize("size", ["cluster", "single"])
async def test_a_workspace_is_made_of_an_archive(
    plane: ControlPlane, namespace: str, operator: Operator, size: str
) -> None:
    restore = {"from": STORAGE, "archive": "20260101T000000Zabc"}
    if size == "single":
        body = palaver(namespace, size=size, mongodb=None, nats=None, storage={"size": "1Gi"}, restore=restore)
    else:
        body = palaver(namespace, restore=restore)
    await plane.apply(body)
    await until_state(plane, namespace, "Ready")
    if size == "single":
        pod = await plane.get("v1", "pods", namespace, "chat-single-0")
        assert [container["name"] for container in pod["spec"]["initContainers"]] == ["restore"]
        return
    events = await plane.list_objects("events.k8s.io/v1", "events", namespace)
    reasons = [event["reason"] for event in sorted(events, key=lambda event: event.get("eventTime") or "")]
    assert reasons.index("Restoring") < reasons.index("AllRolesReady")

    async def is_tidy() -> bool:
        return not await plane.list_objects("batch/v1", "jobs", namespace)

    await plane.until(is_tidy, 120)


async def test_where_to_must_be_said_once(plane: ControlPlane, namespace: str) -> None:
    for to in ({}, {**STORAGE, **VOLUME}):
        with pytest.raises(CommandFailed, match="either objectStorage or volume"):
            await plane.apply(backup(namespace, to=to))
        with pytest.raises(CommandFailed, match="either objectStorage or volume"):
            await plane.apply(palaver(namespace, restore={"from": to}))
