"""The servers that other tests rely on are there, and do what the adapters ask of NATS and MongoDB."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from nats.js.errors import NotFoundError
from pymongo import ReturnDocument, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, DuplicateKeyError

from tests.cache import ServerUnavailable
from tests.servers import mongodb_server, nats_server, npm_project, own_mongodb_server

pytestmark = pytest.mark.needs_servers

CLIENTS = Path(__file__).parent / "clients"

Database = AsyncIOMotorDatabase[dict[str, Any]]


# -- NATS -----------------------------------------------------------------------------------------------------------


async def test_what_jetstream_acknowledged_survives_a_kill() -> None:
    async with nats_server() as server:
        connection = await nats.connect(server.url)
        jetstream = connection.jetstream()
        await jetstream.add_stream(name="events", subjects=["events.>"])
        await jetstream.publish("events.room", b"first", headers={"Nats-Msg-Id": "1"})
        again = await jetstream.publish("events.room", b"first", headers={"Nats-Msg-Id": "1"})
        assert again.duplicate
        await connection.close()

        before = server.url
        await server.kill()
        await server.start()
        assert server.url == before

        connection = await nats.connect(server.url)
        assert (await connection.jetstream().get_msg("events", 1)).data == b"first"
        await connection.close()


async def test_a_restarted_server_is_found_again_by_its_clients() -> None:
    async with nats_server(jetstream=False) as server:
        back = asyncio.Event()

        async def on_reconnect() -> None:
            back.set()

        connection = await nats.connect(server.url, reconnect_time_wait=0.05, reconnected_cb=on_reconnect)
        subscription = await connection.subscribe("news")
        await server.restart()
        await asyncio.wait_for(back.wait(), 30)
        await connection.publish("news", b"still here")
        assert (await subscription.next_msg(30)).data == b"still here"
        await connection.close()


async def test_a_server_is_as_it_was_asked_for(tmp_path: Path) -> None:
    async with nats_server(jetstream=False, config=["max_payload: 1024"]) as server:
        connection = await nats.connect(server.url)
        assert connection.max_payload == 1024
        assert connection.connected_server_version.major == 2
        with pytest.raises((NotFoundError, nats.errors.NoRespondersError, nats.js.errors.ServiceUnavailableError)):
            await connection.jetstream().account_info()
        await connection.close()
    async with nats_server(store_dir=tmp_path / "store") as server:
        connection = await nats.connect(server.url)
        await connection.jetstream().add_stream(name="kept", subjects=["kept"])
        await connection.close()
    assert any((tmp_path / "store").rglob("kept"))


async def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(ServerUnavailable, match="unknown field"):
        async with nats_server(config=["no_such_option: 1"]):
            pass


# -- MongoDB --------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mongodb_url() -> AsyncIterator[str]:
    async with mongodb_server() as url:
        yield url


@pytest.fixture
async def database(mongodb_url: str) -> AsyncIterator[Database]:
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
        mongodb_url, tz_aware=True, serverSelectionTimeoutMS=30_000
    )
    name = "palaver_test_servers"
    await client.drop_database(name)
    yield client[name]
    await client.drop_database(name)
    client.close()


async def test_one_of_many_concurrent_inserts_wins_a_unique_key(database: Database) -> None:
    events = database.get_collection("events", write_concern=WriteConcern("majority", j=True))
    await events.create_index([("stream", 1), ("seq", 1)], unique=True)

    async def append(writer: int) -> bool:
        try:
            await events.insert_one({"_id": writer, "stream": "r", "seq": 1})
        except DuplicateKeyError:
            return False
        return True

    assert sum(await asyncio.gather(*(append(writer) for writer in range(50)))) == 1
    assert await events.count_documents({}) == 1


async def test_an_ordered_insert_stops_at_the_duplicate_and_says_where(database: Database) -> None:
    await database.events.create_index([("stream", 1), ("seq", 1)], unique=True)
    await database.events.insert_one({"_id": "theirs", "stream": "r", "seq": 3})
    with pytest.raises(BulkWriteError) as raised:
        await database.events.insert_many([{"_id": seq, "stream": "r", "seq": seq} for seq in range(1, 6)])
    details = raised.value.details
    assert details["nInserted"] == 2
    assert [(error["index"], error["code"]) for error in details["writeErrors"]] == [(2, 11000)]
    assert sorted([event["seq"] async for event in database.events.find()]) == [1, 2, 3]

    with pytest.raises(BulkWriteError) as raised:
        await database.events.insert_many([{"_id": 1}, {"_id": 8, "seq": 8}, {"_id": 9, "seq": 9}], ordered=False)
    assert raised.value.details["nInserted"] == 2


async def test_an_update_under_a_condition(database: Database) -> None:
    rooms = database.rooms
    await rooms.insert_one({"_id": "a", "seq": 1, "gone": 1, "nested": {"kept": 1}})
    change = {"$set": {"seq": 2, "nested.added": 5}, "$unset": {"gone": ""}, "$inc": {"count": 3}}
    assert (await rooms.update_one({"_id": "a", "seq": {"$lt": 2}}, change)).modified_count == 1
    assert (await rooms.update_one({"_id": "a", "seq": {"$lt": 2}}, change)).matched_count == 0
    assert await rooms.find_one({"_id": "a"}) == {"_id": "a", "seq": 2, "nested": {"kept": 1, "added": 5}, "count": 3}

    # An upsert whose condition fails meets the document that is there.
    with pytest.raises(DuplicateKeyError):
        await rooms.update_one({"_id": "a", "seq": {"$lt": 2}}, {"$set": {"seq": 2}}, upsert=True)
    made = await rooms.update_one({"_id": "b"}, {"$set": {"seq": 1}, "$setOnInsert": {"new": True}}, upsert=True)
    assert made.upserted_id == "b"
    assert await rooms.find_one({"_id": "b"}) == {"_id": "b", "seq": 1, "new": True}
    await rooms.replace_one({"_id": "c"}, {"other": 1}, upsert=True)
    assert await rooms.find_one({"_id": "c"}) == {"_id": "c", "other": 1}
    done = await rooms.bulk_write([UpdateOne({"_id": name}, {"$set": {"x": 1}}) for name in "abcd"], ordered=False)
    assert done.modified_count == 3


async def test_keys_with_odd_characters_and_values_of_every_type(database: Database) -> None:
    document = {
        "_id": "m",
        "reactions": {":smile:": {"usernames": ["a"]}},
        "bytes": b"\0\xff",
        "long": 2**40,
        "float": 1.5,
        "none": None,
        "list": [{"a": [1, "x"]}],
        "at": datetime(2024, 1, 1, 0, 0, 0, 123000, tzinfo=UTC),
    }
    await database.messages.insert_one(document)
    assert await database.messages.find_one({"_id": "m"}) == document
    await database.messages.update_one({"_id": "m"}, {"$set": {"reactions.:+1:": {"usernames": ["b"]}}})
    await database.messages.update_one({"_id": "m"}, {"$unset": {"reactions.:smile:": ""}})
    assert (await database.messages.find_one({"_id": "m"}) or {})["reactions"] == {":+1:": {"usernames": ["b"]}}


async def test_no_concurrent_change_is_lost(database: Database) -> None:
    counters = database.counters
    await counters.insert_one({"_id": "n", "value": 0})
    await asyncio.gather(*(counters.update_one({"_id": "n"}, {"$inc": {"value": 1}}) for _ in range(400)))
    assert (await counters.find_one({"_id": "n"}) or {})["value"] == 400

    await asyncio.gather(*(counters.update_one({"_id": "new"}, {"$inc": {"value": 1}}, upsert=True) for _ in range(50)))
    assert (await counters.find_one({"_id": "new"}) or {})["value"] == 50

    async def next_value() -> int:
        after = ReturnDocument.AFTER
        found = await counters.find_one_and_update({"_id": "n"}, {"$inc": {"value": 1}}, return_document=after)
        return int(found["value"])

    assert sorted(await asyncio.gather(*(next_value() for _ in range(100)))) == list(range(401, 501))

    async def advance() -> None:
        while True:
            seen = (await counters.find_one({"_id": "n"}) or {})["value"]
            if (await counters.update_one({"_id": "n", "value": seen}, {"$set": {"value": seen + 1}})).modified_count:
                return

    await asyncio.gather(*(advance() for _ in range(30)))
    assert (await counters.find_one({"_id": "n"}) or {})["value"] == 530


async def test_a_page_of_history(database: Database) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    messages = database.messages
    await messages.create_index([("rid", 1), ("ts", -1), ("_id", -1)])
    await messages.insert_many(
        {"_id": f"m{n:03}", "rid": f"r{n % 2}", "ts": start + timedelta(seconds=n // 4), "n": n} for n in range(200)
    )

    async def numbers(where: dict[str, Any], sort: int = 1, skip: int = 0, limit: int = 0) -> list[int]:
        cursor = messages.find(where).sort([("ts", sort), ("_id", sort)]).skip(skip).limit(limit)
        return [found["n"] async for found in cursor]

    assert await numbers({"rid": "r1"}, sort=-1, skip=10, limit=5) == [179, 177, 175, 173, 171]
    tenth, twelfth = start + timedelta(seconds=10), start + timedelta(seconds=12)
    assert await numbers({"rid": "r1", "ts": {"$gt": tenth, "$lt": twelfth}}) == [45, 47]
    assert await numbers({"$or": [{"n": 3}, {"n": {"$in": [4, 5]}}]}) == [3, 4, 5]
    older = {"$or": [{"ts": {"$lt": tenth}}, {"ts": tenth, "_id": {"$lt": "m042"}}]}
    assert await numbers(older, sort=-1, limit=3) == [41, 40, 39]
    assert await numbers({"_id": {"$regex": "^m00[0-2]"}}) == [0, 1, 2]
    assert await numbers({"_id": {"$regex": "^M00[0-2]", "$options": "i"}}) == [0, 1, 2]
    for where, count in (
        ({"n": {"$ne": 3}}, 199),
        ({"n": {"$nin": [3, 4]}}, 198),
        ({"absent": {"$exists": False}}, 200),
        ({"absent": {"$ne": 1}}, 200),
        ({"absent": None}, 200),
        ({"$and": [{"n": {"$gte": 10}}, {"n": {"$lte": 20}}]}, 11),
    ):
        assert await messages.count_documents(where) == count, where
    assert len(await messages.find().batch_size(30).to_list(None)) == 200


async def test_array_fields(database: Database) -> None:
    users = database.users
    await users.create_index("roles")
    await users.insert_one({"_id": 1, "roles": ["admin", "user"]})
    await users.update_one({"_id": 1}, {"$addToSet": {"roles": {"$each": ["user", "bot"]}}})
    await users.update_one({"_id": 1}, {"$pull": {"roles": "admin"}})
    for where, found in (
        ({"roles": "bot"}, True),
        ({"roles": "admin"}, False),
        ({"roles": ["user", "bot"]}, True),
        ({"roles": {"$in": ["guest", "user"]}}, True),
        ({"roles": {"$all": ["bot", "user"]}}, True),
        ({"roles": {"$ne": "bot"}}, False),
    ):
        assert (await users.find_one(where) is not None) is found, where


@pytest.mark.parametrize(
    ("partial", "outside", "inside"),
    [
        ({"command_id": {"$exists": True}}, [{}, {}], {"command_id": "a"}),
        ({"open": True}, [{"command_id": "a", "open": False}, {"command_id": "a"}], {"command_id": "a", "open": True}),
    ],
)
async def test_partial_unique_index(
    database: Database, partial: dict[str, Any], outside: list[dict[str, Any]], inside: dict[str, Any]
) -> None:
    await database.commands.create_index("command_id", unique=True, partialFilterExpression=partial)
    await database.commands.insert_many([*(dict(document) for document in outside), {"_id": "first", **inside}])
    with pytest.raises(DuplicateKeyError):
        await database.commands.insert_one({"_id": "second", **inside})
    # An update that brings a document under the index is checked, too.
    await database.commands.insert_one({"_id": "third"})
    with pytest.raises(DuplicateKeyError):
        await database.commands.update_one({"_id": "third"}, {"$set": inside})
    await database.commands.delete_one({"_id": "first"})
    await database.commands.update_one({"_id": "third"}, {"$set": inside})
    assert (await database.commands.find_one({"_id": "third"}) or {})["command_id"] == "a"


async def test_two_servers_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PALAVER_TEST_MONGODB_URL", raising=False)
    async with mongodb_server() as one, mongodb_server() as other:
        assert one != other


async def test_a_killed_mongodb_comes_back_with_what_it_has_answered() -> None:
    async with own_mongodb_server() as server:
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(server.url, serverSelectionTimeoutMS=30_000)
        database = client["kept"]
        covered: dict[str, Any] = {"partialFilterExpression": {"open": {"$exists": True}}, "unique": True}
        await database.things.create_index([("key", 1)], **covered)
        written = [
            {"_id": n, "key": n % 7, "blob": bytes(range(n)), "deep": {"list": [n, {"a": 1.5}]}} for n in range(40)
        ]
        await database.things.insert_many(written)
        await database.things.insert_one({"_id": "open", "key": 1, "open": True})
        with pytest.raises(DuplicateKeyError):
            await database.things.insert_one({"_id": "refused", "key": 1, "open": True})
        await database.things.update_one({"_id": 3}, {"$set": {"deep.more": 2**40}, "$inc": {"key": 10}}, upsert=True)
        await database.others.insert_many([{"_id": "stays"}, {"_id": "goes"}])
        await database.others.delete_many({"_id": "goes"})
        before = await database.things.find(sort=[("_id", 1)]).to_list(None)
        for _ in range(2):
            url = server.url
            await server.kill()
            await server.start()
            assert server.url == url
            assert await database.things.find(sort=[("_id", 1)]).to_list(None) == before
            assert await database.others.distinct("_id") == ["stays"]
            with pytest.raises(DuplicateKeyError):
                await database.things.insert_one({"_id": "refused", "key": 1, "open": True})
        client.close()


# -- clients --------------------------------------------------------------------------------------------------------


async def run_client(name: str, *command: str) -> str:
    project = await npm_project(CLIENTS / name)
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=project.directory,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_the_sdk_installs_and_loads() -> None:
    out = await run_client("rocketchat-sdk", "node", "-p", 'Object.keys(require("@rocket.chat/sdk")).join()')
    assert "Rocketchat" in out


async def test_hubot_installs_and_loads_its_adapter_and_script() -> None:
    out = await run_client("hubot", "hubot", "--adapter", "rocketchat", "--disable-httpd", "--config-check")
    assert json.loads(out.splitlines()[-2])["step"] == "ready"
    assert out.splitlines()[-1] == "OK"
