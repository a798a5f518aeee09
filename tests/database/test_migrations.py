"""Migrations run once and in order, go on after an interruption, and a newer database is left alone."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from palaver.database import NewerSchema, Put
from palaver.database.migrations import MIGRATIONS, Migration, list_pending
from palaver.database.sqlite import SqliteDatabase
from tests.database.model import ROOM, commit


async def nothing(database: Any) -> None:
    """What a migration does for the other adapter."""


def migration(number: int, sqlite: Callable[[sqlite3.Connection], None]) -> Migration:
    return Migration(number, "A test", sqlite, nothing)


async def open_and_close(path: Path, *more: Migration) -> None:
    database = SqliteDatabase(path, migrations=[*MIGRATIONS, *more])
    try:
        await database.open()
    finally:
        await database.close()


def read_version(path: Path) -> int:
    connection = sqlite3.connect(path)
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version


def test_the_list_is_numbered_and_says_what_it_does() -> None:
    assert [migration.number for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    assert all(len(migration.sentence) > 10 for migration in MIGRATIONS)
    assert list_pending(0, MIGRATIONS) == MIGRATIONS
    assert list_pending(len(MIGRATIONS), MIGRATIONS) == ()
    with pytest.raises(ValueError):
        list_pending(0, [replace(MIGRATIONS[0], number=2)])


async def test_each_migration_runs_once_and_in_order(tmp_path: Path) -> None:
    path, known = tmp_path / "palaver.db", len(MIGRATIONS)
    ran: list[int] = []
    more = [migration(known + 1, lambda _: ran.append(1)), migration(known + 2, lambda _: ran.append(2))]
    await open_and_close(path, more[0])
    assert ran == [1]
    await open_and_close(path, *more)
    await open_and_close(path, *more)
    assert ran == [1, 2]
    assert read_version(path) == known + 2


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


async def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    path, known = tmp_path / "palaver.db", len(MIGRATIONS)
    await open_and_close(path, migration(known + 1, lambda _: None))
    with pytest.raises(NewerSchema, match=str(known + 1)):
        await open_and_close(path)
    assert read_version(path) == known + 1


async def test_an_interrupted_migration_goes_on(tmp_path: Path) -> None:
    path, known = tmp_path / "palaver.db", len(MIGRATIONS)
    interrupted = True

    def add(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE claims ADD COLUMN since INTEGER")
        connection.execute("INSERT INTO claims (key, owner, since) VALUES ('name', 'owner', 5)")
        if interrupted:
            raise KeyboardInterrupt

    more = [migration(known + 1, lambda _: None), migration(known + 2, add)]
    with pytest.raises(KeyboardInterrupt):
        await open_and_close(path, *more)
    assert read_version(path) == known + 1
    interrupted = False
    await open_and_close(path, *more)
    assert read_version(path) == known + 2
    database = SqliteDatabase(path, migrations=[*MIGRATIONS, *more])
    await database.open()
    assert await database.find_claim("name") == "owner"
    await database.close()
