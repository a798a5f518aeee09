"""The messaging service on an embedded database, in this process and over gRPC: each test of it runs twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.messaging.helpers import Chat
from tests.services import TRANSPORTS, Transport, service_nodes


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen: Transport = request.param
    return chosen


@pytest.fixture
async def chat(tmp_path: Path, transport: Transport, cheap_hashes: None) -> AsyncIterator[Chat]:
    async with service_nodes(tmp_path, ("auth", "presence", "messaging"), transport) as running:
        yield Chat(running)


@pytest.fixture
async def local(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[Chat]:
    """For tests that look behind the service: one process."""
    async with service_nodes(tmp_path, ("auth", "presence", "messaging"), "process") as running:
        yield Chat(running)
