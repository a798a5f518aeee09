"""One archive: parts of some MiB, and the manifest that makes an archive of them.

    parts/records000001 …    parts of the section "records"; then "events", "uploads", "pictures" and "media"
    parts/manifest           JSON; written last

They are blobs, so they are written and read by the adapters of `blobs/`: a part is there as a whole or not at all.
Called by `making.py`, `restoring.py` and `places.py`.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from msgspec import Meta

from palaver import failpoints
from palaver.backup.frames import DamagedArchive, Deflater, Frame, read_frames
from palaver.blobs import BlobNotFound, Blobs
from palaver.database.migrations import MIGRATIONS
from palaver.errors import InvalidInput, NotFound

FORMAT = 1
SCHEMA = len(MIGRATIONS)
PART_BYTES = 8 * 1024 * 1024
_MANIFEST = "parts/manifest"
_MAX_MANIFEST_BYTES = 64 * 1024 * 1024
# A part ends with the frame that makes it large enough, so it may be larger by one.
_MAX_PART_BYTES = 128 * 1024 * 1024
# What can be compressed to next to nothing fills no part by its bytes.
_MAX_RATIO = 16
_PIECE_BYTES = 256 * 1024

Count = Annotated[int, Meta(ge=0)]


class ArchiveNotFound(NotFound):
    """There is none, or one without a manifest: its backup is running, or has died."""

    code = "error-archive-not-found"
    reason = "There is no archive"


class NewerArchive(InvalidInput):
    code = "error-archive-newer"
    reason = "The archive was made by a newer version of Palaver"


class Part(msgspec.Struct, frozen=True):
    """One part: its name, its size, and the SHA-256 of its bytes as they are stored."""

    name: str
    bytes: Count
    sha256: str


class Uploads(msgspec.Struct, frozen=True):
    """What became of the uploads that the events tell of."""

    copied: Count = 0
    bytes: Count = 0
    # Nobody could have these any more: deleted, or never sent.
    gone: Count = 0
    # The workspace itself had no bytes of these, or has others than were sent (ids, some of them).
    missing: Count = 0
    damaged: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True):
    """What an archive says of itself."""

    format: int
    schema: int
    version: str
    name: str
    workspace: str
    started_at: int  # epoch milliseconds
    ended_at: int
    parts: tuple[Part, ...]
    records: Count
    streams: dict[str, Count]  # by kind
    events: dict[str, Count]  # by kind of stream
    # Of each collection, how many documents there were before the cut and after the copy.
    documents: dict[str, tuple[Count, Count]]
    uploads: Uploads
    # Until when (epoch ms) every durable follower had handled what was told.
    handled_at: int

    @property
    def bytes(self) -> int:
        """Of all parts, as they are stored."""
        return sum(part.bytes for part in self.parts)


class SectionWriter:
    """Frames of one section, cut into parts."""

    def __init__(self, blobs: Blobs, name: str, *, level: int, part_bytes: int) -> None:
        self._blobs = blobs
        self._name = name
        self._level = level
        self._part_bytes = part_bytes
        self._part: Deflater | None = None
        self.parts: list[Part] = []

    async def add(self, kind: bytes, payload: bytes) -> None:
        """Adds a frame. Raises Unavailable when a part can't be stored."""
        if self._part is None:
            self._part = Deflater(self._level)
        self._part.add(kind, payload)
        if len(self._part.compressed) >= self._part_bytes or self._part.size >= self._part_bytes * _MAX_RATIO:
            await self.end()

    async def end(self) -> None:
        """Stores what there is, if there is something."""
        part, self._part = self._part, None
        if part is not None:
            name = f"{self._name}{len(self.parts) + 1:06d}"
            size, sha256 = await self._blobs.put(f"parts/{name}", _pieces(part.end()), max_size=len(part.compressed))
            self.parts.append(Part(name, size, sha256))
            failpoints.reach("backup.after_part")


async def _pieces(content: bytes | bytearray) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield bytes(content[start : start + _PIECE_BYTES])


async def write_manifest(blobs: Blobs, manifest: Manifest) -> None:
    """Makes an archive of the parts."""
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    await blobs.put(_MANIFEST, _pieces(encoded), max_size=len(encoded))


async def find_manifest(blobs: Blobs) -> Manifest | None:
    """The archive's manifest; None where there is no (whole) archive. Raises DamagedArchive."""
    try:
        encoded = await _read(blobs, _MANIFEST, _MAX_MANIFEST_BYTES)
    except BlobNotFound:
        return None
    try:
        return msgspec.json.decode(encoded, type=Manifest)
    except msgspec.MsgspecError as error:
        raise DamagedArchive(f"The manifest can't be read: {error}") from error


async def _read(blobs: Blobs, key: str, most: int) -> bytes:
    content = bytearray()
    async for piece in await blobs.read(key):
        content += piece
        if len(content) > most:
            raise DamagedArchive(f"{key} is larger than it can be")
    return bytes(content)


class ArchiveReader:
    """A whole archive."""

    def __init__(self, blobs: Blobs, manifest: Manifest) -> None:
        """Raises NewerArchive for one that this version can't understand."""
        if manifest.format > FORMAT or manifest.schema > SCHEMA:
            raise NewerArchive(
                f"The archive has format {manifest.format} and schema {manifest.schema}, made by Palaver"
                f" {manifest.version}; this version knows format {FORMAT} and schema {SCHEMA}"
            )
        self.manifest = manifest
        self._blobs = blobs

    async def read(self, section: str) -> AsyncIterator[Frame]:
        """The frames of a section. Each part is checked before its first frame. Raises DamagedArchive, Unavailable."""
        for part in self.manifest.parts:
            if part.name.rstrip("0123456789") != section:
                continue
            try:
                content = await _read(self._blobs, f"parts/{part.name}", min(part.bytes, _MAX_PART_BYTES))
            except BlobNotFound:
                raise DamagedArchive(f"The part {part.name} is missing") from None
            if len(content) != part.bytes or hashlib.sha256(content).hexdigest() != part.sha256:
                raise DamagedArchive(f"The part {part.name} is not what was written")
            for frame in read_frames(content):
                yield frame
