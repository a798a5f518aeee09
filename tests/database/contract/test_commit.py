"""What `commit` and `apply` promise: events once and in order, documents as the events say."""

import asyncio
import contextlib

import pytest

from palaver import failpoints
from palaver.database import Database, Put, Stream, StreamConflict
from tests.database.harness import Crash, Harness
from tests.database.model import (
    OTHER_ROOM,
    ROOM,
    USER,
    WORKSPACE,
    append,
    catch_up,
    commit,
    get_applied,
    make_event,
    plain,
    project,
    read_log,
)

STREAMS = [ROOM, OTHER_ROOM, USER, WORKSPACE]


def new_room(**fields: object) -> Put:
    return Put("rooms", ROOM.id, insert={"_id": ROOM.id, "t": "c", **fields})


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


async def test_the_second_writer_of_a_seq_is_refused(database: Database) -> None:
    await commit(database, ROOM, 1, new_room(name="first"))
    with pytest.raises(StreamConflict) as caught:
        await commit(database, ROOM, 1, Put("rooms", ROOM.id, set={"name": "second"}), command_id="another")
    assert caught.value.committed == 0
    assert (await database.get("rooms", ROOM.id) or {})["name"] == "first"
    assert await database.find_event(ROOM, "another") is None


async def test_a_command_becomes_one_event(database: Database) -> None:
    await commit(database, ROOM, 1, new_room(name="first"), command_id="x")
    with pytest.raises(StreamConflict):
        await commit(database, ROOM, 2, Put("rooms", ROOM.id, set={"name": "second"}), command_id="x")
    assert await database.get_head(ROOM) == 1
    assert await database.get("rooms", ROOM.id) == {"_id": ROOM.id, "t": "c", "name": "first", "applied_seq": 1}
    await commit(database, OTHER_ROOM, 1, command_id="x")


async def test_of_a_conflicting_batch_the_events_before_it_may_stand(database: Database) -> None:
    await commit(database, ROOM, 1, new_room(), command_id="taken")
    events = [
        make_event(ROOM, 2, [Put("rooms", ROOM.id, set={"a": 2})]),
        make_event(ROOM, 3, [Put("rooms", ROOM.id, set={"b": 3})], command_id="taken"),
        make_event(ROOM, 4, [Put("rooms", ROOM.id, set={"c": 4})]),
    ]
    with pytest.raises(StreamConflict) as caught:
        await database.commit(ROOM, events, [project(event) for event in events])
    assert caught.value.committed in (0, 1)
    assert (await read_log(database, ROOM))[1:] == events[: caught.value.committed]
    await catch_up(database, ROOM)
    room = await database.get("rooms", ROOM.id)
    assert room is not None
    assert "b" not in room
    assert "c" not in room
    assert room.get("a") == (2 if caught.value.committed else None)
    assert room["applied_seq"] == 1 + caught.value.committed


async def test_writers_at_once_make_one_gapless_log(harness: Harness) -> None:
    databases = [await harness.open() for _ in range(3)]
    await commit(databases[0], ROOM, 1, new_room())
    commands = [f"c{index}" for index in range(30)]
    made = await asyncio.gather(
        *(
            append(databases[(index + again) % 3], ROOM, command, [Put("rooms", ROOM.id, set={command: index})])
            for again in range(2)
            for index, command in enumerate(commands)
        )
    )
    log = await read_log(databases[0], ROOM)
    assert [event.seq for event in log] == list(range(1, 32))
    assert sorted(event.command_id for event in log[1:]) == sorted(commands)
    assert {event.command_id: event.seq for event in made} == {event.command_id: event.seq for event in log[1:]}
    expected = {command: index for index, command in enumerate(commands)}
    assert await databases[1].get("rooms", ROOM.id) == {"_id": ROOM.id, "t": "c", **expected, "applied_seq": 31}


async def test_an_awaited_commit_can_be_read(harness: Harness) -> None:
    one, two = await harness.open(), await harness.open()
    for seq in range(1, 20):
        id = f"m{seq}"
        document = {"_id": id, "rid": "r", "ts": {"$date": seq}, "msg": f"word{seq}"}
        await commit(one, ROOM, seq, Put("messages", id, insert=document))
        for database in (one, two):
            assert await database.get_head(ROOM) == seq
            assert await database.get("messages", id) == document
            assert await database.find_one("messages", {"rid": "r", "ts": {"$date": seq}}) == document
            assert await database.count("messages", {"rid": "r"}) == seq
            assert await database.find("messages", {"$text": f"word{seq}"}) == [document]


async def test_apply_projects_what_a_crash_left(harness: Harness, database: Database) -> None:
    await commit(database, ROOM, 1, new_room(), at=1000)
    left = [
        make_event(ROOM, 2, [Put("rooms", ROOM.id, set={"a": 2, "b": 2})], at=2000),
        make_event(ROOM, 3, [Put("rooms", ROOM.id, set={"b": 3})], at=3000),
    ]
    await harness.append_only(ROOM, left)
    assert await database.get_head(ROOM) == 3
    assert await get_applied(database, ROOM) == 1
    assert await database.find_event(ROOM, left[1].command_id) == left[1]
    assert await database.apply(ROOM, left, [project(event) for event in left]) is True
    assert await database.get("rooms", ROOM.id) == {"_id": ROOM.id, "t": "c", "a": 2, "b": 3, "applied_seq": 3}
    assert await database.apply(ROOM, left, [project(event) for event in left]) is False
    await commit(database, ROOM, 4)


async def test_nothing_is_committed_beyond_what_is_not_applied(harness: Harness, database: Database) -> None:
    await commit(database, ROOM, 1, new_room())
    await harness.append_only(ROOM, [make_event(ROOM, 2, [Put("rooms", ROOM.id, set={"a": 2})])])
    event = make_event(ROOM, 3, [Put("rooms", ROOM.id, set={"a": 3})])
    with pytest.raises(StreamConflict) as caught:
        await database.commit(ROOM, [event], [project(event)])
    assert await database.get_head(ROOM) == 2 + caught.value.committed
    assert await get_applied(database, ROOM) == 1
    await catch_up(database, ROOM)
    assert (await database.get("rooms", ROOM.id) or {})["a"] == 2 + caught.value.committed


async def test_a_stale_applier_changes_nothing(harness: Harness, database: Database) -> None:
    other = await harness.open()
    await commit(database, ROOM, 1, new_room(), Put("messages", "m", insert={"_id": "m"}))
    stale = [make_event(ROOM, 2, [Put("messages", "m", set={"a": 2}), Put("rooms", ROOM.id, set={"a": 2})])]
    await harness.append_only(ROOM, stale)
    assert await other.apply(ROOM, stale, [project(event) for event in stale])
    await commit(other, ROOM, 3, Put("messages", "m", set={"a": 3}), Put("rooms", ROOM.id, set={"a": 3}))
    assert not await database.apply(ROOM, stale, [project(event) for event in stale])
    assert await database.get("messages", "m") == {"_id": "m", "a": 3}
    assert await database.get("rooms", ROOM.id) == {"_id": ROOM.id, "t": "c", "a": 3, "applied_seq": 3}


async def test_appliers_at_once_agree(harness: Harness) -> None:
    databases = [await harness.open() for _ in range(3)]
    await commit(databases[0], ROOM, 1, new_room())
    left = [make_event(ROOM, seq, [Put("rooms", ROOM.id, set={"a": seq})]) for seq in range(2, 12)]
    await harness.append_only(ROOM, left)
    won = await asyncio.gather(
        *(database.apply(ROOM, left, [project(event) for event in left]) for database in databases)
    )
    assert sum(won) == 1
    assert await databases[0].get("rooms", ROOM.id) == {"_id": ROOM.id, "t": "c", "a": 11, "applied_seq": 11}


@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_writer_may_stop_anywhere(harness: Harness, nth: int) -> None:
    database, other = await harness.open(), await harness.open()
    await commit(database, ROOM, 1, new_room())
    seq = 1
    for name in harness.failpoints:
        left = nth

        def stop() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Crash

        failpoints.arm(name, stop)
        events = [
            make_event(
                ROOM,
                seq + index,
                [
                    Put("messages", f"m{seq + index}", insert={"_id": f"m{seq + index}", "name": name}),
                    Put("rooms", ROOM.id, set={"msgs": seq + index}),
                ],
            )
            for index in (1, 2)
        ]
        with contextlib.suppress(Crash):
            await database.commit(ROOM, events, [project(event) for event in events])
        failpoints.disarm()
        seq = await catch_up(other, ROOM)
        assert seq == await other.get_head(ROOM)
        for event in await read_log(other, ROOM):
            if event.seq > 1:
                assert await other.get("messages", f"m{event.seq}") is not None
        assert await other.get("messages", f"m{seq + 1}") is None
        room = await other.get("rooms", ROOM.id)
        assert room is not None
        assert room["applied_seq"] == seq
        assert room.get("msgs", 1) == seq


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
