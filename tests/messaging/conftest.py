"""The messaging service in this process, over gRPC, and so with MongoDB and NATS: each test of it runs thrice."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.messaging.helpers import Chat
from tests.services import STORES, TRANSPORTS, Transport, service_nodes


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
    """For tests that look behind the service where it makes no difference what is behind it: one process."""
    async with service_nodes(tmp_path, ("auth", "presence", "messaging"), "process") as running:
        yield Chat(running)


@pytest.fixture(params=STORES)
async def inside(request: pytest.FixtureRequest, tmp_path: Path, cheap_hashes: None) -> AsyncIterator[Chat]:
    """For tests that look behind the service: in one process, and with MongoDB and NATS behind it."""
    async with service_nodes(tmp_path, ("auth", "presence", "messaging"), request.param) as running:
        yield Chat(running)
