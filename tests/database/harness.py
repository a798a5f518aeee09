"""The adapters under test. Each gives any number of open databases over one store, as processes would have them."""

import sqlite3
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from palaver import failpoints
from palaver.database import Database, Stream
from palaver.database.mongo import MongoDatabase
from palaver.database.sqlite import SqliteDatabase
from palaver.ids import new_id
from palaver.v1.event_pb2 import Event
from tests.database.model import project

ADAPTERS = ["sqlite", pytest.param("mongo", marks=pytest.mark.needs_servers)]
"""SQLite always, MongoDB where a server can be had. Parameters of tests."""


class Crash(Exception):
    """What an armed failpoint raises: this writer stops here, and never learns what became of its call."""


class Harness(ABC):
    """One store, empty at first."""

    # Where a call of this adapter can stop, in order.
    failpoints: tuple[str, ...]

    def __init__(self) -> None:
        self.opened: list[Database] = []

    @abstractmethod
    def connect(self) -> Database:
        """Another way to the same store, not opened yet."""

    async def open(self) -> Database:
        """Another open way to the same store; closed with the harness."""
        database = self.connect()
        await database.open()
        self.opened.append(database)
        return database

    @abstractmethod
    async def append_only(self, stream: Stream, events: Sequence[Event]) -> None:
        """Appends events and projects nothing: what a crash between the two leaves."""

    async def close(self) -> None:
        for database in self.opened:
            await database.close()


class SqliteHarness(Harness):
    """A file of its own."""

    failpoints = ("commit.before_append", "commit.after_advance")

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "palaver.db"

    def connect(self) -> Database:
        return SqliteDatabase(self.path)

    async def append_only(self, stream: Stream, events: Sequence[Event]) -> None:
        # A commit is atomic here, so this can only come from outside.
        connection = sqlite3.connect(self.path)
        rows = [(*stream, e.seq, e.command_id, e.at, 0, e.SerializeToString()) for e in events]
        with connection:
            connection.executemany(
                "INSERT INTO events (stream_kind, stream_id, seq, command_id, at, published, blob)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
        connection.close()


class MongoHarness(Harness):
    """A database of its own on a shared server."""

    failpoints = (
        "commit.before_append",
        "commit.after_append",
        "commit.between_projections",
        "commit.before_advance",
        "commit.after_advance",
    )

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.name = f"palaver_test_{new_id()}"

    def connect(self) -> Database:
        return MongoDatabase(self.url, self.name)

    async def append_only(self, stream: Stream, events: Sequence[Event]) -> None:
        def stop() -> None:
            raise Crash

        database = await self.open()
        failpoints.arm("commit.after_append", stop)
        try:
            await database.commit(stream, events, [project(event) for event in events])
        except Crash:
            pass
        finally:
            failpoints.disarm()

    async def close(self) -> None:
        await super().close()
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(self.url)
        await client.drop_database(self.name)
        client.close()


@asynccontextmanager
async def make_harness(adapter: str, mongodb_url: str = "") -> AsyncIterator[Harness]:
    """A fresh store of the adapter: "sqlite" or "mongo"."""
    with tempfile.TemporaryDirectory(prefix="palaver-database-") as folder:
        harness = SqliteHarness(Path(folder)) if adapter == "sqlite" else MongoHarness(mongodb_url)
        try:
            yield harness
        finally:
            failpoints.disarm()
            await harness.close()


@asynccontextmanager
async def fresh(url: str) -> AsyncIterator[tuple[str, Any]]:
    """The name of an empty MongoDB database, and the driver's own view of it."""
    name = f"palaver_test_{new_id()}"
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(url, tz_aware=True)
    try:
        yield name, client[name]
        await client.drop_database(name)
    finally:
        client.close()
