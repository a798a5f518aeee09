"""A control plane with one real node, for tests that `make test-cluster-real` runs."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kubernetes.control_plane import ControlPlane, running_control_plane
from tests.kubernetes.real.images import list_images
from tests.kubernetes.real.node import NODE_ADDRESS, RealNode, running_node
from tests.kubernetes.real.servers import dns
from tests.kubernetes.tools import CONTROL_PLANE, REAL_NODE, get_programs


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def real_node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealNode]:
    """A node that runs pods of Palaver's image, of MongoDB and of NATS; names are answered."""
    programs = get_programs(CONTROL_PLANE + REAL_NODE)
    async with (
        running_control_plane(tmp_path_factory.mktemp("kubernetes"), programs, NODE_ADDRESS) as plane,
        running_node(plane, programs, list_images()) as node,
    ):
        await plane.apply(*dns())
        await plane.kubectl("rollout", "status", "deployment/dns", "-n", "kube-system", "--timeout=60s")
        yield node


@pytest.fixture
def plane(real_node: RealNode) -> ControlPlane:
    """The control plane of the real node."""
    return real_node.plane


@pytest_asyncio.fixture
async def namespace(plane: ControlPlane) -> AsyncIterator[str]:
    """A namespace for one test, in place of that with simulated nodes."""
    async with plane.namespace() as name:
        yield name
