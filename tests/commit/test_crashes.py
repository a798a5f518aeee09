"""Processes that die, and what the others make of it: nothing acknowledged is lost, nothing happens twice."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson
import pytest

from palaver.commit import Draft, now
from palaver.database import STREAM_COLLECTIONS, Stream, StreamConflict
from palaver.database.mongo_values import GUARDS
from palaver.errors import PalaverError, Unavailable
from palaver.events import room_stream, user_stream
from palaver.sweeping import FAILURES
from palaver.v1.event_pb2 import Event
from tests.commit.harness import (
    END,
    OTHER,
    ROOM,
    Crash,
    World,
    check_stream,
    crash_at,
    create_room,
    expect,
    get_applied,
    send,
    wait_for,
)
from tests.database.harness import MongoHarness, SqliteHarness

ANYWHERE = ("commit.before_answer", "tell.before_publish", "tell.before_mark", "tell.after_mark")
CRASHES = [
    pytest.param(adapter, name, nth, marks=marks, id=f"{adapter} {name} {nth}")
    for adapter, places, marks in (
        ("sqlite", SqliteHarness.failpoints, ()),
        ("mongo", MongoHarness.failpoints, pytest.mark.needs_servers),
    )
    for name in (*places, *ANYWHERE)
    for nth in (1, 2, 3)
]


@pytest.mark.parametrize(("adapter", "name", "nth"), CRASHES)
async def test_nothing_is_lost_or_doubled_wherever_a_process_dies(world: World, name: str, nth: int) -> None:
    process = await world.start()
    acknowledged: dict[str, int] = {}

    async def execute(number: int) -> None:
        with suppress(PalaverError, Crash):
            acknowledged[f"alice/m{number}"] = await process.commits.execute(ROOM, send(f"m{number}"))

    with crash_at(process, name, nth):
        clients = [asyncio.create_task(execute(number)) for number in range(20)]
        for _ in range(3000):
            if process.dead:
                break
            await asyncio.sleep(0.01)
            clients.append(asyncio.create_task(execute(len(clients))))
        assert process.dead
        await world.recover()
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    commands = await check_stream(world.database, ROOM)
    assert acknowledged.items() <= commands.items()
    assert await world.database.list_unpublished(END) == []
    assert list(dict.fromkeys(world.log.seqs(ROOM))) == list(range(1, len(commands) + 1))
    retrying = await world.start()
    for number in range(len(clients)):
        seq = await retrying.execute(ROOM, send(f"m{number}"))
        assert seq == commands.get(f"alice/m{number}", seq)
    assert len(await check_stream(world.database, ROOM)) == 1 + len(clients)


@pytest.mark.parametrize("nth", [1, 2])
async def test_a_sweeper_that_dies_is_followed_by_another(
    world: World, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    process = await world.start()
    world.log.available = False
    for number in range(5):
        await process.execute(ROOM, send(f"m{number}"))
    await asyncio.sleep(0.02)
    world.log.available = True
    monkeypatch.setattr("palaver.sweeping._SWEPT_AT_ONCE", 2)
    with crash_at(process, "tell.between_publishes", nth), pytest.raises(Crash):
        await process.commits.sweep(END)
    await world.recover()
    assert list(dict.fromkeys(world.log.seqs(ROOM))) == [1, 2, 3, 4, 5, 6]
    assert await world.database.list_unpublished(END) == []


async def append_only(world: World, stream: Stream, count: int) -> None:
    """Leaves the commands `left <n>` of alice, appended and not projected."""
    head = await world.database.get_head(stream)
    room = await world.database.get("rooms", stream.id)
    assert room is not None
    events = []
    for number in range(count):
        draft = Draft(world.database, stream, head + number)
        own = {"_id": f"{stream.id}/alice", "rid": stream.id, "u": {"_id": "alice"}, "own": room["msgs"] + number}
        draft._documents = {
            ("rooms", stream.id): {**room, "msgs": room["msgs"] + number},
            ("subscriptions", own["_id"]): own,
        }
        await send(f"left {number}" if stream == ROOM else f"{stream.id}/left {number}")(draft)
        assert draft.appended is not None
        events.append(draft.appended)
    await leave_unprojected(world, stream, events)


async def leave_unprojected(world: World, stream: Stream, events: Sequence[Event]) -> None:
    """Appends events and projects nothing."""
    if "commit.after_append" not in world.harness.failpoints:
        await world.harness.append_only(stream, events)
        return
    writer = await world.start()
    with crash_at(writer, "commit.after_append"), pytest.raises(Crash):
        await writer.database.commit(stream, events, [[] for _ in events])


async def test_a_batch_that_stands_half_way_is_answered_as_far_as_it_stands(world: World) -> None:
    process = await world.start()
    commit = process.database.commit

    async def commit_half(stream: Stream, events: Any, puts: Any) -> None:
        process.database.commit = commit  # type: ignore[method-assign]
        await leave_unprojected(world, stream, events[:2])
        raise StreamConflict(2)

    process.database.commit = commit_half  # type: ignore[method-assign]
    commands = [process.start(ROOM, send(f"m{number}", check=False)) for number in range(4)]
    assert [await commands[0], await get_applied(world.database, ROOM)] >= [2, 3]
    assert await asyncio.gather(*commands) == [2, 3, 4, 5]
    await check_stream(world.database, ROOM)
    await process.stop()
    assert world.log.seqs(ROOM) == [1, 2, 3, 4, 5]


async def test_the_next_writer_projects_what_a_crash_left(world: World) -> None:
    await append_only(world, ROOM, 3)
    process = await world.start()
    assert await process.execute(ROOM, send("next")) == 5
    await check_stream(world.database, ROOM)


async def test_a_retry_of_what_a_crash_left_is_answered_when_it_is_projected(world: World) -> None:
    process = await world.start()
    await process.execute(ROOM, expect(0))  # it knows the room by now
    await append_only(world, ROOM, 1)
    assert await process.execute(ROOM, send("left 0")) == 2
    assert await get_applied(world.database, ROOM) == 2


async def test_the_sweeper_finishes_exactly_what_is_left(world: World) -> None:
    """More streams than one page of them: nothing is told before its projection stands."""
    process = await world.start()
    rooms = [room_stream(f"room {n}") for n in range(130)]
    await asyncio.gather(*(process.execute(room, create_room(room)) for room in rooms))
    await process.stop()
    for room in rooms:
        await append_only(world, room, 2)
    world.log.events.clear()

    async def look(events: Any) -> None:
        for event in events:
            stream = Stream(event.stream_kind, event.stream_id)
            assert await get_applied(world.database, stream) >= event.seq

    world.log.on_publish = look
    sweeper = await world.start()
    await sweeper.commits.sweep(END)
    assert all(world.log.seqs(room) == [2, 3] for room in rooms)
    assert len(world.log.events) == 260
    for room in rooms:
        assert len(await check_stream(world.database, room)) == 3
    await sweeper.commits.sweep(END)
    assert len(world.log.events) == 260


async def test_a_stream_that_only_a_newer_version_understands_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palaver.sweeping._SWEPT_AT_ONCE", 2)
    newer = [Event(stream_kind="room", stream_id=ROOM.id, seq=seq, command_id=f"new {seq}") for seq in range(2, 7)]
    await leave_unprojected(world, ROOM, newer)
    await append_only(world, OTHER, 3)
    assert (ROOM.id, OTHER.id) == tuple(sorted((ROOM.id, OTHER.id))), "the one that is stuck comes first"
    sweeper = await world.start()
    await sweeper.commits.sweep(END)
    assert world.log.seqs(OTHER) == [1, 2, 3, 4]
    assert world.log.seqs(ROOM) == [1]
    assert await get_applied(world.database, ROOM) == 1


async def test_a_stream_of_a_kind_that_only_a_newer_version_knows_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = Stream("account", "one")
    event = Event(stream_kind=newer.kind, stream_id=newer.id, seq=1, command_id="new", at=1)
    with monkeypatch.context() as newer_version:
        newer_version.setitem(STREAM_COLLECTIONS, newer.kind, "users")
        newer_version.setattr("palaver.database.mongo_puts.GUARDS", {**GUARDS, newer.kind: "user_seq"})
        await leave_unprojected(world, newer, [event])
    await append_only(world, OTHER, 3)
    sweeper = await world.start()
    await sweeper.commits.sweep(END)
    assert world.log.seqs(OTHER) == [1, 2, 3, 4]
    assert world.log.seqs(newer) == []


async def test_a_stream_whose_events_fail_holds_up_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    broken = Event(stream_kind="room", stream_id=ROOM.id, seq=2, command_id="broken", at=1)
    broken.member_joined.subscription = b"{}"  # without an id
    await leave_unprojected(world, ROOM, [broken])
    await append_only(world, OTHER, 3)
    sweeper = await world.start()
    failures = FAILURES._value.get()
    await sweeper.commits.sweep(END)
    assert world.log.seqs(OTHER) == [1, 2, 3, 4]
    assert world.log.seqs(ROOM) == [1]
    assert FAILURES._value.get() > failures
    assert "can't be projected" in caplog.text


async def test_a_sweeper_survives_what_it_did_not_expect(world: World) -> None:
    process = await world.start()
    world.log.available = False
    await process.execute(ROOM, send("m1", at=1))
    world.log.available = True
    failures = 0

    async def fail(events: Sequence[Event]) -> None:
        nonlocal failures
        failures += 1
        if failures < 3:
            raise KeyError("of another version")

    world.log.on_publish = fail
    sweeping = asyncio.create_task(process.commits.run_sweeping(0.02))
    await wait_for(lambda: world.log.seqs(ROOM) == [1, 2])
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)


async def test_what_was_never_told_does_not_wait_for_what_is_told_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that lost everything is filled again, which takes long: who is connected hears of the newest at once."""
    monkeypatch.setattr("palaver.sweeping._SWEPT_AT_ONCE", 4)
    process = await world.start()
    for number in range(9):
        await process.execute(ROOM, send(f"m{number}"))
    await process.stop()
    await world.database.mark_unpublished(0)
    at = now() - 10_000
    event = Event(stream_kind="user", stream_id="alice", seq=1, command_id="left", at=at)
    event.user_created.user = orjson.dumps({"_id": "alice"})
    await leave_unprojected(world, user_stream("alice"), [event])
    order: list[str] = []
    follow = await world.log.follow(user_stream("alice"), lambda event: order.append("heard"))

    async def look(events: Sequence[Event]) -> None:
        order.append("published")

    world.log.on_publish = look
    await (await world.start()).commits.sweep(END)
    assert order[:2] == ["heard", "published"]
    assert await world.database.get("users", "alice") is not None
    await follow.stop()


async def test_what_a_dead_process_left_is_shown_although_the_log_stores_nothing(world: World) -> None:
    process = await world.start()
    await process.execute(ROOM, send("m1", at=now() - 10_000))
    await process.stop()
    heard: list[int] = []
    follow = await world.log.follow(ROOM, lambda event: heard.append(event.seq))
    event = (await world.database.list_events(ROOM, 1))[0]
    left = Event(stream_kind="room", stream_id=ROOM.id, seq=3, command_id="left", at=event.at)
    left.room_changed.set = b"{}"
    await leave_unprojected(world, ROOM, [left])
    world.log.available = False
    sweeper = await world.start()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await sweeper.commits.sweep(END)
    assert heard == [3]
    assert await get_applied(world.database, ROOM) == 3
    await follow.stop()
