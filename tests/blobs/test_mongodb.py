"""What only the MongoDB adapter has: how blobs lie there, what dead processes leave, and a server that goes away."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.write_concern import WriteConcern

from palaver.blobs import BlobNotFound, mongodb
from palaver.blobs.mongodb import BLOBS, CHUNKS, MongoBlobs
from palaver.errors import Unavailable
from palaver.ids import new_id
from tests.blobs.conftest import Collections
from tests.blobs.test_contract import MIB, keys, make, put, read, stream
from tests.servers import own_mongodb_server

pytestmark = pytest.mark.needs_servers


@pytest.fixture
async def collections(mongodb_url: str) -> AsyncIterator[Collections]:
    collections = Collections(mongodb_url)
    yield collections
    await collections.clear()


@pytest.fixture
async def blobs(collections: Collections) -> AsyncIterator[MongoBlobs]:
    opened = collections.connect()
    await opened.open()
    yield opened
    await opened.close()


async def age(collections: Collections) -> None:
    """Lets a day pass for everything that is unfinished."""
    async with collections.raw() as raw:
        await raw[BLOBS].update_many({"left_at": {"$exists": True}}, {"$set": {"left_at": 1}})


async def test_how_a_blob_lies_there(blobs: MongoBlobs, collections: Collections) -> None:
    content = make(2 * MIB + 3)
    await put(blobs, content, "files/one")
    async with collections.raw() as raw:
        document = await raw[BLOBS].find_one({})
        chunks = await raw[CHUNKS].find({}).sort("_id", 1).to_list(None)
    id = document["_id"]
    assert document.keys() == {"_id", "key", "size", "stored_at", "chunk_bytes"}
    assert (document["key"], document["size"], document["chunk_bytes"]) == ("files/one", len(content), MIB)
    assert [chunk["_id"] for chunk in chunks] == [f"{id}/00000000", f"{id}/00000001", f"{id}/00000002"]
    assert b"".join(chunk["data"] for chunk in chunks) == content
    assert blobs._database.write_concern == WriteConcern("majority", j=True)


async def test_a_blob_is_read_in_the_chunks_that_it_was_written_in(
    blobs: MongoBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make(MIB)
    with monkeypatch.context() as earlier:
        earlier.setattr(mongodb, "_CHUNK_BYTES", 100_000)
        key = await put(blobs, content)
    assert await read(blobs, key) == content
    assert await read(blobs, key, 99_999, 300_001) == content[99_999:300_001]


async def test_what_a_dead_process_left_is_swept_after_a_day(blobs: MongoBlobs, collections: Collections) -> None:
    kept = await put(blobs, make(2 * MIB))
    before = await collections.sizes()
    dead: Any = collections.connect()
    await dead.open()

    async def endless() -> AsyncIterator[bytes]:
        async for chunk in stream(make(3 * MIB)):
            yield chunk
        await dead.close()  # from here on it reaches nothing
        yield make(MIB)

    with pytest.raises(Unavailable):
        await dead.put("files/half", endless(), max_size=9 * MIB)
    unfinished = await collections.sizes()
    assert sum(unfinished) == sum(before) + 2 * MIB  # the third was not full
    await blobs.sweep()
    assert await collections.sizes() == unfinished  # it may be on its way
    await age(collections)
    await blobs.sweep()
    assert await collections.sizes() == before
    assert await keys(blobs) == {kept}


async def test_what_is_half_deleted_is_out_of_sight_and_swept(blobs: MongoBlobs, collections: Collections) -> None:
    key = await put(blobs, make(2 * MIB))
    assert await blobs._hide({"key": key}) is not None  # here its process dies
    assert await blobs.find(key) is None
    assert await keys(blobs) == set()
    with pytest.raises(BlobNotFound):
        await blobs.read(key)
    await put(blobs, b"another", key)
    await age(collections)
    await asyncio.gather(*(blobs.sweep() for _ in range(3)))
    assert await read(blobs, key) == b"another"
    assert sum(await collections.sizes()) == len(b"another")


async def test_an_upload_that_takes_longer_than_a_day_is_given_up(blobs: MongoBlobs, collections: Collections) -> None:
    async def slow() -> AsyncIterator[bytes]:
        async for chunk in stream(make(2 * MIB)):
            yield chunk
        await age(collections)
        await blobs.sweep()

    with pytest.raises(Unavailable, match="longer"):
        await blobs.put("files/slow", slow(), max_size=9 * MIB)
    assert await keys(blobs) == set()


async def test_who_reads_a_blob_that_is_deleted_hears_of_it(blobs: MongoBlobs) -> None:
    key = await put(blobs, make(3 * MIB))
    pieces = await blobs.read(key)
    await anext(pieces)
    await blobs.delete(key)
    with pytest.raises(BlobNotFound):
        await anext(pieces)


async def test_several_open_one_database_at_once(collections: Collections) -> None:
    several = [collections.connect() for _ in range(5)]
    await asyncio.gather(*(blobs.open() for blobs in several))
    key = await put(several[0], b"shared")
    assert [await read(blobs, key) for blobs in several] == [b"shared"] * 5
    for blobs in several:
        await blobs.close()


async def test_the_same_key_from_two_processes_is_one_of_both(blobs: MongoBlobs, collections: Collections) -> None:
    contents = [make(MIB + n) for n in range(4)]
    await asyncio.gather(*(put(blobs, content, "files/same") for content in contents))
    assert await read(blobs, "files/same") in contents
    found = await blobs.find("files/same")
    assert found is not None
    assert sum(await collections.sizes()) == found.size


async def test_a_server_that_is_away_is_said_at_start() -> None:
    with pytest.raises(Unavailable, match="MongoDB is away"):
        await MongoBlobs("mongodb://127.0.0.1:1", "palaver_test_none").open()


async def test_a_server_that_stops_while_a_blob_is_sent() -> None:
    async with own_mongodb_server() as server:
        collections = Collections(server.url)
        blobs = collections.connect()
        await blobs.open()
        kept = await put(blobs, make(MIB))

        async def half() -> AsyncIterator[bytes]:
            async for chunk in stream(make(3 * MIB)):
                yield chunk
            await server.kill()
            async for chunk in stream(make(3 * MIB)):
                yield chunk

        with pytest.raises(Unavailable):
            await blobs.put("files/half", half(), max_size=99 * MIB)
        gone = await asyncio.gather(
            read(blobs, kept), put(blobs, b"x"), blobs.find(kept), blobs.delete(kept), keys(blobs), blobs.sweep(),
            return_exceptions=True,
        )  # fmt: skip
        assert [type(outcome) for outcome in gone] == [Unavailable] * 6
        await server.start()
        assert await read(blobs, kept) == make(MIB)
        assert await keys(blobs) == {kept}
        assert await blobs.find("files/half") is None
        await age(collections)
        await blobs.sweep()
        assert sum(await collections.sizes()) == MIB
        await put(blobs, make(3 * MIB), "files/half")
        assert await read(blobs, "files/half") == make(3 * MIB)
        await blobs.close()


async def test_a_put_whose_last_write_is_cancelled_is_not_there(blobs: MongoBlobs, collections: Collections) -> None:
    """At whatever moment it is cancelled, nothing comes after what undoes it."""
    for moment in range(12):
        putting = asyncio.create_task(blobs.put(f"files/{new_id()}", stream(make(MIB // 2)), max_size=MIB))
        for _ in range(moment * moment):
            await asyncio.sleep(0.0005)
            if putting.done():
                break
        putting.cancel()
        outcome = (await asyncio.gather(putting, return_exceptions=True))[0]
        if not isinstance(outcome, asyncio.CancelledError):
            break
        assert await collections.sizes() == []
