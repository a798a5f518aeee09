"""The world that the tests of presence act in."""

from collections.abc import AsyncIterator

import pytest

from tests.presence.harness import World
from tests.presence.harness import world as make_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as world:
        yield world
