"""Files of rooms, as messaging knows them: who may add and send one, and what of them is removed when."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from palaver.commit import now
from palaver.errors import NotFound
from palaver.ids import new_id
from palaver.messaging.role import MessagingService
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import (
    GetUploadRequest,
    ListUploadsRequest,
    Picture,
    RoomRequest,
    Thumbnail,
    UploadRequest,
)
from tests.messaging.helpers import ADMIN, Chat, Document, loaded, refused

HOUR = 3_600_000


async def one_piece(content: bytes) -> AsyncIterator[bytes]:
    yield content


def request(actor: Actor, room_id: str, **fields: Any) -> UploadRequest:
    fields = {"upload_id": new_id(), "name": "a.txt", "type": "text/plain", "size": 3, "sha256": "00", **fields}
    return UploadRequest(actor=actor, room_id=room_id, **fields)


async def add(chat: Chat, actor: Actor, room_id: str, **fields: Any) -> Document:
    wanted = request(actor, room_id, **fields)
    blobs = chat.running.nodes["messaging"].blobs
    await blobs.put(f"files/{wanted.upload_id}", one_piece(b"abc"), max_size=3)
    return loaded((await chat.messaging.add_upload(wanted)).upload)


async def may_have(chat: Chat, actor: Actor, upload_id: str) -> bool:
    try:
        await chat.messaging.get_upload(GetUploadRequest(actor=actor, upload_id=upload_id))
    except NotFound:
        return False
    return True


async def kept(chat: Chat) -> set[str]:
    """The ids of all files whose bytes are there."""
    return {blob.key.partition("/")[2] async for blob in chat.running.nodes["messaging"].blobs.list("files")}


async def clean(chat: Chat, at: int) -> None:
    service = chat.running.nodes["messaging"].roles["messaging"]
    assert isinstance(service, MessagingService)
    await service._uploads.clean(at)


async def test_a_file_is_its_senders_until_a_message_is_of_it(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    upload = await add(chat, ann, room_id)
    assert upload["rid"] == room_id
    assert upload["userId"] == "annId"
    assert upload["expiresAt"]["$date"] == upload["uploadedAt"]["$date"] + 24 * HOUR
    assert await may_have(chat, ann, upload["_id"])
    assert not await may_have(chat, bob, upload["_id"])
    with refused("invalid-file"):
        await chat.send(bob, room_id, "", upload_id=upload["_id"])
    message = await chat.send(ann, room_id, "", upload_id=upload["_id"], description="so")
    assert message["file"] == {"_id": upload["_id"], "name": "a.txt", "type": "text/plain", "size": 3}
    assert message["attachments"][0]["description"] == "so"
    assert await may_have(chat, bob, upload["_id"])
    with refused("invalid-file"):
        await chat.send(ann, room_id, "again", upload_id=upload["_id"])


async def test_a_repeated_command_is_the_same_message(chat: Chat) -> None:
    (ann,) = await chat.users("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    upload, message_id = await add(chat, ann, room_id), new_id()
    first = await chat.send(ann, room_id, "", upload_id=upload["_id"], message_id=message_id)
    assert await chat.send(ann, room_id, "", upload_id=upload["_id"], message_id=message_id) == first


async def test_a_rooms_files_are_listed_for_who_may_read_it(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", type="p"))["_id"]
    for name in ("a.txt", "b.txt"):
        upload = await add(chat, ann, room_id, name=name)
        await chat.send(ann, room_id, "", upload_id=upload["_id"])
    await add(chat, ann, room_id, name="waiting.txt")
    reply = await chat.messaging.list_uploads(ListUploadsRequest(actor=ann, room_id=room_id, count=1))
    (found,) = map(loaded, reply.documents)
    assert (found["name"], reply.total, found["user"]["username"]) == ("b.txt", 2, "ann")
    assert not {"sha256", "message_id"} & found.keys()
    with refused("error-room-not-found"):
        await chat.messaging.list_uploads(ListUploadsRequest(actor=bob, room_id=room_id))
    for filter, sort, code in (
        (b'{"sha256": "00"}', b"", "error-invalid-query"),
        (b"", b'[["size", 1]]', "error-invalid-sort"),
    ):
        with refused(code):
            await chat.messaging.list_uploads(ListUploadsRequest(actor=ann, room_id=room_id, filter=filter, sort=sort))
    with refused("invalid-file"):
        await chat.messaging.list_uploads(ListUploadsRequest(actor=ann, room_id=room_id, starting_from_id="unknown"))


def picture(**thumbnail: Any) -> Picture:
    made = {"upload_id": new_id(), "type": "image/png", "size": 3, "sha256": "01", "width": 2, "height": 1}
    return Picture(format="png", width=20, height=10, preview="abc", thumbnail=Thumbnail(**{**made, **thumbnail}))


async def test_a_pictures_thumbnail_comes_and_goes_with_it(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    upload = await add(chat, ann, room_id, name="a.png", type="image/png", picture=picture(upload_id="small"))
    assert upload["identify"] == {"format": "png", "size": {"width": 20, "height": 10}}
    assert [await may_have(chat, who, "small") for who in (ann, bob)] == [True, False]
    with refused("invalid-file"):
        await chat.send(ann, room_id, "", upload_id="small")
    with refused("invalid-file"):
        await add(chat, ann, room_id, picture=picture(upload_id="small"))
    message = await chat.send(ann, room_id, "", upload_id=upload["_id"])
    assert [file["name"] for file in message["files"]] == ["a.png", "thumb-a.png"]
    assert message["attachments"][0]["image_dimensions"] == {"width": 2, "height": 1}
    assert await may_have(chat, bob, "small")
    await clean(chat, now() + 48 * HOUR)
    assert await may_have(chat, bob, "small")
    await chat.delete(ann, message["_id"])
    assert not await may_have(chat, ann, "small")


async def test_what_no_gateway_makes_of_a_picture_is_refused(chat: Chat) -> None:
    (ann,) = await chat.users("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    wrong = [
        picture(width=0),
        picture(size=0),
        picture(upload_id=""),
        Picture(format="png", width=1, height=1, preview="x" * 5000),
        Picture(format="", width=1, height=1),
    ]
    for one in wrong:
        with refused("invalid-file"):
            await chat.messaging.add_upload(request(ann, room_id, picture=one))


async def test_an_upload_is_of_one_room_and_once(chat: Chat) -> None:
    (ann,) = await chat.users("ann")
    room_id, other = [(await chat.room(ann, name))["_id"] for name in ("dev", "other")]
    upload = await add(chat, ann, room_id)
    again = await chat.messaging.add_upload(request(ann, room_id, upload_id=upload["_id"]))
    assert loaded(again.upload) == upload
    for other_room, fields in ((other, {}), (room_id, {"sha256": "01"})):
        with refused("invalid-file"):
            await chat.messaging.add_upload(request(ann, other_room, upload_id=upload["_id"], **fields))
    with refused("invalid-file"):
        await chat.send(ann, other, "", upload_id=upload["_id"])
    with refused("invalid-file"):
        await chat.send(ann, room_id, "", upload_id="nothing")


async def test_who_may_not_write_may_not_add_files(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob", type="p"))["_id"]
    cid = await chat.user("cid")
    for method in (chat.messaging.check_upload, chat.messaging.add_upload):
        with refused("error-room-not-found"):
            await method(request(cid, room_id))
    await chat.update_room(ann, room_id, ro=True)
    for method in (chat.messaging.check_upload, chat.messaging.add_upload):
        with refused("error-not-allowed"):
            await method(request(bob, room_id))
        with refused("error-file-too-large"):
            await method(request(ann, room_id, size=104857601))
        for name in ("", "x" * 256):
            with refused("invalid-file"):
                await method(request(ann, room_id, name=name))


async def test_a_long_description_is_refused(chat: Chat) -> None:
    (ann,) = await chat.users("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    upload = await add(chat, ann, room_id)
    for text, description in (("", "x" * 5001), ("x" * 5001, "")):
        with refused("error-message-size-exceeded"):
            await chat.send(ann, room_id, text, upload_id=upload["_id"], description=description)
    assert "file" in await chat.send(ann, room_id, "", upload_id=upload["_id"])


async def test_what_nobody_can_have_is_removed(inside: Chat) -> None:
    ann, bob = await inside.users("ann", "bob")
    room_id, gone_room = [(await inside.room(ann, name, "bob"))["_id"] for name in ("dev", "gone")]
    sent, deleted, unsent = [(await add(inside, ann, room_id))["_id"] for _ in range(3)]
    of_gone = (await add(inside, ann, gone_room))["_id"]
    await inside.send(ann, room_id, "", upload_id=sent)
    await inside.send(ann, gone_room, "", upload_id=of_gone)
    message = await inside.send(ann, room_id, "", upload_id=deleted)
    blobs = inside.running.nodes["messaging"].blobs
    await blobs.put("files/orphan", one_piece(b""), max_size=0)
    await clean(inside, now())
    assert await kept(inside) == {sent, deleted, unsent, of_gone, "orphan"}

    await inside.delete(ann, message["_id"])
    await inside.messaging.delete_room(RoomRequest(actor=ADMIN, room_id=gone_room))
    assert [await may_have(inside, ann, id) for id in (sent, deleted, unsent, of_gone)] == [True, False, True, False]
    await clean(inside, now() + 23 * HOUR)
    # a backup that began before they were deleted still needs them
    assert await kept(inside) == {sent, deleted, unsent, of_gone, "orphan"}
    await clean(inside, now() + 25 * HOUR)
    assert await kept(inside) == {sent, unsent}
    await clean(inside, now() + 47 * HOUR)
    assert await kept(inside) == {sent, unsent}  # it may be on its way into a message
    await clean(inside, now() + 49 * HOUR)
    assert await kept(inside) == {sent}
    assert await may_have(inside, bob, sent)


async def test_what_has_expired_can_not_be_sent(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    (ann,) = await inside.users("ann")
    room_id = (await inside.room(ann, "dev"))["_id"]
    upload = await add(inside, ann, room_id)
    later = now() + 25 * HOUR
    monkeypatch.setattr("palaver.messaging.files.now", lambda: later)
    monkeypatch.setattr("palaver.messaging.uploads.now", lambda: later)
    assert not await may_have(inside, ann, upload["_id"])
    with refused("invalid-file"):
        await inside.send(ann, room_id, "", upload_id=upload["_id"])


async def test_many_files_are_looked_at_in_turn(inside: Chat) -> None:
    (ann,) = await inside.users("ann")
    room_id = (await inside.room(ann, "dev"))["_id"]
    ids = [(await add(inside, ann, room_id))["_id"] for _ in range(205)]
    for id in ids[::2]:
        await inside.send(ann, room_id, "", upload_id=id)
    await clean(inside, now() + 49 * HOUR)
    assert await kept(inside) == set(ids[::2])


async def test_nobody_in_particular_may_have_nothing(chat: Chat) -> None:
    (ann,) = await chat.users("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    upload = await add(chat, ann, room_id)
    await chat.send(ann, room_id, "", upload_id=upload["_id"])
    nobody = Actor(kind=Actor.USER)
    with refused("error-not-allowed"):
        await chat.messaging.get_upload(GetUploadRequest(actor=nobody, upload_id=upload["_id"]))
    for id in ("", "nothing"):
        with refused("error-file-not-found"):
            await chat.messaging.get_upload(GetUploadRequest(actor=ann, upload_id=id))
