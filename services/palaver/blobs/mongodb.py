"""Blobs in the workspace's MongoDB, for several processes that have no S3: in chunks of a MiB, a document each.

What a blob is stands in one document of `blobs`, in each moment of its life:

    {_id, left_at}                              its chunks are being written, or removed: nobody sees it
    {_id, key, size, stored_at, chunk_bytes}    it is stored

The step from the first to the second is one write, after the last chunk; so is the step back, before the first chunk
goes. A chunk's `_id` is its blob's and its number. What a dead process leaves between two of these writes is removed by
`sweep`, a day later. All writes are acknowledged by a majority and journaled, as the database's own are.

Chosen by `node.py` when MongoDB is configured and S3 is not. It has a client of its own: uploads take no connection
away from the chat.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Sequence
from typing import Any, TypeVar

from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError

from palaver.blobs import KEEP_UNFINISHED_SECONDS, Blob, BlobNotFound, Digest, Measured, check_key
from palaver.database.mongo_connection import MotorCollection, MotorDatabase, connect, within
from palaver.errors import Unavailable
from palaver.ids import new_id

T = TypeVar("T")
logger = logging.getLogger(__name__)

BLOBS = "blobs"
CHUNKS = "blob_chunks"

_CHUNK_BYTES = 1024 * 1024
_CALL_SECONDS = 15.0
_PAGE = 500
_REMOVED_AT_ONCE = 100
_INDEXES = [
    IndexModel([("key", 1)], name="key", unique=True, sparse=True),
    IndexModel([("left_at", 1)], name="left_at", sparse=True),
]


class MongoBlobs:
    """The port's adapter over two collections."""

    def __init__(self, url: str, name: str) -> None:
        """`url`: mongodb://…; `name` of the database."""
        self._url = url
        self._name = name
        self._opened: MotorDatabase | None = None

    @within(_CALL_SECONDS)
    async def open(self) -> None:
        """Connects, makes the indexes that are missing, and writes and deletes a document. Raises Unavailable."""
        database = await connect(self._url, self._name)
        try:
            await database[BLOBS].create_indexes(_INDEXES)
            probe = new_id()
            await database[BLOBS].insert_one({"_id": probe, "left_at": _now()})
            await database[BLOBS].delete_one({"_id": probe})
        except BaseException:
            database.client.close()
            raise
        self._opened = database

    async def close(self) -> None:
        """Disconnects."""
        if self._opened is not None:
            self._opened.client.close()
        self._opened = None

    # -- putting -----------------------------------------------------------------------------------------------------

    async def put(self, key: str, content: AsyncIterable[bytes], *, max_size: int) -> Digest:
        """Writes a document, the chunks, and that the blob is stored."""
        check_key(key)
        id, began_at = new_id(), _now()
        measured = Measured(content, max_size)
        try:
            await _finished(self._begin(id, began_at))
            await self._put_chunks(id, measured)
            await _finished(self._show(id, began_at, key, measured.digest.size))
        except Unavailable:
            raise  # what was sent to MongoDB may still arrive there: `sweep` comes later
        except BaseException:
            await asyncio.shield(self._undo(id))
            raise
        return measured.digest

    async def _put_chunks(self, id: str, pieces: AsyncIterable[bytes]) -> None:
        number, gathered = 0, bytearray()
        async for piece in pieces:
            gathered += piece
            while len(gathered) >= _CHUNK_BYTES:
                await _finished(self._put_chunk(id, number, bytes(gathered[:_CHUNK_BYTES])))
                number += 1
                del gathered[:_CHUNK_BYTES]
        if gathered:
            await _finished(self._put_chunk(id, number, bytes(gathered)))

    @within(_CALL_SECONDS)
    async def _begin(self, id: str, began_at: int) -> None:
        await self._blobs.insert_one({"_id": id, "left_at": began_at})

    @within(_CALL_SECONDS)
    async def _put_chunk(self, id: str, number: int, data: bytes) -> None:
        await self._chunks.insert_one({"_id": _chunk_id(id, number), "data": data})

    async def _show(self, id: str, began_at: int, key: str, size: int) -> None:
        """Has everybody see the blob, in place of one that had its key before."""
        while not await self._try_to_show(id, began_at, key, size):
            await self.delete(key)

    @within(_CALL_SECONDS)
    async def _try_to_show(self, id: str, began_at: int, key: str, size: int) -> bool:
        stored = {"key": key, "size": size, "stored_at": _now(), "chunk_bytes": _CHUNK_BYTES}
        # Whoever has swept it meanwhile has set another time.
        where = {"_id": id, "left_at": began_at}
        try:
            result = await self._blobs.update_one(where, {"$set": stored, "$unset": {"left_at": ""}})
        except DuplicateKeyError:
            return False
        if not result.matched_count:
            raise Unavailable("The upload has taken longer than uploads are kept")
        return True

    async def _undo(self, id: str) -> None:
        try:
            await self._remove({"_id": id})
        except Unavailable as error:
            logger.warning("a part of an upload stays for a day: %s", error)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """A chunk at a time."""
        found = await self._find(key)
        if found is None:
            raise BlobNotFound()
        return self._pieces(found, start, found["size"] if end is None else min(end, found["size"]))

    async def _pieces(self, blob: dict[str, Any], start: int, end: int) -> AsyncIterator[bytes]:
        while start < end:
            number, skipped = divmod(start, int(blob["chunk_bytes"]))
            piece = (await self._get_chunk(blob["_id"], number))[skipped : skipped + end - start]
            start += len(piece)
            yield piece

    @within(_CALL_SECONDS)
    async def _get_chunk(self, id: str, number: int) -> bytes:
        chunk = await self._chunks.find_one({"_id": _chunk_id(id, number)})
        if chunk is None:  # deleted meanwhile
            raise BlobNotFound()
        return bytes(chunk["data"])

    async def find(self, key: str) -> Blob | None:
        """By the key's index."""
        found = await self._find(key)
        return None if found is None else _blob(found)

    @within(_CALL_SECONDS)
    async def _find(self, key: str) -> dict[str, Any] | None:
        check_key(key)
        return await self._blobs.find_one({"key": key})

    async def list(self, kind: str) -> AsyncIterator[Blob]:
        """By their keys, a page at a time."""
        check_key(f"{kind}/a")
        after = f"{kind}/"
        while page := await self._list_page(after, f"{kind}0"):  # 0 is the character after the slash
            for found in page:
                yield _blob(found)
            after = page[-1]["key"]

    @within(_CALL_SECONDS)
    async def _list_page(self, after: str, before: str) -> Sequence[dict[str, Any]]:
        where = {"key": {"$gt": after, "$lt": before}}
        return await self._blobs.find(where).sort("key", 1).limit(_PAGE).to_list(None)

    # -- removing ----------------------------------------------------------------------------------------------------

    async def delete(self, key: str) -> None:
        """It is out of sight at once; its chunks follow."""
        check_key(key)
        await self._remove({"key": key})

    async def sweep(self) -> None:
        """What has been unfinished, or half removed, for a day."""
        before = _now() - int(KEEP_UNFINISHED_SECONDS * 1000)
        for left in await self._list_left(before):
            await self._remove({"_id": left["_id"], "left_at": left["left_at"]})

    @within(_CALL_SECONDS)
    async def _list_left(self, before: int) -> Sequence[dict[str, Any]]:
        return await self._blobs.find({"left_at": {"$lt": before}}).limit(_PAGE).to_list(None)

    async def _remove(self, where: dict[str, Any]) -> None:
        """Removes the one blob that this is true of, if there is one: from sight first, its document at last."""
        id = await self._hide(where)
        if id is not None:
            while await self._remove_some_chunks(id):
                pass
            await self._forget(id)

    @within(_CALL_SECONDS)
    async def _hide(self, where: dict[str, Any]) -> str | None:
        gone = {"$set": {"left_at": _now()}, "$unset": {"key": "", "size": "", "stored_at": "", "chunk_bytes": ""}}
        found: dict[str, Any] | None = await self._blobs.find_one_and_update(where, gone)
        return None if found is None else str(found["_id"])

    @within(_CALL_SECONDS)
    async def _remove_some_chunks(self, id: str) -> bool:
        where = {"_id": {"$gte": _chunk_id(id, 0), "$lt": f"{id}0"}}
        some = await self._chunks.find(where, {"_id": 1}).limit(_REMOVED_AT_ONCE).to_list(None)
        if some:
            await self._chunks.delete_many({"_id": {"$in": [chunk["_id"] for chunk in some]}})
        return bool(some)

    @within(_CALL_SECONDS)
    async def _forget(self, id: str) -> None:
        await self._blobs.delete_one({"_id": id})

    @property
    def _blobs(self) -> MotorCollection:
        return self._database[BLOBS]

    @property
    def _chunks(self) -> MotorCollection:
        return self._database[CHUNKS]

    @property
    def _database(self) -> MotorDatabase:
        if self._opened is None:
            raise Unavailable("the storage of uploads is not open")
        return self._opened


def _chunk_id(id: str, number: int) -> str:
    return f"{id}/{number:08d}"


def _blob(found: dict[str, Any]) -> Blob:
    return Blob(found["key"], int(found["size"]), int(found["stored_at"]))


def _now() -> int:
    return time.time_ns() // 1_000_000


async def _finished(call: Awaitable[T]) -> T:
    """Waits for the call to end even when it is cancelled: what is undone then must not be done after it."""
    calling = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(calling)
    except asyncio.CancelledError:
        await asyncio.wait([calling])
        if not calling.cancelled():
            calling.exception()
        raise
