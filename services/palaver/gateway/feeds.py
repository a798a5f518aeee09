"""The streams of one kind that this gateway follows: every event of each, once and in order, whatever the log loses.

A feed keeps a watermark. A lower event is dropped, a gap is fetched from the service that owns the streams, and
`compare` finds what nobody has told of. Whoever can write to NATS can tell of what never happened: two different events
with one seq, and one that the record doesn't have, are such, and what they hid is fetched. Owned by `fanout.Rooms`
(rooms) and `people.People` (users' own streams).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from prometheus_client import Counter, Histogram

from palaver.commit import now
from palaver.errors import PalaverError, Unavailable
from palaver.log import Follow
from palaver.node import Node
from palaver.v1.event_pb2 import Event

logger = logging.getLogger(__name__)

EVENT_AGE = Histogram(
    "palaver_event_age_seconds",
    "From an event's time to its fan-out",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
)
GAPS = Counter("palaver_event_gaps_total", "Times that missing events of a stream were asked for", ["stream_kind"])
REPAIRED = Counter(
    "palaver_events_repaired_total", "Events that the log did not bring, and that were fetched", ["stream_kind"]
)
DOUBTED = Counter(
    "palaver_events_doubted_total", "Events that were heard and that the record does not have so", ["stream_kind"]
)

BATCH = 1000
"""Streams whose heads are asked for in one call."""

_ATTEMPTS = 20
_FETCHES = 16  # calls for missing events at a time
_REPAIR_SECONDS = 5.0


class Feed:
    """One stream that is followed here."""

    __slots__ = ("command_id", "follow", "id", "repair", "seq", "wanted")

    def __init__(self, id: str) -> None:
        self.id = id
        self.seq: int | None = None  # the last event heard; None before the first
        self.command_id: tuple[int, str] = 0, ""  # of the last event that was told, with its seq
        self.follow: Follow | None = None
        self.repair: asyncio.Task[None] | None = None  # fetches what is missing
        self.wanted = 0  # the highest event known to exist meanwhile


F = TypeVar("F", bound=Feed)

GetHeads = Callable[[Sequence[str]], Awaitable[Sequence[int]]]
ListEvents = Callable[[str, int], Awaitable[Sequence[Event]]]


class Feeds(Generic[F]):
    """Watches over the feeds of one kind; `feeds` has those that are followed, by id, and is its owner's."""

    def __init__(
        self,
        node: Node,
        kind: str,
        feeds: Mapping[str, F],
        *,
        get_heads: GetHeads,
        list_events: ListEvents,
        on_event: Callable[[F, Event], None],
    ) -> None:
        """`get_heads` answers for several streams at once, `list_events` with what comes after a `seq`."""
        self._node = node
        self._kind = kind
        self._feeds = feeds
        self._get_heads = get_heads
        self._list_events = list_events
        self._on_event = on_event
        self._gaps = GAPS.labels(kind)
        self._repaired = REPAIRED.labels(kind)
        self._fetching = asyncio.Semaphore(_FETCHES)

    def hear(self, event: Event) -> None:
        """An event from the log."""
        feed = self._feeds.get(event.stream_id)
        if feed is None:
            return
        if feed.seq is not None:
            if event.seq <= feed.seq:
                if feed.command_id[0] == event.seq == feed.seq and feed.command_id[1] != event.command_id:
                    self._doubt(feed, event.seq - 1)
                    self._want(feed, event.seq)
                return
            if event.seq > feed.seq + 1 or feed.repair is not None:
                self._want(feed, event.seq)
                return
        feed.seq = event.seq
        feed.command_id = event.seq, event.command_id
        EVENT_AGE.observe((now() - event.at) / 1000)
        self._on_event(feed, event)

    async def compare(self, grace: float, ids: Iterable[str] | None = None) -> None:
        """Fetches what is missing of every feed, or of these; returns when it has come.

        What has been appended within the last `grace` seconds may still be on its way. Raises Unavailable.
        """
        chosen = self._feeds.values() if ids is None else filter(None, map(self._feeds.get, ids))
        feeds = [feed for feed in chosen if feed.seq is not None]
        behind: list[tuple[F, int]] = []
        for start in range(0, len(feeds), BATCH):
            part = feeds[start : start + BATCH]
            heard = [feed.seq or 0 for feed in part]
            heads = await self._get_heads([feed.id for feed in part])
            for feed, seq, head in zip(part, heard, heads, strict=True):
                if head < seq == feed.seq:
                    self._doubt(feed, head)
            behind += [(feed, head) for feed, head in zip(part, heads, strict=True) if head > (feed.seq or 0)]
        if not behind:
            return
        if grace:
            await asyncio.sleep(grace)
        if repairs := [self._want(feed, head) for feed, head in behind if head > (feed.seq or 0)]:
            await asyncio.wait(repairs, timeout=_REPAIR_SECONDS)
        if any(head > (feed.seq or 0) and self._feeds.get(feed.id) is feed for feed, head in behind):
            raise Unavailable("Missing events could not be fetched")

    def _doubt(self, feed: F, seq: int) -> None:
        """What was heard after this is not what the record has."""
        DOUBTED.labels(self._kind).inc()
        logger.error("%s %s: event %s, as it was told, is not in the record", self._kind, feed.id, feed.seq)
        feed.seq = seq
        feed.command_id = 0, ""

    def _want(self, feed: F, seq: int) -> "asyncio.Task[None]":
        """Fetches up to this event, if that is not under way."""
        feed.wanted = max(feed.wanted, seq)
        if feed.repair is None:
            feed.repair = self._node.spawn(self._repair(feed), f"repair {self._kind} {feed.id}")
        return feed.repair

    async def _repair(self, feed: F) -> None:
        """Fetches what is missing, in order, until nothing is."""
        try:
            attempt = 0
            while self._feeds.get(feed.id) is feed and (feed.seq or 0) < feed.wanted and attempt < _ATTEMPTS:
                events: Sequence[Event] = ()
                self._gaps.inc()
                try:
                    async with self._fetching:
                        events = await self._list_events(feed.id, feed.seq or 0)
                except PalaverError as error:
                    logger.warning("could not fetch the missing events of %s %s: %s", self._kind, feed.id, error)
                for event in events:
                    self._take(feed, event)
                if not events:
                    attempt += 1
                    await asyncio.sleep(min(0.05 * 2**attempt, 1))
        finally:
            feed.repair = None
            feed.wanted = 0

    def _take(self, feed: F, event: Event) -> None:
        if feed.seq is not None and event.seq != feed.seq + 1:
            return
        feed.seq = event.seq
        self._repaired.inc()
        try:
            self._on_event(feed, event)
        except Exception:
            logger.exception("a fetched event of %s %s could not be followed", self._kind, feed.id)
