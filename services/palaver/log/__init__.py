"""Port 2, the log: distributes committed events to those who follow them, durably and in order.

The database is the record; the log only carries. A follower must be able to miss events: it keeps the last `seq` of
each stream, drops lower ones and fetches a gap from the service that owns the stream. Adapters: `embedded.py` (in
process) and `jetstream.py` (NATS); both pass `tests/log/contract`. Called by `commit.py` (publish), `access.py` and
the gateway (follow).
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from palaver.database import Stream
from palaver.v1.event_pb2 import Event

OnEvent = Callable[[Event], None]
"""Must return quickly and not raise; it runs on the event loop, in the stream's order of arrival."""

OnGap = Callable[[], None]
"""Called when events may have been missed (reconnected, slow consumer): compare heads."""


class Follow(Protocol):
    """One interest in one stream. The follower hears of every event published after `follow` returned."""

    async def stop(self) -> None: ...


class Log(Protocol):
    """Every method may raise `errors.Unavailable`."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def publish(self, events: Sequence[Event]) -> None:
        """Distributes events in the given order; returns when the log has stored them. Twice is harmless.

        An event reaches the followers of its own stream, and of the user streams in `also_tell`. A follower (a
        callback) of several of them hears it once.
        """

    async def follow(self, stream: Stream, on_event: OnEvent) -> Follow: ...

    @property
    def is_lossless(self) -> bool:
        """Whether nothing can get lost between publishing and hearing, so that nobody needs to look for it."""

    async def check_heard(self, seconds: float) -> None:
        """Returns when everything has been heard here that reached the log before the call, and is followed.

        Raises Unavailable when that can't be said within `seconds`.
        """

    def on_gap(self, callback: OnGap) -> None:
        """Registers who must look for gaps after the log itself may have lost something on the way."""
