"""The world in which commands are executed: on SQLite always, on MongoDB where a server can be had."""

from collections.abc import AsyncIterator

import pytest

from palaver import failpoints
from tests.commit.harness import OTHER, ROOM, World, create_room
from tests.database.harness import Harness


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
