"""MongoDB's answers that are lost on the way: nothing is done twice, and what is not known is said to be."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest

from palaver.commit import Commits, Draft
from palaver.database import Put, StreamConflict
from palaver.database.mongo import MongoDatabase
from palaver.errors import Unavailable
from palaver.events import SYSTEM
from palaver.live.embedded import EmbeddedLive
from palaver.log.embedded import EmbeddedLog
from palaver.v1.event_pb2 import Event
from tests.database.harness import fresh
from tests.database.lossy_proxy import LossyProxy, lossy_proxy
from tests.database.model import ROOM, commit, make_event, project
from tests.log.harness import NothingCommitted

# -- an answer that is lost -------------------------------------------------------------------------------------------


@pytest.fixture
async def lossy(mongodb_url: str) -> AsyncIterator[tuple[MongoDatabase, MongoDatabase, LossyProxy]]:
    """A database behind a proxy that loses answers, and another way to the same one."""
    async with fresh(mongodb_url) as (name, _), lossy_proxy(mongodb_url) as proxy:
        behind, direct = MongoDatabase(proxy.url, name), MongoDatabase(mongodb_url, name)
        await direct.open()
        await behind.open()
        await commit(behind, ROOM, 1, Put("rooms", ROOM.id, insert={"_id": ROOM.id, "n": 1}))
        yield behind, direct, proxy
        await behind.close()
        await direct.close()


def count_events(seq: int, count: int) -> list[Event]:
    return [make_event(ROOM, n, [Put("rooms", ROOM.id, set={"n": n})]) for n in range(seq, seq + count)]


async def check_counted(database: MongoDatabase, last: int) -> None:
    """Each event is there once, and all of them are applied."""
    assert [event.seq for event in await database.list_events(ROOM, 0)] == list(range(1, last + 1))
    assert await database.get("rooms", ROOM.id) == {"_id": ROOM.id, "n": last, "applied_seq": last}


Lossy = tuple[MongoDatabase, MongoDatabase, LossyProxy]


@pytest.mark.needs_servers
@pytest.mark.parametrize("written", [b"events", b"rooms"])
@pytest.mark.parametrize("count", [1, 3])
async def test_a_commit_whose_answer_is_lost_is_done_once(lossy: Lossy, written: bytes, count: int) -> None:
    behind, direct, proxy = lossy
    events = count_events(2, count)
    proxy.lose_answer_to_write_of(written)
    await behind.commit(ROOM, events, [project(event) for event in events])
    assert proxy.lost == 1
    await check_counted(direct, 1 + count)
    await commit(behind, ROOM, 2 + count)


@pytest.mark.needs_servers
async def test_what_another_writes_while_an_answer_is_lost_is_a_conflict(lossy: Lossy) -> None:
    """Ours were appended, and their answer lost; by the time we are back, another has gone on."""
    behind, direct, proxy = lossy
    ours = count_events(2, 2)
    theirs = make_event(ROOM, 3, [Put("rooms", ROOM.id, set={"n": 33})], command_id="theirs")

    async def overtake() -> None:
        for event in (ours[0], theirs):
            await direct.commit(ROOM, [event], [project(event)])

    proxy.lose_request_to_write_of(b"events", meanwhile=overtake)
    with pytest.raises(StreamConflict) as conflict:
        await behind.commit(ROOM, ours, [project(event) for event in ours])
    assert conflict.value.committed == 1
    assert [event.command_id for event in await direct.list_events(ROOM, 1)] == ["command 2", "theirs"]


@pytest.mark.needs_servers
async def test_a_command_that_another_has_committed_elsewhere_is_a_conflict(lossy: Lossy) -> None:
    behind, direct, _ = lossy
    await commit(direct, ROOM, 2, command_id="repeated")
    with pytest.raises(StreamConflict):
        await commit(behind, ROOM, 3, command_id="repeated")
    assert await direct.get_head(ROOM) == 2


@pytest.mark.needs_servers
async def test_an_answer_that_is_lost_twice_is_unknown_and_found_by_its_command(lossy: Lossy) -> None:
    behind, direct, proxy = lossy
    event = count_events(2, 1)[0]
    proxy.lose_answer_to_write_of(b"events", times=10)
    with pytest.raises(Unavailable):
        await behind.commit(ROOM, [event], [project(event)])
    proxy.lose_answer_to_write_of(b"events", times=0)
    assert await behind.find_event(ROOM, event.command_id) == event
    assert await behind.apply(ROOM, [event], [project(event)])
    await check_counted(direct, 2)


@pytest.mark.needs_servers
async def test_a_command_without_an_id_of_its_own_is_answered_once(lossy: Lossy) -> None:
    """Its id is made anew for each decision, so that only the event's bytes tell that it has been committed."""
    behind, direct, proxy = lossy
    live = EmbeddedLive()
    log = EmbeddedLog(NothingCommitted())
    commits = Commits(behind, log, live, node_id="a process")

    async def decide(draft: Draft) -> int:
        room = await draft.get_own() or {}
        event = Event()
        event.room_changed.set = orjson.dumps({"n": room.get("n", 0) + 1})
        return draft.append(event, actor=SYSTEM).seq

    proxy.lose_answer_to_write_of(b"events")
    assert await asyncio.gather(*(commits.execute(ROOM, decide) for _ in range(5))) == [2, 3, 4, 5, 6]
    assert proxy.lost == 1
    assert len(await direct.list_events(ROOM, 0)) == 6
    assert (await direct.get("rooms", ROOM.id) or {})["n"] == 6


@pytest.mark.needs_servers
async def test_a_name_whose_answer_is_lost_is_claimed(lossy: Lossy) -> None:
    behind, direct, proxy = lossy
    proxy.lose_answer_to_write_of(b"claims")
    with contextlib.suppress(Unavailable):
        await behind.claim("username:alice", "alice")
    assert proxy.lost == 1
    assert await behind.claim("username:alice", "alice")
    assert not await direct.claim("username:alice", "bob")
