"""What tests of the gateway begin with: a running one, and the API, by nobody yet and by the administrator."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.ddp import RunningGateway, running_gateway
from tests.gateway.rest import Client, as_admin, running_api


@pytest.fixture
async def gateway(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path) as running:
        yield running


@pytest.fixture
async def anybody(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[Client]:
    async with running_api(tmp_path) as client:
        yield client


@pytest.fixture
async def admin(anybody: Client) -> Client:
    return await as_admin(anybody)


@pytest.fixture
async def alice(admin: Client) -> Client:
    return await admin.make_user("alice")


@pytest.fixture
async def bob(admin: Client) -> Client:
    return await admin.make_user("bob")
