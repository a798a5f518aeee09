"""Texts that were there before their index was begun (anew): found bit by bit, whatever dies meanwhile."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pymongo import UpdateOne

from palaver.database import Database, Put, mongo_text, sqlite_indexing
from palaver.database.mongo import MongoDatabase
from palaver.database.mongo_values import WORDS
from palaver.database.sqlite import SqliteDatabase
from tests.database.harness import fresh
from tests.database.model import ROOM, USER, commit

MESSAGES = 1200
BEFORE = 14  # the last migration of a database that knows whole words only


async def fill(database: Database) -> None:
    puts = [
        Put("messages", f"m{number:04}", insert={"_id": f"m{number:04}", "rid": "r", "msg": f"text number{number:04}"})
        for number in range(MESSAGES)
    ]
    await commit(database, USER, 1, *puts)


async def count(database: Database) -> int:
    """How many are found by what stands in the middle of a word."""
    return await database.count("messages", {"rid": "r", "$text": "umber"})


async def reindexed(database: Database) -> None:
    """Watches over the database until everything is found."""
    watching = asyncio.create_task(database.watch())
    try:
        async with asyncio.timeout(60):
            while await count(database) < MESSAGES:
                await asyncio.sleep(0.05)
    finally:
        watching.cancel()


async def test_sqlite_begins_with_the_newest_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_indexing, "_PAUSE_SECONDS", 0)
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    await fill(database)
    assert await count(database) == MESSAGES
    await database.close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {1 << 16 | BEFORE}")
    connection.close()
    await database.open()
    found = await count(database)
    assert 0 < found < MESSAGES
    newest, oldest = {"_id": f"m{MESSAGES - 1:04}"}, {"_id": "m0000"}
    assert await database.count("messages", {"$text": "umber", **newest}) == 1
    # Changed before it is indexed, and written meanwhile.
    await commit(database, USER, 2, Put("messages", "m0000", set={"msg": "another number"}))
    await commit(database, ROOM, 1, Put("messages", "new", insert={"_id": "new", "rid": "s", "msg": "new number"}))
    assert await database.count("messages", {"$text": "umber", "rid": "s"}) == 1
    await database.close()
    await database.open()
    await reindexed(database)
    assert await database.count("messages", {"$text": "nother", **oldest}) == 1
    assert await database.count("messages", {"$text": "number0000", **oldest}) == 0
    await database.close()


async def test_what_a_version_before_wrote_meanwhile_is_indexed(tmp_path: Path) -> None:
    """It can't make keys: it writes without them, and the index begins anew after it."""
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    await commit(database, USER, 1, Put("messages", "m", insert={"_id": "m", "rid": "r", "msg": "former"}))
    assert await database.count("messages", {"$text": "orme"}) == 1
    await database.close()
    connection = sqlite3.connect(path)
    connection.execute("""UPDATE messages SET doc = '{"_id":"m","rid":"r","msg":"latter"}'""")
    connection.execute(f"PRAGMA user_version = {1 << 16 | BEFORE}")
    connection.commit()
    connection.close()
    await database.open()
    assert await database.count("messages", {"$text": "orme"}) == 0
    assert await database.count("messages", {"$text": "atte"}) == 1
    await database.close()


@pytest.mark.needs_servers
async def test_mongo_goes_on_where_another_process_died(mongodb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_text, "_PAUSE_SECONDS", 0)
    async with fresh(mongodb_url) as (name, raw):
        async with opened(mongodb_url, name) as database:
            await fill(database)
        # As the version before has written it.
        words = [(f"m{number:04}", ["text", f"number{number:04}"]) for number in range(MESSAGES)]
        await raw["messages"].bulk_write([UpdateOne({"_id": id}, {"$set": {WORDS: found}}) for id, found in words])
        await raw["schema"].update_one({"_id": "version"}, {"$set": {"number": BEFORE}})
        async with opened(mongodb_url, name) as database:
            assert await database.count("messages", {"rid": "r", "$text": "numb"}) == MESSAGES
            assert await count(database) == 0
            # One step, and the process is gone.
            await mongo_text._index_some(raw, "messages")
            assert 0 < await count(database) < MESSAGES
            await commit(database, USER, 2, Put("messages", "m1199", set={"msg": "another number"}))
        async with opened(mongodb_url, name) as database:
            await reindexed(database)
            assert await database.count("messages", {"$text": "nother"}) == 1


@asynccontextmanager
async def opened(url: str, name: str) -> AsyncIterator[MongoDatabase]:
    """One process's way to the database."""
    database = MongoDatabase(url, name)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
