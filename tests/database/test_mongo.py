"""What only the MongoDB adapter has: how things lie there, what a lost server means, and who migrates."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver import failpoints
from palaver.config import ConfigError
from palaver.database import Put, Stream, mongo_connection, mongo_migrate, mongo_schema
from palaver.database.migrations import MIGRATIONS, Migration
from palaver.database.mongo import MongoDatabase
from palaver.database.mongo_schema import event_id
from palaver.database.mongo_values import decode, encode
from palaver.database.text import keys_of
from palaver.database.unpublished import UNREADABLE
from palaver.errors import Unavailable
from tests.database.harness import Crash, fresh
from tests.database.model import ROOM, USER, commit, get_applied, make_event, project
from tests.servers import mongodb_server

# -- values, without a server ----------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.sampled_from("$＄.ab"), max_size=4) | st.just("$date"), inner, max_size=4)
    ),
)


@pytest.mark.parametrize("password", ["geh/eim", "geh/ei?m", "geh@eim", "geh:eim", "geh%eim"])
async def test_an_address_that_is_none_tells_nothing_of_the_password_in_it(password: str) -> None:
    with pytest.raises(ConfigError) as told:
        await mongo_connection.connect(f"mongodb://chat:{password}@mongodb.example.org:27017/", "palaver_chat")
    assert "geh" not in str(told.value)
    assert "eim" not in str(told.value)
    assert "percent-encoded" in str(told.value) or "escaped" in str(told.value)


@given(json_values)
def test_values_survive(value: Any) -> None:
    assert decode(encode(value)) == value


@pytest.mark.parametrize("value", [2**63, {"a": {"$date": 2**64}}, {"a\0b": 1}, b"x", object(), {"a": (1,)}])
def test_what_can_not_be_stored_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        encode(value)


ids = st.text(max_size=5)


@given(st.lists(st.tuples(st.sampled_from(["room", "user"]), ids, st.integers(1, 10**12)), min_size=2, max_size=2))
def test_event_ids_sort_by_seq_within_their_stream(events: list[tuple[str, str, int]]) -> None:
    (kind, id, seq), (other_kind, other_id, other_seq) = events
    mine, other = event_id(Stream(kind, id), seq), event_id(Stream(other_kind, other_id), other_seq)
    if (kind, id) == (other_kind, other_id):
        assert (mine < other) == (seq < other_seq)
    else:
        within = mongo_schema.event_range(Stream(kind, id))["_id"]
        assert within["$gt"] < mine <= within["$lte"]
        assert not within["$gt"] < other <= within["$lte"]


# -- how it lies there -----------------------------------------------------------------------------------------------


@pytest.mark.needs_servers
async def test_dates_are_real_and_helpers_are_hidden(mongodb_url: str) -> None:
    async with fresh(mongodb_url) as (name, raw):
        database = MongoDatabase(mongodb_url, name)
        await database.open()
        message = {
            "_id": "m",
            "rid": "r",
            "ts": {"$date": 1_700_000_000_123},
            "msg": "Grüße an ALLE, alle!",
            "reactions": {":a.b:": {"$ref": "x", "$id": 1}, "＄": {"at": {"$date": 5}, "$date": 1}},
        }
        await commit(database, ROOM, 1, Put("messages", "m", insert=message), at=77)
        await commit(database, USER, 1, Put("messages", "m", set={"edited": [{"$date": 0}]}))
        assert await raw["messages"].find_one() == {
            "_id": "m",
            "rid": "r",
            "ts": datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC),
            "msg": "Grüße an ALLE, alle!",
            "reactions": {
                ":a.b:": {"＄$ref": "x", "＄$id": 1},
                "＄＄": {"at": datetime(1970, 1, 1, 0, 0, 0, 5000, tzinfo=UTC), "＄$date": 1},
            },
            "edited": [datetime(1970, 1, 1, tzinfo=UTC)],
            "\\words": keys_of("Grüße an ALLE, alle!"),
            "room_seq": 1,
            "user_seq": 1,
        }
        assert await database.get("messages", "m") == {**message, "edited": [{"$date": 0}]}
        event = await raw["events"].find_one({"stream_kind": "room"})
        assert event.pop("body") == (await database.list_events(ROOM, 0))[0].SerializeToString()
        assert event == {
            "_id": "room/room_2e1/0000000000000001",
            "stream_kind": "room",
            "stream_id": "room.1",
            "seq": 1,
            "command_id": "command 1",
            "at": 77,
            "published": False,
        }
        await database.close()


@pytest.mark.needs_servers
async def test_what_another_program_wrote_is_read(mongodb_url: str) -> None:
    async with fresh(mongodb_url) as (name, raw):
        database = MongoDatabase(mongodb_url, name)
        await database.open()
        await raw["messages"].insert_one({"_id": "m", "rid": "r", "ts": datetime(2000, 1, 1, tzinfo=UTC), "n": 2**40})
        assert await database.find("messages", {"rid": "r"}) == [
            {"_id": "m", "rid": "r", "ts": {"$date": 946_684_800_000}, "n": 2**40}
        ]
        await commit(database, ROOM, 1, Put("messages", "m", set={"msg": "x"}))
        assert await database.count("messages", {"$text": "x"}) == 1
        await database.close()


@pytest.mark.needs_servers
async def test_declared_indexes_are_there(mongodb_url: str) -> None:
    async with fresh(mongodb_url) as (name, raw):
        database = MongoDatabase(mongodb_url, name)
        await database.open()
        messages = await raw["messages"].index_information()
        assert messages["_hidden, rid, ts, _id"]["key"] == [("_hidden", 1), ("rid", 1), ("ts", 1), ("_id", 1)]
        assert "rid, ts, _id" not in messages
        assert messages["text"]["key"] == [("rid", 1), ("\\words", 1)]
        assert (await raw["events"].index_information())["command"]["unique"]
        await database.close()


# -- the order of a commit -------------------------------------------------------------------------------------------


@pytest.mark.needs_servers
async def test_failpoints_are_reached_in_order(mongodb_url: str) -> None:
    async with fresh(mongodb_url) as (name, _):
        database = MongoDatabase(mongodb_url, name)
        await database.open()
        reached: list[str] = []
        for point in failpoints.NAMES:
            failpoints.arm(point, partial(reached.append, point))
        await commit(
            database,
            ROOM,
            1,
            Put("messages", "m", insert={"_id": "m"}),
            Put("subscriptions", "s", insert={"_id": "s"}),
            Put("thread_reads", "t", insert={"_id": "t"}),
            Put("rooms", ROOM.id, insert={"_id": ROOM.id}),
        )
        failpoints.disarm()
        assert reached == [
            "commit.before_append",
            "commit.after_append",
            "commit.between_projections",
            "commit.between_projections",
            "commit.before_advance",
            "commit.after_advance",
        ]
        await database.close()


@pytest.mark.needs_servers
async def test_a_stop_between_projections_leaves_one_collection_written(mongodb_url: str) -> None:
    async with fresh(mongodb_url) as (name, _):
        database = MongoDatabase(mongodb_url, name)
        await database.open()

        def stop() -> None:
            raise Crash

        puts = [Put("messages", "m", insert={"_id": "m"}), Put("subscriptions", "s", insert={"_id": "s"})]
        event = make_event(ROOM, 1, puts)
        failpoints.arm("commit.between_projections", stop)
        with pytest.raises(Crash):
            await database.commit(ROOM, [event], [puts])
        failpoints.disarm()
        assert await database.get("messages", "m") is not None
        assert await database.get("subscriptions", "s") is None
        assert await database.get_heads([ROOM]) == [1]
        assert await database.apply(ROOM, [event], [puts])
        assert await database.get("subscriptions", "s") is not None
        await database.close()


@pytest.mark.needs_servers
@pytest.mark.parametrize("step", ["_project", "_advance"])
@pytest.mark.parametrize("overtaken", [1, 2])
async def test_a_late_writer_finds_its_events_applied(mongodb_url: str, step: str, overtaken: int) -> None:
    """One process appends and falls asleep, another applies some of it; the first wakes up and does the rest."""
    async with fresh(mongodb_url) as (name, _):
        slow, fast = MongoDatabase(mongodb_url, name), MongoDatabase(mongodb_url, name)
        await slow.open()
        await fast.open()
        await commit(slow, ROOM, 1, Put("messages", "m", insert={"_id": "m", "n": 0, "x": 0}))
        awake = getattr(slow._writing, step)
        asleep = True

        async def sleep(projection: Any) -> bool:
            nonlocal asleep
            if asleep:
                asleep = False
                events = (await fast.list_events(ROOM, 1))[:overtaken]
                assert await fast.apply(ROOM, events, [project(event) for event in events])
            return bool(await awake(projection))

        setattr(slow._writing, step, sleep)
        events = [
            make_event(ROOM, 2, [Put("messages", "m", set={"n": 2, "x": 2})]),
            make_event(ROOM, 3, [Put("messages", "m", set={"n": 3})]),
        ]
        await slow.commit(ROOM, events, [project(event) for event in events])
        assert not asleep
        assert await fast.get("messages", "m") == {"_id": "m", "n": 3, "x": 2}
        assert await get_applied(fast, ROOM) == 3
        await commit(slow, ROOM, 4)
        await slow.close()
        await fast.close()


# -- a server that is away -------------------------------------------------------------------------------------------


@pytest.mark.needs_servers
async def test_a_lost_server_is_unavailable_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_connection, "SELECT_SECONDS", 3.0)
    monkeypatch.delenv("PALAVER_TEST_MONGODB_URL", raising=False)
    async with mongodb_server() as url:
        database = MongoDatabase(url, "palaver_test_lost")
        await database.open()
        await commit(database, ROOM, 1)
    event = make_event(ROOM, 2)
    async with asyncio.timeout(25):  # the driver's own patience would be thirty seconds
        outcomes = await asyncio.gather(
            database.get("rooms", ROOM.id),
            database.get_many("rooms", [ROOM.id]),
            database.find("rooms", {}),
            database.find_one("rooms", {}),
            database.count("rooms", {}),
            database.commit(ROOM, [event], [[]]),
            database.apply(ROOM, [event], [[]]),
            database.claim("a", "b"),
            database.find_claim("a"),
            database.release("a", "b"),
            database.mark_published([event]),
            database.get_head(ROOM),
            database.get_heads([ROOM]),
            database.find_event(ROOM, "x"),
            database.list_events(ROOM, 0),
            return_exceptions=True,
        )
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 15
    sweeping = await asyncio.gather(database.list_unpublished(0), database.list_unapplied(0), return_exceptions=True)
    assert [type(outcome) for outcome in sweeping] == [Unavailable] * 2
    await database.close()
    with pytest.raises(Unavailable):
        await database.get("rooms", ROOM.id)


async def test_opening_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_connection, "SELECT_SECONDS", 0.2)
    with pytest.raises(Unavailable, match="away"):
        await MongoDatabase("mongodb://127.0.0.1:1", "palaver_test_none").open()


# -- migrations ------------------------------------------------------------------------------------------------------


def with_migration(work: Callable[[Any], Awaitable[None]]) -> Sequence[Migration]:
    return [*MIGRATIONS, Migration(len(MIGRATIONS) + 1, "Works", lambda connection: None, work, 1)]


@pytest.mark.needs_servers
async def test_the_lock_of_a_dead_process_is_taken_over(mongodb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Seconds: on a busy machine a holder that lives is silent for longer than one, and taken for dead.
    monkeypatch.setattr(mongo_migrate, "LOCK_SECONDS", 5.0)
    async with fresh(mongodb_url) as (name, raw):
        await raw["schema"].insert_one({"_id": "lock", "owner": "somebody", "number": 7})
        ran: list[int] = []

        async def work(database: Any) -> None:
            ran.append(1)

        databases = [MongoDatabase(mongodb_url, name, migrations=with_migration(work)) for _ in range(3)]
        await asyncio.gather(*(database.open() for database in databases))
        assert ran == [1]
        assert await raw["schema"].find_one({"_id": "lock"}) is None
        for database in databases:
            await database.close()


@pytest.mark.needs_servers
async def test_a_holder_that_beats_keeps_the_lock(mongodb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_migrate, "LOCK_SECONDS", 6.0)
    async with fresh(mongodb_url) as (name, raw):
        locks: list[Any] = []

        async def work(database: Any) -> None:
            while len(locks) < 20:
                await asyncio.sleep(0.4)
                locks.append(await raw["schema"].find_one({"_id": "lock"}))

        databases = [MongoDatabase(mongodb_url, name, migrations=with_migration(work)) for _ in range(2)]
        await asyncio.gather(*(database.open() for database in databases))
        assert len(locks) == 20
        assert len({lock["owner"] for lock in locks}) == 1
        assert locks[-1]["number"] > locks[0]["number"]
        for database in databases:
            await database.close()


@pytest.mark.needs_servers
async def test_a_holder_that_lost_the_lock_stops(mongodb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongo_migrate, "LOCK_SECONDS", 0.5)
    async with fresh(mongodb_url) as (name, raw):
        ended = asyncio.Event()

        async def work(database: Any) -> None:
            await raw["schema"].update_one({"_id": "lock"}, {"$set": {"owner": "somebody", "number": 1}})
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        database = MongoDatabase(mongodb_url, name, migrations=with_migration(work))
        with pytest.raises(Unavailable, match="taken over"):
            await database.open()
        await asyncio.wait_for(ended.wait(), 30)
        assert (await raw["schema"].find_one({"_id": "lock"}))["owner"] == "somebody"
        assert (await raw["schema"].find_one({"_id": "version"}))["number"] == len(MIGRATIONS)


# -- the log as stored -----------------------------------------------------------------------------------------------


async def test_what_a_clock_ahead_of_ours_has_marked_is_published_again(mongodb_url: str) -> None:
    async with fresh(mongodb_url) as (name, raw):
        database = MongoDatabase(mongodb_url, name)
        await database.open()
        event = await commit(database, ROOM, 1)
        before = int(time.time() * 1000)
        await database.mark_published([event])
        ahead = {"$set": {"published": before + 60_000}}
        assert (await raw["events"].update_one({"seq": 1}, ahead)).modified_count == 1
        assert await database.mark_unpublished(before) == 1
        assert [event.seq for event in await database.list_unpublished(10**15)] == [1]
        await database.close()


async def test_an_event_that_is_broken_keeps_no_other_from_being_told(mongodb_url: str) -> None:
    async with fresh(mongodb_url) as (name, raw):
        database = MongoDatabase(mongodb_url, name)
        await database.open()
        for seq in (1, 2, 3):
            await commit(database, ROOM, seq)
        assert (await raw["events"].update_one({"seq": 2}, {"$set": {"body": b"\xff\xff"}})).modified_count == 1
        unreadable = UNREADABLE._value.get()
        assert [event.seq for event in await database.list_unpublished(10**15)] == [1, 3]
        assert [event.seq for event in await database.list_unpublished_before({ROOM: 4})] == [1, 3]
        assert UNREADABLE._value.get() == unreadable + 2
        await database.close()
