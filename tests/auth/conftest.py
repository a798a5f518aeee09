"""The auth service on an embedded database, in this process and over gRPC: each test of it runs twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.api import Auth
from palaver.auth import passwords
from tests.services import TRANSPORTS, RunningServices, Transport, service_nodes


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen: Transport = request.param
    return chosen


@pytest.fixture
async def running(tmp_path: Path, transport: Transport, cheap_hashes: None) -> AsyncIterator[RunningServices]:
    async with service_nodes(tmp_path, ("auth",), transport) as services:
        yield services


@pytest.fixture
def auth(running: RunningServices) -> Auth:
    return running.services.auth


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed with the least memory here; test_passwords.py asks for the real parameters."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 64)
    monkeypatch.setattr(passwords, "ROUNDS", 1)
