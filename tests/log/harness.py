"""Events for the tests of the log, and waiting for them."""

import asyncio
from collections.abc import Callable

from palaver.log import Log
from palaver.v1.event_pb2 import Event

Pair = tuple[Log, Log]
"""Who publishes and who follows: one object for one process, two for two."""


class NothingCommitted:
    """For an embedded log that no durable follower reads."""

    async def list_committed(self, kind: str, after: int, limit: int = 500) -> tuple[list[tuple[int, Event]], int]:
        return [], after


def room_event(seq: int, room: str = "GENERAL", *, also_tell: list[str] | None = None) -> Event:
    event = Event(stream_kind="room", stream_id=room, seq=seq, command_id=f"c{seq}", at=seq, also_tell=also_tell or [])
    event.room_deleted.SetInParent()
    return event


async def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Returns when the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
