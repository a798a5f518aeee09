"""Who in this process follows which stream. Used by both adapters of the log, by nobody else."""

import logging

from prometheus_client import Counter

from palaver.log import OnEvent
from palaver.telemetry import request_id, resumed_span
from palaver.v1.event_pb2 import Event

logger = logging.getLogger(__name__)

FOLLOWER_ERRORS = Counter("palaver_log_follower_errors_total", "Events that a follower in this process failed on")

StreamKey = tuple[str, str]
"""(kind, id): equal to the Stream of the same kind and id, and cheaper to build."""


class Followers:
    """The followers of each stream. A follower is its callback: following a stream twice, it hears an event once."""

    def __init__(self) -> None:
        # Tuples are replaced, never changed: a follower may follow and stop while it is told.
        self._of: dict[StreamKey, tuple[OnEvent, ...]] = {}
        self._counts: dict[tuple[StreamKey, OnEvent], int] = {}

    def add(self, stream: StreamKey, on_event: OnEvent) -> None:
        """Adds one interest."""
        count = self._counts.get((stream, on_event), 0)
        self._counts[stream, on_event] = count + 1
        if not count:
            self._of[stream] = (*self._of.get(stream, ()), on_event)

    def remove(self, stream: StreamKey, on_event: OnEvent) -> None:
        """Takes one interest back; does nothing if there is none (`clear` was faster)."""
        count = self._counts.pop((stream, on_event), 0)
        if count > 1:
            self._counts[stream, on_event] = count - 1
        if count != 1:
            return
        left = tuple(follower for follower in self._of[stream] if follower != on_event)
        if left:
            self._of[stream] = left
        else:
            del self._of[stream]

    def clear(self) -> None:
        self._of.clear()
        self._counts.clear()

    def of(self, stream: StreamKey) -> tuple[OnEvent, ...]:
        """Who follows the stream itself."""
        return self._of.get(stream, ())

    def told_of(self, event: Event) -> list[OnEvent]:
        """Who must be told of the event because of its `also_tell`, each once; some may follow its stream, too."""
        told: dict[OnEvent, None] = {}
        for user_id in event.also_tell:
            told.update(dict.fromkeys(self._of.get(("user", user_id), ())))
        return list(told)


def tell(on_event: OnEvent, event: Event) -> None:
    """Calls one follower; its error is its own: logged, counted, and nobody else's concern.

    What it logs carries the id of the request that the event came of; a trace of that goes on here.
    """
    before = request_id.set(event.request_id or "-")
    try:
        logger.debug("event %d of %s/%s", event.seq, event.stream_kind, event.stream_id)
        with resumed_span("event", "consumer", (event.trace,)):
            on_event(event)
    except Exception:
        FOLLOWER_ERRORS.inc()
        logger.exception("a follower failed on event %d of %s/%s", event.seq, event.stream_kind, event.stream_id)
    finally:
        request_id.reset(before)
