"""Every declared index is used by the query that it is there for, and no query of the adapter reads a whole table."""

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palaver.database import Filter, Put, Sort, Stream, sqlite, sqlite_events, sqlite_filters, sqlite_records
from palaver.database.schema import CHOICES, COLLECTIONS, FieldType, Index
from palaver.database.sqlite import SqliteDatabase
from palaver.database.sqlite_schema import connect, get_table, index_name
from tests.database.model import make_event

MESSAGES = 20_000
SAMPLES: dict[FieldType, Any] = {"text": "x", "number": 5, "date": {"$date": 5000}, "boolean": True}
INDEXES = [(name, index) for name, collection in COLLECTIONS.items() for index in collection.indexes]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with many messages."""
    path = tmp_path_factory.mktemp("plans") / "palaver.db"
    asyncio.run(fill(path))
    return path


async def fill(path: Path) -> None:
    database = SqliteDatabase(path)
    await database.open()
    for room in range(10):
        stream = Stream("room", f"room{room}")
        puts = [Put("rooms", stream.id, insert={"_id": stream.id, "t": "c", "name": stream.id})]
        for index in range(MESSAGES // 10):
            message: dict[str, Any] = {"_id": f"m{room}.{index}", "rid": stream.id, "ts": {"$date": index}}
            message["u"] = {"_id": f"u{index % 50}"}
            message["msg"] = f"common word{index % 500}"
            if index % 100 == 0:
                message["tmid"] = f"m{room}.{index // 2}"
            puts.append(Put("messages", message["_id"], insert=message))
        await database.commit(stream, [make_event(stream, 1)], [puts])
    await database.close()


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect(path, busy_timeout=5, read_only=True)
    yield connection
    connection.close()


def explain(connection: sqlite3.Connection, sql: str, parameters: Any) -> list[str]:
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]


def check(plan: list[str], index: str) -> None:
    assert any(re.search(rf"^SEARCH .* USING (COVERING )?INDEX {re.escape(index)} \(", step) for step in plan), plan
    # A list within a document is gone through whole.
    scans = [step for step in plan if step.startswith("SCAN") and not step.startswith("SCAN json_each")]
    assert not scans, plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


@pytest.mark.parametrize(("collection", "index"), INDEXES, ids=[index_name(*pair) for pair in INDEXES])
def test_each_index_serves_its_query(connection: sqlite3.Connection, collection: str, index: Index) -> None:
    table = get_table(collection)
    # A list of the few that have a field, in an order.
    if index.where == index.fields[-1] and ("_id" in index.fields or table.types[index.where] == "short list"):
        where: dict[str, Any] = {index.fields[0]: SAMPLES["text"], index.where: {"$exists": True}}
        if index.absent:
            where[index.absent] = None
        query = sqlite_filters.find(table, where, [(name, -1) for name in index.fields[1:-1]], 0, 50)
        check(explain(connection, query.sql, query.parameters), index_name(collection, index))
        return
    # What follows the id is only looked at.
    fields = index.fields[: index.fields.index("_id") + 1] if "_id" in index.fields else index.fields
    where = {field: SAMPLES[table.types[field]] for field in fields[:-1]}
    if index.absent:
        where[index.absent] = None
    last = fields[-1]
    if not where or index.where == last:
        where[last] = SAMPLES[table.types[last]] if table.types[last] == "text" else {"$gt": SAMPLES[table.types[last]]}
        if table.types[last] == "boolean":
            where[last] = True
    query = sqlite_filters.find(table, where, [(last, 1)], 0, 50)
    check(explain(connection, query.sql, query.parameters), index_name(collection, index))


NOW = {"$date": 1500}
PAGES: list[tuple[str, Filter, Sort, str]] = [
    # A page of history, deleted messages left out; before and after a moment; the same with equal times told apart.
    ("messages", {"rid": "room1", "_hidden": None}, [("ts", -1), ("_id", -1)], "rid, ts, _id"),
    # The newest that becomes a room's last one.
    (
        "messages",
        {"rid": "room1", "_hidden": None, "t": None, "$or": [{"tmid": None}, {"tshow": True}]},
        [("ts", -1), ("_id", -1)],
        "rid, ts, _id",
    ),
    ("messages", {"rid": "room1", "_hidden": None, "ts": {"$lt": NOW}}, [("ts", -1), ("_id", -1)], "rid, ts, _id"),
    ("messages", {"rid": "room1", "_hidden": None, "ts": {"$gt": NOW}}, [("ts", 1), ("_id", 1)], "rid, ts, _id"),
    (
        "messages",
        {
            "rid": "room1",
            "_hidden": None,
            "ts": {"$lte": NOW},
            "$or": [{"ts": {"$lt": NOW}}, {"ts": NOW, "_id": {"$lt": "m1.1500"}}],
        },
        [("ts", -1), ("_id", -1)],
        "rid, ts, _id",
    ),
    (
        "messages",
        {"rid": "room1", "tmid": "m1.100", "_hidden": {"$ne": True}},
        [("ts", 1), ("_id", 1)],
        "rid, tmid, ts, _id",
    ),
    ("messages", {"rid": "room1", "tlm": {"$exists": True}}, [("tlm", -1), ("_id", -1)], "rid, tlm, _id"),
    (
        "messages",
        {"rid": "room1", "deleted_at": {"$gt": NOW}},
        [("deleted_at", 1), ("_id", 1)],
        "rid, deleted_at, _id",
    ),
    ("subscriptions", {"u._id": "u1", "left_at": None}, [("rid", 1)], "u._id, left_at, rid"),
    ("subscriptions", {"rid": "room1", "left_at": None}, [("u.username", 1)], "rid, left_at, u.username"),
    (
        "subscriptions",
        {"rid": "room1", "left_at": None, "roles": "owner"},
        [("u.username", 1)],
        "rid, left_at, u.username, roles",
    ),
    (
        "subscriptions",
        {"rid": "room1", "left_at": None, "roles": {"$exists": True}},
        [("u.username", 1)],
        "rid, left_at, u.username, roles",
    ),
    *(
        ("subscriptions", {"u._id": "u1", "left_at": None, choice: {"$exists": True}}, [], f"u._id, left_at, {choice}")
        for choice in CHOICES
    ),
    ("subscriptions", {"rid": "room1", "u._id": "u1", "left_at": None}, [], "rid, u._id, left_at"),
    ("subscriptions", {"rid": "room1", "u._id": {"$in": ["u1", "u2"]}, "left_at": None}, [], "rid, u._id, left_at"),
    ("rooms", {"t": {"$in": ["c", "p"]}, "name": "general"}, [], "name"),
    ("rooms", {"t": "c", "deleted_at": None}, [("name", 1), ("_id", 1)], "t, name, _id, parts of name, fname"),
    (
        "uploads",
        {"rid": "room1", "deleted_at": None, "message_id": {"$exists": True}},
        [("uploadedAt", -1), ("_id", -1)],
        "rid, deleted_at, uploadedAt, _id",
    ),
    (
        "uploads",
        {"rid": "room1", "deleted_at": None, "message_id": {"$exists": True}},
        [("name", 1), ("_id", 1)],
        "rid, deleted_at, name, _id",
    ),
    (
        "uploads",
        {"rid": "room1", "deleted_at": None, "typeGroup": "image"},
        [("uploadedAt", -1), ("_id", -1)],
        "rid, deleted_at, typeGroup, uploadedAt, _id",
    ),
    ("users", {"username_lower": "alice"}, [], "username_lower"),
    ("reports", {"message_id": "m", "closed_at": None}, [("ts", -1)], "message_id, closed_at, ts"),
    ("reports", {"user_id": "u", "kind": "user", "closed_at": None}, [("ts", 1)], "user_id, kind, closed_at, ts"),
]


@pytest.mark.parametrize(("collection", "where", "sort", "index"), PAGES, ids=repr)
def test_the_usual_pages_follow_an_index(
    connection: sqlite3.Connection, collection: str, where: Filter, sort: Sort, index: str
) -> None:
    query = sqlite_filters.find(get_table(collection), where, sort, 0, 50)
    plan = explain(connection, query.sql, query.parameters)
    # Two conditions on one index may be looked up one after the other ("MULTI-INDEX OR"): not here.
    check(plan, f"{collection}: {index}")


@pytest.mark.parametrize(
    "where", [{"_id": "x"}, {"_id": {"$in": ["x", "y", "z"]}}, {"roles": "admin"}, {"emails_lower": "a@x"}], ids=repr
)
def test_ids_and_lists_are_looked_up(connection: sqlite3.Connection, where: Filter) -> None:
    query = sqlite_filters.find(get_table("users"), where, [], 0, 0)
    plan = explain(connection, query.sql, query.parameters)
    assert any(step.startswith("SEARCH users") for step in plan), plan
    assert not any(step.startswith("SCAN") for step in plan), plan


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        (sqlite_events.HEAD, ("room", "x")),
        (sqlite_events.EVENT, ("room", "x", "y")),
        (sqlite_events.EVENTS, ("room", "x", 5, 10)),
        (sqlite._OWNER, ("x",)),
        (sqlite_events.MARK, (7, "room", "x", 5)),
        (sqlite_events.COMMITTED, ("room", 5, 10)),
        (sqlite_records.GET, ("x", "y")),
    ],
)
def test_the_log_is_looked_up(connection: sqlite3.Connection, sql: str, parameters: tuple[Any, ...]) -> None:
    plan = explain(connection, sql, parameters)
    assert all(step.startswith("SEARCH") for step in plan), plan


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        (sqlite_events.UNPUBLISHED, (5, 10)),
        (sqlite_events.UNPUBLISHED_BEFORE, ("room", "x", 5, 10)),
        (sqlite_events.UNAPPLIED, (5, 10)),
    ],
)
def test_only_unpublished_events_are_swept(
    connection: sqlite3.Connection, sql: str, parameters: tuple[Any, ...]
) -> None:
    plan = explain(connection, sql, parameters)
    assert any("events USING INDEX events_unpublished" in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


async def test_a_long_read_leaves_the_event_loop_alone(path: Path) -> None:
    database = SqliteDatabase(path)
    await database.open()
    on_loop: list[str] = []
    reader = database._reading._on_loop
    reader.set_trace_callback(lambda sql: None if sql.startswith("EXPLAIN") else on_loop.append(sql))
    page: Sort = [("ts", -1), ("_id", -1)]
    room: Filter = {"rid": "room1", "_hidden": None}
    await database.find("messages", room, sort=page, limit=50)
    assert len(on_loop) == 1
    await database.find("messages", room, sort=page)
    await database.find("messages", room, sort=page, skip=1000, limit=50)
    await database.find("messages", room, sort=[("u._id", 1)], limit=50)
    await database.find("messages", {"t": "x"}, limit=50)
    await database.find("messages", {"t": {"$contains": "x"}}, limit=50)
    assert len(on_loop) == 1
    await database.count("messages", room)
    assert len(on_loop) == 2  # from an index alone
    assert len(await database.find("messages", {"$text": "comm word7", "rid": "room1"}, sort=page, limit=50)) == 44
    assert len(await database.find("messages", {"$text": "word", "rid": "room1"}, sort=page, limit=50)) == 50
    assert not any("MATCH" in sql or "has_parts" in sql for sql in on_loop)
    await database.close()


@pytest.mark.parametrize(
    ("collection", "where", "names", "index"),
    [
        ("users", {}, ("username", "name", "nickname", "bio"), "username, _id"),
        ("users", {"active": True}, ("username", "name", "nickname", "bio"), "active, username, _id"),
        ("rooms", {}, ("name", "fname"), "name, _id"),
        ("rooms", {"t": "c"}, ("name", "fname"), "t, name, _id"),
    ],
)
def test_a_part_of_a_name_is_looked_for_in_an_index_alone(
    connection: sqlite3.Connection, collection: str, where: Filter, names: tuple[str, ...], index: str
) -> None:
    """In the order of the names, so that it ends with the page."""
    where = {"deleted_at": None, **where, "$or": [{name: {"$contains": "x"}} for name in names]}
    query = sqlite_filters.find(get_table(collection), where, [(names[0], 1), ("_id", 1)], 0, 50)
    [step] = explain(connection, query.sql, query.parameters)
    assert f"USING INDEX {collection}: {index}, parts of {', '.join(names)}" in step
    query = sqlite_filters.count(get_table(collection), where)
    [step] = explain(connection, query.sql, query.parameters)
    assert "COVERING INDEX" in step


@pytest.mark.parametrize("many", [False, True])
def test_a_search_in_a_room_goes_through_an_index(connection: sqlite3.Connection, many: bool) -> None:
    """Few that match are looked up one by one; of many, the newest are met in their order."""
    where = {"rid": "room1", "_hidden": None, "t": None, "$text": "word"}
    query = sqlite_filters.find(get_table("messages"), where, [("ts", -1), ("_id", -1)], 0, 50)
    plan = explain(connection, query.sql if many else query.by_text, query.parameters)
    assert not any(step.startswith("SCAN messages") and "VIRTUAL" not in step for step in plan), plan
    if many:
        assert any("messages: rid, ts, _id" in step for step in plan), plan
        assert not any("TEMP B-TREE" in step for step in plan), plan
    else:
        assert any("INTEGER PRIMARY KEY" in step for step in plan), plan
