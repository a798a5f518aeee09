"""Documents come back as they were put, by id and by filter; filters mean what the port says."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palaver.database import Database, Document, Filter, Put, Sort, Stream
from palaver.ids import new_id
from tests.database.contract.reference import matches, sort_documents
from tests.database.harness import Harness
from tests.database.model import ROOM, USER, commit, insert, plain

PROPERTY = settings(
    max_examples=60,
    deadline=None,
    # The store lives as long as the test: its documents have ids of their own in each example.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def date(milliseconds: int) -> Document:
    return {"$date": milliseconds}


# -- as they were put ------------------------------------------------------------------------------------------------

# Nested keys are users' (reactions, custom fields), so almost anything; a field of its own is named by the code.
names = st.text(st.characters(codec="utf-8", exclude_characters='"\\.$\0', exclude_categories=("Cc", "Cs")), min_size=1)
nested_names = st.text(st.characters(codec="utf-8", exclude_characters="$\0"), min_size=1)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
    | st.builds(date, st.integers(-(10**13), 10**13))
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(nested_names, inner, max_size=4), max_leaves=12
)
RESERVED = {"_id", "applied_seq", "room_seq", "user_seq", "workspace_seq"}
fields = st.dictionaries(names.filter(lambda name: name not in RESERVED), values, max_size=6)


@PROPERTY
@given(document=fields, changes=fields, gone=st.lists(names.filter(lambda name: name not in RESERVED), max_size=2))
async def test_values_come_back_as_they_were_put(
    database: Database, document: Document, changes: Document, gone: list[str]
) -> None:
    id = new_id()
    document = {"_id": id, **document}
    await insert(database, "messages", document)
    assert await database.get("messages", id) == document
    source = await database.get_head(USER) + 1
    unset = tuple(name for name in [*gone, *list(document)[1:2]] if name not in changes)
    await commit(database, USER, source, Put("messages", id, set=changes, unset=unset))
    expected = {key: value for key, value in {**document, **changes}.items() if key not in unset}
    found = await database.get("messages", id)
    assert found == expected
    assert repr(sorted(found.items())) == repr(sorted(expected.items()))  # True is not 1, and 1.0 is not either


@pytest.mark.parametrize("id", ["", " ", "a/b", "ü🙂", "'", '"', "a\0b", "$x", "x" * 300, "0x1", "007"])
async def test_ids_may_hold_any_character(database: Database, id: str) -> None:
    await insert(database, "thread_reads", {"_id": id, "user_id": id})
    document = {"_id": id, "user_id": id}
    assert await database.get("thread_reads", id) == document
    assert await database.get_many("thread_reads", [id, "absent"]) == {id: document}
    assert await database.find("thread_reads", {"_id": {"$in": [id]}, "user_id": id}) == [document]


async def test_get_many_leaves_absent_ones_out(database: Database) -> None:
    documents = {f"m{index}": {"_id": f"m{index}", "n": index} for index in range(300)}
    await insert(database, "messages", *documents.values())
    assert await database.get_many("messages", []) == {}
    assert await database.get_many("messages", ["x"]) == {}
    assert await database.get_many("messages", ["m1", "x", "m5", "m1"]) == {
        "m1": documents["m1"],
        "m5": documents["m5"],
    }
    assert await database.get_many("messages", [*documents, "x"]) == documents


async def test_stream_documents_carry_applied_seq_however_they_are_read(database: Database) -> None:
    await commit(database, ROOM, 1, Put("rooms", ROOM.id, insert={"_id": ROOM.id, "t": "c", "name": "x"}))
    await commit(database, ROOM, 2)
    room = {"_id": ROOM.id, "t": "c", "name": "x", "applied_seq": 2}
    assert await database.get("rooms", ROOM.id) == room
    assert await database.get_many("rooms", [ROOM.id]) == {ROOM.id: room}
    assert await database.find_one("rooms", {"name": "x"}) == room
    assert await database.find("rooms", {"t": "c"}) == [room]


# -- by filter -------------------------------------------------------------------------------------------------------

MESSAGES: list[Document] = [
    {"_id": "a", "rid": "r1", "ts": date(10), "u": {"_id": "u1"}, "msg": "Hello big world", "tcount": 2},
    {"_id": "b", "rid": "r1", "ts": date(20), "u": {"_id": "u2"}, "msg": "hello Wörld", "tmid": "a", "tshow": True},
    {"_id": "c", "rid": "r1", "ts": date(20), "u": {"_id": "u1"}, "msg": "worldwide news", "_hidden": True},
    {"_id": "d", "rid": "r2", "ts": date(5), "u": {"_id": "u3"}, "msg": "", "t": "uj", "tcount": 0},
    {"_id": "e", "rid": "r2", "ts": date(30), "u": {}, "msg": 'NEAR("x" AND msg:*) OR -hello', "tshow": False},
    {"_id": "f", "rid": "R1", "ts": None, "u": None, "t": None, "tcount": 2.5},
    {"_id": "é", "rid": "r10", "ts": date(-5), "u": {"_id": "ü"}, "msg": "foo_bar-baz 42", "tcount": 10},
    {"_id": "E", "t": "%_x'", "msg": "ends the world", "tmid": "é"},
]
USERS: list[Document] = [
    {
        "_id": "1",
        "username": "alice",
        "name": "Alice Ärmel",
        "emails_lower": ["a@x", "b@x"],
        "roles": ["admin", "user"],
    },
    {"_id": "2", "username": "Bob_1", "name": "bob 100%", "emails_lower": [], "roles": ["user"], "active": True},
    {"_id": "3", "username": "carol", "name": "CAROL", "roles": [], "active": False},
    {"_id": "4", "username": "rocket.cat", "emails_lower": ["cat@x"], "roles": ["bot"], "active": True},
]

texts = st.sampled_from(["r1", "r2", "u1", "ü", "a", "é", "uj", "%_x'", "", "zz", "Z"])
numbers = st.sampled_from([0, 1, 2, 2.5, 3, 10, -1])
dates = st.sampled_from([date(10), date(20), date(5), date(11), date(-5)])
parts = st.sampled_from(["", "r", "R1", "U", "%", "_", "X'", "Ü", "É"])


def conditions(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    or_none = values | st.none()
    ordered = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
    return (
        or_none
        | st.builds(lambda operator, value: {operator: value}, ordered, values)
        | st.builds(lambda low, high: {"$gte": low, "$lt": high}, values, values)
        | st.builds(lambda value: {"$ne": value}, or_none)
        | st.builds(lambda exists: {"$exists": exists}, st.booleans())
        | st.builds(
            lambda operator, value: {operator: value},
            st.sampled_from(["$in", "$nin"]),
            st.lists(or_none, max_size=3) | st.lists(or_none, min_size=9, max_size=20),
        )
    )


def one(name: str, condition: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    return condition.map(lambda value: {name: value})


contains = parts.map(lambda part: {"$contains": part})
simple = (
    one("_id", conditions(texts))
    | one("rid", conditions(texts) | contains)
    | one("t", conditions(texts) | contains)
    | one("u._id", conditions(texts) | contains)
    | one("tmid", conditions(texts))
    | one("ts", conditions(dates))
    | one("tcount", conditions(numbers))
    | one("tshow", st.booleans() | st.none() | st.booleans().map(lambda value: {"$ne": value}))
    | one("_hidden", st.sampled_from([{"$ne": True}, True, None, {"$exists": False}, {"$in": [True, None]}]))
)
several = st.lists(simple, max_size=3).map(
    lambda parts: {name: value for part in parts for name, value in part.items()}
)
filters: st.SearchStrategy[Filter] = st.recursive(
    several,
    lambda inner: st.builds(
        lambda operator, parts, rest: {operator: parts, **rest},
        st.sampled_from(["$and", "$or"]),
        st.lists(inner, min_size=1, max_size=3),
        several,
    ),
    max_leaves=5,
)
sorts: st.SearchStrategy[Sort] = st.lists(
    st.tuples(st.sampled_from(["ts", "rid", "t", "u._id", "tcount"]), st.sampled_from([1, -1])),
    max_size=2,
    unique_by=lambda part: part[0],
).flatmap(lambda sort: st.sampled_from([1, -1]).map(lambda direction: [*sort, ("_id", direction)]))


async def fill(database: Database) -> None:
    """Puts the documents there, some of them in a roundabout way."""
    if await database.count("messages", {}):
        return
    await insert(database, "messages", *MESSAGES[:4], *({"_id": message["_id"]} for message in MESSAGES[4:]))
    changes = [Put("messages", message["_id"], set={"ts": date(77), "tmid": "x"}) for message in MESSAGES[4:]]
    await commit(database, USER, 1, *changes)
    changes = [
        Put(
            "messages",
            message["_id"],
            set={name: value for name, value in message.items() if name != "_id"},
            unset=tuple({"ts", "tmid"} - message.keys()),
        )
        for message in MESSAGES[4:]
    ]
    await commit(database, USER, 2, *changes)
    await insert(database, "users", *USERS[:2], {"_id": "3", "roles": ["admin"]}, {"_id": "4", "emails_lower": ["a@x"]})
    for seq, user in enumerate(USERS[2:], 3):
        change = {name: value for name, value in user.items() if name != "_id"}
        await commit(
            database, USER, seq, Put("users", user["_id"], set=change, unset=tuple({"emails_lower"} - set(user)))
        )


@PROPERTY
@given(where=filters, sort=sorts, skip=st.integers(0, 4), limit=st.integers(0, 5))
async def test_filters_and_sorts_mean_what_the_port_says(
    database: Database, where: Filter, sort: Sort, skip: int, limit: int
) -> None:
    await fill(database)
    expected = sort_documents([document for document in MESSAGES if matches(where, document)], sort)
    assert await database.find("messages", where, sort=sort) == expected
    assert await database.count("messages", where) == len(expected)
    page = expected[skip : skip + limit] if limit else expected[skip:]
    assert await database.find("messages", where, sort=sort, skip=skip, limit=limit) == page
    found = await database.find_one("messages", where)
    assert found in expected if expected else found is None


lists = (
    one("roles", st.sampled_from(["admin", "user", "bot", "none"]))
    | one("roles", st.sampled_from([{"$in": ["admin", "bot"]}, {"$in": []}, {"$nin": ["user"]}, {"$ne": "user"}]))
    | one("emails_lower", st.sampled_from(["a@x", "cat@x", {"$in": ["b@x", "cat@x"]}, {"$nin": ["a@x", "c@x"]}]))
    | one("active", st.sampled_from([True, False, None, {"$ne": False}]))
    | one("username", st.sampled_from([{"$contains": part} for part in ("A", "o", "T.C", "_", "%", "ob_1")]))
    | one("name", st.sampled_from([{"$contains": part} for part in ("äRM", "CAR", "0%", "\\", "E Ä")]))
)


@PROPERTY
@given(where=st.lists(lists, max_size=3).map(lambda parts: {"$and": parts} if parts else {}))
async def test_lists_are_searched_by_what_they_hold(database: Database, where: Filter) -> None:
    await fill(database)
    where = {**where, "_id": {"$ne": USER.id}}
    found = [plain(user) for user in await database.find("users", where, sort=[("_id", 1)])]
    assert found == [user for user in USERS if matches(where, user)]


async def test_a_part_of_a_name_is_of_the_name_as_it_is_now(database: Database) -> None:
    async def look_for(part: str) -> list[str]:
        either: Filter = {"$or": [{"name": {"$contains": part}}, {"fname": {"$contains": part}}]}
        return [room["_id"] for room in await database.find("rooms", either, sort=[("_id", 1)])]

    first, second = Stream("room", "r1"), Stream("room", "r2")
    await commit(database, first, 1, Put("rooms", "r1", insert={"_id": "r1", "name": "Köln", "fname": "Дом 5"}))
    await commit(database, second, 1, Put("rooms", "r2", insert={"_id": "r2", "name": "100%_\\"}))
    assert await look_for("ÖL") == await look_for("дОМ 5") == await look_for("ln") == ["r1"]
    assert await look_for("oln") == await look_for("дом5") == await look_for("ln Д") == []
    assert await look_for("0%_\\") == ["r2"]
    await commit(database, first, 2, Put("rooms", "r1", set={"name": "Bonn"}, unset=("fname",)))
    await commit(database, second, 2, Put("rooms", "r2", set={"fname": "KÖLN"}))
    assert await look_for("ом") == []
    assert await look_for("köln") == ["r2"]
    assert await look_for("ONN") == ["r1"]
    await commit(database, first, 3, Put("rooms", "r1", set={"t": "c", "name": None}))
    assert await look_for("ONN") == []
    assert await look_for("") == ["r2"]


@pytest.mark.parametrize(
    "query",
    [
        "hello",
        "HELLO wor",
        "world",
        "wörld",
        "worldw",
        "orld",
        "hello world news",
        "  big\thello ",
        "near",
        "x and",
        "or",
        "foo bar",
        "4",
        "foo_b",
        '"hello big"',
        '"',
        '""',
        "*",
        "hel*",
        "-hello",
        "msg:hello",
        "NEAR(x, y)",
        "hello OR news",
        "hello AND NOT news",
        "^hello",
        "{msg}: x",
        "hello + big",
        "'); DROP TABLE messages; --",
        "",
        " ",
        "\0",
        "hello\0big",
        "(((",
        "\\",
        ".*",
    ],
)
async def test_text_is_searched_by_the_beginnings_of_words(database: Database, query: str) -> None:
    await fill(database)
    for rest in ({}, {"rid": "r1"}, {"$or": [{"rid": "r2"}, {"_hidden": {"$ne": True}}]}):
        where = {"$text": query, **rest}
        expected = sort_documents([m for m in MESSAGES if matches(where, m, "msg")], [("_id", -1)])
        assert await database.find("messages", where, sort=[("_id", -1)]) == expected
        assert await database.find("messages", where, sort=[("_id", -1)], limit=1) == expected[:1]
        assert await database.count("messages", where) == len(expected)


async def test_text_follows_the_documents(database: Database) -> None:
    async def search(query: str) -> list[str]:
        return sorted(document["_id"] for document in await database.find("messages", {"$text": query}))

    await insert(database, "messages", {"_id": "m", "msg": "one"}, {"_id": "n"})
    assert await search("one") == ["m"]
    await commit(database, USER, 1, Put("messages", "m", set={"msg": "two"}), Put("messages", "n", set={"msg": "two"}))
    assert await search("one") == []
    assert await search("two") == ["m", "n"]
    await commit(database, USER, 2, Put("messages", "m", set={"t": "x"}), Put("messages", "n", unset=("msg",)))
    assert await search("two") == ["m"]
    await insert(database, "messages", {"_id": "m", "msg": "three"})
    assert await search("three") == []
    await commit(database, USER, 3, Put("messages", "m", set={"msg": ""}), Put("messages", "n", set={"msg": 3}))
    assert await search("two") == []
    await commit(database, USER, 4, Put("messages", "m", set={"msg": "two again"}))
    assert await search("aga two") == ["m"]


@pytest.mark.parametrize(
    ("collection", "where", "sort"),
    [
        ("messages", {"msg": "x"}, []),
        ("messages", {"u": {"_id": "x"}}, []),
        ("messages", {"u.name": "x"}, []),
        ("messages", {"$or": [{"rid": "x"}, {"nope": 1}]}, []),
        ("messages", {}, [("msg", 1)]),
        ("messages", {"doc": "x"}, []),
        ("messages", {"room_seq": 1}, []),
        ("rooms", {"applied_seq": 1}, []),
        ("users", {}, [("roles", 1)]),
        ("subscriptions", {}, [("roles", 1)]),
        ("subscriptions", {"roles": {"$gt": "x"}}, []),
        ("subscriptions", {"roles": {"$contains": "x"}}, []),
        ("subscriptions", {"roles": 5}, []),
        ("users", {"$text": "x"}, []),
        ("messages", {"rid": {"$regex": ".*"}}, []),
        ("messages", {"rid": {"$where": "1"}}, []),
        ("messages", {"rid": {"$gt": None}}, []),
        ("messages", {"rid": {"a": "b"}}, []),
        ("messages", {"rid": {}}, []),
        ("messages", {"rid": 5}, []),
        ("messages", {"rid": ["x"]}, []),
        ("messages", {"rid": {"$in": "x"}}, []),
        ("messages", {"rid": {"$in": [1]}}, []),
        ("messages", {"rid": {"$exists": 1}}, []),
        ("messages", {"ts": 5}, []),
        ("messages", {"ts": {"$date": "x"}}, []),
        ("messages", {"ts": {"$contains": "5"}}, []),
        ("messages", {"tshow": 1}, []),
        ("messages", {"tcount": True}, []),
        ("messages", {"tcount": "5"}, []),
        ("messages", {"$or": []}, []),
        ("messages", {"$nor": [{"rid": "x"}]}, []),
        ("messages", {"$text": 5}, []),
        ("messages", {"$or": [{"$text": "x"}, {"rid": "x"}]}, []),
        ("messages", {"rid": {"$contains": 5}}, []),
        ("messages", {}, [("rid", 0)]),
        ("messages; --", {}, []),
    ],
    ids=repr,
)
async def test_what_is_not_declared_or_not_typed_is_refused(
    database: Database, collection: str, where: Filter, sort: Sort
) -> None:
    with pytest.raises(ValueError):
        await database.find(collection, where, sort=sort)
    if not sort:
        with pytest.raises(ValueError):
            await database.find_one(collection, where)
        with pytest.raises(ValueError):
            await database.count(collection, where)


async def test_long_results_come_whole_and_in_pages(harness: Harness) -> None:
    database = await harness.open()
    documents = [{"_id": f"m{index:04}", "rid": "r", "ts": date(index // 3)} for index in range(500)]
    await insert(database, "messages", *documents)
    sort = [("ts", -1), ("_id", -1)]
    assert await database.find("messages", {"rid": "r"}, sort=sort) == documents[::-1]
    assert await database.find("messages", {"rid": "r"}, sort=sort, skip=450) == documents[49::-1]
    assert await database.find("messages", {"rid": "r"}, sort=sort, skip=300, limit=50) == documents[199:149:-1]
    before = {"rid": "r", "$or": [{"ts": {"$lt": date(100)}}, {"ts": date(100), "_id": {"$lt": "m0301"}}]}
    assert await database.find("messages", before, sort=sort, limit=3) == documents[300:297:-1]


async def test_one_field_of_what_matches(database: Database) -> None:
    for number, user in enumerate(["u1", "u2", "u1"]):
        await insert(database, "subscriptions", {"_id": f"s{number}", "rid": f"r{number}", "u": {"_id": user}})
    await insert(database, "subscriptions", {"_id": "s9", "u": {"_id": "u1"}})
    where = {"u._id": "u1", "left_at": None}
    found = await database.list_values("subscriptions", "rid", where)
    assert sorted(found, key=str) == [None, "r0", "r2"]
    assert sorted(await database.list_values("subscriptions", "u._id", {"rid": {"$in": ["r0", "r1"]}})) == ["u1", "u2"]
    assert await database.list_values("subscriptions", "rid", {"u._id": "nobody"}) == []
    for name in ("ts", "no_such_field", "f"):
        with pytest.raises(ValueError):
            await database.list_values("subscriptions", name, where)


async def test_all_documents_of_a_collection_are_counted(database: Database) -> None:
    assert await database.count_all("messages") == 0
    await insert(database, "messages", *({"_id": f"m{number}", "rid": "r"} for number in range(25)))
    await insert(database, "messages", {"_id": "m0"})
    assert await database.count_all("messages") == 25
    assert await database.count_all("rooms") == 1  # the stream's own
    with pytest.raises(ValueError):
        await database.count_all("events")
