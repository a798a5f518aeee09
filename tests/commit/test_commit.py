"""The commit protocol on real databases: gapless, once, told in order; whoever writes and whoever dies."""

import asyncio
import importlib
from typing import Any

import pytest

from palaver.commit import CONFLICTS, Draft
from palaver.database import Stream
from palaver.errors import InvalidInput, Unavailable
from palaver.events import SYSTEM, room_stream, user_stream
from palaver.v1.event_pb2 import Event
from tests.commit.harness import (
    END,
    OTHER,
    ROOM,
    World,
    check_stream,
    create_room,
    expect,
    read_log,
    send,
    wait_for,
)


async def test_concurrent_commands_are_gapless(world: World) -> None:
    process = await world.start()
    seqs = await asyncio.gather(*(process.execute(ROOM, send(f"m{n}", ("alice", "bob")[n % 2])) for n in range(600)))
    assert sorted(seqs) == list(range(2, 602))
    commands = await check_stream(world.database, ROOM)
    assert {commands[f"{('alice', 'bob')[n % 2]}/m{n}"] for n in range(600)} == set(seqs)
    await process.stop()
    assert world.log.seqs(ROOM) == list(range(1, 602))
    assert await world.database.list_unpublished(END) == []


async def test_commands_that_wait_are_committed_together(world: World) -> None:
    process = await world.start()
    batches: list[int] = []
    commit = process.database.commit

    async def counted(stream: Stream, events: Any, puts: Any) -> None:
        batches.append(len(events))
        await commit(stream, events, puts)

    process.database.commit = counted  # type: ignore[method-assign]
    await asyncio.gather(*(process.execute(ROOM, send(f"m{n}")) for n in range(300)))
    assert sum(batches) == 300
    assert len(batches) <= 3
    await asyncio.gather(process.execute(ROOM, send("a")), process.execute(OTHER, send("b")))
    assert sorted(batches[-2:]) == [1, 1]


async def test_two_processes_on_one_stream(world: World) -> None:
    one, two = await world.start(), await world.start()
    conflicts = CONFLICTS.labels("room")._value.get()
    commands = [(process, f"m{n}{name}") for n in range(100) for name, process in (("a", one), ("b", two))]
    seqs = await asyncio.gather(*(process.execute(ROOM, send(message_id)) for process, message_id in commands))
    assert sorted(seqs) == list(range(2, 202))
    await check_stream(world.database, ROOM)
    assert CONFLICTS.labels("room")._value.get() > conflicts


async def test_a_conflict_is_decided_again_on_what_is_true_by_then(world: World) -> None:
    one, two = await world.start(), await world.start()
    assert await one.execute(ROOM, send("m1")) == 2
    assert await two.execute(ROOM, send("m2")) == 3
    assert await one.execute(ROOM, send("m3")) == 4  # decided on seq 2 at first
    assert await two.execute(ROOM, send("m4", "bob")) == 5
    await check_stream(world.database, ROOM)


async def test_a_refusal_on_a_stale_view_is_decided_again(world: World) -> None:
    one, two = await world.start(), await world.start()
    await one.execute(ROOM, send("m1"))
    await two.execute(ROOM, send("m2"))
    assert await one.execute(ROOM, expect(2)) == 2
    with pytest.raises(InvalidInput):
        await one.execute(ROOM, expect(3))
    with pytest.raises(InvalidInput):
        await two.execute(ROOM, expect(3))


async def test_an_answer_without_an_event_is_not_given_on_a_stale_view(world: World) -> None:
    one, two = await world.start(), await world.start()
    await one.execute(ROOM, send("m1"))
    await two.execute(ROOM, send("m2"))
    assert await one.execute(ROOM, expect(0)) == 2


async def test_refused_commands_leave_the_others_alone(world: World) -> None:
    process = await world.start()
    outcomes = await asyncio.gather(
        process.execute(ROOM, send("m1")),
        process.execute(ROOM, expect(2)),
        process.execute(ROOM, send("m2")),
        process.execute(ROOM, expect(2)),
        return_exceptions=True,
    )
    assert [outcomes[0], outcomes[2], outcomes[3]] == [2, 3, 2]
    assert isinstance(outcomes[1], InvalidInput)
    await check_stream(world.database, ROOM)


async def test_a_command_that_fails_leaves_the_others_alone(world: World) -> None:
    async def fail(draft: Draft) -> None:
        draft.append(Event(), actor=SYSTEM)
        raise ZeroDivisionError

    async def append_nonsense(draft: Draft) -> None:
        draft.append(Event(), actor=SYSTEM)  # an event without a fact can't be projected

    process = await world.start()
    outcomes = await asyncio.gather(
        process.execute(ROOM, send("m1")),
        process.execute(ROOM, fail),
        process.execute(ROOM, append_nonsense),
        process.execute(ROOM, send("m2")),
        return_exceptions=True,
    )
    assert (outcomes[0], outcomes[3]) == (2, 3)
    assert [type(outcome) for outcome in outcomes[1:3]] == [ZeroDivisionError, Unavailable]
    await check_stream(world.database, ROOM)


async def test_a_retried_command_is_the_same_event(world: World) -> None:
    one, two = await world.start(), await world.start()
    assert await one.execute(ROOM, send("m1")) == 2
    assert await one.execute(ROOM, send("m1")) == 2
    assert await two.execute(ROOM, send("m1")) == 2
    assert await two.execute(ROOM, send("m1", "bob")) == 3
    assert await one.execute(OTHER, send("m1")) == 2


async def test_a_command_and_its_retry_in_one_batch_are_the_same_event(world: World) -> None:
    process = await world.start()
    await process.execute(ROOM, send("m0"))
    assert await asyncio.gather(*(process.execute(ROOM, send("m1")) for _ in range(5))) == [3] * 5
    await check_stream(world.database, ROOM)


async def test_a_command_and_its_retry_in_two_processes_are_the_same_event(world: World) -> None:
    processes = [await world.start() for _ in range(3)]
    for number in range(20):
        seqs = await asyncio.gather(*(process.execute(ROOM, send(f"m{number}")) for process in processes))
        assert seqs == [number + 2] * 3
    await check_stream(world.database, ROOM)


async def test_a_cancelled_caller_does_not_disturb_the_others(world: World) -> None:
    process = await world.start()
    tasks = [process.start(ROOM, send(f"m{n}")) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert all(isinstance(outcome, int) for outcome in outcomes[1::2])
    assert await process.execute(ROOM, send("last")) == await world.database.get_head(ROOM)
    await check_stream(world.database, ROOM)


async def test_many_streams(world: World) -> None:
    process = await world.start()
    rooms = [room_stream(f"room {n}") for n in range(60)]
    await asyncio.gather(*(process.execute(room, create_room(room)) for room in rooms))
    await asyncio.gather(*(process.execute(room, send(f"{room}/{n}")) for room in rooms for n in range(5)))
    for room in rooms:
        assert len(await check_stream(world.database, room)) == 6
    await process.stop()
    assert all(world.log.seqs(room) == [1, 2, 3, 4, 5, 6] for room in rooms)


async def test_a_busy_database_is_told_to_the_caller(world: World) -> None:
    process = await world.start()
    commit = process.database.commit

    async def fail_after(*arguments: Any) -> None:
        await commit(*arguments)
        raise Unavailable

    process.database.commit = fail_after  # type: ignore[assignment, method-assign]
    with pytest.raises(Unavailable):
        await process.execute(ROOM, send("m1"))
    process.database.commit = commit  # type: ignore[method-assign]
    assert await process.execute(ROOM, send("m1")) == 2
    assert await process.execute(ROOM, send("m2")) == 3
    await check_stream(world.database, ROOM)


async def test_what_is_cached_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = importlib.import_module("palaver.commit")
    monkeypatch.setattr(commit, "_MAX_WRITERS", 8)
    monkeypatch.setattr("palaver.draft._MAX_CACHED_DOCUMENTS", 3)
    process = await world.start()
    rooms = [room_stream(f"room {n}") for n in range(40)]
    for _ in range(2):
        await asyncio.gather(*(process.execute(room, create_room(room)) for room in rooms))
        await asyncio.gather(*(process.execute(room, send(f"{room}/1")) for room in rooms))
    await wait_for(lambda: not any(writer.busy for writer in process.commits._writers.values()))
    await process.execute(ROOM, send("m1"))
    assert len(process.commits._writers) <= 40
    for room in rooms:
        assert len(await check_stream(world.database, room)) == 2


async def test_user_streams_have_their_own_documents(world: World) -> None:
    process = await world.start()
    alice = user_stream("alice")

    async def create(draft: Draft) -> int:
        event = Event()
        event.user_created.user = b'{"_id": "alice", "username": "alice"}'
        return draft.append(event, actor=SYSTEM, command_id="create").seq

    async def rename(draft: Draft) -> str:
        user = await draft.get_own()
        assert user is not None
        event = Event()
        event.user_changed.set = b'{"username": "alice2"}'
        draft.append(event, actor=SYSTEM)
        return str(user["username"])

    assert await process.execute(alice, create) == 1
    names = [process.start(alice, rename), process.start(alice, rename)]
    assert [await name for name in names] == ["alice", "alice2"]
    assert [event.seq for event in await read_log(world.database, alice)] == [1, 2, 3]
