"""What is restored is what was backed up, on both databases and from each into the other."""

from pathlib import Path

import msgspec
import orjson
import pytest

from palaver.backup.archive import ArchiveReader
from palaver.backup.restoring import Restore
from palaver.blobs import AVATARS, MEDIA
from palaver.blobs.files import FileBlobs
from palaver.commit import now
from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from palaver.events import user_actor
from palaver.log.dead_letters import DeadLetters
from palaver.log.positions import KIND as FOLLOWERS
from palaver.v1.auth_pb2 import EMOJI, SOUND, AuthenticateRequest, SaveMediumRequest, SetAssetRequest
from tests.backup.conftest import MakeStorage
from tests.backup.workspace import (
    Storage,
    back_up,
    claims,
    contents,
    documents,
    events,
    fill,
    log_in,
    one_piece,
    open_archive,
    restore,
    settle_names,
    storage_of,
    update_user,
    upload,
)
from tests.database.harness import ADAPTERS
from tests.messaging.helpers import ADMIN, Chat, refused
from tests.services import service_nodes


@pytest.mark.parametrize("into", ADAPTERS)
async def test_everything_is_there_again(chat: Chat, tmp_path: Path, make_storage: MakeStorage, into: str) -> None:
    await fill(chat)
    source, target = storage_of(chat), await make_storage(into)
    manifest = await back_up(source, tmp_path / "archive", part_bytes=500)
    assert len(manifest.parts) > 3
    done = await restore(tmp_path / "archive", target)

    assert await events(target.database) == await events(source.database)
    restored, original = await documents(target.database), await documents(source.database)
    for collection, found in original.items():
        assert restored[collection] == found, collection
        assert manifest.documents[collection] == (len(found), len(found))
    assert await claims(target.database) == await claims(source.database)
    assert all((await claims(target.database)).values())
    assert await contents(target) == await contents(source)
    assert len(await contents(target)) == manifest.uploads.copied == 3
    assert (manifest.uploads.gone, manifest.uploads.missing, manifest.uploads.damaged) == (0, 0, ())
    assert (done.left_out, done.doubled_names) == (0, [])
    assert done.events == manifest.events


async def test_an_archive_of_a_restored_workspace_is_the_same(
    local: Chat, tmp_path: Path, make_storage: MakeStorage
) -> None:
    await fill(local)
    target = await make_storage("sqlite")
    first = await back_up(storage_of(local), tmp_path / "archive")
    await restore(tmp_path / "archive", target)
    second = await back_up(target, tmp_path / "second")
    assert [(part.name, part.sha256) for part in second.parts] == [(part.name, part.sha256) for part in first.parts]


async def test_a_restored_workspace_goes_on(local: Chat, tmp_path: Path, cheap_hashes: None) -> None:
    await fill(local)
    dev = (await local.database.find("rooms", {"name": "dev"}))[0]["_id"]
    token = await log_in(local, "bob")
    ann, bob, cid = (user_actor(f"{name}Id") for name in ("ann", "bob", "cid"))
    before = [await local.counters(actor, dev) for actor in (ann, bob, cid)]
    texts = await local.texts(ann, dev, count=100)
    await back_up(storage_of(local), tmp_path / "archive")
    folder = tmp_path / "again"
    await _restore_into(folder, tmp_path / "archive")
    async with service_nodes(folder, ("auth", "presence", "messaging"), "process") as running:
        chat = Chat(running)
        assert await chat.texts(ann, dev, count=100) == texts
        assert [await chat.counters(actor, dev) for actor in (ann, bob, cid)] == before
        # logins stand, passwords are the same, and there is no second first administrator
        authenticated = await running.services.auth.authenticate(AuthenticateRequest(user_id="bobId", token=token))
        assert authenticated.user_id == "bobId"
        assert await log_in(chat, "cynthia")
        assert await chat.database.count("users", {"roles": "admin"}) == 1
        # names are taken, and those that were given up are free
        with refused("error-duplicate-channel-name"):
            await chat.room(ann, "dev")
        await chat.room(ann, "gone")
        with refused("error-field-unavailable"):
            await chat.user("BOB", email="another@example.org")
        # the streams go on, and so do followers
        await chat.send(ann, dev, "after the restore")
        assert (await chat.texts(bob, dev, count=100))[-1] == "after the restore"
        await update_user(chat, "bobId", username="robert")
        await settle_names(chat, bob, dev, "robert")


async def _restore_into(folder: Path, archive: Path) -> None:
    database, uploads = SqliteDatabase(folder / "palaver.db"), FileBlobs(folder / "uploads")
    await database.open()
    await uploads.open()
    await restore(archive, Storage(database, uploads))
    await database.close()


async def test_what_followers_had_not_handled_is_told_again(
    local: Chat, tmp_path: Path, make_storage: MakeStorage
) -> None:
    """What was told long ago is marked so; the rest is told by whoever starts."""
    ann = await local.user("ann")
    dev = (await local.room(ann, "dev"))["_id"]
    await local.send(ann, dev, "just now")
    source, target = storage_of(local), await make_storage("sqlite")
    manifest = await back_up(source, tmp_path / "archive")
    await restore(tmp_path / "archive", target)
    told = {(event.stream_id, event.seq) for event in await target.database.list_unpublished(1 << 62)}
    every = {
        (stream.id, seq)
        for stream, found in (await events(target.database)).items()
        for seq in range(1, len(found) + 1)
    }
    assert told == every, "all of it is younger than five minutes"

    later = await make_storage("sqlite")
    archive = await open_archive(tmp_path / "archive")
    an_hour_later = manifest.started_at + 3_600_000
    aged = msgspec.structs.replace(manifest, handled_at=an_hour_later, started_at=an_hour_later)
    await Restore(ArchiveReader(archive._blobs, aged), later.database, later.uploads).run()
    assert await later.database.list_unpublished(1 << 62) == []


async def test_dead_letters_come_along_and_positions_do_not(
    local: Chat, tmp_path: Path, make_storage: MakeStorage
) -> None:
    ann = await local.user("ann")
    dev = (await local.room(ann, "dev"))["_id"]
    event = (await local.database.list_events(Stream("room", dev), 0))[0]
    letters = DeadLetters(local.database)
    id = await letters.bury("names", event, ValueError("no"), 6, now())
    await letters.ask_replay(id)
    target = await make_storage("sqlite")
    manifest = await back_up(storage_of(local), tmp_path / "archive")
    assert manifest.records == 2
    await restore(tmp_path / "archive", target)
    restored = DeadLetters(target.database)
    assert await restored.get_event(await restored.get(id)) == event
    assert await restored.is_replay_asked(id)
    assert await local.database.list_records(FOLLOWERS)
    assert await target.database.list_records(FOLLOWERS) == []


async def test_lost_bytes_are_told_and_do_not_stop_a_backup(
    local: Chat, tmp_path: Path, make_storage: MakeStorage
) -> None:
    ann = await local.user("ann")
    dev = (await local.room(ann, "dev"))["_id"]
    kept, lost, damaged, deleted = [await upload(local, ann, dev, f"file {number}".encode()) for number in range(4)]
    messages = [await local.send(ann, dev, "", upload_id=id) for id in (kept, lost, damaged, deleted)]
    await local.delete(ann, messages[-1]["_id"])
    source, target = storage_of(local), await make_storage("sqlite")
    for id in (lost, deleted):
        await source.uploads.delete(f"files/{id}")
    await source.uploads.put(f"files/{damaged}", one_piece(b"other"), max_size=5)
    manifest = await back_up(source, tmp_path / "archive")
    uploads = manifest.uploads
    assert (uploads.copied, uploads.missing, uploads.gone, uploads.damaged) == (2, 1, 1, (damaged,))
    await restore(tmp_path / "archive", target)
    assert await contents(target) == {f"files/{kept}": b"file 0", f"files/{damaged}": b"other"}


async def test_emoji_sounds_and_assets_are_there_again(local: Chat, tmp_path: Path, make_storage: MakeStorage) -> None:
    source, target = storage_of(local), await make_storage("sqlite")
    for kind, name in ((EMOJI, "party"), (SOUND, "gong")):
        await source.uploads.put(f"{MEDIA}/{name}file", one_piece(name.encode()), max_size=100)
        changes = {"name": name, "file": {"_id": f"{name}file", "type": "image/png"}}
        request = SaveMediumRequest(actor=ADMIN, kind=kind, set=orjson.dumps(changes))
        await local.running.services.auth.save_medium(request)
    await source.uploads.put(f"{MEDIA}/logofile", one_piece(b"logo"), max_size=100)
    asset = SetAssetRequest(actor=ADMIN, name="logo", file_id="logofile", extension="png")
    await local.running.services.auth.set_asset(asset)
    await source.uploads.put(f"{MEDIA}/nobodys", one_piece(b"x"), max_size=100)
    await back_up(source, tmp_path / "archive")
    await restore(tmp_path / "archive", target)
    for name in ("party", "gong", "logo"):
        pieces = await target.uploads.read(f"{MEDIA}/{name}file")
        assert b"".join([piece async for piece in pieces]) == name.encode()
    assert await target.uploads.find(f"{MEDIA}/nobodys") is None
    assert [emoji["name"] for emoji in await target.database.find("emoji", {})] == ["party"]


async def test_thumbnails_are_there_again(local: Chat, tmp_path: Path, make_storage: MakeStorage) -> None:
    ann = await local.user("ann")
    id = await upload(local, ann, (await local.room(ann, "dev"))["_id"], b"picture", thumbnail=b"small")
    target = await make_storage("sqlite")
    manifest = await back_up(storage_of(local), tmp_path / "archive")
    assert manifest.uploads.copied == 2
    await restore(tmp_path / "archive", target)
    assert await contents(target) == {f"files/{id}": b"picture", f"files/{id}small": b"small"}
    assert (await target.database.get("uploads", id) or {})["thumbnail_id"] == f"{id}small"


async def test_pictures_are_there_again(local: Chat, tmp_path: Path, make_storage: MakeStorage) -> None:
    alice = await local.user("alice")
    room = await local.room(alice, "open")
    source, target = storage_of(local), await make_storage("sqlite")
    for picture_id in ("replaced", "hers", "ofTheRoom", "nobodys"):
        await source.uploads.put(f"{AVATARS}/{picture_id}", one_piece(picture_id.encode()), max_size=100)
    for picture_id in ("replaced", "hers"):
        await update_user(local, alice.id, avatarETag=picture_id)
    await local.update_room(alice, room["_id"], avatarETag="ofTheRoom")
    await source.uploads.delete(f"{AVATARS}/replaced")
    await back_up(source, tmp_path / "archive")
    await restore(tmp_path / "archive", target)
    stored = {blob.key async for blob in target.uploads.list(AVATARS)}
    assert stored == {f"{AVATARS}/hers", f"{AVATARS}/ofTheRoom"}
    pieces = await target.uploads.read(f"{AVATARS}/hers")
    assert b"".join([piece async for piece in pieces]) == b"hers"
