"""What `commit` and `apply` promise: events once and in order, documents as the events say."""

import asyncio

import pytest

from palaver.database import Database, Put, Stream
from tests.database.harness import Harness
from tests.database.model import (
    OTHER_ROOM,
    ROOM,
    USER,
    WORKSPACE,
    commit,
    get_applied,
    make_event,
    new_room,
    plain,
)

STREAMS = [ROOM, OTHER_ROOM, USER, WORKSPACE]


@pytest.mark.parametrize("stream", STREAMS, ids=str)
async def test_a_commit_appends_and_advances(database: Database, stream: Stream) -> None:
    first = await commit(database, stream, 1)
    assert await database.get_head(stream) == 1
    assert await get_applied(database, stream) == 1
    second = await commit(database, stream, 2)
    assert await database.list_events(stream, 0) == [first, second]
    assert await get_applied(database, stream) == 2


async def test_streams_are_apart(database: Database) -> None:
    for stream in [*STREAMS, Stream("user", ROOM.id)]:
        await commit(database, stream, 1, command_id="same")
    assert await database.get_heads(STREAMS) == [1, 1, 1, 1]


async def test_the_first_event_may_create_the_streams_document(database: Database) -> None:
    await commit(database, ROOM, 1, new_room(name="général", topic=None))
    assert await database.get("rooms", ROOM.id) == {
        "_id": ROOM.id,
        "t": "c",
        "name": "général",
        "topic": None,
        "applied_seq": 1,
    }


async def test_a_stream_without_a_document_gets_an_empty_one(database: Database) -> None:
    await commit(database, WORKSPACE, 1, Put("settings", "Site_Name", insert={"_id": "Site_Name", "value": "x"}))
    assert await database.get("workspace", "workspace") == {"_id": "workspace", "applied_seq": 1}


async def test_a_document_made_before_its_stream_is_taken_over(database: Database) -> None:
    await commit(database, USER, 1, new_room())
    assert await get_applied(database, ROOM) == 0
    await commit(database, ROOM, 1, Put("rooms", ROOM.id, set={"name": "x"}))
    assert await database.get("rooms", ROOM.id) == {"_id": ROOM.id, "t": "c", "name": "x", "applied_seq": 1}


async def test_puts_set_and_unset_top_level_fields(database: Database) -> None:
    await commit(database, ROOM, 1, new_room(name="a", topic="t", u={"_id": "u1", "username": "one"}, msgs=0))
    changes = {
        "name": "b",
        "u": {"_id": "u2"},
        "msgs": 1,
        "ratio": 0.1 + 0.2,
        "lm": {"$date": 1_700_000_000_123},
        "lastMessage": {"_id": "m", "ts": {"$date": 5}, "nothing": None, "list": [1, {"deep": [None, True]}]},
        "ro": False,
        "empty": {},
        "gone": None,
        "key with ünïcode 🙂, 'and' so - on": "y",
    }
    await commit(database, ROOM, 2, Put("rooms", ROOM.id, set=changes, unset=("topic", "was never there")))
    assert await database.get("rooms", ROOM.id) == {"_id": ROOM.id, "t": "c", **changes, "applied_seq": 2}


async def test_an_insert_leaves_an_existing_document_alone(database: Database) -> None:
    await commit(database, ROOM, 1, Put("messages", "m", insert={"_id": "m", "msg": "first"}))
    await commit(database, ROOM, 2, Put("messages", "m", insert={"_id": "m", "msg": "second"}))
    assert await database.get("messages", "m") == {"_id": "m", "msg": "first"}


async def test_a_set_on_an_absent_document_does_nothing(database: Database) -> None:
    await commit(database, ROOM, 1, Put("messages", "m", set={"msg": "x"}), Put("messages", "n", unset=("msg",)))
    assert await database.get("messages", "m") is None
    assert await database.get("messages", "n") is None
    assert await get_applied(database, ROOM) == 1


async def test_all_puts_of_one_event_count(database: Database) -> None:
    await commit(
        database,
        ROOM,
        1,
        new_room(msgs=0),
        Put("rooms", ROOM.id, set={"usersCount": 1}),
        Put("messages", "m", insert={"_id": "m", "a": 1, "b": 1, "c": 1}),
        Put("messages", "m", set={"a": 2}, unset=("b",)),
        Put("messages", "m", set={"b": 3}),
    )
    assert plain(await database.get("rooms", ROOM.id)) == {"_id": ROOM.id, "t": "c", "msgs": 0, "usersCount": 1}
    assert await database.get("messages", "m") == {"_id": "m", "a": 2, "b": 3, "c": 1}
    # The same puts on a document that is there: the insert is left out, the rest counts.
    await commit(
        database,
        ROOM,
        2,
        Put("messages", "m", insert={"_id": "m", "new": True}),
        Put("messages", "m", set={"a": 5}),
        Put("messages", "m", set={"d": 6}, unset=("a",)),
    )
    assert await database.get("messages", "m") == {"_id": "m", "b": 3, "c": 1, "d": 6}


@pytest.mark.parametrize("before", [0, 1, 5])
async def test_a_batch_is_applied_in_order(database: Database, before: int) -> None:
    for seq in range(1, before + 1):
        await commit(database, ROOM, seq)
    puts = [
        [new_room(msgs=0), Put("rooms", ROOM.id, set={"t": "c", "msgs": 0}), Put("messages", "m", insert={"_id": "m"})],
        [Put("messages", "m", set={"n": 2, "x": 2}), Put("rooms", ROOM.id, set={"msgs": 1})],
        [Put("messages", "m", set={"n": 3}, unset=("x",)), Put("messages", "late", set={"n": 1})],
        [Put("messages", "late", insert={"_id": "late"}), Put("rooms", ROOM.id, set={"msgs": 2}, unset=("t",))],
        [Put("messages", "m", set={"x": 5})],
    ]
    events = [make_event(ROOM, seq, put) for seq, put in enumerate(puts, before + 1)]
    await database.commit(ROOM, events, puts)
    assert await database.get("messages", "m") == {"_id": "m", "n": 3, "x": 5}
    assert await database.get("messages", "late") == {"_id": "late"}
    assert await database.get("rooms", ROOM.id) == {"_id": ROOM.id, "msgs": 2, "applied_seq": before + 5}
    assert await database.list_events(ROOM, before) == events
    # Changes only, of one document again and again: what it remembers is the last of them.
    changes = [
        [Put("messages", "m", set={"n": n, f"at {n}": n}), Put("rooms", ROOM.id, set={"n": n})] for n in (6, 7, 8)
    ]
    events = [make_event(ROOM, seq, put) for seq, put in enumerate(changes, before + 6)]
    await database.commit(ROOM, events, changes)
    document = {"_id": "m", "n": 8, "x": 5, "at 6": 6, "at 7": 7, "at 8": 8}
    assert await database.get("messages", "m") == document
    assert await database.get("rooms", ROOM.id) == {"_id": ROOM.id, "msgs": 2, "n": 8, "applied_seq": before + 8}
    for seq in range(1, before + 9):
        await commit(database, OTHER_ROOM, seq, Put("messages", "m", set={"n": "stale"}))
    assert await database.get("messages", "m") == document
    await commit(database, OTHER_ROOM, before + 9, Put("messages", "m", set={"n": "new"}))
    assert await database.get("messages", "m") == {**document, "n": "new"}


async def test_several_streams_change_one_document_at_once(database: Database) -> None:
    await commit(database, ROOM, 1, Put("subscriptions", "s", insert={"_id": "s"}))
    for seq in range(1, 10):
        await commit(database, USER, seq)
    await commit(database, WORKSPACE, 1)
    for turn in range(1, 6):
        await asyncio.gather(
            commit(database, ROOM, 1 + turn, Put("subscriptions", "s", set={"own": turn, f"room {turn}": 1})),
            commit(database, WORKSPACE, 1 + turn, Put("subscriptions", "s", set={"all": turn}, unset=("nothing",))),
            commit(database, USER, 9 + turn, Put("subscriptions", "s", set={"read": turn, f"user {turn}": 1})),
        )
        kept = {f"{kind} {past}": 1 for kind in ("room", "user") for past in range(1, turn + 1)}
        document = {"_id": "s", "own": turn, "read": turn, "all": turn, **kept}
        assert await database.get("subscriptions", "s") == document


async def test_the_caller_keeps_its_puts(database: Database) -> None:
    message = {"_id": "m", "a": 1}
    change = Put("messages", "m", set={"a": 2}, unset=("b",))
    await commit(database, ROOM, 1, Put("messages", "m", insert=message), change)
    assert message == {"_id": "m", "a": 1}
    assert change == Put("messages", "m", set={"a": 2}, unset=("b",))


async def test_streams_of_different_kinds_change_one_document(database: Database) -> None:
    await commit(database, ROOM, 1, Put("subscriptions", "s", insert={"_id": "s"}))
    await commit(database, ROOM, 2, Put("subscriptions", "s", set={"own": 1}))
    await commit(database, USER, 1, Put("subscriptions", "s", set={"read": 1}))
    await commit(database, WORKSPACE, 1, Put("subscriptions", "s", set={"all": 1}))
    await commit(database, ROOM, 3, Put("subscriptions", "s", set={"own": 2}))
    assert await database.get("subscriptions", "s") == {"_id": "s", "own": 2, "read": 1, "all": 1}


async def test_a_document_remembers_the_last_event_of_a_kind_of_stream(database: Database) -> None:
    for seq in (1, 2):
        await commit(database, ROOM, seq)
    await commit(database, ROOM, 3, Put("messages", "m", insert={"_id": "m", "a": 0}))
    await commit(database, OTHER_ROOM, 1, Put("messages", "m", set={"a": 1}))
    assert await database.get("messages", "m") == {"_id": "m", "a": 0}
    await commit(database, OTHER_ROOM, 2)
    await commit(database, OTHER_ROOM, 3, Put("messages", "m", set={"a": 3}))
    assert await database.get("messages", "m") == {"_id": "m", "a": 0}
    await commit(database, OTHER_ROOM, 4, Put("messages", "m", set={"a": 4}))
    assert await database.get("messages", "m") == {"_id": "m", "a": 4}
    # In a batch, each event for itself.
    puts = [[Put("messages", "m", set={"b": 4})], [Put("messages", "m", set={"c": 5})]]
    await database.commit(ROOM, [make_event(ROOM, seq) for seq in (4, 5)], puts)
    assert await database.get("messages", "m") == {"_id": "m", "a": 4, "c": 5}


@pytest.mark.parametrize(
    "put",
    [
        Put("no such collection", "x", set={"a": 1}),
        Put("messages", "x", set={"_id": "y"}),
        Put("messages", "x", unset=("_id",)),
        Put("messages", "x", insert={"_id": "y"}),
        Put("messages", "x", set={"u.name": 1}),
        Put("messages", "x", set={"$set": 1}),
        Put("messages", "x", set={"": 1}),
        Put("messages", "x", set={'say "it"': 1}),
        Put("messages", "x", unset=("back\\slash",)),
        Put("messages", "x", set={"room_seq": 1}),
        Put("rooms", "x", insert={"_id": "x", "applied_seq": 1}),
    ],
    ids=repr,
)
async def test_impossible_puts_are_refused_before_anything_is_written(database: Database, put: Put) -> None:
    event = make_event(ROOM, 1)
    with pytest.raises(ValueError):
        await database.commit(ROOM, [event], [[new_room(), put]])
    assert await database.get_head(ROOM) == 0
    assert await database.get("rooms", ROOM.id) is None


async def test_what_is_committed_outlives_the_connection(harness: Harness) -> None:
    database = await harness.open()
    first = await commit(database, ROOM, 1, new_room(name="x"))
    harness.opened.clear()
    await database.close()
    again = await harness.open()
    assert await again.list_events(ROOM, 0) == [first]
    assert await again.get("rooms", ROOM.id) == {"_id": ROOM.id, "t": "c", "name": "x", "applied_seq": 1}
    await commit(again, ROOM, 2)


async def test_documents_written_are_counted(database: Database) -> None:
    await commit(database, ROOM, 1, new_room(), Put("subscriptions", "s", insert={"_id": "s"}))
    before = database.documents_written
    await commit(
        database,
        ROOM,
        2,
        Put("messages", "m", insert={"_id": "m"}),
        Put("subscriptions", "s", set={"own": 1}),
        Put("rooms", ROOM.id, set={"msgs": 1}),
    )
    assert database.documents_written - before == 4  # the event, the message, the subscription and the room
    await database.get("messages", "m")
    await database.find("messages", {})
    assert database.documents_written - before == 4
