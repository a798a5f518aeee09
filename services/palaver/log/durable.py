"""Durable followers: each event of the streams that one follows is handled at least once, in its stream's order.

A follower has a name that never changes, and a handler that bears an event twice. Its streams are parted
(`Log.list_partitions`), and each partition is worked on by one process at a time (`shares.py`). The database keeps how
far each partition is handled; that is written after the effect, at most once a second, so a crash repeats a second's
events and loses none.

A handler that raises is called again, after longer and longer pauses; after some attempts the event becomes a dead
letter (`dead_letters.py`) and the follower goes on, with that stream too. `Unavailable` says nothing about the event:
it is tried again until it works. Events of one stream are handled one after another, those of different streams at
the same time.

A follower that shall handle facts that it has passed over until now takes another name: then it begins anew.

Owned by the role whose follower it is; run by its node.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client import Counter, Gauge

from palaver.clock import elapsed
from palaver.database import Database, Stream
from palaver.errors import Unavailable
from palaver.live import Live
from palaver.log import Entry, Log, Reading
from palaver.log.dead_letters import DeadLetterNotFound, DeadLetters
from palaver.log.positions import Positions, Progress
from palaver.log.shares import LEASE_SECONDS, Shares
from palaver.telemetry import request_id, resumed_span
from palaver.v1.event_pb2 import Event

T = TypeVar("T")
logger = logging.getLogger(__name__)

HANDLED = Counter("palaver_follower_events_handled_total", "Events that a durable follower has handled", ["follower"])
REPEATED = Counter(
    "palaver_follower_events_repeated_total", "Events that came again and were handled already", ["follower"]
)
RETRIED = Counter("palaver_follower_events_retried_total", "Handlings that failed and were tried again", ["follower"])
DEAD = Counter("palaver_follower_events_dead_total", "Events that have become dead letters", ["follower"])
MISSED = Counter(
    "palaver_follower_events_missed_total", "Events that the log did not have; read from the database", ["follower"]
)
PARTITIONS = Gauge("palaver_follower_partitions", "Partitions of a follower that this process works on", ["follower"])
BEHIND = Gauge("palaver_follower_events_behind", "Events that wait for a follower in this process", ["follower"])
OLDEST = Gauge(
    "palaver_follower_oldest_seconds", "How long ago the oldest of those that are under way was published", ["follower"]
)

ATTEMPTS = 6
FIRST_PAUSE = 0.2  # seconds; four times longer after each attempt
LONGEST_PAUSE = 15.0
# A handler has its own timeouts; this one is for a handler that hangs.
HANDLE_SECONDS = 600.0

_SAVE_SECONDS = 1.0
_IDLE_SAVE_SECONDS = 60.0
_AT_ONCE = 16
_MAX_SEEN = 8192
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Follower:
    """Who follows, and what. `name` is a word; `kinds` of streams; `facts` that it handles: others are passed over.

    `concerns` may say that one of these is passed over, too. It is asked of every message of the workspace, so it takes
    next to no time, and it raises nothing.
    """

    name: str
    kinds: tuple[str, ...]
    facts: frozenset[str]
    handle: Callable[[Event], Awaitable[None]]
    concerns: Callable[[Event], bool] = lambda event: True


@dataclass(slots=True)
class _Work:
    """One partition, while this process works on it."""

    partition: str
    saved: Progress
    position: str = ""
    at: int = 0  # everything that was published before (epoch ms) is handled
    saved_at: float = 0.0
    has_handled: bool = False  # something since it was saved
    behind: int = 0
    oldest_at: int = 0  # of what is being handled; 0: nothing is
    # From which to which seq each stream was handled here, without a gap: the latest streams.
    seen: OrderedDict[Stream, tuple[int, int]] = field(default_factory=OrderedDict)


class DurableFollower:
    """One follower in one process."""

    def __init__(
        self,
        follower: Follower,
        database: Database,
        log: Log,
        live: Live,
        *,
        node_id: str,
        clock: Callable[[], float] = elapsed,
    ) -> None:
        """`clock` counts the seconds of leases; tests pass their own."""
        self._follower = follower
        self._database = database
        self._log = log
        self._letters = DeadLetters(database)
        self._positions = Positions(database)
        self._shares = Shares(follower.name, node_id, live, clock)
        self._partitions = log.list_partitions(follower.kinds)
        self._working: dict[str, tuple[_Work, asyncio.Task[None]]] = {}
        self._replaying: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()

    async def run(self) -> None:
        """The background task: takes partitions and gives them back as processes come and go. Runs until `stop`."""
        self._ended.clear()
        try:
            while not self._stopping.is_set():
                try:
                    await self._settle()
                except Unavailable as error:
                    logger.warning("follower %s: its share is not known: %s", self._follower.name, error)
                self.measure()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LEASE_SECONDS / 3):
                        await self._stopping.wait()
        finally:
            await self._give_back()
            self._ended.set()

    async def stop(self) -> None:
        """Stops at once, between two of a handler's waits, and lets others go on."""
        self._stopping.set()
        await self._ended.wait()

    def measure(self) -> None:
        """Sets the gauges."""
        name = self._follower.name
        works = [work for work, _ in self._working.values()]
        PARTITIONS.labels(name).set(len(works))
        BEHIND.labels(name).set(sum(work.behind for work in works))
        oldest = min((work.oldest_at for work in works if work.oldest_at), default=0)
        OLDEST.labels(name).set(max(0, _now() - oldest) / 1000 if oldest else 0)

    # -- partitions ----------------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Gives back what others are due for, keeps what is held, takes what is due."""
        for partition, (_, task) in list(self._working.items()):
            if task.done():
                del self._working[partition]
                task.result()  # an error of ours: the node stops with it
            if not self._shares.is_held(partition):
                await self._stop_work(partition)  # somebody else may have worked on it since: begun anew, if at all
        # All at once: a NATS that says nothing lets each of them wait.
        held = list(self._working)
        for partition, is_taken in zip(held, await asyncio.gather(*map(self._shares.take, held)), strict=True):
            if not is_taken:
                await self._stop_work(partition)
        due = await self._shares.list_due(self._partitions)
        for partition in list(self._working):
            if partition not in due:
                await self._stop_work(partition)
        for partition in due - self._working.keys():
            if await self._shares.take(partition):
                await self._start_work(partition)
        if self._partitions[0] in self._working and (self._replaying is None or self._replaying.done()):
            if self._replaying is not None:
                self._replaying.result()
            self._replaying = asyncio.create_task(self._replay(), name=f"replays of {self._follower.name}")

    async def _start_work(self, partition: str) -> None:
        progress = await self._positions.find(self._follower.name, partition)
        if progress is None:  # from now on, what the log loses is told again to this follower, too
            progress = Progress("", 0)
            await self._positions.put(self._follower.name, partition, progress)
        work = _Work(partition, progress, progress.position, progress.at)
        work.saved_at = time.monotonic()
        task = asyncio.create_task(self._work(work), name=f"{self._follower.name} {partition}")
        self._working[partition] = work, task

    async def _stop_work(self, partition: str) -> None:
        work, task = self._working.pop(partition)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            if self._shares.is_held(partition):
                await self._save(work)
                await self._shares.release(partition)
        except Unavailable as error:
            logger.warning("follower %s: %s is given up without a word: %s", self._follower.name, partition, error)

    async def _give_back(self) -> None:
        if self._replaying is not None:
            self._replaying.cancel()
            await asyncio.gather(self._replaying, return_exceptions=True)
        for partition in list(self._working):
            await self._stop_work(partition)
        with contextlib.suppress(Unavailable):
            await self._shares.leave()
        self.measure()

    async def _save(self, work: _Work) -> None:
        work.saved_at = time.monotonic()
        progress = Progress(work.position, work.at)
        if work.saved != progress:
            await self._positions.put(self._follower.name, work.partition, progress)
            work.saved = progress
        work.has_handled = False

    # -- one partition -------------------------------------------------------------------------------------------------

    async def _work(self, work: _Work) -> None:
        while True:
            try:
                reading = await self._log.read(work.partition, work.position)
                try:
                    while True:
                        await self._work_on(work, reading)
                finally:
                    await reading.close()
            except Unavailable as error:
                logger.warning("follower %s: %s has to wait: %s", self._follower.name, work.partition, error)
            await asyncio.sleep(FIRST_PAUSE)

    async def _work_on(self, work: _Work, reading: Reading) -> None:
        entries = await reading.read()
        asked = _now()
        if entries:
            work.oldest_at, work.behind = entries[0].published_at, len(entries) + reading.behind
            await self._handle_all(work, entries)
            await self._wait_until_held(work)
        work.position = reading.position
        work.at = entries[-1].published_at if entries else asked
        work.oldest_at, work.behind = 0, reading.behind
        if time.monotonic() - work.saved_at >= (_SAVE_SECONDS if work.has_handled else _IDLE_SAVE_SECONDS):
            await self._save(work)

    async def _wait_until_held(self, work: _Work) -> None:
        """While somebody else may be working on the partition, nothing is: `_settle` ends this work, or it goes on."""
        while not self._shares.is_held(work.partition):  # noqa: ASYNC110 - for a clock
            await asyncio.sleep(FIRST_PAUSE)

    async def _handle_all(self, work: _Work, entries: Sequence[Entry]) -> None:
        streams: dict[Stream, list[Event]] = {}
        for entry in entries:
            event = entry.event
            streams.setdefault(Stream(event.stream_kind, event.stream_id), []).append(event)
        if len(streams) == 1:
            for stream, events in streams.items():
                await self._handle_stream(work, stream, events)
            return
        slots = asyncio.Semaphore(_AT_ONCE)

        async def handle(stream: Stream, events: list[Event]) -> None:
            async with slots:
                await self._handle_stream(work, stream, events)

        async with asyncio.TaskGroup() as group:
            for stream, events in streams.items():
                group.create_task(handle(stream, events))

    async def _handle_stream(self, work: _Work, stream: Stream, events: Sequence[Event]) -> None:
        for event in events:
            first, last = work.seen.pop(stream, (event.seq, event.seq - 1))
            if event.seq > last + 1:
                await self._handle_missed(work, stream, last, event.seq)
            if first <= event.seq <= last:
                REPEATED.labels(self._follower.name).inc()
            else:
                await self._handle(work, event)
            if event.seq == first - 1 or event.seq > last:
                first, last = min(first, event.seq), max(last, event.seq)
            work.seen[stream] = first, last
            work.behind -= 1
        while len(work.seen) > _MAX_SEEN:
            work.seen.popitem(last=False)

    async def _handle_missed(self, work: _Work, stream: Stream, after: int, before: int) -> None:
        """Events between two that came one after the other: the log has lost them, the database has them."""
        while after + 1 < before:
            limit = min(_PAGE, before - after - 1)
            missed = await self._persist(lambda seq=after, n=limit: self._database.list_events(stream, seq, n))  # type: ignore[misc]
            if not missed:
                logger.error("%s has no events from %d to %d", stream, after + 1, before - 1)
                return
            MISSED.labels(self._follower.name).inc(len(missed))
            for event in missed:
                await self._handle(work, event)
            after = missed[-1].seq

    # -- one event -----------------------------------------------------------------------------------------------------

    async def _handle(self, work: _Work, event: Event) -> None:
        if event.WhichOneof("fact") not in self._follower.facts or not self._follower.concerns(event):
            return
        await self._wait_until_held(work)
        work.has_handled = True
        error = await self._try(event)
        if error is not None:
            await self._persist(lambda: self._bury(event, error, ATTEMPTS))

    async def _try(self, event: Event) -> Exception | None:
        """Handles an event. Returns what its handler raised at the last attempt, or None."""
        name = self._follower.name
        attempts, pause = 0, FIRST_PAUSE
        request_id.set(event.request_id or "-")
        while True:
            try:
                with resumed_span("event", "consumer", (event.trace,)):
                    async with asyncio.timeout(HANDLE_SECONDS):
                        await self._follower.handle(event)
                HANDLED.labels(name).inc()
                return None
            except Unavailable as error:
                logger.warning("follower %s waits with %s: %s", name, _shown(event), error)
            except Exception as error:
                attempts += 1
                if attempts == ATTEMPTS:
                    return error
                logger.warning("follower %s failed on %s, attempt %d: %r", name, _shown(event), attempts, error)
            RETRIED.labels(name).inc()
            await asyncio.sleep(pause)
            pause = min(pause * 4, LONGEST_PAUSE)

    async def _bury(self, event: Event, error: Exception, attempts: int) -> None:
        id = await self._letters.bury(self._follower.name, event, error, attempts, _now())
        DEAD.labels(self._follower.name).inc()
        logger.error(
            "follower %s can't handle %s: dead letter %s", self._follower.name, _shown(event), id, exc_info=error
        )

    async def _persist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does something of the database's until it answers."""
        pause = FIRST_PAUSE
        while True:
            try:
                return await work()
            except Unavailable as error:
                logger.warning("follower %s waits for the database: %s", self._follower.name, error)
            await asyncio.sleep(pause)
            pause = min(pause * 4, LONGEST_PAUSE)

    # -- dead letters --------------------------------------------------------------------------------------------------

    async def _replay(self) -> None:
        """Handles the dead letters once more that somebody has asked for."""
        try:
            for id in await self._letters.list_replays(self._follower.name):
                await self._replay_one(id)
        except Unavailable as error:
            logger.warning("follower %s: replays have to wait: %s", self._follower.name, error)

    async def _replay_one(self, id: str) -> None:
        try:
            event = await self._letters.get_event(await self._letters.get(id))
        except DeadLetterNotFound as error:
            logger.warning("a replay is not possible: %s", error)
            await self._letters.end_replay(id)
            return
        try:
            async with asyncio.timeout(HANDLE_SECONDS):
                await self._follower.handle(event)
        except Unavailable:
            raise
        except Exception as error:
            await self._bury(event, error, 1)
            await self._letters.end_replay(id)
        else:
            HANDLED.labels(self._follower.name).inc()
            await self._letters.drop(id)
            logger.info("dead letter %s is handled", id)


def _shown(event: Event) -> str:
    return f"event {event.seq} ({event.WhichOneof('fact')}) of {event.stream_kind}/{event.stream_id}"


def _now() -> int:
    return time.time_ns() // 1_000_000
