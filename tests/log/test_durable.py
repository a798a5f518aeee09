"""What every durable follower does, whichever log it reads: each event at least once, in order, whatever dies."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from palaver.errors import Unavailable
from palaver.live import Live
from palaver.live.embedded import EmbeddedLive
from palaver.live.nats import NatsLive
from palaver.log import Log, durable, embedded, reading, shares
from palaver.log.dead_letters import DeadLetterNotFound, DeadLetters
from palaver.log.embedded import EmbeddedLog
from palaver.log.jetstream import JetStreamLog
from palaver.v1.event_pb2 import Event
from tests.log.durable import World, make_event
from tests.servers import NatsServer
from tests.waiting import eventually

ROOMS = [Stream("room", f"room {number}") for number in range(20)]
ROOM = ROOMS[0]


def value(name: str) -> float:
    return REGISTRY.get_sample_value(f"palaver_follower_{name}", {"follower": "test"}) or 0


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases end soon (though not because the machine was busy), and pauses are short."""
    for module in (shares, durable):
        monkeypatch.setattr(module, "LEASE_SECONDS", 3.0)
    monkeypatch.setattr(durable, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(durable, "_SAVE_SECONDS", 0.05)
    monkeypatch.setattr(reading, "EXPIRES_SECONDS", 0.5)
    monkeypatch.setattr(embedded, "_LOOK_SECONDS", 0.2)


@pytest.fixture(params=["embedded", pytest.param("jetstream", marks=pytest.mark.needs_servers)])
def connect(request: pytest.FixtureRequest, workspace: str, database: SqliteDatabase) -> Callable[[], tuple[Log, Live]]:
    """Makes the log and the live part of one more process."""
    if request.param == "embedded":
        parts = _Shared(EmbeddedLog(database)), _Shared(EmbeddedLive())
        return lambda: parts  # type: ignore[return-value]
    server: NatsServer = request.getfixturevalue("nats")
    return lambda: (JetStreamLog(server.url, workspace, database), NatsLive(server.url, workspace))


@pytest_asyncio.fixture
async def world(database: SqliteDatabase, connect: Callable[[], tuple[Log, Live]]) -> AsyncIterator[World]:
    world = World(database, connect)
    yield world
    await world.close()


class _Shared:
    """A part of several processes in one: it does not end with one of them."""

    def __init__(self, part: object) -> None:
        self._part = part

    def __getattr__(self, name: str) -> object:
        return getattr(self._part, name)

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""


async def test_every_event_is_handled_once_and_in_order(world: World) -> None:
    process = await world.start("a")
    events = [make_event(room, seq) for seq in range(1, 31) for room in ROOMS]
    await world.tell(process.log, events[:200])
    await world.tell(process.log, events[200:])
    await eventually(lambda: world.is_done(ROOMS, 30))
    assert len(world.handled) == len(events)
    assert process.partitions == set(process.log.list_partitions(["room"]))


async def test_only_the_kinds_and_facts_that_it_follows(world: World) -> None:
    process = await world.start("a", "user", "workspace")
    alice, workspace = Stream("user", "alice"), Stream("workspace", "")
    other = make_event(alice, 2)
    other.user_deleted.SetInParent()
    unknown = Event.FromString(make_event(alice, 3).SerializeToString())
    unknown.ClearField("fact")
    await world.tell(process.log, [make_event(ROOM, 1), make_event(workspace, 1), make_event(alice, 1), other, unknown])
    await world.tell(process.log, [make_event(alice, 4)])
    await eventually(lambda: len(world.handled) == 3)
    assert sorted((stream, seq) for _, stream, seq in world.handled) == [(alice, 1), (alice, 4), (workspace, 1)]


async def test_what_does_not_concern_it_is_passed_over(world: World) -> None:
    world.passed_over = {2, 3, 5}
    process = await world.start("a")
    await world.tell(process.log, [make_event(ROOM, seq) for seq in range(1, 6)])
    await eventually(lambda: len(world.handled) == 2)
    await process.stop()
    world.passed_over = set()
    second = await world.start("b")
    await world.tell(second.log, [make_event(ROOM, 6)])
    await eventually(lambda: len(world.handled) == 3)
    assert [seq for _, _, seq in world.handled] == [1, 4, 6]


async def test_who_comes_back_goes_on_where_it_was(world: World) -> None:
    process = await world.start("a")
    await world.tell(process.log, [make_event(ROOM, seq) for seq in range(1, 6)])
    await eventually(lambda: world.is_done([ROOM], 5))
    await process.stop()
    second = await world.start("b")
    await world.tell(second.log, [make_event(ROOM, seq) for seq in range(6, 9)])
    await eventually(lambda: world.is_done([ROOM], 8))
    assert len(world.handled) == 8


async def test_what_was_handled_and_not_written_down_is_handled_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_SAVE_SECONDS", 60.0)
    process = await world.start("a")
    await world.tell(process.log, [make_event(ROOM, seq) for seq in range(1, 6)])
    await eventually(lambda: world.is_done([ROOM], 5))
    await process.kill()
    second = await world.start("b")
    await eventually(lambda: len(world.handled) == 10)
    await world.tell(second.log, [make_event(ROOM, 6)])
    await eventually(lambda: world.is_done([ROOM], 6))


async def test_kills_lose_nothing(world: World) -> None:
    rooms, numbers = ROOMS[:6], dict.fromkeys(ROOMS[:6], 0)
    teller = await world.start("teller")
    victims = [await world.start("victim 0")]
    for turn in range(6):
        events = []
        for room in random.choices(rooms, k=60):
            numbers[room] += 1
            events.append(make_event(room, numbers[room]))
        await world.tell(teller.log, events)
        await asyncio.sleep(random.uniform(0, 0.3))
        await victims[-1].kill()
        victims.append(await world.start(f"victim {turn + 1}"))
    await eventually(lambda: all(world.is_done([room], last) for room, last in numbers.items()), seconds=30)


async def test_an_event_that_fails_is_tried_again_and_holds_up_only_its_stream(world: World) -> None:
    attempts: list[int] = []

    async def fail_twice(event: Event) -> None:
        if event.stream_id == ROOM.id and event.seq == 2 and len(attempts) < 2:
            attempts.append(event.seq)
            raise ValueError("the handler of the test fails")

    world.on_handle = fail_twice
    process = await world.start("a")
    retried = value("events_retried_total")
    await world.tell(process.log, [make_event(room, seq) for seq in (1, 2, 3) for room in ROOMS])
    await eventually(lambda: world.is_done(ROOMS, 3))
    assert len(attempts) == 2
    assert value("events_retried_total") == retried + 2
    assert [id async for id, _ in DeadLetters(world.database).list_all()] == []


async def test_poison_becomes_a_dead_letter_and_the_stream_goes_on(world: World) -> None:
    async def fail(event: Event) -> None:
        if event.stream_id == ROOM.id and event.seq == 2:
            raise ValueError("poison in the test")

    world.on_handle = fail
    process = await world.start("a")
    dead = value("events_dead_total")
    await world.tell(process.log, [make_event(room, seq) for seq in (1, 2, 3) for room in ROOMS[:3]])
    await eventually(lambda: world.effects.get(ROOM) == [1, 3] and world.is_done(ROOMS[1:3], 3))
    letters = DeadLetters(world.database)
    [(id, letter)] = [found async for found in letters.list_all()]
    assert id == "test/room/room_200/2"
    assert (letter["follower"], letter["stream_kind"], letter["stream_id"], letter["seq"]) == ("test", *ROOM, 2)
    assert letter["error"] == "ValueError: poison in the test"
    assert letter["attempts"] == durable.ATTEMPTS
    assert letter["fact"] == "room_deleted"
    assert value("events_dead_total") == dead + 1
    assert (await letters.get_event(letter)).seq == 2
    # Somebody asks for a replay that fails again, and for one that works.
    await letters.ask_replay(id)
    await eventually(lambda: value("events_dead_total") == dead + 2)
    assert (await letters.get(id))["attempts"] == durable.ATTEMPTS + 1
    await _until_no_replays(letters)
    world.on_handle = None
    await letters.ask_replay(id)
    await eventually(lambda: world.effects[ROOM] == [1, 3, 2])
    await _until_no_replays(letters)
    with pytest.raises(DeadLetterNotFound):
        await letters.get(id)


async def _until_no_replays(letters: DeadLetters) -> None:
    async with asyncio.timeout(30):
        while await letters.list_replays("test"):
            await asyncio.sleep(0.01)


async def test_a_part_that_is_away_makes_no_dead_letters(world: World) -> None:
    attempts: list[int] = []

    async def be_away(event: Event) -> None:
        attempts.append(event.seq)
        if len(attempts) < 2 * durable.ATTEMPTS:
            raise Unavailable("something of the test is away")

    world.on_handle = be_away
    durable_pause = durable.LONGEST_PAUSE
    assert durable_pause > durable.FIRST_PAUSE
    process = await world.start("a")
    await world.tell(process.log, [make_event(ROOM, 1)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "LONGEST_PAUSE", 0.01)
        await eventually(lambda: world.is_done([ROOM], 1))
    assert [id async for id, _ in DeadLetters(world.database).list_all()] == []


async def test_two_processes_share_the_partitions_and_one_takes_over(world: World) -> None:
    first = await world.start("a")
    partitions = set(first.log.list_partitions(["room"]))
    await eventually(lambda: first.partitions == partitions)
    second = await world.start("b")
    await eventually(
        lambda: first.partitions | second.partitions == partitions and not first.partitions & second.partitions
    )
    if len(partitions) > 1:
        await eventually(lambda: abs(len(first.partitions) - len(second.partitions)) <= 1)
    await world.tell(first.log, [make_event(room, seq) for seq in (1, 2) for room in ROOMS])
    await eventually(lambda: world.is_done(ROOMS, 2))
    if len(partitions) > 1:
        assert {by for by, _, _ in world.handled} == {"a", "b"}
    assert len(world.handled) == 2 * len(ROOMS)
    await first.kill()
    await eventually(lambda: second.partitions == partitions)
    await world.tell(second.log, [make_event(room, 3) for room in ROOMS])
    await eventually(lambda: world.is_done(ROOMS, 3))


async def test_an_orderly_end_hands_over_at_once(world: World) -> None:
    first = await world.start("a")
    second = await world.start("b")
    partitions = set(first.log.list_partitions(["room"]))
    await eventually(lambda: first.partitions | second.partitions == partitions)
    await first.stop()
    await eventually(lambda: second.partitions == partitions)
    assert not first.partitions


async def test_two_holders_for_a_moment_do_no_harm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both believe that they hold everything, for a while."""

    async def take(self: shares.Shares, partition: str) -> bool:
        self._until[partition] = self._clock() + 60
        return True

    async def list_due(self: shares.Shares, partitions: list[str]) -> set[str]:
        return set(partitions)

    with monkeypatch.context() as patch:
        patch.setattr(shares.Shares, "take", take)
        patch.setattr(shares.Shares, "list_due", list_due)
        first = await world.start("a")
        second = await world.start("b")
        await world.tell(first.log, [make_event(room, seq) for seq in (1, 2, 3) for room in ROOMS])
        await eventually(
            lambda: {by for by, _, _ in world.handled} == {"a", "b"} and len(world.handled) == 6 * len(ROOMS)
        )
        assert world.is_done(ROOMS, 3)
    await first.kill()
    await second.kill()
    third = await world.start("c")
    await world.tell(third.log, [make_event(room, 4) for room in ROOMS])
    await eventually(lambda: world.is_done(ROOMS, 4))


async def test_a_lost_lease_ends_the_work(world: World) -> None:
    first = await world.start("a")
    await eventually(lambda: bool(first.partitions))
    held = sorted(first.partitions)[0]
    await first.live.release(f"followers.test.{held}", "a")
    assert await first.live.acquire(f"followers.test.{held}", "a_stranger", 2)
    await eventually(lambda: held not in first.partitions)
    await eventually(lambda: held in first.partitions)  # the stranger's lease has ended
    await world.tell(first.log, [make_event(room, 1) for room in ROOMS])
    await eventually(lambda: world.is_done(ROOMS, 1))


async def test_what_waits_is_measured(world: World) -> None:
    released = asyncio.Event()

    async def wait(event: Event) -> None:
        await released.wait()

    world.on_handle = wait
    world.clock = lambda: 0.0  # a lease that ends on a slow machine has an event handled once more
    process = await world.start("a")
    await world.tell(process.log, [make_event(ROOM, seq) for seq in range(1, 11)])

    def behind() -> bool:
        process.durable.measure()
        return value("events_behind") == 10 and value("oldest_seconds") > 0

    await eventually(behind)
    assert value("partitions") == len(process.partitions)
    handled = value("events_handled_total")
    released.set()
    await eventually(lambda: world.is_done([ROOM], 10))
    assert value("events_handled_total") == handled + 10

    def is_even() -> bool:
        process.durable.measure()
        return value("events_behind") == 0 and value("oldest_seconds") == 0

    await eventually(is_even)


class _SilentLive(EmbeddedLive):
    """A live part that says nothing any more about leases, while the test wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.speaks = asyncio.Event()
        self.speaks.set()

    async def acquire(self, name: str, holder: str, seconds: float) -> bool:
        await self.speaks.wait()
        return await super().acquire(name, holder, seconds)


async def test_who_can_not_renew_its_lease_handles_nothing_after_its_end(database: SqliteDatabase) -> None:
    log, live = EmbeddedLog(database), _SilentLive()
    world = World(database, lambda: (log, live))
    now = 0.0
    world.clock = lambda: now
    await world.start("a")
    await world.tell(log, [make_event(ROOM, 1)])
    await eventually(lambda: world.is_done([ROOM], 1))
    live.speaks.clear()
    now += shares.LEASE_SECONDS
    await world.tell(log, [make_event(ROOM, 2)])
    await asyncio.sleep(0.1)
    assert world.handled == [("a", ROOM, 1)], "somebody else may be handling it"
    live.speaks.set()
    await eventually(lambda: world.is_done([ROOM], 2))
    await world.close()
