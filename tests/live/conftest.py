"""The live ports under test."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from palaver.live import Live
from palaver.live.embedded import EmbeddedLive
from palaver.live.nats import NatsLive
from tests.live.harness import Clock, Cluster
from tests.servers import NatsServer, nats_server


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def nats() -> AsyncIterator[NatsServer]:
    """One server for all tests that leave it as it is; each takes a workspace of its own."""
    async with nats_server() as server:
        yield server


@pytest.fixture(params=["embedded", pytest.param("nats", marks=pytest.mark.needs_servers)])
def unopened(request: pytest.FixtureRequest) -> Cluster:
    if request.param == "embedded":
        clock = Clock()

        async def pass_seconds(seconds: float) -> None:
            clock.now += seconds

        live: Live = EmbeddedLive(clock)
        return Cluster(live, live, pass_seconds)
    server: NatsServer = request.getfixturevalue("nats")
    workspace = f"test {uuid4().hex}"
    return Cluster(NatsLive(server.url, workspace), NatsLive(server.url, workspace), asyncio.sleep)


@pytest_asyncio.fixture
async def cluster(unopened: Cluster) -> AsyncIterator[Cluster]:
    await unopened.first.open()
    if unopened.second is not unopened.first:
        await unopened.second.open()
    yield unopened
    await unopened.second.close()
    await unopened.first.close()
