"""Port 2, the log: distributes committed events to those who follow them, durably and in order.

The database is the record; the log only carries. Two kinds of followers:

- A **live** one (`follow`) hears of what happens from now on, and must be able to miss events: it keeps the last `seq`
  of each stream, drops lower ones and fetches a gap from the service that owns the stream.
- A **durable** one (`durable.py`) handles each event at least once, whatever dies meanwhile. It reads (`read`) from
  the position that the database remembers of it.

Adapters: `embedded.py` (in process) and `jetstream.py` (NATS); both pass `tests/log`. Called by `commit.py` (publish),
`access.py` and the gateway (follow), and the services' durable followers.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from palaver.database import Stream
from palaver.v1.event_pb2 import Event

OnEvent = Callable[[Event], None]
"""Must return quickly and not raise; it runs on the event loop, in the stream's order of arrival."""

OnGap = Callable[[], None]
"""Called when events may have been missed (reconnected, slow consumer): compare heads."""


class Follow(Protocol):
    """One interest in one stream. The follower hears of every event published after `follow` returned."""

    async def stop(self) -> None: ...


class Entry(NamedTuple):
    """An event as a durable follower reads it."""

    event: Event
    position: str  # after it, in its partition
    published_at: int  # epoch ms


class Reading(Protocol):
    """The events of one partition, in order."""

    behind: int
    """How many more there are, as far as is known."""

    @property
    def position(self) -> str:
        """After everything that was read so far, events and other things."""

    async def read(self) -> Sequence[Entry]:
        """The next events, as soon as there are some; each stream's in order. Nothing is a sign of life: there was
        none for a while. Raises Unavailable; then this reading has ended."""

    async def close(self) -> None: ...


class Log(Protocol):
    """Every method may raise `errors.Unavailable`."""

    @property
    def losses(self) -> int:
        """Grows when the log may have lost what it was given. The database then knows it as unpublished."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def list_partitions(self, kinds: Sequence[str]) -> list[str]:
        """How the events of these kinds of streams are parted for durable followers; a stream is in one of them."""

    async def read(self, partition: str, position: str) -> Reading:
        """Reads a partition from a position on; "" is the oldest event that the log still has."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Distributes events in the given order; returns when the log has stored them. Twice is harmless.

        An event reaches the followers of its own stream, and of the user streams in `also_tell`. A follower (a
        callback) of several of them hears it once. One that is `retold` reaches durable followers only.
        """

    async def show(self, events: Sequence[Event]) -> None:
        """Live followers hear these events, which have been committed; nothing is stored, and nobody waits for storage.

        For what `publish` can't store yet: durable followers get it from there, later.
        """

    async def follow(self, stream: Stream, on_event: OnEvent) -> Follow: ...

    async def follow_all(self, streams: Sequence[Stream], on_event: OnEvent) -> list[Follow]:
        """Follows several streams for the price of one wait: all of them, or, when it raises, none."""

    @property
    def is_lossless(self) -> bool:
        """Whether nothing can get lost between publishing and hearing, so that nobody needs to look for it."""

    async def check_heard(self, seconds: float) -> None:
        """Returns when everything has been heard here that reached the log before the call, and is followed.

        Raises Unavailable when that can't be said within `seconds`.
        """

    def on_gap(self, callback: OnGap) -> None:
        """Registers who must look for gaps after the log itself may have lost something on the way."""
