"""Making an archive of a workspace that runs: the protocol that the package's docstring describes, step by step.

Called by `command.py`. Reads the database and the blobs, writes nothing to them.
"""

import asyncio
import contextlib
import hashlib
import logging
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import orjson

from palaver import __version__
from palaver.backup.archive import (
    FORMAT,
    PART_BYTES,
    SCHEMA,
    Manifest,
    Part,
    SectionWriter,
    Uploads,
    find_manifest,
    write_manifest,
)
from palaver.backup.frames import EVENT, PIECE, RECORD, STREAM, UPLOAD, UPLOAD_END
from palaver.blobs import AVATARS, MEDIA, BlobNotFound, Blobs, is_key
from palaver.commit import now
from palaver.database import Database, Document, Stream
from palaver.database.schema import COLLECTIONS, RECORDS
from palaver.documents import find_asset_file
from palaver.errors import InternalError, Unavailable
from palaver.ids import new_id
from palaver.log.positions import KIND as FOLLOWERS
from palaver.messaging.files import is_gone
from palaver.messaging.uploads import KIND as UPLOADS
from palaver.v1.event_pb2 import Event

T = TypeVar("T")
logger = logging.getLogger(__name__)

# What a room's event may need of a user is in the archive because rooms are cut first.
CUT_ORDER = ("room", "user", "workspace")

_PAGE = 1000
_EVENTS_PAGE = 200
_STREAMS_AT_ONCE = 8
_EVENTS_LEVEL = 6
# Most files are compressed already: no more than a look.
_UPLOADS_LEVEL = 1
_SHOWN_DAMAGED = 20
# A failover, or a server that is started again, ends no backup.
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)


class Backup:
    """One archive of one workspace."""

    def __init__(
        self, database: Database, uploads: Blobs, archive: Blobs, *, workspace: str, part_bytes: int = PART_BYTES
    ) -> None:
        """The workspace's database and uploads, open; the archive's own blobs, open and its alone."""
        self._database = database
        self._uploads = uploads
        self._archive = archive
        self._workspace = workspace
        self._part_bytes = part_bytes
        self._parts: list[Part] = []

    async def make(self, name: str) -> Manifest:
        """Makes the archive; one of this name that is whole already is left as it is. Raises Unavailable.

        What an attempt that died has left is written over.
        """
        if (made := await find_manifest(self._archive)) is not None:
            return made
        started_at = now()
        before = await self._count_documents()
        handled_at = await self._find_handled_at(started_at)
        records = await self._copy_records()
        async with _Spool() as cut, _Spool() as told_uploads, _Spool() as told_pictures, _Spool() as told_media:
            streams = await self._cut(cut)
            told = _Told(told_uploads, told_pictures, told_media)
            events = await self._copy_events(cut, told)
            uploads = await self._copy_uploads(told_uploads)
            await self._copy_pictures("pictures", AVATARS, told_pictures)
            await self._copy_pictures("media", MEDIA, told_media)
        after = await self._count_documents()
        manifest = Manifest(
            format=FORMAT,
            schema=SCHEMA,
            version=__version__,
            name=name,
            workspace=self._workspace,
            started_at=started_at,
            ended_at=now(),
            parts=tuple(self._parts),
            records=records,
            streams=streams,
            events=events,
            documents={collection: (before[collection], after[collection]) for collection in COLLECTIONS},
            uploads=uploads,
            handled_at=handled_at,
        )
        await write_manifest(self._archive, manifest)
        return manifest

    # -- what is known of the workspace --------------------------------------------------------------------------------

    async def _count_documents(self) -> dict[str, int]:
        return {
            collection: await _patiently(lambda name=collection: self._database.count_all(name))  # type: ignore[misc]
            for collection in COLLECTIONS
        }

    async def _find_handled_at(self, started_at: int) -> int:
        handled_at = started_at
        async for _, record in self._list_records(FOLLOWERS):
            handled_at = min(handled_at, record["at"])
        return handled_at

    async def _list_records(self, kind: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        after = ""
        while page := await _patiently(
            lambda: self._database.list_records(kind, after=after, limit=_PAGE)  # noqa: B023 - awaited at once
        ):
            for found in page:
                yield found
            after = page[-1][0]

    # -- the sections --------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _section(self, name: str, level: int = _EVENTS_LEVEL) -> AsyncIterator[SectionWriter]:
        writer = SectionWriter(self._archive, name, level=level, part_bytes=self._part_bytes)
        yield writer
        await writer.end()
        self._parts += writer.parts

    async def _copy_records(self) -> int:
        count = 0
        async with self._section("records") as section:
            for kind in (kind for kind, is_kept in RECORDS.items() if is_kept):
                async for id, record in self._list_records(kind):
                    await section.add(RECORD, orjson.dumps({"kind": kind, "id": id, "record": record}))
                    count += 1
        return count

    async def _cut(self, cut: "_Spool") -> dict[str, int]:
        """Notes how far each stream is projected. Returns how many streams of each kind there are."""
        streams = dict.fromkeys(CUT_ORDER, 0)
        for kind in CUT_ORDER:
            after = ""
            while True:
                page = await _patiently(
                    lambda: self._database.list_streams(kind, after=after, limit=_PAGE)  # noqa: B023 - awaited at once
                )
                await cut.add([[kind, stream.id, applied] for stream, applied in page])
                streams[kind] += len(page)
                if len(page) < _PAGE:
                    break
                after = page[-1][0].id
        return streams

    async def _copy_events(self, cut: "_Spool", told: "_Told") -> dict[str, int]:
        copied: Counter[str] = Counter(dict.fromkeys(CUT_ORDER, 0))
        async with self._section("events") as section:
            # The first pages of the next streams are on their way while this one's are written.
            coming: deque[tuple[Stream, int, asyncio.Task[Sequence[Event]]]] = deque()
            try:
                async for kind, id, head in cut.read():
                    stream = Stream(kind, id)
                    coming.append((stream, head, asyncio.create_task(self._read_events(stream, 0, head))))
                    if len(coming) >= _STREAMS_AT_ONCE:
                        await self._copy_stream(section, *coming.popleft(), copied, told)
                while coming:
                    await self._copy_stream(section, *coming.popleft(), copied, told)
            finally:
                for _, _, reading in coming:
                    reading.cancel()
                await asyncio.gather(*(reading for _, _, reading in coming), return_exceptions=True)
        return dict(copied)

    async def _copy_stream(
        self,
        section: SectionWriter,
        stream: Stream,
        head: int,
        reading: "asyncio.Task[Sequence[Event]]",
        copied: Counter[str],
        told: "_Told",
    ) -> None:
        events, last = await reading, 0
        while True:
            added: list[list[Any]] = []
            pictures: list[list[Any]] = []
            media: list[list[Any]] = []
            for event in events:
                await section.add(EVENT, event.SerializeToString())
                if event.HasField("upload_added"):
                    ids = event.upload_added.upload_id, event.upload_added.thumbnail_id
                    added += [[id] for id in ids if id]
                elif picture_id := _find_picture(event):
                    pictures.append([picture_id])
                elif is_key(f"{MEDIA}/{(file_id := _find_medium(event))}"):
                    media.append([file_id])
            await told.uploads.add(added)
            await told.pictures.add(pictures)
            await told.media.add(media)
            copied[stream.kind] += len(events)
            last = events[-1].seq if events else last
            if last >= head or not events:
                break
            events = await self._read_events(stream, last, head)
        await section.add(STREAM, orjson.dumps({"kind": stream.kind, "id": stream.id, "head": head}))

    async def _read_events(self, stream: Stream, after: int, head: int) -> Sequence[Event]:
        limit = min(_EVENTS_PAGE, head - after)
        return await _patiently(lambda: self._database.list_events(stream, after, limit))

    # -- uploads -------------------------------------------------------------------------------------------------------

    async def _copy_uploads(self, told_uploads: "_Spool") -> Uploads:
        copied = total = gone = missing = 0
        damaged: list[str] = []
        async with self._section("uploads", _UPLOADS_LEVEL) as section:
            async for (id,) in told_uploads.read():
                document = await self._get("uploads", id)
                measured = await self._copy_upload(section, id)
                if measured is not None:
                    copied += 1
                    total += measured[0]
                    if measured != (document["size"], document["sha256"]):
                        logger.warning("the upload %s is not what was sent once", id)
                        damaged = [*damaged, id][:_SHOWN_DAMAGED]
                elif is_gone(document, await self._get("rooms", document["rid"]), now()):
                    gone += 1
                else:
                    logger.warning("the bytes of the upload %s are lost", id)
                    missing += 1
        return Uploads(copied, total, gone, missing, tuple(damaged))

    async def _copy_pictures(self, name: str, kind: str, told: "_Spool") -> None:
        """Blobs of a kind that somebody has, or had a day ago; older ones are nowhere any more."""
        async with self._section(name, _UPLOADS_LEVEL) as section:
            async for (id,) in told.read():
                await self._copy_upload(section, id, kind)

    async def _get(self, collection: str, id: str) -> Document:
        document = await _patiently(lambda: self._database.get(collection, id))
        if document is None:
            raise InternalError(f"{collection}/{id} is missing, although its event is projected")
        return document

    async def _copy_upload(self, section: SectionWriter, id: str, kind: str = UPLOADS) -> tuple[int, str] | None:
        """The size and SHA-256 of what was copied; None where there is nothing."""
        size, digest = 0, hashlib.sha256()
        begun = False
        with contextlib.suppress(BlobNotFound):  # half way: what has come does not fit the document, and is told so
            async for piece in self._read_upload(f"{kind}/{id}"):
                if not begun:
                    await section.add(UPLOAD, orjson.dumps({"id": id}))
                    begun = True
                if piece:
                    await section.add(PIECE, piece)
                    digest.update(piece)
                    size += len(piece)
        if not begun:
            return None
        measured = size, digest.hexdigest()
        await section.add(UPLOAD_END, orjson.dumps({"size": size, "sha256": measured[1]}))
        return measured

    async def _read_upload(self, key: str) -> AsyncIterator[bytes]:
        """An upload's bytes, after an empty piece that says that they are there. A reading that breaks goes on."""
        read, pauses = 0, iter(_PAUSES)
        while True:
            try:
                pieces = await self._uploads.read(key, read)
                yield b""
                async for piece in pieces:
                    read += len(piece)
                    yield piece
                return
            except Unavailable as error:
                if (pause := next(pauses, None)) is None:
                    raise
                logger.warning("the backup waits: %s", error)
                await asyncio.sleep(pause)


def _find_medium(event: Event) -> str:
    """The id of the file that an emoji, a sound or an asset is made of from this event on, or ""."""
    fact = event.setting_changed
    if fact.setting_id.startswith("Assets_"):
        file = find_asset_file(orjson.loads(fact.setting))
        return "" if file is None else file[0]
    return event.medium_saved.file_id


def _find_picture(event: Event) -> str:
    """The id of the picture that a user or a room has from this event on, or ""."""
    changes = event.user_changed.set or event.room_changed.set
    if b'"avatarETag"' not in changes:
        return ""
    picture_id = orjson.loads(changes).get("avatarETag")
    return picture_id if isinstance(picture_id, str) and is_key(f"{AVATARS}/{picture_id}") else ""


class _Spool:
    """A list that may be longer than the memory: lines of a temporary file. Written first, then read once."""

    async def __aenter__(self) -> "_Spool":
        self._file = await asyncio.to_thread(tempfile.TemporaryFile)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._file.close)

    async def add(self, entries: Sequence[Sequence[Any]]) -> None:
        if entries:
            await asyncio.to_thread(self._file.write, b"".join(orjson.dumps(entry) + b"\n" for entry in entries))

    async def read(self) -> AsyncIterator[Any]:
        await asyncio.to_thread(self._file.seek, 0)
        while lines := await asyncio.to_thread(self._file.readlines, 64 * 1024):
            for line in lines:
                yield orjson.loads(line)


class _Told(NamedTuple):
    """The ids of the blobs that the events tell of."""

    uploads: _Spool
    pictures: _Spool
    media: _Spool


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Reads something, again and again for a minute where the database does not answer."""
    for pause in _PAUSES:
        try:
            return await work()
        except Unavailable as error:
            logger.warning("the backup waits: %s", error)
        await asyncio.sleep(pause)
    return await work()


def make_name(at: float | None = None) -> str:
    """A name for an archive that is made now: they sort by time."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at)) + new_id(4)
