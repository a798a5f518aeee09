"""The logs under test. `pair` is (publisher, follower): one object for one process, two for two."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from palaver.database.sqlite import SqliteDatabase
from palaver.log import Log
from palaver.log.embedded import EmbeddedLog
from palaver.log.jetstream import JetStreamLog
from tests.log.harness import Pair
from tests.servers import NatsServer, nats_server


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def nats() -> AsyncIterator[NatsServer]:
    """One server for all tests that leave it as it is; each takes a workspace of its own."""
    async with nats_server() as server:
        yield server


@pytest.fixture
def workspace() -> str:
    return f"test {uuid4().hex}"


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """The record behind the log."""
    database = SqliteDatabase(tmp_path / "palaver.db")
    await database.open()
    yield database
    await database.close()


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("jetstream, one process", marks=pytest.mark.needs_servers),
        pytest.param("jetstream, two processes", marks=pytest.mark.needs_servers),
    ]
)
def unopened(request: pytest.FixtureRequest, workspace: str, database: SqliteDatabase) -> Pair:
    if request.param == "embedded":
        publisher: Log = EmbeddedLog(database)
        return publisher, publisher
    server: NatsServer = request.getfixturevalue("nats")
    publisher = JetStreamLog(server.url, workspace, database)
    return publisher, publisher if "one" in request.param else JetStreamLog(server.url, workspace, database)


@pytest_asyncio.fixture
async def pair(unopened: Pair) -> AsyncIterator[Pair]:
    publisher, follower = unopened
    await publisher.open()
    if follower is not publisher:
        await follower.open()
    yield publisher, follower
    await follower.close()
    await publisher.close()
