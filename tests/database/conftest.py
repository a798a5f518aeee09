"""The adapters as fixtures: SQLite always, MongoDB where a server can be had (marker `needs_servers`)."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from palaver.database import Database
from tests.database.harness import Harness, make_harness
from tests.servers import mongodb_server

ADAPTERS = ["sqlite", pytest.param("mongo", marks=pytest.mark.needs_servers)]


@pytest.fixture(scope="session")
def mongodb_url() -> Iterator[str]:
    """One server for the whole run: it outlives the event loops of the tests."""
    with asyncio.Runner() as runner:
        server = mongodb_server()
        yield runner.run(server.__aenter__())
        runner.run(server.__aexit__(None, None, None))


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    """The name of the adapter under test."""
    return str(request.param)


@pytest.fixture
def server_url(adapter: str, request: pytest.FixtureRequest) -> str:
    """Where the adapter's server listens, if it needs one."""
    return str(request.getfixturevalue("mongodb_url")) if adapter == "mongo" else ""


@pytest.fixture
async def harness(adapter: str, server_url: str) -> AsyncIterator[Harness]:
    """An empty store."""
    async with make_harness(adapter, server_url) as harness:
        yield harness


@pytest.fixture
async def database(harness: Harness) -> Database:
    """An open database over an empty store."""
    return await harness.open()
