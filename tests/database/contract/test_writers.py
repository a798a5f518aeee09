"""Several who write one stream, or stop in between: the database takes one of them, and nothing is lost."""

import asyncio
import contextlib

import pytest

from palaver import failpoints
from palaver.database import Database, Put, StreamConflict
from tests.database.harness import Crash, Harness
from tests.database.model import (
    OTHER_ROOM,
    ROOM,
    append,
    catch_up,
    commit,
    get_applied,
    make_event,
    new_room,
    project,
    read_log,
)


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
