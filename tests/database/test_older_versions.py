"""What an older version of Palaver left is found by what later ones look for."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from palaver.database import Put
from palaver.database.migrations import MIGRATIONS
from palaver.database.schema import CHOICES
from palaver.database.sqlite import SqliteDatabase
from palaver.events import user_stream
from palaver.ids import new_id
from tests.database.model import ROOM, commit


def alter(path: Path, *statements: str) -> None:
    """Makes of a closed SQLite file what an older version had left."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def test_the_first_migration_finds_its_work_done(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    await commit(database, ROOM, 1, Put("messages", "m", insert={"_id": "m", "msg": "kept"}))
    await database.close()
    alter(path, "PRAGMA user_version = 0")
    await database.open()
    assert await database.find("messages", {"$text": "kept"}) == [{"_id": "m", "msg": "kept"}]
    await database.close()


async def test_a_database_of_the_first_version_learns_of_followers(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    await database.close()
    alter(path, "ALTER TABLE events DROP COLUMN retold", "DROP TABLE records", "PRAGMA user_version = 2")
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
    alter(
        path,
        'DROP INDEX "messages: rid, pinned, ts, _id"',
        "ALTER TABLE messages DROP COLUMN pinned",
        "PRAGMA user_version = 3",
    )
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
    alter(
        path,
        'DROP INDEX "tokens: session_id"',
        'DROP INDEX "tokens: issued_at, expires_at, session_id"',
        *(f"ALTER TABLE tokens DROP COLUMN {column}" for column in ("issued_at", "session_id", "name")),
        "PRAGMA user_version = 3",  # of the migrations that are left, earlier ones meet it, too
    )
    await database.open()
    assert await database.find("tokens", {"name": "robot"}, sort=[("issued_at", 1)]) == [token]
    await database.close()


async def test_roles_of_an_older_version_are_found(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    roles = {"a": ["owner", "leader"], "b": [], "c": None}
    members = {id: {"_id": id, "rid": "r", "u": {"username": id}, "roles": held} for id, held in roles.items()}
    await commit(database, ROOM, 1, *(Put("subscriptions", id, insert=member) for id, member in members.items()))
    await database.close()
    alter(
        path,
        'DROP INDEX "subscriptions: rid, left_at, u.username, roles"',
        "ALTER TABLE subscriptions DROP COLUMN roles",
        "PRAGMA user_version = 19",
    )
    await database.open()
    for condition in ("leader", {"$exists": True}):
        assert await database.find("subscriptions", {"rid": "r", "roles": condition}) == [members["a"]]
    assert await database.count("subscriptions", {"rid": "r", "roles": {"$exists": False}}) == 2
    await database.close()


async def test_choices_of_an_older_version_are_found(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    chosen = {"ignored": ["eve"], "desktopNotifications": "nothing", "disableNotifications": True, "ts": None}
    members = {field: {"_id": field, "rid": field, "u": {"_id": "u"}, field: value} for field, value in chosen.items()}
    await commit(database, ROOM, 1, *(Put("subscriptions", id, insert=member) for id, member in members.items()))
    await database.close()
    changes = []
    for choice in CHOICES:
        changes += [
            f'DROP INDEX "subscriptions: u._id, left_at, {choice}"',
            f'ALTER TABLE subscriptions DROP COLUMN "{choice}"',
        ]
    alter(path, *changes, "PRAGMA user_version = 23")
    await database.open()
    for choice in CHOICES:
        found = await database.find("subscriptions", {"u._id": "u", "left_at": None, choice: {"$exists": True}})
        assert found == ([members[choice]] if choice in members else [])
    await database.close()


async def test_very_long_texts_are_indexed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version before had the keys of all of it: the index can't forget these by those that it has now."""
    path = tmp_path / "palaver.db"
    database = SqliteDatabase(path)
    await database.open()
    for number, text in enumerate(("short", "word " * 30_000 + "end"), 1):
        await commit(database, ROOM, number, Put("messages", f"m{number}", insert={"_id": f"m{number}", "msg": text}))
    with monkeypatch.context() as before:
        before.setattr("palaver.database.text.SEARCHED_LENGTH", 10**9)
        assert len(await database.find("messages", {"$text": "end"})) == 1
        await database.close()
    alter(path, "PRAGMA user_version = 20")
    await database.open()
    assert await database.find("messages", {"$text": "end"}) == []
    assert [one["_id"] for one in await database.find("messages", {"$text": "word"})] == ["m2"]
    await commit(database, ROOM, 3, Put("messages", "m2", set={"msg": "gone"}))
    assert await database.find("messages", {"$text": "word"}) == []
    assert len(await database.find("messages", {"$text": "short"})) == 1
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
        connection.execute('DROP INDEX "messages: rid, ts, _id, drid"')
        connection.execute("ALTER TABLE messages DROP COLUMN drid")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    database = SqliteDatabase(path)
    await database.open()
    assert await database.find("messages", {"rid": "r", "drid": {"$exists": True}}) == [told]
    await database.close()


async def test_names_of_an_older_version_are_found_by_a_part(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "palaver.db")
    await database.open()
    room = {"_id": ROOM.id, "t": "c", "name": "plans", "fname": "Pläne"}
    await commit(database, ROOM, 1, Put("rooms", ROOM.id, insert=room))
    await database.close()
    connection = sqlite3.connect(tmp_path / "palaver.db")
    with connection:
        for index in ("t, name, _id", "name, _id"):
            connection.execute(f'DROP INDEX "rooms: {index}, parts of name, fname"')
        connection.execute('ALTER TABLE rooms DROP COLUMN "name folded"')
        connection.execute('ALTER TABLE rooms DROP COLUMN "fname folded"')
        connection.execute('CREATE INDEX "rooms: name, _id" ON rooms (name, _id)')
        connection.execute("PRAGMA user_version = 19")
    await database.open()
    for where in ({"name": {"$contains": "PLAN"}}, {"fname": {"$contains": "LÄN"}}):
        assert await database.find("rooms", where) == [{**room, "applied_seq": 1}]
    await database.close()
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert "rooms: name, _id, parts of name, fname" in names
    assert "rooms: name, _id" not in names
    connection.close()


async def test_what_users_have_said_to_an_older_version_is_found(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "palaver.db")
    await database.open()
    user = {"_id": "u", "username": "ann", "name": "Ann", "nickname": "Queen", "bio": "Mag Rösti"}
    await commit(database, user_stream("u"), 1, Put("users", "u", insert=user))
    await database.close()
    connection = sqlite3.connect(tmp_path / "palaver.db")
    former = '"users: username, _id, parts of username, name"'
    with connection:
        for index in ("username, _id", "active, username, _id"):
            connection.execute(f'DROP INDEX "users: {index}, parts of username, name, nickname, bio"')
        for column in ("nickname", "bio", "nickname folded", "bio folded"):
            connection.execute(f'ALTER TABLE users DROP COLUMN "{column}"')
        connection.execute(f'CREATE INDEX {former} ON users (username, _id, "username folded", "name folded")')
        connection.execute("PRAGMA user_version = 24")
    await database.open()
    for where in ({"nickname": {"$contains": "QUEE"}}, {"bio": {"$contains": "RÖS"}}):
        assert await database.find("users", where) == [{**user, "applied_seq": 1}]
    await database.close()
    names = {f'"{row[0]}"' for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert '"users: active, username, _id, parts of username, name, nickname, bio"' in names
    assert former not in names
    connection.close()


async def test_replaced_indexes_are_dropped(tmp_path: Path) -> None:
    """A database of the schema before has the old ones; the new ones are made before these go."""
    database = SqliteDatabase(tmp_path / "palaver.db")
    await database.open()
    await database.close()
    connection = sqlite3.connect(tmp_path / "palaver.db")
    connection.execute('CREATE INDEX "users: name" ON users (name)')
    connection.execute('DROP INDEX "users: name, _id"')
    [step] = [migration for migration in MIGRATIONS if migration.sentence.startswith("Lists are read in their order")]
    for _ in range(2):  # done, it finds its work done
        step.sqlite(connection)
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        assert "users: name, _id" in names
        assert "users: name" not in names
    connection.close()


@pytest.mark.needs_servers
async def test_names_are_in_the_indexes_of_mongodb(mongodb_url: str) -> None:
    name = f"palaver_test_{new_id()}"
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(mongodb_url)
    [step] = [migration for migration in MIGRATIONS if migration.sentence.startswith("Parts of names")]
    await client[name]["rooms"].create_index([("deleted_at", 1), ("name", 1), ("_id", 1)], name="deleted_at, name, _id")
    for _ in range(2):
        await step.mongo(client[name])
        rooms, users = [await client[name][collection].index_information() for collection in ("rooms", "users")]
        assert {"deleted_at, name, _id, fname", "deleted_at, t, name, _id, fname"} <= rooms.keys()
        assert "deleted_at, name, _id" not in rooms
        said = "name, nickname, bio"
        assert {f"deleted_at, username, _id, {said}", f"deleted_at, active, username, _id, {said}"} <= users.keys()
    await client.drop_database(name)
    client.close()


@pytest.mark.needs_servers
async def test_replaced_indexes_are_dropped_from_mongodb(mongodb_url: str) -> None:
    name = f"palaver_test_{new_id()}"
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(mongodb_url)
    [step] = [migration for migration in MIGRATIONS if migration.sentence.startswith("Lists are read in their order")]
    await client[name]["users"].create_index([("name", 1)], name="name")
    for _ in range(2):
        await step.mongo(client[name])
        indexes = await client[name]["users"].index_information()
        assert "deleted_at, name, _id" in indexes
        assert "name" not in indexes
    await client.drop_database(name)
    client.close()
