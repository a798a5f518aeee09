"""An upgrade of the chart to the next version: definitions, the operator and the workspace's version at once.

The next version is this one under another number; the nodes are simulated.
"""

import shutil
from pathlib import Path

import pytest
import yaml

from docs.generate_chart import CHART
from palaver_operator import __version__
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import get_deployment, get_palaver, image_of, operator_of, until_state

pytestmark = pytest.mark.needs_servers

MAJOR, MINOR, _ = __version__.split(".")
NEXT = f"{MAJOR}.{int(MINOR) + 1}.0"
ROLES = ("auth", "presence", "messaging", "gateway")
SMALL = (
    *("--set", "workspace.spec.hostname=chat.example.org", "--set", "workspace.spec.nats.managed.replicas=1"),
    *("--set", "workspace.spec.drain.seconds=1", "--set", "workspace.spec.drain.noticeSeconds=0"),
    *("--set", "workspace.spec.rollout.soakSeconds=0"),
)


def next_chart(folder: Path) -> Path:
    """The chart as the next version has it."""
    shutil.copytree(CHART, folder)
    about = yaml.safe_load((folder / "Chart.yaml").read_text())
    (folder / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": NEXT, "appVersion": NEXT}))
    return folder


async def test_the_next_version_comes_with_its_operator_and_not_before(
    kubernetes: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    chart = next_chart(tmp_path / "palaver")
    where = ("--namespace", namespace, *SMALL)

    async def images() -> set[str]:
        return {image_of(await get_deployment(kubernetes, namespace, role)) for role in ROLES}

    await kubernetes.helm("install", "chat", str(CHART), *where)
    async with operator_of(kubernetes, namespace):
        await until_state(kubernetes, namespace, "Ready")
        before = {role: (await get_deployment(kubernetes, namespace, role))["metadata"]["generation"] for role in ROLES}
        definitions = await kubernetes.helm("show", "crds", str(chart))
        await kubernetes.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=definitions)
        await kubernetes.helm("upgrade", "chat", str(chart), *where)
        # The old operator is still there, and begins nothing that it can't know.
        status = await until_state(kubernetes, namespace, "OperatorOlder")
        assert status["version"] == __version__
        after = {role: (await get_deployment(kubernetes, namespace, role))["metadata"]["generation"] for role in ROLES}
        assert after == before
    async with operator_of(kubernetes, namespace, version=NEXT):
        status = await until_state(kubernetes, namespace, "Ready", 240)
        assert status["version"] == NEXT
        assert await images() == {f"palaver:{NEXT}"}
        events = await kubernetes.list_objects("events.k8s.io/v1", "events", namespace)
        assert {"Migrating", "RollingOut", "VersionRuns"} <= {event["reason"] for event in events}
        # The way back by Helm leaves the workspace where it is, and says so.
        await kubernetes.helm("rollback", "chat", "1", "--namespace", namespace)
        assert (await get_palaver(kubernetes, namespace))["spec"]["version"] == __version__
        status = await until_state(kubernetes, namespace, "VersionRefused")
        assert (status["version"], await images()) == (NEXT, {f"palaver:{NEXT}"})
