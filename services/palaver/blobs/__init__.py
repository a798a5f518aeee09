"""Port 4, the blobs: the bytes of uploads, by keys that Palaver makes up.

A blob comes as a stream, is there as a whole or not at all, and never changes. What it is called, of which type it is
and who may have it stands in the database. Its adapters are `files.py` (a folder), `mongodb.py` (a cluster's database)
and `s3.py` (whatever speaks S3); all pass `tests/blobs`. Nothing here holds more than a few MiB of a blob, however
large it is.

Called by the gateway's uploads, and by messaging, which removes what nobody has sent.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterable, AsyncIterator
from typing import NamedTuple, Protocol

from palaver.errors import InvalidInput, NotFound

FILES, AVATARS, MEDIA, TAKEOUTS = "files", "avatars", "media", "takeouts"
"""The kinds of a workspace's blobs: files of rooms, pictures of users and rooms, emoji, sounds and assets, and users'
own data to take away."""

_matches_key = re.compile(r"[a-z]{1,32}/[A-Za-z0-9]{1,64}").fullmatch
_PIECE_BYTES = 256 * 1024
# What a dead process left half stored is in nobody's way, and is swept after so long.
KEEP_UNFINISHED_SECONDS = 24 * 3600.0


class BlobNotFound(NotFound):
    code = "error-file-not-found"
    reason = "The file does not exist"


class BlobTooLarge(InvalidInput):
    code = "error-file-too-large"
    reason = "File exceeds allowed size"


class Blob(NamedTuple):
    """What is known of a stored blob: its key, its size in bytes, and when it was stored (epoch milliseconds)."""

    key: str
    size: int
    stored_at: int


class Digest(NamedTuple):
    """What was read of a stream: its size in bytes, and its SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


class Blobs(Protocol):
    """A key is "<kind>/<id>": lower-case letters, then letters and digits; any other is a ValueError.

    Every method may raise `errors.Unavailable`.
    """

    async def open(self) -> None:
        """Makes sure that blobs can be stored. Raises Unavailable."""

    async def close(self) -> None: ...

    async def put(self, key: str, content: AsyncIterable[bytes], *, max_size: int) -> Digest:
        """Stores what `content` gives, once all of it is there; in place of what had the key before.

        Raises BlobTooLarge for more than `max_size` bytes, and whatever `content` raises: nothing is stored then.
        """

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, and without, `end`, in pieces. Raises BlobNotFound before the first of them."""

    async def find(self, key: str) -> Blob | None: ...

    async def delete(self, key: str) -> None:
        """It is gone afterwards, whether it was there or not."""

    def list(self, kind: str) -> AsyncIterator[Blob]:
        """All blobs of a kind, in no order. What is stored or deleted meanwhile may be among them or not."""

    async def sweep(self) -> None:
        """Removes what has been half stored or half deleted for a day: its process is no more. Called now and then."""


def is_key(key: str) -> bool:
    """Whether a blob may have this key."""
    return _matches_key(key) is not None


def check_key(key: str) -> None:
    """Raises ValueError for what is no key."""
    if not is_key(key):
        raise ValueError(f"not a key of a blob: {key!r}")


async def one_piece(data: bytes) -> AsyncIterator[bytes]:
    """What is in memory as a whole, as `put` takes it."""
    yield data


class Measured:
    """A stream in pieces of a good size, measured as it passes. For the adapters' `put`."""

    def __init__(self, content: AsyncIterable[bytes], max_size: int) -> None:
        self._content = content
        self._max_size = max_size
        self._size = 0
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> Digest:
        """Of what has passed so far."""
        return Digest(self._size, self._hash.hexdigest())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        gathered = bytearray()
        async for chunk in self._content:
            self._size += len(chunk)
            if self._size > self._max_size:
                raise BlobTooLarge(details={"max_size": self._max_size})
            gathered += chunk
            if len(gathered) >= _PIECE_BYTES:
                yield await self._take(gathered)
                gathered = bytearray()
        if gathered:
            yield await self._take(gathered)

    async def _take(self, gathered: bytearray) -> bytes:
        await asyncio.to_thread(self._hash.update, gathered)
        return bytes(gathered)
