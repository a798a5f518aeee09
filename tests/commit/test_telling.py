"""Telling of what was committed: after the answer, in order, once, and by somebody else when its process is gone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from palaver.commit import WAITING, Draft, _Writer, now
from palaver.errors import Unavailable
from palaver.live.embedded import EmbeddedLive
from palaver.sweeping import LEFT_AGE
from palaver.telling import OUTBOX_AGE, UNTOLD
from palaver.v1.event_pb2 import Event
from tests.commit.harness import (
    END,
    ROOM,
    World,
    create_room,
    get_applied,
    send,
    wait_for,
)


async def test_the_answer_goes_out_before_anybody_is_told(world: World) -> None:
    process = await world.start()
    answered: set[int] = set()

    async def look(events: Any) -> None:
        for event in events:
            assert event.seq in answered
            assert await get_applied(world.database, ROOM) >= event.seq

    world.log.on_publish = look
    for number in range(50):
        answered.add(await process.commits.execute(ROOM, send(f"m{number}")))
    await process.stop()
    assert world.log.seqs(ROOM) == list(range(1, 52))


async def test_the_answer_goes_out_first_though_the_teller_is_about_to_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks whenever it has marked what was told before."""
    process = await world.start()
    answered: set[int] = set()
    marking, marked = asyncio.Event(), asyncio.Event()
    telling = process.commits._telling
    mark = telling._mark

    async def mark_late() -> None:
        await mark()
        marking.set()
        await marked.wait()
        marked.clear()

    async def look(events: Any) -> None:
        assert {event.seq for event in events} <= answered

    monkeypatch.setattr(telling, "_mark", mark_late)
    monkeypatch.setattr("palaver.telling._MARK_SECONDS", 0.0)
    await process.execute(ROOM, send("m1"))
    await marking.wait()
    answered.update([1, 2])
    world.log.on_publish = look
    answer = _Writer._answer

    def answer_when_the_teller_looks(writer: _Writer, decided: Any, events: Any) -> None:
        marked.set()  # its turn comes now, before that of whoever waits for an answer
        answer(writer, decided, events)

    monkeypatch.setattr(_Writer, "_answer", answer_when_the_teller_looks)
    answered.add(await process.commits.execute(ROOM, send("m2")))
    await wait_for(lambda: world.log.seqs(ROOM)[-1] == 3)
    monkeypatch.setattr(telling, "_mark", mark)
    marked.set()
    await process.stop()


async def test_told_events_are_marked(world: World) -> None:
    process = await world.start()
    await process.execute(ROOM, send("m1"))
    await wait_for(lambda: world.log.seqs(ROOM) == [1, 2])
    await asyncio.sleep(0.3)
    assert await world.database.list_unpublished(END) == []


async def test_a_log_that_does_not_answer_hears_it_later(world: World) -> None:
    process = await world.start()
    world.log.available = False
    for number in range(3):
        await process.execute(ROOM, send(f"m{number}"))
    await asyncio.sleep(0.05)
    assert [event.seq for event in await world.database.list_unpublished(END)] == [2, 3, 4]
    with pytest.raises(Unavailable):
        await process.commits.sweep(END)
    world.log.available = True
    await wait_for(lambda: world.log.seqs(ROOM) == [1, 2, 3, 4])
    await process.execute(ROOM, send("m4"))
    await process.stop()
    assert world.log.seqs(ROOM) == [1, 2, 3, 4, 5]
    assert await world.database.list_unpublished(END) == []


async def test_what_two_processes_could_not_tell_comes_in_order_and_once(world: World) -> None:
    """One has events around another's, who dies: all of them wait until the log answers again."""
    one, other = await world.start(), await world.start()
    await one.execute(ROOM, create_room(ROOM))
    await wait_for(lambda: world.log.seqs(ROOM) == [1])
    world.log.available = False
    for number, process in enumerate((one, other, one, other, one)):
        await process.execute(ROOM, send(f"m{number}"))
        await asyncio.sleep(0.05)  # so that what comes after a failure waits for the next attempt
    await other.kill()
    world.log.available = True
    await wait_for(lambda: len(world.log.seqs(ROOM)) >= 6)
    await one.stop()
    assert world.log.seqs(ROOM) == [1, 2, 3, 4, 5, 6]


async def test_what_another_process_told_meanwhile_is_not_told_again(world: World) -> None:
    one, other, third = await world.start(), await world.start(), await world.start()
    await one.execute(ROOM, create_room(ROOM))
    await wait_for(lambda: world.log.seqs(ROOM) == [1])
    world.log.available = False
    await one.execute(ROOM, send("m0"))
    await asyncio.sleep(0.05)
    await one.execute(ROOM, send("m1"))  # waits for the next attempt
    world.log.available = True
    await other.execute(ROOM, send("m2"))
    await other.stop()
    assert world.log.seqs(ROOM) == [1, 2, 3, 4]
    world.log.available = False
    await third.execute(ROOM, send("m3"))
    await asyncio.sleep(0.05)
    await third.kill()
    world.log.available = True
    await one.execute(ROOM, send("m4"))
    await one.stop()
    assert world.log.seqs(ROOM) == [1, 2, 3, 4, 5, 6]


async def test_what_waits_is_measured(world: World) -> None:
    process = await world.start()
    is_deciding, may_decide, may_publish = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def decide_slowly(draft: Draft) -> int:
        is_deciding.set()
        await may_decide.wait()
        return await send("m1")(draft)

    async def publish_slowly(events: Any) -> None:
        await may_publish.wait()

    def measured() -> tuple[float, float, bool]:
        process.commits.measure()
        return WAITING._value.get(), UNTOLD._value.get(), OUTBOX_AGE._value.get() > 0

    world.log.on_publish = publish_slowly
    command = process.start(ROOM, decide_slowly)
    await is_deciding.wait()
    assert measured() == (1, 0, False)
    may_decide.set()
    await command
    assert measured() == (0, 1, True)
    await process.execute(ROOM, send("m2"))
    assert measured() == (0, 2, True)
    may_publish.set()
    await wait_for(lambda: world.log.seqs(ROOM) == [1, 2, 3])
    await wait_for(lambda: measured() == (0, 0, False))


async def test_what_nobody_has_published_is_measured(world: World) -> None:
    process = await world.start()
    world.log.available = False
    await process.execute(ROOM, send("old", at=now() - 60_000))
    await process.execute(ROOM, send("young"))
    with pytest.raises(Unavailable):
        await process.commits.sweep(END)
    assert 60 <= LEFT_AGE._value.get() < 120
    world.log.available = True
    await process.commits.sweep(END)
    assert LEFT_AGE._value.get() == 0


async def test_the_sweeper_leaves_young_events_to_their_writers(world: World) -> None:
    process = await world.start()
    world.log.available = False
    await process.execute(ROOM, send("old", at=now() - 60_000))
    await process.execute(ROOM, send("young"))
    await asyncio.sleep(0.02)
    world.log.available = True
    await process.commits.sweep(now() - 2000)
    assert world.log.seqs(ROOM) == [1, 2]


async def test_one_process_sweeps(world: World) -> None:
    one, two = await world.start(), await world.start()
    world.log.available = False
    await one.execute(ROOM, send("m1", at=now() - 60_000))
    await asyncio.sleep(0.02)
    world.log.available = True
    assert await world.live.acquire("sweeper", "somebody else", 60)
    sweeping = [asyncio.create_task(process.commits.run_sweeping(0.02)) for process in (one, two)]
    await asyncio.sleep(0.1)
    assert world.log.seqs(ROOM) == [1]
    await world.live.release("sweeper", "somebody else")
    # One takes the lease; the other may only if that one stands still for longer than the lease, and twice is once.
    await wait_for(lambda: world.log.seqs(ROOM)[:2] == [1, 2])
    for task in sweeping:
        task.cancel()
    await asyncio.gather(*sweeping, return_exceptions=True)


async def test_one_process_sweeps_however_long_it_takes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palaver.sweeping._SWEPT_AT_ONCE", 1)
    clock = 0.0
    world.live = EmbeddedLive(lambda: clock)
    one, two = await world.start(), await world.start()
    world.log.available = False
    for number in range(9):
        await one.execute(ROOM, send(f"m{number}", at=now() - 60_000))
    await asyncio.sleep(0.02)
    world.log.available = True

    async def take_long(events: Sequence[Event]) -> None:
        nonlocal clock
        clock += 0.04
        await asyncio.sleep(0.02)

    world.log.on_publish = take_long
    sweeping = [asyncio.create_task(process.commits.run_sweeping(0.02)) for process in (one, two)]
    await wait_for(lambda: len(world.log.seqs(ROOM)) >= 10)
    await asyncio.sleep(0.05)
    assert world.log.seqs(ROOM) == list(range(1, 11))
    for task in sweeping:
        task.cancel()
    await asyncio.gather(*sweeping, return_exceptions=True)


async def test_what_is_left_by_a_clock_that_was_ahead_is_told(world: World) -> None:
    process = await world.start()
    world.log.available = False
    await process.execute(ROOM, send("m1", at=now() + 3_600_000))
    await asyncio.sleep(0.02)
    world.log.available = True
    sweeping = asyncio.create_task(process.commits.run_sweeping(0.02))
    await wait_for(lambda: world.log.seqs(ROOM) == [1, 2])
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)


async def test_close_waits_for_what_runs(world: World) -> None:
    process = await world.start()
    await process.execute(ROOM, send("m0"))  # so that something is to be marked soon
    started, go_on = asyncio.Event(), asyncio.Event()
    inner = send("slow")

    async def slow(draft: Draft) -> int:
        started.set()
        await go_on.wait()
        return await inner(draft)

    running = process.start(ROOM, slow)
    waiting = process.start(ROOM, send("waiting"))
    await started.wait()
    stopping = asyncio.create_task(process.stop())
    await asyncio.sleep(0.3)  # longer than the telling waits for the next event
    assert not stopping.done()
    with pytest.raises(Unavailable):
        await process.execute(ROOM, send("late"))
    go_on.set()
    await stopping
    assert [await running, await waiting] == [3, 4]
    assert world.log.seqs(ROOM) == [1, 2, 3, 4]
    assert await world.database.list_unpublished(END) == []
    await process.commits.close()
