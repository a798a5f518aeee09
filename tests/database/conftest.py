"""An open database of each adapter."""

import pytest

from palaver.database import Database
from tests.database.harness import Harness


@pytest.fixture
async def database(harness: Harness) -> Database:
    """An open database over an empty store."""
    return await harness.open()
