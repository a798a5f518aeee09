"""Workspaces that are backed up and restored, and how tests look into them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from palaver.auth import names as user_names
from palaver.backup.archive import ArchiveReader, Manifest, find_manifest
from palaver.backup.making import Backup
from palaver.backup.restoring import Restore, Restored
from palaver.blobs import Blobs
from palaver.blobs.files import FileBlobs
from palaver.database import STREAM_COLLECTIONS, Database, Stream
from palaver.database.schema import COLLECTIONS
from palaver.ids import new_id
from palaver.messaging import names as room_names
from palaver.v1.auth_pb2 import LoginRequest, UpdateUserRequest
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import Picture, RoomRequest, Thumbnail, UploadRequest
from tests.messaging.helpers import ADMIN, Chat, loaded

Document = dict[str, Any]


class Storage(NamedTuple):
    """A workspace at rest: where it is kept."""

    database: Database
    uploads: Blobs


def storage_of(chat: Chat) -> Storage:
    node = chat.running.nodes["messaging"]
    return Storage(node.database, node.blobs)


# -- backing up and restoring ------------------------------------------------------------------------------------------


async def back_up(storage: Storage, folder: Path, **options: Any) -> Manifest:
    """An archive in this folder."""
    archive = FileBlobs(folder)
    await archive.open()
    return await Backup(storage.database, storage.uploads, archive, workspace="test", **options).make("archive1")


async def open_archive(folder: Path) -> ArchiveReader:
    manifest = await find_manifest(FileBlobs(folder))
    assert manifest is not None
    return ArchiveReader(FileBlobs(folder), manifest)


async def restore(folder: Path, storage: Storage) -> Restored:
    return await Restore(await open_archive(folder), storage.database, storage.uploads).run()


# -- looking -----------------------------------------------------------------------------------------------------------


async def documents(database: Database) -> dict[str, dict[str, Document]]:
    """Every document, by collection and id."""
    return {
        collection: {document["_id"]: document for document in await database.find(collection, {})}
        for collection in COLLECTIONS
    }


async def events(database: Database) -> dict[Stream, list[bytes]]:
    """Every event, by stream."""
    found: dict[Stream, list[bytes]] = {}
    for kind in STREAM_COLLECTIONS:
        for stream, applied in await database.list_streams(kind):
            stored = await database.list_events(stream, 0, 100_000)
            assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
            assert applied <= len(stored)  # equal, where nobody writes
            found[stream] = [event.SerializeToString() for event in stored]
    return found


async def claims(database: Database) -> dict[str, str | None]:
    """Who holds each name that some document has."""
    found = await documents(database)
    keys = [key for user in found["users"].values() for key in user_names.list_keys(user)]
    keys += [key for room in found["rooms"].values() for key in room_names.list_keys(room)]
    return {key: await database.find_claim(key) for key in keys}


async def contents(storage: Storage) -> dict[str, bytes]:
    """The bytes of all uploads, by key."""
    keys = [blob.key async for blob in storage.uploads.list("files")]
    return {key: b"".join([piece async for piece in await storage.uploads.read(key)]) for key in keys}


async def check_same(one: Storage, other: Storage) -> None:
    """Both workspaces hold the same."""
    assert await documents(one.database) == await documents(other.database)
    assert await events(one.database) == await events(other.database)
    assert await claims(one.database) == await claims(other.database)
    assert await contents(one) == await contents(other)


# -- people at work ----------------------------------------------------------------------------------------------------


async def one_piece(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def upload(chat: Chat, actor: Actor, room_id: str, content: bytes, *, thumbnail: bytes = b"") -> str:
    """A file as the gateway stores it, with its thumbnail if it has one; its id."""
    upload_id = new_id()
    digest = await storage_of(chat).uploads.put(f"files/{upload_id}", one_piece(content), max_size=len(content))
    assert digest.sha256 == hashlib.sha256(content).hexdigest()
    request = UploadRequest(
        actor=actor, room_id=room_id, upload_id=upload_id, name="a.bin", type="image/png", size=digest.size
    )
    request.sha256 = digest.sha256
    if thumbnail:
        small = await storage_of(chat).uploads.put(
            f"files/{upload_id}small", one_piece(thumbnail), max_size=len(thumbnail)
        )
        request.picture.CopyFrom(Picture(format="png", width=2, height=2))
        request.picture.thumbnail.CopyFrom(
            Thumbnail(upload_id=f"{upload_id}small", type="image/png", size=small.size, width=1, height=1)
        )
        request.picture.thumbnail.sha256 = small.sha256
    await chat.messaging.add_upload(request)
    return upload_id


async def update_user(chat: Chat, user_id: str, **changes: Any) -> None:
    await chat.running.services.auth.update_user(
        UpdateUserRequest(actor=ADMIN, user_id=user_id, set=orjson.dumps(changes))
    )


async def log_in(chat: Chat, username: str, password: str = "correct horse") -> str:
    """A new login's token."""
    password_given = LoginRequest.Password(username=username, plain=password)
    return str((await chat.running.services.auth.login(LoginRequest(password=password_given))).token)


async def fill(chat: Chat) -> None:
    """Some of everything that there can be in a workspace."""
    ann, bob, cid = await chat.users("ann", "bob", "cid")
    await log_in(chat, "ann")
    await chat.set_setting("Site_Name", "A workspace")
    await chat.grant("create-p", "admin")
    dev = (await chat.room(ann, "dev", "bob", "cid"))["_id"]
    gone = (await chat.room(ann, "gone", "bob"))["_id"]
    await chat.direct(ann, "bob", "cid")
    direct = (await chat.direct(bob, "ann"))["_id"]
    sent = [await chat.send(ann, dev, f"message {number} ü") for number in range(30)]
    await chat.send(bob, direct, "psst")
    await chat.send(cid, dev, "@bob look, @all")
    await chat.read(bob, dev)
    await chat.edit(ann, sent[3]["_id"], "edited")
    await chat.delete(ann, sent[4]["_id"])
    await chat.react(bob, sent[5]["_id"], ":+1:")
    root = sent[6]["_id"]
    await chat.send(bob, dev, "in a thread", thread_id=root)
    await chat.send(cid, dev, "@ann, too", thread_id=root)
    await chat.read(bob, dev, with_threads=True)
    await chat.follow(cid, root, False)
    kept, deleted = await upload(chat, ann, dev, b"kept" * 1000), await upload(chat, ann, dev, b"deleted")
    await upload(chat, ann, dev, b"")
    await chat.send(ann, dev, "", upload_id=kept)
    message = await chat.send(ann, dev, "", upload_id=deleted)
    await chat.delete(ann, message["_id"])
    await chat.prefer(cid, dev, f=True, open=False)
    await update_user(chat, "cidId", username="cynthia", name="Cynthia")
    await settle_names(chat, cid, dev, "cynthia")
    await chat.messaging.delete_room(RoomRequest(actor=ADMIN, room_id=gone))
    await chat.send(bob, dev, "the last one")


async def settle_names(chat: Chat, actor: Actor, room_id: str, username: str) -> None:
    """Waits until a room's member is called so."""
    async with asyncio.timeout(30):
        while True:
            reply = await chat.messaging.get_subscription(RoomRequest(actor=actor, room_id=room_id))
            if loaded(reply.subscription)["u"]["username"] == username:
                return
            await asyncio.sleep(0.02)
