"""A revision whose pods are ready and fail: simulated pods, whose metrics are served here."""

import asyncio
import time

import pytest

from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import palaver, running_operator, until_state
from tests.kubernetes.simulated_metrics import serving_metrics

pytestmark = pytest.mark.needs_servers


async def test_a_revision_that_fails_more_often_than_the_one_before_is_taken_back(
    plane: ControlPlane, namespace: str
) -> None:
    began = time.monotonic()
    good: set[str] = set()

    def failures(role: str, name: str) -> int:
        """Five a second, of each new pod of auth."""
        is_bad = role == "auth" and bool(good) and name not in good
        return int(5 * (time.monotonic() - began)) if is_bad else 0

    async def pods() -> list[Object]:
        return await plane.list_objects("v1", "pods", namespace, "app.kubernetes.io/component=auth")

    async def drain_seconds() -> str:
        found = await plane.get("apps/v1", "deployments", namespace, "chat-auth")
        environment = found["spec"]["template"]["spec"]["containers"][0]["env"]
        return str(next(one["value"] for one in environment if one["name"] == "PALAVER_DRAIN_SECONDS"))

    async with serving_metrics(lambda role, name: 0, failures) as template:
        options = ("--lease", "", "--metrics-url-template", template)
        async with running_operator(plane, namespace, options=options):
            await plane.apply(palaver(namespace, rollout={"soakSeconds": 60}))
            await until_state(plane, namespace, "Ready")
            good |= {pod["metadata"]["name"] for pod in await pods()}
            await asyncio.sleep(30)  # so long that the operator knows how often these fail: by that it judges
            await plane.apply(palaver(namespace, rollout={"soakSeconds": 60}, drain={"seconds": 2}))
            assert (await until_state(plane, namespace, "Watching"))["rollout"]["component"] == "auth"
            assert await drain_seconds() == "2"
            status = await until_state(plane, namespace, "RolledBack")
            assert "unexpected errors a second, one of those before 0.0" in status["rollout"]["message"]
            assert await drain_seconds() == "1"
