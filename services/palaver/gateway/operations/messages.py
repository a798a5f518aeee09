"""Messages: sent, changed, read. Shared by `rest/chat.py`, `rest/threads.py` and `ddp/methods/messages.py`.

A message is passed on as messaging encoded it (`Fragment`); what a client sends becomes one request, once.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import orjson

from palaver.errors import InvalidInput, NotAllowed, NotFound, RoomNotFound, UserNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, encode, fragments
from palaver.gateway.operations.attachments import check_attachments
from palaver.gateway.operations.rooms import get_room, join, open_direct_room
from palaver.gateway.operations.subscriptions import mark_read
from palaver.ids import new_id
from palaver.v1.messaging_pb2 import (
    DeleteMessageRequest,
    EditMessageRequest,
    FollowThreadRequest,
    ListMessagesReply,
    ListMessagesRequest,
    ListThreadsRequest,
    MessageRequest,
    ReactRequest,
    SearchMessagesRequest,
    SendMessageRequest,
)

Document = dict[str, Any]

QUERY_FIELDS = ("_id", "ts", "u._id", "t", "tmid", "_updatedAt")
SORT_FIELDS = ("ts", "_updatedAt")

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
    """Sends a message to rooms by "#name", "@username", id or name; enters public ones first. Raises InvalidChannel."""
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
            reply = await open_direct_room(call, [target[1:]])
        elif target[0] == "#":
            reply = await get_room(call, id_or_name=target[1:], types=("c", "p"))
        else:
            reply = await get_room(call, id_or_name=target)
    except (RoomNotFound, UserNotFound) as error:
        raise InvalidChannel from error
    room = orjson.loads(reply.room)
    if room["t"] == "c" and not reply.subscription:
        await join(call, room["_id"])
    return str(room["_id"])


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


# -- lists -------------------------------------------------------------------------------------------------------------


async def list_messages(
    call: Call,
    room_id: str,
    *,
    thread_id: str = "",
    with_threads: bool = True,
    after: int = 0,
    where: Document | None = None,
    sort: Sequence[tuple[str, int]] = (),
    ascending: bool = False,
    offset: int = 0,
    count: int = 0,
    updated_since: int = 0,
    with_total: bool = False,
) -> ListMessagesReply:
    """A page of a room's messages, or of a thread's replies; dates are epoch milliseconds.

    `updated_since` asks for what changed, and fills `deleted`.
    """
    return await call.services.messaging.list_messages(
        ListMessagesRequest(
            actor=call.reader,
            room_id=room_id,
            thread_id=thread_id,
            thread_messages=with_threads,
            after=after,
            filter=orjson.dumps(where) if where else b"",
            sort=orjson.dumps(sort) if sort else b"",
            ascending=ascending,
            offset=offset,
            count=count,
            updated_since=updated_since,
            with_total=with_total,
        )
    )


async def load_history(
    call: Call,
    room_id: str,
    *,
    after: int = 0,
    before: int = 0,
    inclusive: bool = False,
    with_threads: bool = True,
    offset: int = 0,
    count: int = 0,
    last_seen: int | None = None,
) -> Document:
    """A room's history, newest first. With `last_seen` also the first unread message that the page does not reach."""
    reply = await call.services.messaging.list_messages(
        ListMessagesRequest(
            actor=call.reader,
            room_id=room_id,
            after=after,
            before=before,
            inclusive=inclusive,
            thread_messages=with_threads,
            offset=offset,
            count=count,
            with_unread=last_seen is not None,
            last_seen=last_seen or 0,
        )
    )
    found: Document = {"messages": fragments(reply.messages)}
    if last_seen is not None:
        if reply.first_unread:
            found["firstUnread"] = Fragment(reply.first_unread)
        found["unreadNotLoaded"] = reply.unread_not_loaded
    return found


async def load_surrounding(call: Call, room_id: str, message_id: str, count: int) -> Document:
    """The messages around one, oldest first."""
    reply = await call.services.messaging.list_messages(
        ListMessagesRequest(
            actor=call.reader,
            room_id=room_id,
            around_id=message_id,
            count=count,
            ascending=True,
            thread_messages=True,
        )
    )
    return {
        "messages": fragments(reply.messages),
        "moreBefore": reply.more_before,
        "moreAfter": reply.more_after,
    }


async def list_thread(
    call: Call,
    thread_id: str,
    *,
    where: Document | None = None,
    sort: Sequence[tuple[str, int]] = (),
    offset: int = 0,
    count: int = 0,
    updated_since: int = 0,
) -> ListMessagesReply:
    """A page of a thread's replies. Raises MessageNotFound for a thread that the caller may not read, too."""
    _check_threads(call)
    room_id = await get_room_of(call, thread_id)
    return await list_messages(
        call,
        room_id,
        thread_id=thread_id,
        where=where,
        sort=sort,
        offset=offset,
        count=count,
        updated_since=updated_since,
        with_total=not updated_since,
    )


async def load_thread(
    call: Call, thread_id: str, *, offset: int = 0, count: int = 0
) -> tuple[Fragment, Sequence[bytes]]:
    """A thread's first message and a page of its replies, newest first; the caller has read it then.

    Raises MessageNotFound, NotAllowed.
    """
    _check_threads(call)
    first = await get_message(call, thread_id)
    room_id = orjson.loads(first)["rid"]
    reply = await list_messages(call, room_id, thread_id=thread_id, offset=offset, count=count)
    with suppress(RoomNotFound):  # somebody who only looks at a public room has nothing to mark
        await mark_read(call, room_id, thread_id=thread_id)
    return Fragment(first), reply.messages


async def list_threads(
    call: Call,
    room_id: str,
    *,
    type: str = "",
    text: str = "",
    offset: int = 0,
    count: int = 0,
    updated_since: int = 0,
) -> tuple[list[Fragment], int]:
    """A page of the first messages of a room's threads, and how many there are. Raises NotAllowed."""
    _check_threads(call)
    try:
        reply = await call.services.messaging.list_threads(
            ListThreadsRequest(
                actor=call.actor,
                room_id=room_id,
                type=type,
                text=text,
                offset=offset,
                count=count,
                updated_since=updated_since,
            )
        )
    except RoomNotFound as error:
        raise NotAllowed("Not Allowed") from error
    return fragments(reply.documents), reply.total


async def search(call: Call, room_id: str, text: str, *, offset: int = 0, count: int = 0) -> tuple[list[Fragment], int]:
    """A page of a room's messages in which the words occur, and how many there are."""
    reply = await call.services.messaging.search_messages(
        SearchMessagesRequest(actor=call.actor, room_id=room_id, text=text, offset=offset, count=count)
    )
    return fragments(reply.documents), reply.total


def _check_threads(call: Call) -> None:
    if not call.setting("Threads_enabled"):
        raise NotAllowed("Threads Disabled")
