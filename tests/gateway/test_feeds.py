"""Every event of a stream once and in order, whatever the log loses, doubles or brings late."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from palaver.blobs.files import FileBlobs
from palaver.database.sqlite import SqliteDatabase
from palaver.errors import Unavailable
from palaver.gateway.feeds import Feed, Feeds
from palaver.live.embedded import EmbeddedLive
from palaver.log.embedded import EmbeddedLog
from palaver.node import Node
from palaver.v1.event_pb2 import Event
from tests.services import make_config


class Record:
    """A service's record of one stream, and a gateway that follows it."""

    def __init__(self, folder: Path) -> None:
        database, blobs = SqliteDatabase(folder / "unused.db"), FileBlobs(folder / "unused")
        self.node = Node(make_config(folder), database, EmbeddedLog(database), EmbeddedLive(), blobs)
        self.feed = Feed("GENERAL")
        self.feed.seq = 0
        self.followed = {"GENERAL": self.feed}
        self.head = 0
        self.heard: list[int] = []
        self.fetches = 0
        self.failures = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.feeds = Feeds(
            self.node,
            "room",
            self.followed,
            get_heads=self._get_heads,
            list_events=self._list_events,
            on_event=self._on_event,
        )

    def append(self, count: int = 1) -> None:
        self.head += count

    def tell(self, seq: int) -> None:
        self.feeds.hear(self._event(seq))

    def forge(self, seq: int) -> None:
        event = self._event(seq)
        event.command_id = "forged"
        self.feeds.hear(event)

    def _event(self, seq: int) -> Event:
        return Event(stream_kind="room", stream_id="GENERAL", seq=seq, command_id=f"c{seq}", at=1)

    def _on_event(self, feed: Feed, event: Event) -> None:
        self.heard.append(event.seq)
        if event.seq == 13:
            raise RuntimeError("an event that nobody can follow")

    async def _get_heads(self, ids: Sequence[str]) -> Sequence[int]:
        return [self.head for _ in ids]

    async def _list_events(self, id: str, after: int) -> Sequence[Event]:
        self.fetches += 1
        if self.failures:
            self.failures -= 1
            raise Unavailable
        events = [self._event(seq) for seq in range(after + 1, min(self.head, after + 5) + 1)]
        await asyncio.sleep(0)
        self.meanwhile()
        return events

    async def all_heard(self) -> None:
        async with asyncio.timeout(30):
            while self.feed.repair is not None:
                await asyncio.sleep(0.001)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path)


async def test_what_comes_twice_or_late_is_heard_once(record: Record) -> None:
    record.append(4)
    for seq in (1, 2, 2, 1, 3, 4, 3):
        record.tell(seq)
    assert record.heard == [1, 2, 3, 4]
    assert record.fetches == 0


async def test_a_gap_is_fetched_in_order(record: Record) -> None:
    record.append(12)
    record.tell(1)
    record.tell(12)
    record.tell(11)  # late
    await record.all_heard()
    assert record.heard == list(range(1, 13))


async def test_what_is_told_during_a_repair_is_heard_after_it_and_once(record: Record) -> None:
    def more() -> None:
        if record.head < 30:
            record.append()
            record.tell(record.head)

    record.append(10)
    record.meanwhile = more
    record.tell(10)
    await record.all_heard()
    record.append()
    record.tell(record.head)
    assert record.heard == list(range(1, record.head + 1))


async def test_a_service_that_is_away_is_asked_again(record: Record) -> None:
    record.append(3)
    record.failures = 2
    record.tell(3)
    await record.all_heard()
    assert record.heard == [1, 2, 3]
    assert record.fetches == 3


async def test_an_event_that_can_not_be_followed_stops_no_other(record: Record) -> None:
    record.append(15)
    record.tell(15)
    await record.all_heard()
    assert record.heard == list(range(1, 16))
    assert record.node.failure is None


async def test_a_comparison_finds_what_nobody_has_told(record: Record) -> None:
    record.append(7)
    await record.feeds.compare(0)
    assert record.heard == list(range(1, 8))
    await record.feeds.compare(0)
    assert record.fetches == 2  # of five events at most


async def test_a_comparison_leaves_what_is_on_its_way(record: Record) -> None:
    record.append(2)
    comparing = asyncio.create_task(record.feeds.compare(0.02))
    await asyncio.sleep(0)
    record.tell(1)
    record.tell(2)
    await comparing
    assert (record.heard, record.fetches) == ([1, 2], 0)


async def test_a_comparison_that_could_not_fetch_says_so(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palaver.gateway.feeds._REPAIR_SECONDS", 0.02)
    record.append(2)
    record.failures = 1000
    with pytest.raises(Unavailable):
        await record.feeds.compare(0)
    record.failures = 0
    await record.all_heard()
    await record.feeds.compare(0)
    assert record.heard == [1, 2]


async def test_who_is_gone_is_not_repaired(record: Record) -> None:
    record.append(20)
    record.meanwhile = record.followed.clear
    await record.feeds.compare(0)
    assert record.heard == [1, 2, 3, 4, 5]
    record.tell(6)
    await record.feeds.compare(0)
    assert record.heard == [1, 2, 3, 4, 5]


async def test_what_a_forged_event_hides_is_fetched(record: Record) -> None:
    record.append(2)
    record.tell(1)
    record.forge(2)
    record.tell(2)
    await record.all_heard()
    record.append()
    record.tell(3)
    record.tell(3)
    assert record.heard == [1, 2, 2, 3]
    assert record.fetches == 1


async def test_a_comparison_forgets_what_the_record_does_not_have(record: Record) -> None:
    record.append(1)
    record.tell(1)
    record.forge(2)
    record.forge(3)
    await record.feeds.compare(0)
    record.append(1)
    record.tell(2)
    assert record.heard == [1, 2, 3, 2]


async def test_an_event_that_will_never_be_there_is_not_waited_for_again(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palaver.gateway.feeds._ATTEMPTS", 1)
    record.append(1)
    record.forge(1 << 60)
    await record.all_heard()
    assert record.heard == [1]
    record.append(3)
    record.tell(4)
    await record.all_heard()
    assert record.heard == [1, 2, 3, 4]
    assert record.feed.wanted == 0
    record.append(1)
    record.tell(5)
    assert record.heard[-1] == 5
