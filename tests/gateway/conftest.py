"""The API for tests of the gateway: by nobody yet, and by the administrator."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.auth import passwords
from tests.gateway.rest import Client, as_admin, running_api


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed with the least memory here."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 64)
    monkeypatch.setattr(passwords, "ROUNDS", 1)


@pytest.fixture
async def anybody(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[Client]:
    async with running_api(tmp_path) as client:
        yield client


@pytest.fixture
async def admin(anybody: Client) -> Client:
    return await as_admin(anybody)
