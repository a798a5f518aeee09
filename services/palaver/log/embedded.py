"""The log of a single process: whoever publishes calls the live followers, in order, and that is all.

Nothing is kept: the events stand in the database, in the order in which they were committed, and durable followers
read them there. Chosen by `node.py` when no NATS is configured.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import NamedTuple

from palaver.database import CommitOrder, Stream
from palaver.log import Entry, Follow, OnEvent, OnGap, Reading
from palaver.log.followers import Followers, tell
from palaver.v1.event_pb2 import Event

# What a crash left is read at the next start without being published.
_LOOK_SECONDS = 5.0
_ROWS = 500
# What is published within so much is read together: durable followers are in no hurry, and of many messages they know
# what they do with most of them in less time than a look at the database takes.
_TOGETHER_SECONDS = 0.05
_APART_SECONDS = 0.25  # from look to look, while there is always something
_REMEMBERED_ROWS = 100  # a longer page is of somebody who is far behind, alone


class EmbeddedLog:
    """Delivers while `publish` runs. Nothing is lost on the way, so `on_gap` callbacks are never called."""

    losses = 0

    def __init__(self, database: CommitOrder) -> None:
        """`database`: where the events stand; not opened or closed here."""
        self._database = database
        self._followers = Followers()
        self._published: dict[str, asyncio.Event] = {}  # by kind of stream; of those that somebody waits for
        # By kind of stream: what was read last, and who is reading.
        self._pages: dict[str, _Page] = {}
        self._looking: dict[str, asyncio.Lock] = {}

    async def open(self) -> None:
        """Does nothing."""

    async def close(self) -> None:
        """Forgets every follower."""
        self._followers.clear()

    async def publish(self, events: Sequence[Event]) -> None:
        """Calls the followers of each event, one event after the other. What one raises is logged and counted."""
        for event in events:
            if (published := self._published.pop(event.stream_kind, None)) is not None:
                published.set()
        await self.show(events)

    async def show(self, events: Sequence[Event]) -> None:
        """Calls the followers, and no more: durable ones read the database."""
        followers = self._followers
        for event in events:
            direct = followers.of((event.stream_kind, event.stream_id))
            for on_event in direct:
                tell(on_event, event)
            if event.also_tell:
                for on_event in followers.told_of(event):
                    if on_event not in direct:
                        tell(on_event, event)

    async def follow(self, stream: Stream, on_event: OnEvent) -> Follow:
        """Follows from now on."""
        self._followers.add(stream, on_event)
        return _Follow(self._followers, stream, on_event)

    async def follow_all(self, streams: Sequence[Stream], on_event: OnEvent) -> list[Follow]:
        """Follows them from now on."""
        return [await self.follow(stream, on_event) for stream in streams]

    @property
    def is_lossless(self) -> bool:
        return True

    async def check_heard(self, seconds: float) -> None:
        """Returns at once: who follows has heard everything that was published."""

    def on_gap(self, callback: OnGap) -> None:
        """Does nothing: there are no gaps."""

    def list_partitions(self, kinds: Sequence[str]) -> list[str]:
        """One for each kind of stream."""
        return list(kinds)

    async def read(self, partition: str, position: str) -> Reading:
        """Reads events of this kind of stream, in the order of all commits."""
        return _Reading(self, partition, int(position or 0))

    def next_published(self, kind: str) -> asyncio.Event:
        """Set when something of this kind is published after now."""
        return self._published.setdefault(kind, asyncio.Event())

    async def read_page(self, kind: str, after: int) -> "_Page":
        """What was committed after this place. Followers at the same place share one look into the database."""
        async with self._looking.setdefault(kind, asyncio.Lock()):
            page = self._pages.get(kind)
            if page is None or page.after != after or page.place == after:
                published = self.next_published(kind)
                found, place = await self._database.list_committed(kind, after, _ROWS)
                page = _Page([Entry(event, str(at), event.at) for at, event in found], after, place, published)
                if place - after <= _REMEMBERED_ROWS:
                    self._pages[kind] = page
            return page


class _Page(NamedTuple):
    """What was read of one kind of stream: from after a place, up to another one."""

    entries: Sequence[Entry]
    after: int
    place: int
    published: asyncio.Event  # set: something was published since, which is not in it


class _Follow:
    __slots__ = ("_followers", "_on_event", "_stopped", "_stream")

    def __init__(self, followers: Followers, stream: Stream, on_event: OnEvent) -> None:
        self._followers = followers
        self._stream = stream
        self._on_event = on_event
        self._stopped = False

    async def stop(self) -> None:
        """Stops following; twice is once."""
        if not self._stopped:
            self._stopped = True
            self._followers.remove(self._stream, self._on_event)


class _Reading:
    """The place in the order of commits is the position."""

    def __init__(self, log: EmbeddedLog, kind: str, place: int) -> None:
        self._log = log
        self._kind = kind
        self._place = place
        self._published: asyncio.Event | None = None  # not set: nothing was published since what was read last
        self._looked_at = 0.0
        self.behind = 0

    @property
    def position(self) -> str:
        return str(self._place)

    async def read(self) -> Sequence[Entry]:
        """The next events, or none where only those of other kinds were committed; waits until there are some."""
        while True:
            if self._published is not None and not self.behind:
                await _wait(self._published, self._looked_at)
            before, self._looked_at = self._place, time.monotonic()
            page = await self._log.read_page(self._kind, before)
            self._place, self._published = page.place, page.published
            self.behind = 0 if self._place - before < _ROWS else 1
            if self._place > before:
                return page.entries

    async def close(self) -> None:
        """Nothing is left to close."""


async def _wait(published: asyncio.Event, looked_at: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            await published.wait()
            await asyncio.sleep(max(_TOGETHER_SECONDS, looked_at + _APART_SECONDS - time.monotonic()))
