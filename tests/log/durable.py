"""Processes with durable followers over one record and one log, for the tests of both adapters."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from palaver.database import Database, Stream
from palaver.live import Live
from palaver.log import Log
from palaver.log.durable import DurableFollower, Follower
from palaver.v1.event_pb2 import Event

FACTS = frozenset({"room_deleted"})


def make_event(stream: Stream, seq: int, *, size: int = 0) -> Event:
    """An event that the follower of these tests handles."""
    event = Event(stream_kind=stream.kind, stream_id=stream.id, seq=seq, command_id=f"c{seq}", at=1000 + seq)
    if size:
        event.also_tell.append("x" * size)
    event.room_deleted.SetInParent()
    return event


class World:
    """The record, and what everybody's handlers have done."""

    def __init__(self, database: Database, connect: Callable[[], tuple[Log, Live]]) -> None:
        """`connect` makes the log and the live part of one more process, not opened yet."""
        self.database = database
        self._connect = connect
        self.handled: list[tuple[str, Stream, int]] = []  # by whom
        self.passed_over: set[int] = set()  # events of these numbers concern nobody
        self.effects: dict[Stream, list[int]] = {}  # each event's first handling
        self.on_handle: Callable[[Event], Awaitable[None]] | None = None
        self.processes: list[Process] = []
        self.clock: Callable[[], float] = time.monotonic  # of leases

    async def start(self, name: str, *kinds: str) -> "Process":
        """One more process that plays the follower."""
        log, live = self._connect()
        process = Process(self, name, log, live, kinds or ("room",))
        self.processes.append(process)
        await process.start()
        return process

    async def handle(self, by: str, event: Event) -> None:
        if self.on_handle is not None:
            await self.on_handle(event)
        stream = Stream(event.stream_kind, event.stream_id)
        self.handled.append((by, stream, event.seq))
        effects = self.effects.setdefault(stream, [])
        if event.seq not in effects:
            effects.append(event.seq)

    async def commit(self, events: Sequence[Event]) -> None:
        """Appends events to the record, and tells nobody."""
        streams: dict[Stream, list[Event]] = {}
        for event in events:
            streams.setdefault(Stream(event.stream_kind, event.stream_id), []).append(event)
        for stream, own in streams.items():
            await self.database.commit(stream, own, [[] for _ in own])

    async def tell(self, log: Log, events: Sequence[Event]) -> None:
        """Commits, publishes and marks."""
        await self.commit(events)
        await log.publish(events)
        await self.database.mark_published(events)

    def is_done(self, streams: Sequence[Stream], last: int) -> bool:
        """Whether each of these was handled up to its last event, without a gap and in order."""
        return all(self.effects.get(stream) == list(range(1, last + 1)) for stream in streams)

    async def close(self) -> None:
        for process in self.processes:
            await process.stop()


class Process:
    """One process. `stop` ends it in order; `kill` as a power failure would: it says nothing to anybody."""

    def __init__(self, world: World, name: str, log: Log, live: Live, kinds: tuple[str, ...]) -> None:
        self.name = name
        self.log = log
        self.live = live

        async def handle(event: Event) -> None:
            await world.handle(name, event)

        self._follower = Follower("test", kinds, FACTS, handle, lambda event: event.seq not in world.passed_over)
        self.durable = DurableFollower(self._follower, world.database, log, live, node_id=name, clock=world.clock)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.log.open()
        await self.live.open()
        self._task = asyncio.create_task(self.durable.run(), name=f"follower of {self.name}")

    @property
    def partitions(self) -> set[str]:
        return set(self.durable._working)

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        await self.durable.stop()
        await task
        await self.live.close()
        await self.log.close()

    async def kill(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        works: list[asyncio.Task[Any]] = [work for _, work in self.durable._working.values()]
        self.durable._working.clear()  # nothing is given back
        self.durable._shares.leave = _nothing  # type: ignore[method-assign]
        for one in (*works, task):
            one.cancel()
        await asyncio.gather(*works, task, return_exceptions=True)
        await self.live.close()
        await self.log.close()


async def _nothing() -> None:
    """What a dead process says."""
