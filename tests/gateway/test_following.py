"""When a gateway believes what it heard, on a clock of the test's own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.access import USERS_CHANGED
from palaver.blobs.files import FileBlobs
from palaver.database.sqlite import SqliteDatabase
from palaver.errors import Unavailable
from palaver.gateway import following
from palaver.gateway.following import Following
from palaver.live.embedded import EmbeddedLive
from palaver.log import OnGap
from palaver.log.embedded import EmbeddedLog
from palaver.node import Node
from tests.log.harness import NothingCommitted
from tests.services import make_config
from tests.waiting import eventually


class LossyLog(EmbeddedLog):
    """A log that answers or does not, and says that it has lost something when the test wants it."""

    is_lossless = False

    def __init__(self) -> None:
        super().__init__(NothingCommitted())
        self.answers = True
        self.proofs = 0
        self.lose: OnGap = lambda: None

    async def check_heard(self, seconds: float) -> None:
        self.proofs += 1
        if not self.answers:
            raise Unavailable

    def on_gap(self, callback: OnGap) -> None:
        self.lose = callback


class Followed:
    """Rooms or people: what is compared, and whether its service answers."""

    def __init__(self) -> None:
        self.answers = True
        self.compared = 0
        self.seconds = 0.0  # that a comparison takes
        self.changed: list[set[str]] = []

    def find(self, user_id: str) -> object:
        """Everybody but Zoe is here."""
        return None if user_id == "zoe" else self

    async def compare(self, grace: float, ids: set[str] | None = None) -> None:
        if not self.answers:
            raise Unavailable
        if ids is not None:
            self.changed.append(ids)
            return
        await asyncio.sleep(self.seconds)
        self.compared += 1

    async def find_joins(self) -> None:
        """Nobody has joined anything."""


class World:
    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.log, self.rooms, self.people = LossyLog(), Followed(), Followed()
        database, blobs = SqliteDatabase(folder / "unused.db"), FileBlobs(folder / "unused")
        self.node = Node(make_config(folder), database, self.log, EmbeddedLive(), blobs)
        self.following = Following(self.node, self.rooms, self.people, lambda: self.now)  # type: ignore[arg-type]

    async def proofs(self, count: int = 2) -> None:
        """Returns after so many more round trips, answered or not."""
        wanted = self.log.proofs + count
        await eventually(lambda: self.log.proofs >= wanted)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    # The clock of the test stands still, so a tick is the shortest pause.
    monkeypatch.setattr(following, "TICK_SECONDS", 0.01)
    world = World(tmp_path)
    await world.following.open()
    yield world
    tasks = list(world.node._tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_round_trips_keep_the_trust(world: World) -> None:
    for _ in range(3):
        await world.proofs()
        world.now += 2.9
        assert world.following.is_current
    assert world.people.compared == 0


async def test_a_process_that_stood_still_believes_nothing(world: World) -> None:
    await world.proofs()
    world.now += 3.1
    assert not world.following.is_current
    await eventually(lambda: world.following.is_current)
    assert world.people.compared == 1


async def test_without_the_log_comparisons_keep_the_trust(world: World) -> None:
    world.log.answers = False
    for _ in range(3):
        world.rooms.compared = 0
        await eventually(lambda: world.rooms.compared > 1)
        world.now += 2
        assert world.following.is_current


async def test_without_both_nothing_is_believed(world: World) -> None:
    world.log.answers = world.people.answers = False
    await world.proofs()
    world.now += 3.1
    await world.proofs()
    assert not world.following.is_current
    assert world.rooms.compared == 0
    world.log.answers = True
    await world.proofs()
    assert not world.following.is_current, "what was lost meanwhile has not been looked for"
    world.people.answers = True
    await eventually(lambda: world.following.is_current)
    await eventually(lambda: world.rooms.compared)


async def test_after_a_loss_a_round_trip_proves_nothing_until_all_is_compared(world: World) -> None:
    world.people.answers = False
    world.log.lose()
    world.now += 2.9
    await world.proofs(3)
    world.now += 0.2
    assert not world.following.is_current
    world.people.answers = True
    await eventually(lambda: world.following.is_current)


async def test_rooms_that_can_not_be_compared_are_tried_again(world: World) -> None:
    world.rooms.answers = False
    world.log.lose()
    await eventually(lambda: world.people.compared > 1)
    assert world.following.is_current
    world.rooms.answers = True
    await eventually(lambda: world.rooms.compared)


async def test_a_log_that_loses_nothing_needs_no_proof(tmp_path: Path) -> None:
    database, blobs = SqliteDatabase(tmp_path / "unused.db"), FileBlobs(tmp_path / "unused")
    node = Node(make_config(tmp_path), database, EmbeddedLog(database), EmbeddedLive(), blobs)
    now = 0.0
    always = Following(node, Followed(), Followed(), lambda: now)  # type: ignore[arg-type]
    await always.open()
    now = 1e9
    assert always.is_current
    assert not node._tasks


async def test_a_comparison_that_takes_long_is_not_begun_anew(world: World) -> None:
    world.people.seconds = 2.5
    world.log.lose()
    world.now += 3.1
    await eventually(lambda: world.following.is_current)
    assert world.people.compared == 1


async def test_comparisons_leave_their_services_as_much_time_as_they_take(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.log.answers = False
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(min(seconds, 0.001))

    monkeypatch.setattr(asyncio, "sleep", note)
    compare = world.rooms.compare

    async def take_long(grace: float) -> None:
        world.now += 40
        await compare(grace)

    monkeypatch.setattr(world.rooms, "compare", take_long)
    await eventually(lambda: world.rooms.compared > 3)
    assert sum(30 < seconds < 50 for seconds in slept) >= 3


@pytest.mark.parametrize("turns", range(5))
async def test_it_ends_when_it_is_asked_to_even_if_it_is_woken_then(world: World, turns: int) -> None:
    await world.proofs()
    (comparing,) = (task for task in world.node._tasks if task.get_name() == "comparing with the record")
    world.log.lose()
    for _ in range(turns):
        await asyncio.sleep(0)
    comparing.cancel()
    assert await asyncio.wait([comparing], timeout=5) == ({comparing}, set())


async def test_who_is_said_to_have_changed_is_compared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_GRACE_SECONDS", 0.05)
    for user_id in (b"alice", b"bob", b"zoe", b"\xff"):
        await world.node.live.publish(USERS_CHANGED, user_id)
    await eventually(lambda: world.people.changed)
    await world.node.live.publish(USERS_CHANGED, b"alice")
    await eventually(lambda: len(world.people.changed) == 2)
    assert world.people.changed == [{"alice", "bob", "\ufffd"}, {"alice"}]
    assert world.people.compared == 0
    world.people.answers = False
    await world.node.live.publish(USERS_CHANGED, b"alice")
    await asyncio.sleep(0.1)
    world.people.answers = True
    await eventually(lambda: world.people.compared)
