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


async def test_the_first_migration_finds_its_work_done(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    await commit(database, ROOM, 1, Put("messages", "m", insert={"_id": "m", "msg": "kept"}))
    await database.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 0")
    connection.close()
    await database.open()
    assert await database.find("messages", {"$text": "kept"}) == [{"_id": "m", "msg": "kept"}]
    await database.close()


async def test_a_database_of_the_first_version_learns_of_followers(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    await database.close()
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE events DROP COLUMN retold")
    connection.execute("DROP TABLE records")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    await database.open()
    event = await commit(database, ROOM, 1, Put("messages", "m", insert={"_id": "m"}))
    assert await database.list_unpublished(10**15) == [event]
    await database.put_record("kind", "id", {"kept": True})
    assert await database.find_record("kind", "id") == {"kept": True}
    await database.close()


async def test_columns_that_came_later_are_filled(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    pinned = {"_id": "m1", "rid": "r", "pinned": True, "ts": {"$date": 5}}
    await commit(database, ROOM, 1, Put("messages", "m1", insert=pinned))
    await commit(database, ROOM, 2, Put("messages", "m2", insert={"_id": "m2", "rid": "r", "ts": {"$date": 6}}))
    await database.close()
    connection = sqlite3.connect(path)
    connection.execute('DROP INDEX "messages: rid, pinned, ts, _id"')
    connection.execute("ALTER TABLE messages DROP COLUMN pinned")
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    await database.open()
    assert await database.find("messages", {"rid": "r", "pinned": True}) == [pinned]
    await database.close()


async def test_logins_of_an_older_version_are_found_by_what_was_added(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    token = {"_id": "hash", "user_id": "u", "name": "robot", "issued_at": {"$date": 5}}
    await commit(database, ROOM, 1, Put("tokens", "hash", insert=token))
    await database.close()
    connection = sqlite3.connect(path)
    connection.execute('DROP INDEX "tokens: session_id"')
    connection.execute('DROP INDEX "tokens: revoked_at, issued_at"')
    for column in ("issued_at", "session_id", "name"):
        connection.execute(f"ALTER TABLE tokens DROP COLUMN {column}")
    connection.execute("PRAGMA user_version = 3")  # of the migrations that are left, earlier ones meet it, too
    connection.close()
    await database.open()
    assert await database.find("tokens", {"name": "robot"}, sort=[("issued_at", 1)]) == [token]
    await database.close()


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


async def test_what_was_stored_before_a_column_was_is_found_by_it(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    told = {"_id": "m", "rid": "r", "drid": "d"}
    await commit(database, ROOM, 1, Put("messages", "m", insert=told), Put("messages", "n", insert={"_id": "n"}))
    await database.close()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute('DROP INDEX "messages: rid, drid"')
        connection.execute("ALTER TABLE messages DROP COLUMN drid")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    database = SqliteDatabase(path)
    await database.open()
    assert await database.find("messages", {"rid": "r", "drid": {"$exists": True}}) == [told]
    await database.close()
