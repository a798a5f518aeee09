"""A NATS that loses what it had, all of it or the end, loses no event for a durable follower."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import nats as nats_py
import pytest
import pytest_asyncio

from palaver.commit import Commits
from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from palaver.errors import Unavailable
from palaver.live.nats import NatsLive
from palaver.log import connection, durable, jetstream, reading, shares
from palaver.log.jetstream import JetStreamLog
from palaver.log.refill import Refill
from palaver.v1.event_pb2 import Event
from tests.log.durable import World, make_event
from tests.log.harness import room_event
from tests.servers import NatsServer, nats_server
from tests.waiting import eventually

pytestmark = pytest.mark.needs_servers

ROOMS = [Stream("room", f"room {number}") for number in range(10)]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (shares, durable):
        monkeypatch.setattr(module, "LEASE_SECONDS", 3.0)
    monkeypatch.setattr(durable, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(durable, "_SAVE_SECONDS", 0.05)
    monkeypatch.setattr(reading, "EXPIRES_SECONDS", 1.0)
    monkeypatch.setattr(connection, "RETRY_SECONDS", 0.1)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(store_dir=tmp_path / "nats") as server:
        yield server


class Teller:
    """A process that commits, tells and sweeps."""

    def __init__(self, world: World, server: NatsServer, name: str) -> None:
        self._world = world
        self.log = JetStreamLog(server.url, "work", world.database)
        self._live = NatsLive(server.url, "work")
        self._commits = Commits(world.database, self.log, self._live, node_id=name)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        await self.log.open()
        await self._live.open()
        self._tasks = [
            asyncio.create_task(self._commits.run_telling()),
            asyncio.create_task(self._commits.run_sweeping(every=0.3)),
        ]

    async def commit(self, *seqs: int) -> None:
        """Commits these events of every room, and tells of them."""
        events = [make_event(room, seq) for seq in seqs for room in ROOMS]
        await self._world.commit(events)
        self._commits.tell(events)

    async def close(self) -> None:
        await self._commits.close()
        await self._tasks[0]
        self._tasks[1].cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._live.close()
        await self.log.close()


@pytest_asyncio.fixture
async def world(server: NatsServer, database: SqliteDatabase) -> AsyncIterator[World]:
    world = World(database, lambda: (JetStreamLog(server.url, "work", database), NatsLive(server.url, "work")))
    yield world
    await world.close()


@pytest_asyncio.fixture
async def teller(world: World, server: NatsServer) -> AsyncIterator[Teller]:
    teller = Teller(world, server, "teller")
    await teller.open()
    yield teller
    await teller.close()


async def _restart_without(server: NatsServer, store: Path) -> None:
    """Starts the server again with this store instead of its own."""
    await server.kill()
    shutil.rmtree(server.store_dir)
    if store.exists():
        shutil.copytree(store, server.store_dir)
    await server.start()


async def test_a_wiped_jetstream_loses_no_event(
    world: World, teller: Teller, server: NatsServer, tmp_path: Path
) -> None:
    await world.start("a")
    await teller.commit(1, 2, 3)
    await eventually(lambda: world.is_done(ROOMS, 3))
    await server.kill()
    shutil.rmtree(server.store_dir)
    await teller.commit(4, 5)
    await server.start()
    await teller.commit(6)
    await eventually(lambda: world.is_done(ROOMS, 6), seconds=30)
    await teller.commit(7)
    await eventually(lambda: world.is_done(ROOMS, 7), seconds=30)


async def test_what_was_published_and_not_read_comes_again(
    world: World, teller: Teller, server: NatsServer, tmp_path: Path
) -> None:
    heard: list[Event] = []
    await teller.log.follow(ROOMS[0], heard.append)
    first = await world.start("a")
    await teller.commit(1)
    await eventually(lambda: world.is_done(ROOMS, 1))
    await first.stop()
    await teller.commit(2, 3)
    await eventually(lambda: {event.seq for event in heard} == {1, 2, 3})
    async with asyncio.timeout(30):
        while await world.database.list_unpublished(1 << 62):
            await asyncio.sleep(0.05)
    told = len(heard)  # some twice, where the sweeper found them before they were marked
    await _restart_without(server, tmp_path / "nothing")
    await world.start("b")
    await eventually(lambda: world.is_done(ROOMS, 3), seconds=30)
    await teller.commit(4)
    await eventually(lambda: world.is_done(ROOMS, 4) and heard[-1].seq == 4, seconds=30)
    # Who follows live is not told again what they have heard.
    assert {event.seq for event in heard[told:]} == {4}


async def test_a_lost_tail_comes_again(world: World, teller: Teller, server: NatsServer, tmp_path: Path) -> None:
    """What a power failure leaves: the end of what JetStream had acknowledged is gone."""
    first = await world.start("a")
    await teller.commit(1, 2)
    await eventually(lambda: world.is_done(ROOMS, 2))
    await server.stop()
    shutil.copytree(server.store_dir, tmp_path / "before")
    await server.start()
    await teller.commit(3)
    await eventually(lambda: world.is_done(ROOMS, 3), seconds=30)
    await first.stop()
    await teller.commit(4, 5)
    async with asyncio.timeout(30):
        while await world.database.list_unpublished(1 << 62):
            await asyncio.sleep(0.05)
    await _restart_without(server, tmp_path / "before")
    await teller.commit(6)
    await world.start("b")
    await eventually(lambda: world.is_done(ROOMS, 6), seconds=30)


async def test_streams_that_were_deleted_are_filled_again(world: World, teller: Teller, server: NatsServer) -> None:
    """By hand, under running processes: nobody's connection is lost."""
    await world.start("a")
    await teller.commit(1, 2)
    await eventually(lambda: world.is_done(ROOMS, 2))
    client = await nats_py.connect(server.url)
    await client.jetstream().delete_stream("palaver_work_rooms")
    await client.close()
    await teller.commit(3, 4)
    await eventually(lambda: all(set(world.effects[room]) == {1, 2, 3, 4} for room in ROOMS), seconds=30)


async def test_what_another_process_left_is_told_before_what_follows(world: World, teller: Teller) -> None:
    heard: list[Event] = []
    await teller.log.follow(ROOMS[0], heard.append)
    await world.commit([make_event(room, seq) for seq in (1, 2) for room in ROOMS])  # and died
    await teller.commit(3)
    await world.start("a")
    await eventually(lambda: world.is_done(ROOMS, 3))
    await eventually(lambda: any(event.seq == 3 for event in heard))
    assert list(dict.fromkeys(event.seq for event in heard)) == [1, 2, 3]


async def test_what_is_no_event_is_passed_over(world: World, teller: Teller, server: NatsServer) -> None:
    await world.start("a")
    client = await nats_py.connect(server.url)
    jetstream = client.jetstream()
    ours = {"Palaver-Event": "1"}
    late, misplaced = (make_event(room, 9).SerializeToString() for room in ROOMS[:2])
    subject = "palaver.work.room.room_200"
    await jetstream.publish(subject, b"hello")
    await jetstream.publish(subject, late, headers={"Palaver-Event": "2"})
    await jetstream.publish(subject, b"\xff\xff", headers=ours)
    await jetstream.publish(subject, misplaced, headers=ours)
    await client.close()
    await teller.commit(1)
    await eventually(lambda: world.is_done(ROOMS, 1))
    assert len(world.handled) == len(ROOMS)


async def test_an_event_that_nats_does_not_carry_is_handled(tmp_path: Path, database: SqliteDatabase) -> None:
    async with nats_server(config=["max_payload: 4096"]) as server:
        world = World(database, lambda: (JetStreamLog(server.url, "work", database), NatsLive(server.url, "work")))
        process = await world.start("a")
        room = ROOMS[0]
        await world.tell(process.log, [make_event(room, 1), make_event(room, 2, size=3000), make_event(room, 3)])
        large = make_event(room, 4)
        large.command_id = "x" * 5000
        await world.tell(process.log, [large, make_event(room, 5)])
        await eventually(lambda: world.is_done([room], 5))
        await world.close()


async def test_what_the_log_never_had_is_read_from_the_database(world: World, teller: Teller) -> None:
    """A gap in a stream, whatever it came of."""
    await world.start("a")
    await teller.commit(1)
    await eventually(lambda: world.is_done(ROOMS, 1))
    events = [make_event(room, 2) for room in ROOMS]
    await world.commit(events)
    await world.database.mark_published(events)
    await teller.commit(3)
    await eventually(lambda: world.is_done(ROOMS, 3))


async def test_a_refill_that_takes_long_is_not_begun_anew_and_holds_up_nobody(
    server: NatsServer, database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream, "_DECLARE_SECONDS", 0.05)
    begun, go_on = 0, asyncio.Event()

    async def mark_slowly(self: Refill) -> None:
        nonlocal begun
        begun += 1
        await go_on.wait()

    log = JetStreamLog(server.url, "work", database)
    await log.open()
    monkeypatch.setattr(Refill, "mark", mark_slowly)
    log._declared = -1
    client = await nats_py.connect(server.url)
    await client.jetstream().delete_stream("palaver_work_rooms")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await log.publish([room_event(1)])
    assert begun == 1
    go_on.set()
    await eventually(lambda: log._declaring is None)
    await log.publish([room_event(1)])
    await client.close()
    await log.close()
