"""Migrations run once and in order, go on after an interruption, and are borne by the version before."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from palaver.database import Database, NewerSchema, Put
from palaver.database.migrations import MIGRATIONS, Migration, Schema, list_pending
from palaver.database.mongo import MongoDatabase
from palaver.database.sqlite import SqliteDatabase
from palaver.ids import new_id
from tests.database.model import ROOM, commit

KNOWN = len(MIGRATIONS)


def migration(number: int, work: Callable[[], None] = lambda: None, *, compatible_from: int = 1) -> Migration:
    """A step that does the same with both adapters."""

    async def mongo(database: Any) -> None:
        work()

    return Migration(number, "A test", lambda connection: work(), mongo, compatible_from)


class Store:
    """A database that processes of different versions open: each knows so many of these migrations."""

    def __init__(self, adapter: str, server_url: str, folder: Path) -> None:
        self._url = server_url if adapter == "mongo" else ""
        self._path = folder / "palaver.db"
        self._name = f"palaver_test_{new_id()}"
        self._opened: list[Database] = []

    async def open(self, migrations: Sequence[Migration]) -> Database:
        """As a process of the version with these migrations does. Closed with the store."""
        database: Database
        if self._url:
            database = MongoDatabase(self._url, self._name, migrations=migrations)
        else:
            database = SqliteDatabase(self._path, migrations=migrations)
        self._opened.append(database)
        await database.open()
        return database

    async def close(self) -> None:
        for database in self._opened:
            await database.close()
        if self._url:
            client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(self._url)
            await client.drop_database(self._name)
            client.close()


@pytest.fixture
async def store(adapter: str, server_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(adapter, server_url, tmp_path)
    yield store
    await store.close()


def test_the_list_is_numbered_and_says_what_it_does() -> None:
    assert [migration.number for migration in MIGRATIONS] == list(range(1, KNOWN + 1))
    assert all(len(migration.sentence) > 10 for migration in MIGRATIONS)
    assert all(1 <= migration.compatible_from <= migration.number for migration in MIGRATIONS)
    assert list_pending(Schema(), MIGRATIONS) == MIGRATIONS
    assert list_pending(Schema(KNOWN, KNOWN), MIGRATIONS) == ()
    with pytest.raises(ValueError):
        list_pending(Schema(), [replace(MIGRATIONS[0], number=2)])


async def test_each_migration_runs_once_and_in_order(store: Store) -> None:
    ran: list[int] = []
    more = [migration(KNOWN + 1, lambda: ran.append(1)), migration(KNOWN + 2, lambda: ran.append(2))]
    await store.open([*MIGRATIONS, more[0]])
    assert ran == [1]
    await store.open([*MIGRATIONS, *more])
    await store.open([*MIGRATIONS, *more])
    assert ran == [1, 2]


async def test_ten_processes_that_start_at_once_migrate_once(store: Store) -> None:
    ran: list[int] = []
    more = [migration(KNOWN + 1, lambda: ran.append(1)), migration(KNOWN + 2, lambda: ran.append(2))]
    await asyncio.gather(*(store.open([*MIGRATIONS, *more]) for _ in range(10)))
    assert ran == [1, 2]


async def test_an_interrupted_migration_runs_again(store: Store) -> None:
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("out of luck")

    ran: list[int] = []
    more = [migration(KNOWN + 1, lambda: ran.append(1)), migration(KNOWN + 2, work)]
    with pytest.raises(RuntimeError, match="out of luck"):
        await store.open([*MIGRATIONS, *more])
    await store.open([*MIGRATIONS, *more])
    assert (len(tries), ran) == (2, [1])


async def test_the_version_before_works_beside_what_was_added(store: Store) -> None:
    running = await store.open(MIGRATIONS)
    newer = await store.open([*MIGRATIONS, migration(KNOWN + 1, compatible_from=KNOWN)])
    await commit(running, ROOM, 1, Put("messages", "m", insert={"_id": "m", "msg": "by the old one"}))
    await commit(newer, ROOM, 2, Put("messages", "m", set={"msg": "by the new one"}))
    restarted = await store.open(MIGRATIONS)
    assert await restarted.get("messages", "m") == {"_id": "m", "msg": "by the new one"}
    await commit(restarted, ROOM, 3, Put("messages", "m", set={"msg": "and again"}))
    assert await newer.find("messages", {"$text": "again"}) == [{"_id": "m", "msg": "and again"}]


async def test_a_database_that_needs_a_newer_version_says_which(store: Store) -> None:
    more = [
        migration(KNOWN + 1),
        migration(KNOWN + 2, compatible_from=KNOWN + 1),
        migration(KNOWN + 3),  # what needs less does not take it back
    ]
    await store.open([*MIGRATIONS, *more])
    with pytest.raises(NewerSchema) as raised:
        await store.open(MIGRATIONS)
    assert f"has schema {KNOWN + 3}" in str(raised.value)
    assert f"knows schema {KNOWN + 1}; this one knows {KNOWN}" in str(raised.value)
    await store.open([*MIGRATIONS, more[0]])  # the first version that can do with both


# -- SQLite alone: what it extracts, it must extract again ------------------------------------------------------------


async def test_what_an_older_version_wrote_is_migrated_again(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    filled: list[int] = []

    def fill(connection: sqlite3.Connection) -> None:
        filled.append(connection.execute("SELECT count(*) FROM messages").fetchone()[0])

    async def nothing(database: Any) -> None:
        """MongoDB extracts nothing."""

    newer = [*MIGRATIONS, Migration(KNOWN + 1, "Fills a column", fill, nothing, 1)]
    for number, migrations in enumerate([newer, MIGRATIONS, newer, newer], 1):
        database = SqliteDatabase(path, migrations=migrations)
        await database.open()
        await commit(database, ROOM, number, Put("messages", f"m{number}", insert={"_id": f"m{number}"}))
        await database.close()
    assert filled == [0, 2]


async def test_half_of_a_migration_is_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    interrupted = True

    def add(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE claims ADD COLUMN since INTEGER")
        connection.execute("INSERT INTO claims (key, owner, since) VALUES ('name', 'owner', 5)")
        if interrupted:
            raise KeyboardInterrupt

    async def nothing(database: Any) -> None:
        """What a migration does for the other adapter."""

    migrations = [*MIGRATIONS, Migration(KNOWN + 1, "Adds a column", add, nothing, 1)]
    database = SqliteDatabase(path, migrations=migrations)
    with pytest.raises(KeyboardInterrupt):
        await database.open()
    interrupted = False
    await database.open()
    assert await database.find_claim("name") == "owner"
    await database.close()
