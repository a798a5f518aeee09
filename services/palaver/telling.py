"""Telling: what this process has committed goes to the log, in each stream's order, and is marked as published.

The log gets an event only after all earlier ones of its stream, whoever committed those: so a durable follower meets
each for the first time in its place. What the log does not store, or stores slowly, is shown all the same to those who
are connected: only durable followers wait. Owned by `commit.py`; nobody else calls it.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

from palaver import failpoints
from palaver.database import Database, Stream
from palaver.errors import Unavailable
from palaver.events import event_id, stream_of
from palaver.log import Log
from palaver.telemetry import resumed_span
from palaver.v1.event_pb2 import Event

logger = logging.getLogger(__name__)

UNTOLD = Gauge("palaver_events_untold", "Events committed by this process and not yet taken by the log")
OUTBOX_AGE = Gauge("palaver_outbox_age_seconds", "How long the oldest of the untold events of this process waits")
PUBLISH_SECONDS = Histogram(
    "palaver_log_publish_seconds",
    "Time until the log has taken one batch of events",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
PUBLISH_FAILURES = Counter("palaver_log_publish_failures_total", "Batches that the log did not take; the sweeper will")
SHOWN = Counter("palaver_events_shown_total", "Events shown to who is connected, while the log does not store them")
SWEPT = Counter("palaver_events_swept_total", "Events that the sweeper projected or published for somebody", ["what"])

_MAX_TOLD = 8192
_EARLIER_AT_ONCE = 1000
_MARK_SECONDS = 0.1
_SHOW_SECONDS = 0.5
"""Who is connected waits for the log no longer than twice this."""
_PAUSE_SECONDS = 1.0
"""After a failure: until the log is asked again."""


class Telling:
    """The way of this process's events from their commit to the log."""

    def __init__(self, database: Database, log: Log) -> None:
        self._database = database
        self._log = log
        self._losses = log.losses
        self._untold: list[Event] = []
        self._untold_since = 0.0  # when the first of them was committed
        self._publishing: Sequence[Event] = ()  # those that are with the log …
        self._publishing_since = 0.0  # … and since when they are untold
        self._come = self._shown = 0  # how many events have come, and how many of these need no showing any more
        self._asked_again_at = 0.0  # after a failure
        self._unmarked: dict[str, Event] = {}  # by event_id
        # The last event of a stream that the log has taken from here, unless it may have lost something since.
        self._told: OrderedDict[Stream, int] = OrderedDict()
        self._wake = asyncio.Event()
        self._all_told = False  # nothing comes after what is untold now

    def tell(self, events: Sequence[Event]) -> None:
        """Hands committed events to the log, in order; returns at once."""
        if not self._untold:
            self._untold_since = time.monotonic()
        self._untold.extend(events)
        self._come += len(events)
        self._wake.set()

    def close(self) -> None:
        """Nothing comes any more; `run` ends after the last event."""
        self._all_told = True
        self._wake.set()

    def measure(self) -> None:
        """Sets the gauges of what waits here."""
        since = self._publishing_since if self._publishing else self._untold_since
        UNTOLD.set(len(self._publishing) + len(self._untold))
        OUTBOX_AGE.set(time.monotonic() - since if self._publishing or self._untold else 0)

    async def run(self) -> None:
        """The background task that publishes what was committed, and marks it. Runs until `close`."""
        showing = asyncio.create_task(self._run_showing(), name="showing")
        try:
            await self._run()
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)

    async def _run(self) -> None:
        last_mark = time.monotonic()
        while self._untold or not self._all_told:
            if not self._untold:
                await self._wait(_MARK_SECONDS if self._unmarked else None)
            if self._untold and not self._all_told and (pause := self._asked_again_at - time.monotonic()) > 0:
                await self._show(self._come)
                await self._wait(pause)
                continue
            self._wake.clear()
            await asyncio.sleep(0)  # those whose commands these are go on first, whatever this has just waited for
            events, self._untold = self._untold, []
            if events:
                self._publishing, self._publishing_since = events, self._untold_since
                failpoints.reach("tell.before_publish")
                try:
                    traces = (event.trace for event in events)
                    with PUBLISH_SECONDS.time(), resumed_span("publish", "producer", traces):
                        await self._publish(events)
                except Unavailable as error:
                    self._told.clear()
                    # The events stay unpublished in the database: the sweeper publishes them when the log is back.
                    PUBLISH_FAILURES.inc()
                    logger.warning("the log did not take %d events: %s", len(events), error)
                    self._asked_again_at = time.monotonic() + _PAUSE_SECONDS
                    await self._show(self._come - len(self._untold))
                self._publishing = ()
            if self._unmarked and time.monotonic() - last_mark > _MARK_SECONDS:
                await self._mark()
                last_mark = time.monotonic()
        await self._mark()

    async def _wait(self, seconds: float | None) -> None:
        """Until something comes, or for so long."""
        self._wake.clear()
        if self._all_told:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _run_showing(self) -> None:
        """Shows what has been waiting for the log since the last round."""
        while True:
            come = self._come
            await asyncio.sleep(_SHOW_SECONDS)
            await self._show(come)

    async def _show(self, until: int) -> None:
        """Shows those of the first `until` events that still wait and have not been shown."""
        waiting = [*self._publishing, *self._untold]
        left = self._come - len(waiting)  # for the log, or for the sweeper
        first = max(left, self._shown)
        events = waiting[first - left : max(0, until - left)]
        if not events:
            return
        self._shown = first + len(events)
        try:
            await self._log.show(events)
        except Unavailable as error:
            logger.debug("%d events could not be shown either: %s", len(events), error)
        else:
            SHOWN.inc(len(events))

    async def _publish(self, events: Sequence[Event]) -> None:
        self._forget_what_is_lost()
        if before := self._find_unsure(events):
            await self._publish_earlier(before)
            # Where another process's events lie between ours, the earlier ones of these were among them, or were
            # published by another before: all that lies before is told.
            events = [event for event in events if event.seq >= before.get(stream_of(event), 0)]
        await self._log.publish(events)
        self._unmarked.update((event_id(event), event) for event in events)

    def _find_unsure(self, events: Sequence[Event]) -> dict[Stream, int]:
        """The streams of which this process did not publish the event before, with the seq of the one that it has."""
        before: dict[Stream, int] = {}
        for event in events:
            stream = stream_of(event)
            if self._told.pop(stream, 0) != event.seq - 1:
                before[stream] = event.seq
            self._told[stream] = event.seq
        while len(self._told) > _MAX_TOLD:
            self._told.popitem(last=False)
        return before

    async def _publish_earlier(self, before: dict[Stream, int]) -> None:
        """Publishes what was committed to these streams before and is not marked as published yet."""
        while True:
            found = await self._database.list_unpublished_before(before, _EARLIER_AT_ONCE)
            earlier = [event for event in found if event_id(event) not in self._unmarked]
            if earlier:
                await self._log.publish(earlier)
                self._unmarked.update((event_id(event), event) for event in earlier)
                SWEPT.labels("published").inc(len(earlier))
            if len(found) < _EARLIER_AT_ONCE:
                return
            await self._mark()

    def _forget_what_is_lost(self) -> None:
        """What the log may have lost is not marked: whoever met the loss has it published again."""
        if self._losses != self._log.losses:
            self._losses = self._log.losses
            self._told.clear()
            self._unmarked.clear()

    async def _mark(self) -> None:
        self._forget_what_is_lost()
        events, self._unmarked = list(self._unmarked.values()), {}
        if not events:
            return
        failpoints.reach("tell.before_mark")
        try:
            await self._database.mark_published(events)
        except Unavailable as error:
            logger.warning("could not mark %d events as published: %s", len(events), error)
        failpoints.reach("tell.after_mark")
