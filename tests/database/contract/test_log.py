"""Events as stored, what is not published or not applied, and claims."""

import asyncio
import time

from palaver.database import Database, Put, Stream
from tests.database.harness import Harness
from tests.database.model import OTHER_ROOM, ROOM, USER, WORKSPACE, commit, make_event, project


async def test_an_empty_stream(database: Database) -> None:
    assert await database.get_head(ROOM) == 0
    assert await database.get_heads([]) == []
    assert await database.get_heads([ROOM, WORKSPACE]) == [0, 0]
    assert await database.list_events(ROOM, 0) == []
    assert await database.find_event(ROOM, "x") is None
    assert await database.list_unpublished(10**15) == []
    assert await database.list_unapplied(10**15) == []
    await database.mark_published([])


async def test_heads_come_in_the_order_asked_for(database: Database) -> None:
    for seq in (1, 2, 3):
        await commit(database, USER, seq)
    await commit(database, ROOM, 1)
    many = [Stream("room", f"none {index}") for index in range(300)]
    assert await database.get_heads([USER, OTHER_ROOM, ROOM, USER]) == [3, 0, 1, 3]
    assert await database.get_heads([*many, USER, *many, ROOM]) == [0] * 300 + [3] + [0] * 300 + [1]


async def test_events_are_listed_from_a_watermark(database: Database) -> None:
    events = [make_event(ROOM, seq, command_id=f"ü{seq}") for seq in range(1, 251)]
    await database.commit(ROOM, events, [[] for _ in events])
    assert await database.list_events(ROOM, 0) == events
    assert await database.list_events(ROOM, 0, 3) == events[:3]
    assert await database.list_events(ROOM, 248) == events[248:]
    assert await database.list_events(ROOM, 240, 5) == events[240:245]
    assert await database.list_events(ROOM, 250) == []
    assert await database.list_events(OTHER_ROOM, 0) == []
    assert await database.find_event(ROOM, "ü7") == events[6]
    assert await database.find_event(OTHER_ROOM, "ü7") is None


async def test_streams_are_listed_with_what_is_projected_of_them(database: Database, harness: Harness) -> None:
    assert await database.list_streams("room") == []
    rooms = [Stream("room", id) for id in ("A", "a.b", "b c", "z", "é", "🙂")]
    for number, stream in enumerate(reversed(rooms), 1):
        for seq in range(1, number + 1):
            await commit(database, stream, seq)
    await commit(database, USER, 1)
    await commit(database, WORKSPACE, 1)
    await commit(database, WORKSPACE, 2)
    wanted = [(stream, len(rooms) - place) for place, stream in enumerate(rooms)]
    assert await database.list_streams("room") == wanted
    assert await database.list_streams("room", limit=2) == wanted[:2]
    assert await database.list_streams("room", after="a.b", limit=2) == wanted[2:4]
    assert await database.list_streams("room", after="🙂") == []
    assert await database.list_streams("user") == [(USER, 1)]
    assert await database.list_streams("workspace") == [(WORKSPACE, 2)]
    # what is appended alone is in no document yet
    await harness.append_only(USER, [make_event(USER, 2)])
    await harness.append_only(OTHER_ROOM, [make_event(OTHER_ROOM, 1)])
    assert await database.list_streams("user") == [(USER, 1)]
    assert OTHER_ROOM not in [stream for stream, _ in await database.list_streams("room")]


async def test_unpublished_events_are_listed_by_stream_and_seq(database: Database) -> None:
    wanted = [
        await commit(database, stream, seq, at=at)
        for stream, seq, at in [(ROOM, 1, 1000), (ROOM, 2, 1001), (USER, 1, 999), (ROOM, 3, 1002), (WORKSPACE, 1, 1002)]
    ]
    ordered = sorted(wanted, key=lambda event: (event.stream_kind, event.stream_id, event.seq))
    assert await database.list_unpublished(1003) == ordered
    assert await database.list_unpublished(1002) == [event for event in ordered if event.at < 1002]
    assert await database.list_unpublished(999) == []
    assert await database.list_unpublished(1003, 2) == ordered[:2]
    await database.mark_published([wanted[0], wanted[2]])
    assert await database.list_unpublished(1003) == [e for e in ordered if e not in (wanted[0], wanted[2])]
    await database.mark_published([wanted[0], *wanted])
    assert await database.list_unpublished(1003) == []
    assert await database.list_events(ROOM, 0) == [wanted[0], wanted[1], wanted[3]]


async def test_unpublished_events_are_found_before_a_seq_of_their_stream(database: Database) -> None:
    mine = [await commit(database, ROOM, seq) for seq in (1, 2, 3)]
    other = [await commit(database, OTHER_ROOM, seq) for seq in (1, 2)]
    await commit(database, USER, 1)
    assert await database.list_unpublished_before({}) == []
    assert await database.list_unpublished_before({USER: 1}) == []
    assert await database.list_unpublished_before({ROOM: 3}) == mine[:2]
    both = sorted([*mine, *other], key=lambda event: (event.stream_id, event.seq))
    assert await database.list_unpublished_before({ROOM: 4, OTHER_ROOM: 9, Stream("room", "none"): 5}) == both
    assert await database.list_unpublished_before({ROOM: 4, OTHER_ROOM: 9}, 2) == both[:2]
    await database.mark_published(mine[:1])
    assert await database.list_unpublished_before({ROOM: 3}) == mine[1:2]


async def test_what_was_published_since_is_published_again(database: Database) -> None:
    events = [await commit(database, ROOM, seq, at=1000 + seq) for seq in range(1, 6)]
    before = int(time.time() * 1000)
    await database.mark_published(events[:4])
    assert await database.mark_unpublished(int(time.time() * 1000) + 60_000) == 0
    assert await database.mark_unpublished(before) == 4
    assert await database.mark_unpublished(before) == 0
    again = await database.list_unpublished(10**15)
    assert [(event.seq, event.retold) for event in again] == [(1, True), (2, True), (3, True), (4, True), (5, False)]
    assert [event.retold for event in await database.list_unpublished_before({ROOM: 6})] == [True] * 4 + [False]
    assert await database.list_events(ROOM, 0) == events
    await database.mark_published(again)
    assert await database.list_unpublished(10**15) == []
    assert await database.mark_unpublished(before) == 5


async def test_records_are_set_listed_and_deleted(database: Database) -> None:
    assert await database.find_record("letters", "a/1") is None
    assert await database.delete_record("letters", "a/1") is False
    for id in ("a/1", "a/2", "a-b/1", "b/1", "_", "~", "a"):
        await database.put_record("letters", id, {"id": id})
    await database.put_record("letters2", "a/3", {"id": "other"})
    await database.put_record("letters", "a/1", {"text": "zwölf", "at": 7})
    assert await database.find_record("letters", "a/1") == {"text": "zwölf", "at": 7}
    assert await database.list_records("letters", "a/") == [("a/1", {"text": "zwölf", "at": 7}), ("a/2", {"id": "a/2"})]
    listed = [id for id, _ in await database.list_records("letters")]
    assert listed == sorted(["a/1", "a/2", "a-b/1", "b/1", "_", "~", "a"])
    assert [id for id, _ in await database.list_records("letters", "a/", after="a/1")] == ["a/2"]
    assert [id for id, _ in await database.list_records("letters", after=listed[2], limit=2)] == listed[3:5]
    assert await database.list_records("nothing") == []
    assert await database.delete_record("letters", "a/1") is True
    assert await database.find_record("letters", "a/1") is None
    assert [id for id, _ in await database.list_records("letters", "a/")] == ["a/2"]


async def test_a_record_that_is_gone_is_not_replaced(database: Database) -> None:
    await database.put_record("letters", "a", {"text": "one"})
    assert await database.replace_record("letters", "a", {"text": "two"})
    assert await database.replace_record("letters", "a", {"text": "two"})
    assert await database.find_record("letters", "a") == {"text": "two"}
    assert not await database.replace_record("letters", "b", {"text": "three"})
    assert not await database.replace_record("letters2", "a", {"text": "three"})
    await database.delete_record("letters", "a")
    assert not await database.replace_record("letters", "a", {"text": "three"})
    assert await database.list_records("letters") == []


async def test_unapplied_streams_are_found(harness: Harness, database: Database) -> None:
    await commit(database, ROOM, 1, Put("rooms", ROOM.id, insert={"_id": ROOM.id}), at=1000)
    await commit(database, USER, 1, at=1000)
    assert await database.list_unapplied(5000) == []
    left = [make_event(ROOM, 2, at=2000), make_event(ROOM, 3, at=3000)]
    await harness.append_only(ROOM, left)
    await harness.append_only(OTHER_ROOM, [make_event(OTHER_ROOM, 1, at=1500)])
    await harness.append_only(WORKSPACE, [make_event(WORKSPACE, 1, at=1500)])
    assert sorted(await database.list_unapplied(5000)) == sorted([ROOM, OTHER_ROOM, WORKSPACE])
    assert len(await database.list_unapplied(5000, 2)) == 2
    # The head of the room is too young: its writer is still at work.
    assert sorted(await database.list_unapplied(3000)) == sorted([OTHER_ROOM, WORKSPACE])
    assert await database.list_unapplied(1500) == []
    assert await database.apply(ROOM, left, [project(event) for event in left])
    assert sorted(await database.list_unapplied(5000)) == sorted([OTHER_ROOM, WORKSPACE])


async def test_a_claim_has_one_owner(database: Database) -> None:
    assert await database.find_claim("username:alice") is None
    assert await database.claim("username:alice", "u1") is True
    assert await database.claim("username:alice", "u1") is True
    assert await database.claim("username:alice", "u2") is False
    assert await database.find_claim("username:alice") == "u1"
    await database.release("username:alice", "u2")
    assert await database.find_claim("username:alice") == "u1"
    await database.release("username:alice", "u1")
    await database.release("username:alice", "u1")
    assert await database.find_claim("username:alice") is None
    assert await database.claim("username:alice", "u2") is True


async def test_claims_at_once_have_one_winner(harness: Harness) -> None:
    databases = [await harness.open() for _ in range(3)]
    for round in range(5):
        won = await asyncio.gather(
            *(databases[index % 3].claim(f"name {round}", f"owner {index}") for index in range(12))
        )
        assert sum(won) == 1
        assert await databases[0].find_claim(f"name {round}") == f"owner {won.index(True)}"


async def test_what_is_fresh_was_never_told(database: Database) -> None:
    old, told, fresh, young = [await commit(database, ROOM, seq, at=1000 * seq) for seq in (1, 2, 3, 4)]
    before = int(time.time() * 1000)
    await database.mark_published([told])
    await database.mark_unpublished(before)
    assert [event.seq for event in await database.list_unpublished(10**15)] == [1, 2, 3, 4]
    assert await database.list_unpublished(4000, fresh_since=1500) == [fresh]
    assert await database.list_unpublished(10**15, 1, fresh_since=1) == [old]
    assert await database.list_unpublished(10**15, fresh_since=1) == [old, fresh, young]
