"""What all adapters of the blobs' port do: whole or not at all, in pieces, and only where a key points."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from palaver.blobs import Blob, BlobNotFound, Blobs, BlobTooLarge
from palaver.ids import new_id
from tests.blobs.conftest import Place

MIB = 1024 * 1024
PART = 5 * MIB
# Nothing, a piece, around the limit of one request and of one part, and several parts with an odd end.
SIZES = [0, 1, 256 * 1024, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 12 * MIB + 7]


def make(size: int) -> bytes:
    """Bytes that tell at which place they are."""
    line = b"".join(b"%08d" % number for number in range(64 * 1024))
    return (line * (size // len(line) + 1))[:size]


async def stream(content: bytes, chunk: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), chunk):
        yield content[start : start + chunk]


async def put(blobs: Blobs, content: bytes, key: str = "") -> str:
    key = key or f"files/{new_id()}"
    await blobs.put(key, stream(content), max_size=len(content))
    return key


async def read(blobs: Blobs, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in await blobs.read(key, start, end)])


async def keys(blobs: Blobs, kind: str = "files") -> set[str]:
    return {blob.key async for blob in blobs.list(kind)}


async def stream_and_settle(place: Place, content: bytes) -> AsyncIterator[bytes]:
    """The content; before its last piece, waits until the place has every part that is full so far.

    S3 promises nothing about parts that are under way when their upload is given up ("might or might not succeed",
    AbortMultipartUpload in its reference), so what is to be given back has to have arrived.
    """
    *pieces, last = [piece async for piece in stream(content)] or [b""]
    for piece in pieces:
        yield piece
    full = sum(map(len, pieces)) // PART * PART
    async with asyncio.timeout(30):
        while sum(await place.sizes()) < full:
            await asyncio.sleep(0.01)
    yield last


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_put_is_read(blobs: Blobs, size: int) -> None:
    content, before = make(size), int(time.time() * 1000)
    digest = await blobs.put("files/one", stream(content), max_size=size)
    assert digest == (size, hashlib.sha256(content).hexdigest())
    assert await read(blobs, "files/one") == content
    found = await blobs.find("files/one")
    assert found is not None
    assert (found.key, found.size) == ("files/one", size)
    assert before - 2000 <= found.stored_at <= time.time() * 1000 + 2000


async def test_parts_are_read(blobs: Blobs) -> None:
    content = make(3 * MIB + 5)
    key = await put(blobs, content)
    for start, end in [(0, 1), (5, 5), (0, 3 * MIB + 5), (MIB - 1, MIB + 1), (2 * MIB, None), (3 * MIB + 4, None)]:
        assert await read(blobs, key, start, end) == content[start:end]
    assert await read(blobs, key, 3 * MIB, 99 * MIB) == content[3 * MIB :]
    assert await read(blobs, key, 3 * MIB + 5) == b""


async def test_no_piece_is_large(blobs: Blobs) -> None:
    key = await put(blobs, make(6 * MIB))
    assert max([len(piece) async for piece in await blobs.read(key)]) <= MIB


async def test_a_reader_may_go_away(blobs: Blobs) -> None:
    key = await put(blobs, make(6 * MIB))
    reading = await blobs.read(key)
    async with aclosing(reading):  # type: ignore[type-var]
        await anext(reading)


async def test_what_is_not_there(blobs: Blobs) -> None:
    assert await blobs.find("files/none") is None
    with pytest.raises(BlobNotFound):
        await blobs.read("files/none")
    await blobs.delete("files/none")
    assert await keys(blobs) == set()


async def test_what_was_deleted_is_gone(blobs: Blobs, place: Place) -> None:
    two = await put(blobs, b"two")
    before = await place.sizes()
    one = await put(blobs, make(3 * MIB))
    await blobs.delete(one)
    assert await blobs.find(one) is None
    assert await keys(blobs) == {two}
    assert await place.sizes() == before


async def test_what_is_put_again_replaces_what_was_there(blobs: Blobs, place: Place) -> None:
    await put(blobs, make(3 * MIB), "files/again")
    await put(blobs, b"short", "files/again")
    assert await read(blobs, "files/again") == b"short"
    found = await blobs.find("files/again")
    assert found is not None
    assert found.size == 5
    assert await keys(blobs) == {"files/again"}
    assert sum(await place.sizes()) == 5


async def test_sweeping_leaves_what_is_stored_and_what_is_being_stored(blobs: Blobs) -> None:
    content, kept = make(3 * MIB), await put(blobs, b"kept")

    async def swept() -> AsyncIterator[bytes]:
        async for chunk in stream(content[: 2 * MIB]):
            yield chunk
        await blobs.sweep()
        yield content[2 * MIB :]

    await blobs.put("files/swept", swept(), max_size=len(content))
    assert await read(blobs, "files/swept") == content
    assert await read(blobs, kept) == b"kept"


@pytest.mark.parametrize("size", [1000, 12 * MIB])
async def test_too_much_is_refused_and_leaves_nothing(blobs: Blobs, place: Place, size: int) -> None:
    with pytest.raises(BlobTooLarge):
        await blobs.put("files/big", stream_and_settle(place, make(size)), max_size=size - 1)
    assert await blobs.find("files/big") is None
    assert await place.sizes() == []


@pytest.mark.parametrize("size", [0, 1000, 12 * MIB])
async def test_a_source_that_fails_leaves_nothing(blobs: Blobs, place: Place, size: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for chunk in stream_and_settle(place, make(size)):
            yield chunk
        raise ConnectionResetError("the client has gone")

    with pytest.raises(ConnectionResetError):
        await blobs.put("files/broken", broken(), max_size=99 * MIB)
    assert await keys(blobs) == set()
    assert await place.sizes() == []


@pytest.mark.parametrize("size", [0, 1000, 12 * MIB])
async def test_a_put_that_is_cancelled_leaves_nothing(blobs: Blobs, place: Place, size: int) -> None:
    waiting = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        async for chunk in stream_and_settle(place, make(size)):
            yield chunk
        waiting.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(blobs.put("files/slow", slow(), max_size=99 * MIB))
    await waiting.wait()
    assert await keys(blobs) == set()  # half of it is nothing
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await keys(blobs) == set()
    assert await place.sizes() == []


async def test_many_at_once(blobs: Blobs) -> None:
    contents = {f"files/{new_id()}": make(n * 100_000 + n) for n in range(20)}
    await asyncio.gather(*(put(blobs, content, key) for key, content in contents.items()))
    assert await keys(blobs) == set(contents)
    found = await asyncio.gather(*(read(blobs, key) for key in contents))
    assert found == list(contents.values())


async def test_kinds_are_listed_apart(blobs: Blobs) -> None:
    one = await put(blobs, b"12345", "files/a")
    await put(blobs, b"", "filesystem/a")
    await put(blobs, b"", "avatars/a")
    listed = [blob async for blob in blobs.list("files")]
    found = await blobs.find(one)
    assert [blob[:2] for blob in listed] == [("files/a", 5)]
    assert isinstance(found, Blob)
    assert await keys(blobs, "avatars") == {"avatars/a"}
    assert await keys(blobs, "nothing") == set()


async def test_more_than_a_page_is_listed(blobs: Blobs) -> None:
    wanted = {f"files/{number}" for number in range(1100)}
    for some in range(0, 1100, 100):
        await asyncio.gather(*(put(blobs, b"", f"files/{number}") for number in range(some, some + 100)))
    assert await keys(blobs) == wanted


BAD_KEYS = ["", "a", "files/", "/a", "files/a/b", "files/..", "../a", "files/a.b", "files/ä", "files/a\n", "Files/a",
            "files/%2e%2e", "files//a", "files/" + "a" * 65, "files/a\0", "./a", "files\\a"]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_what_is_no_key_is_refused(blobs: Blobs, place: Place, key: str) -> None:
    with pytest.raises(ValueError):
        await blobs.put(key, stream(b"x"), max_size=1)
    with pytest.raises(ValueError):
        await blobs.read(key)
    with pytest.raises(ValueError):
        await blobs.find(key)
    with pytest.raises(ValueError):
        await blobs.delete(key)
    assert await place.sizes() == []


@pytest.mark.parametrize("kind", ["", "..", "files/a", "."])
async def test_what_is_no_kind_is_refused(blobs: Blobs, kind: str) -> None:
    with pytest.raises(ValueError):
        await keys(blobs, kind)


async def test_a_large_one_passes_in_little_memory(blobs: Blobs) -> None:
    """Measured as the growth of this process's memory, what the library holds included."""
    piece, count = make(MIB), 200
    high = 0

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    async def large() -> AsyncIterator[bytes]:
        nonlocal high
        for _ in range(count):
            yield piece
            high = max(high, resident())

    await blobs.put("files/first", stream(make(12 * MIB)), max_size=12 * MIB)  # threads and connections are there
    before = resident()
    digest = await blobs.put("files/large", large(), max_size=count * MIB)
    assert digest.size == count * MIB
    assert high - before < 30 * MIB
    high, size = 0, 0
    async for part in await blobs.read("files/large"):
        size += len(part)
        high = max(high, resident())
    assert size == count * MIB
    assert high - before < 30 * MIB
