"""Blobs as objects of a bucket, in whatever speaks S3.

A small blob is one request; a large one a multipart upload in parts of 5 MiB, which S3 makes visible as a whole. It is
read in ranges of a MiB, each a request of its own: a slow reader keeps no connection busy, and every request has its
deadline. Chosen by `node.py` when a bucket is configured; the library does its work in threads of its own.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from datetime import timedelta
from typing import TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from palaver.blobs import Blob, BlobNotFound, Digest, Measured, check_key
from palaver.errors import Unavailable
from palaver.ids import new_id

T = TypeVar("T")
logger = logging.getLogger(__name__)

_PART_BYTES = 5 * 1024 * 1024
_PARTS_UNDER_WAY = 2
_PIECE_BYTES = 1024 * 1024
_CONNECT_SECONDS = 5
_REQUEST_SECONDS = 30
_RETRIES = 3
_RETRY_SECONDS = 30


class S3Blobs:
    """The port's adapter over one bucket, or what is below a prefix in it."""

    def __init__(
        self, *, endpoint: str, bucket: str, region: str, access_key: str, secret_key: str, prefix: str = ""
    ) -> None:
        """`endpoint`: http(s)://host:port of the server; the bucket is named in the path below it."""
        self._where = f"the bucket {bucket} at {endpoint}"
        self._store = S3Store(
            bucket,
            prefix=prefix.strip("/") or None,
            endpoint=endpoint,
            region=region,
            access_key_id=access_key,
            secret_access_key=secret_key,
            virtual_hosted_style_request=False,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                "timeout": timedelta(seconds=_REQUEST_SECONDS),
            },
            retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
        )

    async def open(self) -> None:
        """Writes and deletes an object. Raises Unavailable, and says what the server says."""
        probe = f"probe/{new_id()}"
        try:
            await obstore.put_async(self._store, probe, b"probe")
            await obstore.delete_async(self._store, probe)
        except (BaseError, OSError) as error:
            raise Unavailable(f"Uploads can't be stored in {self._where}: {_said(error)}") from error

    async def close(self) -> None:
        """The library keeps connections only while they are used, and for some seconds after."""

    async def put(self, key: str, content: AsyncIterable[bytes], *, max_size: int) -> Digest:
        """One request for what fits into a part, a multipart upload for more."""
        check_key(key)
        measured = Measured(content, max_size)
        pieces = aiter(measured)
        start = bytearray()
        async for piece in pieces:
            start += piece
            if len(start) >= _PART_BYTES:
                await self._put_parts(key, _chain(bytes(start), pieces))
                return measured.digest
        await self._stored(obstore.put_async(self._store, key, bytes(start), use_multipart=False))
        return measured.digest

    async def _put_parts(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        # The library gives back the parts it has sent where its source fails, not where it is cancelled. So it gets a
        # source of its own, which fails when ours does or when we are cancelled, and is waited for.
        handed: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(1)
        storing = asyncio.ensure_future(self._store_handed(key, handed))
        try:
            async for piece in pieces:
                await _hand_over(handed, piece, storing)
            await _hand_over(handed, None, storing)
        except BaseException as error:
            if not handed.empty():
                handed.get_nowait()
            handed.put_nowait(error)
            await asyncio.wait([storing])
            storing.exception()
            raise
        await storing

    async def _store_handed(self, key: str, handed: "asyncio.Queue[bytes | BaseException | None]") -> None:
        source = _take_handed(handed)
        await self._stored(
            obstore.put_async(
                self._store, key, source, chunk_size=_PART_BYTES, max_concurrency=_PARTS_UNDER_WAY, use_multipart=True
            )
        )

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """A range at a time."""
        found = await self.find(key)
        if found is None:
            raise BlobNotFound()
        return self._pieces(key, start, found.size if end is None else min(end, found.size))

    async def _pieces(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        while start < end:
            size = min(_PIECE_BYTES, end - start)
            piece = await self._answered(obstore.get_range_async(self._store, key, start=start, length=size))
            start += len(piece)
            yield bytes(piece)

    async def find(self, key: str) -> Blob | None:
        """By a request for its headers."""
        check_key(key)
        try:
            found = await self._answered(obstore.head_async(self._store, key))
        except BlobNotFound:
            return None
        return Blob(key, found["size"], int(found["last_modified"].timestamp() * 1000))

    async def delete(self, key: str) -> None:
        """S3 does not say whether there was one."""
        check_key(key)
        try:
            await self._answered(obstore.delete_async(self._store, key))
        except BlobNotFound:  # some do
            return

    async def list(self, kind: str) -> AsyncIterator[Blob]:
        """A page of objects at a time."""
        check_key(f"{kind}/a")
        pages = aiter(obstore.list(self._store, prefix=kind))
        while (page := await self._answered(_next_page(pages))) is not None:
            for found in page:
                yield Blob(found["path"], found["size"], int(found["last_modified"].timestamp() * 1000))

    async def sweep(self) -> None:
        """Nothing of ours: parts of uploads that a dead process left are aborted by a rule of the bucket."""

    async def _stored(self, request: Awaitable[object]) -> None:
        try:
            await self._answered(request)
        except BlobNotFound as error:  # the bucket itself
            raise Unavailable("The storage of uploads is gone") from error

    async def _answered(self, request: Awaitable[T]) -> T:
        try:
            return await request
        except FileNotFoundError as error:
            raise BlobNotFound() from error
        except (BaseError, OSError) as error:
            logger.warning("%s does not answer: %s", self._where, _said(error))
            raise Unavailable("The storage of uploads does not answer") from error


def _said(error: Exception) -> str:
    """Without the library's own view of it, which takes a page."""
    return str(error).partition("\n\nDebug source")[0]


async def _next_page(pages: AsyncIterator[T]) -> T | None:
    return await anext(pages, None)


async def _chain(first: bytes, following: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in following:
        yield piece


async def _hand_over(
    handed: "asyncio.Queue[bytes | BaseException | None]", piece: bytes | None, storing: "asyncio.Future[None]"
) -> None:
    """Waits until the piece is taken; raises what the taker has failed with."""
    handing = asyncio.ensure_future(handed.put(piece))
    try:
        await asyncio.wait([handing, storing], return_when=asyncio.FIRST_COMPLETED)
        if storing.done():
            storing.result()
    finally:
        handing.cancel()


async def _take_handed(handed: "asyncio.Queue[bytes | BaseException | None]") -> AsyncIterator[bytes]:
    while (piece := await handed.get()) is not None:
        if isinstance(piece, BaseException):
            # Of a class that the library can't take for its own end.
            raise RuntimeError("the upload was given up") from piece
        yield piece
