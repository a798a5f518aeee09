"""A server of its own process, or a whole cluster, for a whole file of tests."""

import asyncio
from collections.abc import Iterator

import pytest

from palaver.ids import new_id
from tests.cluster import Cluster
from tests.e2e.process import PalaverProcess
from tests.services import cluster_servers


@pytest.fixture(scope="module", params=["process", pytest.param("cluster", marks=pytest.mark.needs_servers)])
def palaver(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PalaverProcess | Cluster]:
    """What a published client finds at an address: one process, or two of each role behind one port.

    Ready to be called; stopped after the file's last test, when the logs must hold no error.
    """
    folder = tmp_path_factory.mktemp("palaver")
    if request.param == "process":
        server = PalaverProcess(folder)
        asyncio.run(server.start())
        yield server
        assert server.stop() == 0
        assert server.problems() == []
        return
    mongodb_url, nats_url = cluster_servers.urls()
    cluster = Cluster(folder, mongodb_url, nats_url, environment={"PALAVER_WORKSPACE": f"test_{new_id(8).lower()}"})
    asyncio.run(cluster.start())
    yield cluster
    codes = asyncio.run(cluster.stop())
    assert not any(codes.values()), codes
    assert cluster.problems() == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PalaverProcess]:
    """Ready to be called; stopped after the file's last test, when its log must hold no error."""
    started = PalaverProcess(tmp_path_factory.mktemp("server"))
    asyncio.run(started.start())
    yield started
    assert started.stop() == 0
    assert started.problems() == []
