"""Into what an archive is restored, what becomes of half a restore, and archives that are not what they were."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from palaver import failpoints
from palaver.backup.archive import (
    FORMAT,
    SCHEMA,
    ArchiveReader,
    Manifest,
    NewerArchive,
    SectionWriter,
    Uploads,
    find_manifest,
    write_manifest,
)
from palaver.backup.frames import EVENT, STREAM, DamagedArchive
from palaver.backup.restoring import HalfRestored, NotEmpty, Restore
from palaver.blobs.files import FileBlobs
from palaver.commit import now
from palaver.database import Stream
from palaver.database.schema import COLLECTIONS
from palaver.database.sqlite import SqliteDatabase
from palaver.errors import Unavailable
from palaver.node import RESTORING
from palaver.v1.event_pb2 import Event
from tests.backup.conftest import MakeStorage
from tests.backup.workspace import (
    back_up,
    claims,
    contents,
    documents,
    events,
    fill,
    open_archive,
    restore,
    storage_of,
)
from tests.database.harness import ADAPTERS
from tests.messaging.helpers import Chat
from tests.services import service_nodes


class Stopped(Exception):
    """What an armed failpoint raises."""


@pytest.fixture(autouse=True)
async def disarmed() -> AsyncIterator[None]:
    yield
    failpoints.disarm()


def stop_after(name: str, times: int) -> None:
    """Ends what runs when it comes there for the n-th time."""
    left = times

    def stop() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Stopped

    failpoints.arm(name, stop)


@pytest.fixture
async def archive(local: Chat, tmp_path: Path) -> Path:
    """The folder of an archive."""
    await fill(local)
    await back_up(storage_of(local), tmp_path / "archive")
    return tmp_path / "archive"


# -- where to ----------------------------------------------------------------------------------------------------------


async def test_a_workspace_that_is_there_is_left_alone(local: Chat, archive: Path) -> None:
    before = await documents(local.database)
    with pytest.raises(NotEmpty, match="There is a workspace already"):
        await restore(archive, storage_of(local))
    assert await documents(local.database) == before
    assert await local.database.find_claim(RESTORING) is None


@pytest.mark.parametrize("into", ADAPTERS)
@pytest.mark.parametrize(
    ("point", "times"), [("restore.after_batch", 1), ("restore.after_batch", 6), ("restore.after_upload", 1)]
)
async def test_a_second_try_finishes_the_first(
    local: Chat, archive: Path, make_storage: MakeStorage, into: str, point: str, times: int
) -> None:
    target = await make_storage(into)
    stop_after(point, times)
    with pytest.raises(Stopped):
        await restore(archive, target)
    failpoints.disarm()
    assert await target.database.find_claim(RESTORING) == "archive1"
    done = await restore(archive, target)
    assert await target.database.find_claim(RESTORING) is None
    source = storage_of(local)
    assert await documents(target.database) == await documents(source.database)
    assert await events(target.database) == await events(source.database)
    assert await claims(target.database) == await claims(source.database)
    assert await contents(target) == await contents(source)
    assert done.documents == {name: len(found) for name, found in (await documents(source.database)).items()}


@pytest.mark.needs_servers
@pytest.mark.parametrize("point", ["commit.after_append", "commit.between_projections", "commit.before_advance"])
async def test_events_without_their_documents_are_projected(
    local: Chat, archive: Path, make_storage: MakeStorage, point: str
) -> None:
    """A restore into MongoDB that dies between its writes."""
    target = await make_storage("mongo")
    stop_after(point, 1)
    with pytest.raises(Stopped):
        await restore(archive, target)
    # What was under way beside it was finished: how much is left for the second try differs.
    stop_after(point, 5)
    with contextlib.suppress(Stopped):
        await restore(archive, target)
    failpoints.disarm()
    await restore(archive, target)
    assert await documents(target.database) == await documents(local.database)
    assert await events(target.database) == await events(local.database)


async def test_half_a_restore_is_nobodys_workspace(archive: Path, tmp_path: Path, cheap_hashes: None) -> None:
    folder = tmp_path / "half"
    database = SqliteDatabase(folder / "palaver.db")
    await database.open()
    uploads = FileBlobs(folder / "uploads")
    await uploads.open()
    stop_after("restore.after_batch", 4)
    with pytest.raises(Stopped):
        await Restore(await open_archive(archive), database, uploads).run()
    failpoints.disarm()
    other = await open_archive(archive)
    other.manifest = msgspec.structs.replace(other.manifest, name="another")
    with pytest.raises(HalfRestored, match="archive1 was being restored here"):
        await Restore(other, database, uploads).run()
    with pytest.raises(Unavailable, match="archive1 is being restored here"):
        async with service_nodes(folder, ("auth",), "process"):
            pass
    await Restore(await open_archive(archive), database, uploads).run()
    await database.close()
    async with service_nodes(folder, ("auth",), "process"):
        pass


# -- versions ----------------------------------------------------------------------------------------------------------


async def test_an_archive_of_the_schema_before_is_restored_into_this_one(
    archive: Path, make_storage: MakeStorage, local: Chat
) -> None:
    reader = await open_archive(archive)
    older = msgspec.structs.replace(reader.manifest, schema=SCHEMA - 1, version="0.0.9")
    target = await make_storage("sqlite")
    await Restore(ArchiveReader(FileBlobs(archive), older), target.database, target.uploads).run()
    assert await documents(target.database) == await documents(local.database)


@pytest.mark.parametrize("newer", [{"schema": SCHEMA + 1}, {"format": FORMAT + 1}])
async def test_an_archive_of_a_newer_version_is_refused(archive: Path, newer: dict[str, int]) -> None:
    manifest = msgspec.structs.replace((await open_archive(archive)).manifest, version="9.0", **newer)
    with pytest.raises(NewerArchive, match=f"schema {SCHEMA}") as caught:
        ArchiveReader(FileBlobs(archive), manifest)
    assert "Palaver 9.0" in str(caught.value)


# -- damage ------------------------------------------------------------------------------------------------------------


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def lengthen(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")


@pytest.mark.parametrize("part", ["events000001", "uploads000001"])
@pytest.mark.parametrize("damage", [flip, cut, lengthen, Path.unlink])
async def test_damage_is_found(
    archive: Path, make_storage: MakeStorage, part: str, damage: Callable[[Path], None]
) -> None:
    damage(archive / "parts" / part)
    target = await make_storage("sqlite")
    with pytest.raises(DamagedArchive, match=part):
        await restore(archive, target)
    assert await target.database.find_claim(RESTORING) == "archive1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"events": {"room": 1, "user": 1, "workspace": 1}}, "events"),
        ({"streams": {"room": 1}}, "streams"),
        ({"records": 1}, "0 records instead of 1"),
        ({"uploads": Uploads(copied=4, bytes=4007)}, "uploads"),
        ({"documents": {"messages": (1000, 1000)}}, "messages instead of 1000 to 1000"),
        ({"documents": {"messages": (0, 1)}}, "messages instead of 0 to 1"),
    ],
)
async def test_an_archive_that_lacks_something_is_not_verified(
    archive: Path, make_storage: MakeStorage, change: dict[str, Any], said: str
) -> None:
    reader = await open_archive(archive)
    documents = {**reader.manifest.documents, **change.get("documents", {})}
    manifest = msgspec.structs.replace(reader.manifest, **{**change, "documents": documents})
    with pytest.raises(DamagedArchive, match=said):
        await Restore(ArchiveReader(FileBlobs(archive), manifest), (await make_storage("sqlite")).database, None).run()


@pytest.mark.parametrize("manifest", [b"", b"{}", b"[1]", b'{"format": 1', b'{"format": "x"}'])
async def test_a_manifest_that_is_none_is_told(archive: Path, manifest: bytes) -> None:
    (archive / "parts" / "manifest").write_bytes(manifest)
    with pytest.raises(DamagedArchive, match="manifest"):
        await find_manifest(FileBlobs(archive))


# -- archives made by hand ---------------------------------------------------------------------------------------------


def user_created(id: str, username: str) -> Event:
    event = Event(stream_kind="user", stream_id=id, seq=1, command_id="c", at=now())
    user = {"_id": id, "username": username, "username_lower": username, "active": True}
    event.user_created.user = orjson.dumps(user)
    return event


async def by_hand(folder: Path, frames: list[tuple[bytes, bytes]], streams: int, events: int) -> ArchiveReader:
    blobs = FileBlobs(folder)
    await blobs.open()
    section = SectionWriter(blobs, "events", level=1, part_bytes=1 << 20)
    for kind, payload in frames:
        await section.add(kind, payload)
    await section.end()
    manifest = Manifest(
        format=FORMAT,
        schema=SCHEMA,
        version="0",
        name="byhand",
        workspace="test",
        started_at=now(),
        ended_at=now(),
        parts=tuple(section.parts),
        records=0,
        streams={"user": streams},
        events={"user": events},
        documents=dict.fromkeys(COLLECTIONS, (0, 1000)),
        uploads=Uploads(),
        handled_at=now(),
    )
    await write_manifest(blobs, manifest)
    return await open_archive(folder)


def stream_end(stream: Stream, head: int) -> tuple[bytes, bytes]:
    return STREAM, orjson.dumps({"kind": stream.kind, "id": stream.id, "head": head})


async def test_a_name_with_two_holders_is_told(tmp_path: Path, make_storage: MakeStorage) -> None:
    """Two users may have been cut at such moments: one before giving a name up, one after taking it."""
    frames: list[tuple[bytes, bytes]] = []
    for id in ("a", "b"):
        frames += [(EVENT, user_created(id, "bob").SerializeToString()), stream_end(Stream("user", id), 1)]
    target = await make_storage("sqlite")
    done = await Restore(await by_hand(tmp_path / "byhand", frames, 2, 2), target.database, None).run()
    assert done.doubled_names == ["username:bob"]
    assert await target.database.find_claim("username:bob") in ("a", "b")


def event(seq: int, id: str = "a") -> tuple[bytes, bytes]:
    created = user_created(id, "bob")
    created.seq = seq
    return EVENT, created.SerializeToString()


END = stream_end(Stream("user", "a"), 1)


@pytest.mark.parametrize(
    "frames",
    [
        [event(2), END],
        [event(1), event(3), END],
        [event(1), event(1), END],
        [event(1), event(2, "b"), END],
        [event(1)],
        [event(1), stream_end(Stream("user", "a"), 2)],
        [event(1), stream_end(Stream("user", "b"), 1)],
        [END],
        [event(1), END, END],
        [event(1), (b"?", b"")],
        [event(1), (STREAM, b"no JSON")],
        [(EVENT, b"\xff\xff\xff"), END],
    ],
)
async def test_a_stream_with_a_gap_is_no_stream(
    tmp_path: Path, make_storage: MakeStorage, frames: list[tuple[bytes, bytes]]
) -> None:
    archive = await by_hand(tmp_path / "byhand", frames, 1, 1)
    with pytest.raises(DamagedArchive):
        await Restore(archive, (await make_storage("sqlite")).database, None).run()
