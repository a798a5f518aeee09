"""Events for the tests of the log, and waiting for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from palaver.log import Log, connection
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


@asynccontextmanager
async def without_waiting_for_answers(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """What is done here ends, though nobody loses patience with a server that does not answer."""
    with monkeypatch.context() as patient:
        patient.setattr(connection, "REPLY_SECONDS", 3600.0)
        async with asyncio.timeout(30):
            yield
