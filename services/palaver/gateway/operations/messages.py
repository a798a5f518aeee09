"""Messages: sent and changed. Shared by `rest/chat.py`, `rest/threads.py` and `ddp/methods/messages.py`.

Reading them is in `reading.py`.

A message is passed on as messaging encoded it (`Fragment`); what a client sends becomes one request, once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from palaver.errors import InvalidInput, NotAllowed, NotFound, RoomNotFound, UserNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, encode, fragments
from palaver.gateway.operations.attachments import check_attachments
from palaver.gateway.operations.rooms import get_room, join, open_direct_room
from palaver.ids import new_id
from palaver.v1.integration_pb2 import PreviewUrlRequest
from palaver.v1.messaging_pb2 import (
    DeleteMessageRequest,
    EditMessageRequest,
    FollowThreadRequest,
    GetMessagesRequest,
    GetUploadRequest,
    MessageRequest,
    PinMessageRequest,
    ReactRequest,
    RoomReply,
    SendMessageRequest,
    StarMessageRequest,
    TellOffTheRecordRequest,
)

Document = dict[str, Any]

_MAX_TARGETS = 50


class InvalidChannel(NotFound):
    """Whatever was named to post to is no room and no user, or none that the caller may know of."""

    code = "invalid-channel"
    reason = ""


class SentMessage(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A message to be. Clients send what they show meanwhile with it (`u`, `ts` …); that is not looked at."""

    id: str | None = msgspec.field(name="_id", default=None)
    rid: str
    msg: str | None = None
    tmid: str | None = None
    tshow: bool | None = None
    alias: str | None = None
    emoji: str | None = None
    avatar: str | None = None
    attachments: list[Document] | None = None
    groupable: bool | None = None
    parse_urls: bool | None = None
    custom_fields: Document | None = None
    bot: Document | bool | None = None
    blocks: list[Any] | None = None
    location: Document | None = None
    t: str | None = None
    e2e: str | None = None
    content: Document | None = None
    e2e_mentions: Document | None = None


# The fields of a SentMessage that a request has its own place for; all others are passed on as they are.
_OWN = ("_id", "rid", "msg", "tmid", "tshow")


async def send(call: Call, message: SentMessage, preview_urls: list[str] | None = None) -> Fragment:
    """Sends a message; returns it as it is now."""
    # With an id of its own, a call whose answer got lost can be made again.
    request = SendMessageRequest(actor=call.actor, room_id=message.rid, message_id=message.id or new_id())
    if message.msg:
        request.text = message.msg
    if message.tmid:
        request.thread_id = message.tmid
        request.show_in_room = bool(message.tshow)
    if message.attachments:
        check_attachments(message.attachments)
    extra = msgspec.to_builtins(message)
    for name in _OWN:
        extra.pop(name, None)
    if preview_urls is not None:
        extra["previewUrls"] = preview_urls
    if extra:
        request.extra = encode(extra)
    return Fragment((await call.services.messaging.send_message(request)).message)


class Posted(NamedTuple):
    """A message, and what it was posted to in the client's own words."""

    target: str
    message: Fragment


async def post(call: Call, targets: Sequence[str], message: SentMessage) -> list[Posted]:
    """Sends a message to rooms by "#name", "@username", id or name, to users by id, too; enters public rooms first.

    Raises InvalidChannel.
    """
    if not targets or not all(targets):
        raise InvalidChannel
    if len(targets) > _MAX_TARGETS:
        raise InvalidInput(f"At most {_MAX_TARGETS} channels at once", code="error-invalid-params")
    return [Posted(target, await _post(call, target, message)) for target in targets]


async def _post(call: Call, target: str, message: SentMessage) -> Fragment:
    if target[0] in "#@":
        message.rid = await _enter(call, target)
        return await send(call, message)
    # Most often it is the id of a room of the caller's: one call.
    message.rid = target
    try:
        return await send(call, message)
    except (RoomNotFound, NotAllowed) as error:
        message.rid = await _enter(call, target)
        if message.rid == target and isinstance(error, RoomNotFound):
            raise
    return await send(call, message)


async def _enter(call: Call, target: str) -> str:
    """The id of a room to post to, of which the caller is a member afterwards."""
    try:
        if target[0] == "@":
            reply = await _open_direct_room(call, target[1:])
        elif target[0] == "#":
            reply = await get_room(call, id_or_name=target[1:], types=("c", "p"))
        else:
            reply = await _find_room(call, target)
    except (RoomNotFound, UserNotFound) as error:
        raise InvalidChannel from error
    room = orjson.loads(reply.room)
    if room["t"] == "c" and not reply.subscription:
        await join(call, room["_id"])
    return str(room["_id"])


async def _open_direct_room(call: Call, name_or_id: str) -> RoomReply:
    """That of the caller and one user. Raises UserNotFound."""
    try:
        return await open_direct_room(call, [name_or_id])
    except UserNotFound:
        return await open_direct_room(call, [], user_ids=[name_or_id])


async def _find_room(call: Call, target: str) -> RoomReply:
    """A room by its id or name, or the direct one with a user by their id. Raises UserNotFound."""
    try:
        return await get_room(call, id_or_name=target)
    except RoomNotFound:
        return await open_direct_room(call, [], user_ids=[target])


async def get_message(call: Call, message_id: str) -> bytes:
    """A message that the caller may read (encoded). Raises MessageNotFound."""
    reply = await call.services.messaging.get_message(MessageRequest(actor=call.actor, message_id=message_id))
    return reply.message


async def get_room_of(call: Call, message_id: str) -> str:
    """The id of a message's room. Raises MessageNotFound."""
    return str(orjson.loads(await get_message(call, message_id))["rid"])


async def edit(call: Call, message_id: str, text: str, *, room_id: str = "", extra: Document | None = None) -> Fragment:
    """Changes a message; returns it as it is now. Raises MessageNotFound, or InvalidInput for another room's."""
    request = EditMessageRequest(actor=call.actor, room_id=room_id, message_id=message_id, text=text)
    given = {name: value for name, value in (extra or {}).items() if value is not None}
    if isinstance(attachments := given.get("attachments"), list):
        check_attachments(attachments)
    if given:
        request.extra = encode(given)
    try:
        return Fragment((await call.services.messaging.edit_message(request)).message)
    except InvalidInput as error:
        await _check_readable(call, message_id, error)
        raise


async def delete(call: Call, message_id: str, *, room_id: str = "", as_user: bool = False) -> Fragment:
    """Deletes a message; returns it as it was. Raises MessageNotFound, or InvalidInput for another room's."""
    request = DeleteMessageRequest(actor=call.actor, room_id=room_id, message_id=message_id, as_user=as_user)
    try:
        return Fragment((await call.services.messaging.delete_message(request)).message)
    except InvalidInput as error:
        await _check_readable(call, message_id, error)
        raise


async def _check_readable(call: Call, message_id: str, error: InvalidInput) -> None:
    """That a message is in another room is told only to those who may read it. Raises MessageNotFound."""
    if error.error_code == "error-invalid-room":
        await get_message(call, message_id)


async def react(call: Call, message_id: str, emoji: str, should_react: bool | None = None) -> None:
    """Sets the caller's reaction, removes it, or toggles it (None)."""
    request = ReactRequest(actor=call.actor, message_id=message_id, emoji=emoji)
    if should_react is not None:
        request.should_react = should_react
    await call.services.messaging.react(request)


async def follow(call: Call, message_id: str, *, follow: bool) -> None:
    """The caller hears of a thread's replies, or no longer."""
    await call.services.messaging.follow_thread(
        FollowThreadRequest(actor=call.actor, message_id=message_id, follow=follow)
    )


async def pin(call: Call, message_id: str, *, pin: bool) -> Fragment:
    """Pins a message for everybody, or takes the pin away; returns the system message that tells of it, if any."""
    request = PinMessageRequest(actor=call.actor, message_id=message_id, pin=pin)
    return Fragment((await call.services.messaging.pin_message(request)).message)


async def star(call: Call, message_id: str, *, star: bool) -> None:
    """Stars a message for the caller, or takes the star away."""
    await call.services.messaging.star_message(StarMessageRequest(actor=call.actor, message_id=message_id, star=star))


async def get_messages(call: Call, message_ids: Sequence[str]) -> list[Fragment]:
    """Several messages, of which the caller may read every one. Raises NotAllowed."""
    request = GetMessagesRequest(actor=call.actor, message_ids=message_ids)
    try:
        reply = await call.services.messaging.get_messages(request)
    except RoomNotFound as error:
        raise NotAllowed() from error
    return fragments(reply.documents)


async def delete_file_message(call: Call, upload_id: str) -> None:
    """Deletes the message of a file. A file that no message is of goes by itself. Raises NotFound, NotAllowed."""
    reply = await call.services.messaging.get_upload(GetUploadRequest(actor=call.actor, upload_id=upload_id))
    if message_id := orjson.loads(reply.upload).get("message_id"):
        await delete(call, message_id)


async def tell_off_the_record(call: Call, room_id: str, type: str) -> None:
    """Tells a direct room of how its members talk off the record."""
    request = TellOffTheRecordRequest(actor=call.actor, room_id=room_id, type=type)
    await call.services.messaging.tell_off_the_record(request)


async def preview_url(call: Call, room_id: str, url: str) -> Fragment:
    """What a link shows, for a room that the caller may read."""
    reply = await call.services.messaging.preview_url(PreviewUrlRequest(actor=call.actor, room_id=room_id, url=url))
    return Fragment(reply.preview)
