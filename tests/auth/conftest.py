"""The auth service on an embedded database, in this process and over gRPC: each test of it runs twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.api import Auth
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
