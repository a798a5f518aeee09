"""How durable followers read the database of a single process: together where they can, and nothing late."""

import asyncio
from collections.abc import Sequence

import pytest

from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from palaver.log import Entry, embedded
from palaver.log.embedded import EmbeddedLog
from palaver.v1.event_pb2 import Event
from tests.log.durable import make_event

ROOM = Stream("room", "r")
EVER = 3600.0


class Counted:
    """The order of all commits, and how often it was looked at."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self.looks = 0

    async def list_committed(self, kind: str, after: int, limit: int = 500) -> tuple[list[tuple[int, Event]], int]:
        self.looks += 1
        return await self._database.list_committed(kind, after, limit)


async def tell(database: SqliteDatabase, log: EmbeddedLog, seq: int) -> None:
    events = [make_event(ROOM, seq)]
    await database.commit(ROOM, events, [[]])
    await log.publish(events)


def seqs(entries: Sequence[Entry]) -> list[int]:
    return [entry.event.seq for entry in entries]


async def test_followers_share_a_look_and_hear_soon_of_what_came_after_it(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_LOOK_SECONDS", EVER)  # only what is published has anybody look
    order = Counted(database)
    log = EmbeddedLog(order)
    await tell(database, log, 1)
    first, second = [await log.read("room", "") for _ in range(2)]
    assert seqs(await first.read()) == [1]
    await tell(database, log, 2)
    assert (seqs(await second.read()), order.looks) == ([1], 1)
    async with asyncio.timeout(30):
        assert (seqs(await second.read()), seqs(await first.read()), order.looks) == ([2], [2], 2)


async def test_however_much_is_published_looks_are_apart(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_LOOK_SECONDS", "_APART_SECONDS"):
        monkeypatch.setattr(embedded, name, EVER)
    log = EmbeddedLog(database)
    await tell(database, log, 1)
    reading = await log.read("room", "")
    assert seqs(await reading.read()) == [1]
    await tell(database, log, 2)  # while the first is being handled
    late = asyncio.create_task(reading.read())
    await asyncio.wait((late,), timeout=0.2)
    assert not late.done()
    late.cancel()
