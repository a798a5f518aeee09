"""Sweeping: what a process has left behind is projected, told and marked by another one.

One process sweeps, under a lease. What nobody has told within a second or so counts as left: by a process that died, or
that can't reach the log. Owned by `commit.py`; nobody else calls it.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from prometheus_client import Counter, Gauge

from palaver import failpoints
from palaver.database import STREAM_COLLECTIONS, Database, Stream
from palaver.draft import now
from palaver.errors import Unavailable
from palaver.events import event_id, stream_of
from palaver.live import Live
from palaver.log import Log
from palaver.telling import SWEPT

logger = logging.getLogger(__name__)

LEFT_AGE = Gauge(
    "palaver_outbox_left_age_seconds",
    "Age of the oldest event in the database that nobody has published, as the sweeper finds it; 0 below its patience, "
    "and in every process that does not sweep",
)
FAILURES = Counter("palaver_sweeping_failures_total", "Streams, or whole rounds, that could not be swept by an error")

SWEEP_SECONDS = 0.6
"""Between two rounds. A dead sweeper's lease ends after three of them, which NATS rounds up to two seconds."""

_PATIENCE = 1500  # milliseconds
_SWEPT_AT_ONCE = 500
_SHOW_SECONDS = 1.0
_FRESH = 60_000  # milliseconds
_EVER = 1 << 62
"""Later than every event."""


class Sweeping:
    """The sweeper of one process, which may have the lease or not."""

    def __init__(
        self,
        database: Database,
        log: Log,
        live: Live,
        *,
        node_id: str,
        catch_up: Callable[[Stream], Awaitable[int]],
    ) -> None:
        """`catch_up` projects what is appended to a stream."""
        self._database = database
        self._log = log
        self._live = live
        self._node_id = node_id
        self._catch_up = catch_up
        self._closing = False
        self._shown: set[str] = set()
        self._shown_at = 0.0

    def close(self) -> None:
        """This process sweeps no more."""
        self._closing = True

    async def run(self, every: float = SWEEP_SECONDS) -> None:
        """The background task: sweeps while the lease is this process's. Runs until `close`."""
        since: dict[str, float] = {}  # of what waits: when it was seen first

        async def is_mine() -> bool:
            return not self._closing and await self._live.acquire("sweeper", self._node_id, every * 3)

        while not self._closing:
            try:
                if await is_mine():
                    # Who sweeps everything tells some events twice, which does no harm. It is done where one has been
                    # waiting for two rounds whatever time it bears: its writer's clock may have been ahead.
                    seen = time.monotonic()
                    waiting = map(event_id, await self._database.list_unpublished(_EVER))
                    since = {id: since.get(id, seen) for id in waiting}
                    is_late = any(seen - first >= 2 * every for first in since.values())
                    await self.sweep(_EVER if is_late else now() - _PATIENCE, go_on=is_mine)
                else:
                    since.clear()
                    LEFT_AGE.set(0)
            except Unavailable as error:
                logger.warning("sweeping has to wait: %s", error)
            except Exception:  # without this task nobody would sweep, here and then in the next process
                FAILURES.inc()
                logger.exception("a round of sweeping failed")
            await asyncio.sleep(every * random.uniform(0.8, 1.2))

    async def sweep(self, older_than: int, go_on: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Projects and publishes, in order, what was appended before `older_than` (epoch ms) and is not.

        There may be much of it: `go_on` is asked between its pages. A stream that can't be projected (its last event
        is of a newer version) waits alone.
        """
        stuck: set[Stream] = set()
        while streams := set(await self._database.list_unapplied(older_than)) - stuck:
            for stream in streams:
                await self._project(stream, stuck)
            if go_on is not None and not await go_on():
                return
        held_back = 0
        while events := await self._database.list_unpublished(older_than, _SWEPT_AT_ONCE + held_back):
            left = [event.at for event in events if not event.retold]
            LEFT_AGE.set((now() - min(left)) / 1000 if left else 0)
            is_last_page = len(events) < _SWEPT_AT_ONCE + held_back
            if not is_last_page:
                await self._show_fresh(stuck)
            for stream in set(map(stream_of, events)) - stuck:
                await self._project(stream, stuck)  # a writer may have appended, and not projected, since
            due = [event for event in events if stream_of(event) not in stuck]
            held_back = len(events) - len(due)
            if due:
                losses = self._log.losses
                try:
                    await self._log.publish(due)
                except Unavailable:
                    await self._show_fresh(stuck)
                    raise
                failpoints.reach("tell.between_publishes")
                if losses == self._log.losses:
                    await self._database.mark_published(due)
                SWEPT.labels("published").inc(len(due))
            elif is_last_page:
                return
            if go_on is not None and not await go_on():
                return
        LEFT_AGE.set(0)

    async def _show_fresh(self, stuck: set[Stream]) -> None:
        """Shows what has been left since this was asked last, once a second at most: who is connected need not wait."""
        if time.monotonic() < self._shown_at + _SHOW_SECONDS:
            return
        at = now()
        fresh = await self._database.list_unpublished(at - _PATIENCE, _SWEPT_AT_ONCE, fresh_since=at - _FRESH)
        events = [event for event in fresh if event_id(event) not in self._shown]
        for stream in set(map(stream_of, events)) - stuck:
            await self._project(stream, stuck)  # the documents show what is told
        await self._log.show([event for event in events if stream_of(event) not in stuck])
        self._shown = set(map(event_id, fresh))
        self._shown_at = time.monotonic()

    async def _project(self, stream: Stream, stuck: set[Stream]) -> None:
        try:
            if stream.kind not in STREAM_COLLECTIONS:
                raise Unavailable(f"a {stream.kind} is known to a newer version only")
            await self._catch_up(stream)
        except Unavailable as error:
            logger.warning("%s can't be projected yet: %s", stream, error)
            stuck.add(stream)
        except Exception:
            FAILURES.inc()
            logger.exception("%s can't be projected", stream)
            stuck.add(stream)
