"""An archive into an empty workspace: its events appended and projected, their names claimed, its uploads stored.

A workspace that is being restored is marked as such from before the first write until everything is checked, by a claim
with the archive's name: no server starts on it (`node.py`), and no other archive is restored into it. Whatever dies
meanwhile, the same command goes on where it was: an event, a name or an upload that is there is passed over.

Called by `command.py`; a scratch database without blobs makes a verification of it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import orjson
from google.protobuf.message import DecodeError

from palaver import __version__, failpoints
from palaver.auth import names as user_names
from palaver.backup.archive import ArchiveReader, Manifest
from palaver.backup.frames import EVENT, PIECE, RECORD, STREAM, UPLOAD, UPLOAD_END, DamagedArchive, Frame
from palaver.backup.making import CUT_ORDER
from palaver.blobs import AVATARS, MEDIA, Blobs, Digest, Measured, is_key
from palaver.commit import catch_up
from palaver.database import STREAM_COLLECTIONS, Database, Document, Stream, stream_document_id
from palaver.errors import Conflict
from palaver.events import stream_of
from palaver.log.streams import MAX_AGE
from palaver.messaging import names as room_names
from palaver.messaging.uploads import KIND as UPLOADS
from palaver.node import RESTORING
from palaver.projections import project
from palaver.v1.event_pb2 import Event

logger = logging.getLogger(__name__)

_EVENTS_AT_ONCE = 200
_STREAMS_AT_ONCE = 64
# By how much clocks may differ, and how long a follower may take to write down what it has handled.
_MARGIN = 5 * 60_000
_SHOWN_NAMES = 20


class NotEmpty(Conflict):
    code = "error-workspace-not-empty"
    reason = "There is a workspace already"


class HalfRestored(Conflict):
    code = "error-workspace-half-restored"
    reason = "Another archive was being restored here"


class Restored:
    """What a restore has done."""

    def __init__(self) -> None:
        self.streams: Counter[str] = Counter()
        self.events: Counter[str] = Counter()  # of the archive, by kind of stream
        self.left_out = 0  # of these, what came after the cut of the rooms that it speaks of
        self.uploads = 0
        self.upload_bytes = 0
        self.records = 0
        self.documents: dict[str, int] = {}
        self.doubled_names: list[str] = []


async def check_empty(database: Database) -> str | None:
    """Raises NotEmpty where there is a workspace already. Returns the archive of which one is half restored, if so."""
    owner = await database.find_claim(RESTORING)
    if owner is None:
        for kind in CUT_ORDER:
            if await database.list_streams(kind, limit=1):
                raise NotEmpty("There is a workspace already: an archive is restored into an empty one")
    return owner


class Restore:
    """One archive into one workspace."""

    def __init__(self, archive: ArchiveReader, database: Database, uploads: Blobs | None) -> None:
        """The database is open, and so are the blobs; without blobs, the uploads are read and checked only."""
        self._archive = archive
        self._database = database
        self._uploads = uploads
        self._done = Restored()
        manifest = archive.manifest
        # What was told before is handled by every follower.
        self._told_before = max(manifest.handled_at, manifest.started_at - MAX_AGE * 1000) - _MARGIN

    async def run(self) -> Restored:
        """Restores and checks everything. Raises NotEmpty, HalfRestored, DamagedArchive, Unavailable."""
        manifest = self._archive.manifest
        await self._begin(manifest)
        await self._restore_records()
        await self._restore_events()
        await self._restore_uploads()
        await self._restore_pictures("pictures", AVATARS)
        await self._restore_pictures("media", MEDIA)
        await self._check(manifest)
        await self._database.release(RESTORING, manifest.name)
        return self._done

    async def _begin(self, manifest: Manifest) -> None:
        owner = await check_empty(self._database)
        if not await self._database.claim(RESTORING, manifest.name):
            raise HalfRestored(
                f"The archive {owner} was being restored here: restore that one again, which goes on where it ended, or"
                " empty the database"
            )
        if owner is not None:
            logger.info("going on with the restore of %s", manifest.name)

    # -- records and events --------------------------------------------------------------------------------------------

    async def _restore_records(self) -> None:
        async for frame in self._archive.read("records"):
            entry = _decode(frame, RECORD)
            await self._database.put_record(entry["kind"], entry["id"], entry["record"])
            self._done.records += 1

    async def _restore_events(self) -> None:
        stream: _StreamRestore | None = None
        kind = ""
        running: set[asyncio.Task[None]] = set()
        try:
            async for frame in self._archive.read("events"):
                if frame.kind != EVENT:
                    self._check_end(stream, _decode(frame, STREAM))
                    assert stream is not None
                    running = await _wait(running, _STREAMS_AT_ONCE - 1)
                    running.add(asyncio.create_task(stream.end(self._told_before), name=f"restore of {stream.stream}"))
                    stream = None
                    continue
                event = _parse(frame)
                if stream is None:
                    if event.stream_kind != kind:  # a user's events change what rooms' events have made
                        running = await _wait(running, 0)
                        kind = event.stream_kind
                    stream = _StreamRestore(self._database, stream_of(event), self._archive.manifest, self._done)
                stream.add(event)
                if len(stream.events) >= _EVENTS_AT_ONCE:
                    await stream.write(self._told_before)
            if stream is not None:
                raise DamagedArchive(f"The events of {stream.stream} are not all there")
            running = await _wait(running, 0)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _check_end(self, stream: "_StreamRestore | None", end: Document) -> None:
        if stream is None or (stream.stream, stream.last) != (Stream(end["kind"], end["id"]), end["head"]):
            raise DamagedArchive(f"The events of {end['kind']}/{end['id']} are not all there")

    # -- uploads -------------------------------------------------------------------------------------------------------

    async def _restore_uploads(self) -> None:
        frames = aiter(self._archive.read("uploads"))
        async for frame in frames:
            await self._restore_upload(_decode(frame, UPLOAD)["id"], frames)
            failpoints.reach("restore.after_upload")

    async def _restore_upload(self, id: str, frames: AsyncIterator[Frame]) -> None:
        document = await self._database.get("uploads", id)
        if document is None:
            raise DamagedArchive(f"There is no event of the upload {id}")
        content = _Content(frames)
        key = f"{UPLOADS}/{id}"
        known = None if self._uploads is None else await self._uploads.find(key)
        is_there = known is not None and known.size == document["size"]
        digest = await self._put(key, content, None if is_there else self._uploads)
        is_damaged = id in self._archive.manifest.uploads.damaged
        if digest != content.told or (digest != (document["size"], document["sha256"]) and not is_damaged):
            raise DamagedArchive(f"The upload {id} is not what it was")
        self._done.uploads += 1
        self._done.upload_bytes += digest.size

    async def _put(self, key: str, content: "_Content", place: Blobs | None) -> Digest:
        """What the content is; kept, unless there is no place for it."""
        if place is not None:
            return await place.put(key, content, max_size=content.most)
        measured = Measured(content, content.most)
        async for _ in measured:
            pass
        return measured.digest

    async def _restore_pictures(self, section: str, kind: str) -> None:
        frames = aiter(self._archive.read(section))
        async for frame in frames:
            key = f"{kind}/{_decode(frame, UPLOAD)['id']}"
            if not is_key(key):
                raise DamagedArchive(f"The archive has a picture {key[:100]}")
            content = _Content(frames)
            digest = await self._put(key, content, self._uploads)
            if digest != content.told:
                raise DamagedArchive(f"The picture {key} is not what it was")

    # -- what must be true then ----------------------------------------------------------------------------------------

    async def _check(self, manifest: Manifest) -> None:
        """Counts. Raises DamagedArchive with everything that differs from what the manifest says."""
        done, wrong = self._done, []
        for what, found, told in (
            ("streams", dict(done.streams), manifest.streams),
            ("events", dict(done.events), manifest.events),
        ):
            if found != {kind: count for kind, count in told.items() if count}:
                wrong.append(f"{what} {found} instead of {told}")
        if done.records != manifest.records:
            wrong.append(f"{done.records} records instead of {manifest.records}")
        uploads = manifest.uploads
        if (done.uploads, done.upload_bytes) != (uploads.copied, uploads.bytes):
            wrong.append(f"{done.uploads} uploads of {done.upload_bytes} bytes instead of {uploads.copied}")
        for collection, (least, most) in manifest.documents.items():
            count = done.documents[collection] = await self._database.count_all(collection)
            # Another version may make more or other documents of the same events.
            if count < least or (count > most and manifest.version == __version__):
                wrong.append(f"{count} documents in {collection} instead of {least} to {most}")
        if done.documents["uploads"] != uploads.copied + uploads.gone + uploads.missing:
            wrong.append(f"{done.documents['uploads']} uploads have documents, and {uploads.copied} bytes")
        if wrong:
            raise DamagedArchive("The archive does not hold what it says: " + "; ".join(wrong))
        if done.doubled_names:
            logger.warning("these names have several holders; rename all but one: %s", ", ".join(done.doubled_names))


class _StreamRestore:
    """One stream: its events in order, then the names that its document holds."""

    def __init__(self, database: Database, stream: Stream, manifest: Manifest, done: Restored) -> None:
        self.stream = stream
        self.last = 0
        self.events: list[Event] = []
        self._database = database
        self._manifest = manifest
        self._done = done
        self._head: int | None = None  # of what is there; unknown before the first write
        self._is_cut = False

    def add(self, event: Event) -> None:
        """The next event. Raises DamagedArchive where it isn't."""
        if stream_of(event) != self.stream or event.seq != self.last + 1:
            raise DamagedArchive(f"{self.stream} has no event {self.last + 1}")
        self.last = event.seq
        self.events.append(event)

    async def end(self, told_before: int) -> None:
        """The last of the events, then the names. Nothing of this stream is running."""
        await self.write(told_before)
        await self._claim_names()
        self._done.streams[self.stream.kind] += 1

    async def write(self, told_before: int) -> None:
        """Appends and projects what has come, unless it is there already."""
        events, self.events = self.events, []
        self._done.events[self.stream.kind] += len(events)
        if self._head is None:
            self._head = await catch_up(self._database, self.stream)
        new = [] if self._is_cut else [event for event in events if event.seq > (self._head or 0)]
        puts = [project(event) for event in new]
        for place, event in enumerate(new):
            if await self._is_ahead(event):
                new, puts, self._is_cut = new[:place], puts[:place], True
                break
        self._done.left_out += sum(event.seq > self._head for event in events) - len(new)
        if not new:
            return
        await self._database.commit(self.stream, new, puts)
        await self._database.mark_published([event for event in new if event.at < told_before])
        failpoints.reach("restore.after_batch")

    async def _is_ahead(self, event: Event) -> bool:
        """Whether a user's event speaks of messages that came after the cut of their room (`backup/__init__.py`)."""
        if event.at < self._manifest.started_at - _MARGIN:
            return False
        if event.HasField("room_read"):
            room_id, counted = event.room_read.room_id, event.room_read.counted
        elif event.HasField("subscription_preferred"):
            fact = event.subscription_preferred
            room_id, counted = fact.room_id, orjson.loads(fact.set or b"{}").get("hidden_at_counted", 0)
        else:
            return False
        room = await self._database.get("rooms", room_id)
        return room is not None and counted > room.get("counted", 0)

    async def _claim_names(self) -> None:
        id = stream_document_id(self.stream)
        document = await self._database.get(STREAM_COLLECTIONS[self.stream.kind], id)
        for key in _list_names(self.stream.kind, document or {}):
            if not await self._database.claim(key, id) and key != user_names.FIRST_ADMIN:
                self._done.doubled_names = [*self._done.doubled_names, key][:_SHOWN_NAMES]


def _list_names(kind: str, document: Document) -> Sequence[str]:
    if kind == "user":
        return user_names.list_keys(document)
    if kind == "room":
        return room_names.list_keys(document)
    return ()


async def _wait(running: set[asyncio.Task[None]], most: int) -> set[asyncio.Task[None]]:
    """Waits until no more than so many still run, and returns these. Raises what one of the others has raised."""
    while len(running) > most:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    return running


class _Content:
    """The bytes of one upload, and what the archive says of them once they have passed."""

    most = 1 << 62

    def __init__(self, frames: AsyncIterator[Frame]) -> None:
        self._frames = frames
        self.told: Digest | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for frame in self._frames:
            if frame.kind == PIECE:
                yield frame.payload
                continue
            end = _decode(frame, UPLOAD_END)
            self.told = Digest(end["size"], end["sha256"])
            return
        raise DamagedArchive("The archive ends within an upload")


def _decode(frame: Frame, kind: bytes) -> Document:
    if frame.kind != kind:
        raise DamagedArchive(f"A frame {frame.kind!r} where {kind!r} belongs")
    try:
        decoded: Document = orjson.loads(frame.payload)
    except orjson.JSONDecodeError as error:
        raise DamagedArchive("A frame can't be read") from error
    return decoded


def _parse(frame: Frame) -> Event:
    try:
        return Event.FromString(frame.payload)
    except DecodeError as error:
        raise DamagedArchive("An event can't be read") from error
