"""A real Kubernetes for the tests of this folder: one control plane a run, a namespace of its own for each test."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cache import ServerUnavailable
from tests.kubernetes.control_plane import ControlPlane, running_control_plane
from tests.kubernetes.operators import Operator, install_definitions, running_operator
from tests.kubernetes.tools import CONTROL_PLANE, get_programs

NODES = 10


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds what the chosen tests need before the first of them: the time limit of a test is not for compilers."""
    chosen = any("kubernetes" in getattr(item, "fixturenames", ()) for item in session.items)
    if chosen and not session.config.option.collectonly:
        # Said by the tests that fail for it.
        with contextlib.suppress(ServerUnavailable):
            get_programs(CONTROL_PLANE)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """A control plane with simulated nodes in three zones."""
    programs = get_programs(CONTROL_PLANE)
    async with running_control_plane(tmp_path_factory.mktemp("kubernetes"), programs) as plane:
        await plane.add_nodes(NODES)
        yield plane


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def plane(kubernetes: ControlPlane) -> ControlPlane:
    """The same, knowing Palaver's resources: for tests that install no chart."""
    await install_definitions(kubernetes)
    return kubernetes


@pytest_asyncio.fixture
async def namespace(kubernetes: ControlPlane) -> AsyncIterator[str]:
    """A namespace for one test."""
    async with kubernetes.namespace() as name:
        yield name


@pytest_asyncio.fixture
async def operator(plane: ControlPlane, namespace: str) -> AsyncIterator[Operator]:
    """An operator that looks after that namespace."""
    async with running_operator(plane, namespace) as found:
        yield found
