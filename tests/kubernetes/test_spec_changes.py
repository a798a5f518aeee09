"""Every field of a Palaver's spec changed once, on a real API server with simulated nodes."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import get_palaver, palaver, patch_spec, running_operator, until_state
from tests.kubernetes.tools import CUSTOM_KINDS, get_programs
from tests.palaver_operator.spec_changes import LIVES, NAMED, Life

pytestmark = pytest.mark.needs_servers


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def custom_kinds(plane: ControlPlane) -> AsyncIterator[None]:
    """The cluster knows the kinds of others, too, meanwhile."""
    found = get_programs(CUSTOM_KINDS)
    files = [option for name in ("monitoring-kinds.yaml", "gateway-kinds.yaml") for option in ("-f", str(found[name]))]
    await plane.kubectl("apply", "--server-side", *files)
    await plane.kubectl("wait", "--for=condition=Established", "--timeout=300s", *files)
    yield
    await plane.kubectl("delete", *files)


@pytest.mark.usefixtures("custom_kinds")
@pytest.mark.parametrize("life", LIVES, ids=lambda life: str(life.name))
async def test_every_field_of_the_spec_can_be_changed(plane: ControlPlane, namespace: str, life: Life) -> None:
    """What the API server would refuse to change shows here: each change is taken, and everything gets ready again."""
    named = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": values,
        }
        for name, values in NAMED.items()
    ]

    async with running_operator(plane, namespace) as operator:
        await plane.apply(*named, palaver(namespace) | {"spec": life.begun})
        await until_state(plane, namespace, "Ready")
        for change in life.changes:
            await patch_spec(plane, namespace, change.spec)
            status = await until_state(plane, namespace, change.state, 180)
            assert status["rollout"]["phase"] == "Complete"
        assert "Traceback" not in operator.log.read_text()
    spec = (await get_palaver(plane, namespace))["spec"]
    has_nats = await plane.find("apps/v1", "statefulsets", namespace, "chat-nats") is not None
    assert has_nats == ("secretName" not in spec.get("nats", {}) and spec["size"] != "single")
    rules = await plane.find("monitoring.coreos.com/v1", "prometheusrules", namespace, "chat-alerts")
    assert bool(rules) == ("monitoring" in spec)
    has_ingress = await plane.find("networking.k8s.io/v1", "ingresses", namespace, "chat") is not None
    assert has_ingress == (spec.get("route", {}).get("kind", "Ingress") == "Ingress")
