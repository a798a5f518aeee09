"""A workspace that runs, and empty ones, on both databases."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from palaver.blobs.files import FileBlobs
from palaver.database import Database
from palaver.database.mongo import MongoDatabase
from palaver.database.sqlite import SqliteDatabase
from palaver.ids import new_id
from tests.backup.workspace import Storage
from tests.messaging.helpers import Chat
from tests.services import Transport, cluster_servers, service_nodes


@pytest.fixture
async def chat(tmp_path: Path, adapter: str, cheap_hashes: None) -> AsyncIterator[Chat]:
    """A workspace that runs: in one process, or in three over MongoDB and NATS."""
    transport: Transport = "process" if adapter == "sqlite" else "cluster"
    async with service_nodes(tmp_path / "source", ("auth", "presence", "messaging"), transport) as running:
        yield Chat(running)


@pytest.fixture
async def local(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[Chat]:
    """The same in one process, for what does not depend on the database."""
    async with service_nodes(tmp_path / "source", ("auth", "presence", "messaging"), "process") as running:
        yield Chat(running)


MakeStorage = Callable[[str], Awaitable[Storage]]


@pytest.fixture
async def make_storage(tmp_path: Path) -> AsyncIterator[MakeStorage]:
    """Makes empty workspaces on "sqlite" or "mongo"."""
    async with AsyncExitStack() as stack:

        async def make(adapter: str) -> Storage:
            folder = tmp_path / f"empty-{new_id(4)}"
            database: Database
            if adapter == "mongo":
                database = MongoDatabase(cluster_servers.urls()[0], f"test_{new_id()}")
            else:
                database = SqliteDatabase(folder / "palaver.db")
            uploads = FileBlobs(folder / "uploads")
            for part in (database, uploads):
                await part.open()
                stack.push_async_callback(part.close)
            return Storage(database, uploads)

        yield make
