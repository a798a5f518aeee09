"""The world in which commands are executed: on SQLite always, on MongoDB where a server can be had."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from palaver import failpoints
from tests.commit.harness import OTHER, ROOM, World, create_room
from tests.database.harness import Harness, make_harness
from tests.servers import mongodb_server


@pytest.fixture(scope="session")
def mongodb_url() -> Iterator[str]:
    """One server for the whole run: it outlives the event loops of the tests."""
    with asyncio.Runner() as runner:
        server = mongodb_server()
        yield runner.run(server.__aenter__())
        runner.run(server.__aexit__(None, None, None))


@pytest.fixture(params=["sqlite", pytest.param("mongo", marks=pytest.mark.needs_servers)])
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server_url(adapter: str, request: pytest.FixtureRequest) -> str:
    """Where the adapter's server listens, if it needs one."""
    return str(request.getfixturevalue("mongodb_url")) if adapter == "mongo" else ""


@pytest.fixture
async def harness(adapter: str, server_url: str) -> AsyncIterator[Harness]:
    async with make_harness(adapter, server_url) as harness:
        yield harness


@pytest.fixture
async def world(harness: Harness) -> AsyncIterator[World]:
    """A store with two rooms in it, their creation told."""
    world = World(harness)
    world.database = await harness.open()
    process = await world.start()
    for room in (ROOM, OTHER):
        await process.execute(room, create_room(room))
    await process.stop()
    assert world.log.seqs(ROOM) == [1]
    try:
        yield world
    finally:
        failpoints.disarm()
        for process in world.processes:
            await process.kill()
