"""A node's access for each test."""

import pytest

from tests.access.world import World


@pytest.fixture
async def world() -> World:
    world = World()
    world.add_user("Alice", "user")
    world.add_user("Root", "user", "admin")
    await world.access.open()
    return world
