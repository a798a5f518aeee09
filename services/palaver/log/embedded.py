"""The log of a single process: whoever publishes calls the followers, in order, and that is all.

Nothing is kept: the events stand in the database, and a follower that begins later reads them there. Chosen by
`node.py` when no NATS is configured.
"""

from collections.abc import Sequence

from palaver.database import Stream
from palaver.log import Follow, OnEvent, OnGap
from palaver.log.followers import Followers, tell
from palaver.v1.event_pb2 import Event


class EmbeddedLog:
    """Delivers while `publish` runs. Nothing is lost on the way, so `on_gap` callbacks are never called."""

    def __init__(self) -> None:
        self._followers = Followers()

    async def open(self) -> None:
        """Does nothing."""

    async def close(self) -> None:
        """Forgets every follower."""
        self._followers.clear()

    async def publish(self, events: Sequence[Event]) -> None:
        """Calls the followers of each event, one event after the other. What one raises is logged and counted."""
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

    @property
    def is_lossless(self) -> bool:
        return True

    async def check_heard(self, seconds: float) -> None:
        """Returns at once: who follows has heard everything that was published."""

    def on_gap(self, callback: OnGap) -> None:
        """Does nothing: there are no gaps."""


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
