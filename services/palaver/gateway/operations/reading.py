"""Messages read: pages of history, threads, what a client has missed, and what it searches for.

Shared by `rest/chat.py`, `rest/threads.py`, `rest/room_reading.py` and `ddp/methods/messages.py`.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import orjson

from palaver.errors import InvalidInput, NotAllowed, RoomNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, fragments
from palaver.gateway.operations.messages import get_message, get_room_of
from palaver.gateway.operations.subscriptions import mark_read
from palaver.v1.auth_pb2 import DocumentsReply
from palaver.v1.messaging_pb2 import (
    ListMarkedMessagesRequest,
    ListMessagesReply,
    ListMessagesRequest,
    ListThreadsRequest,
    MessageRequest,
    SearchMessagesRequest,
)

Document = dict[str, Any]

QUERY_FIELDS = ("_id", "ts", "u._id", "t", "tmid", "_updatedAt")
SORT_FIELDS = ("ts", "_updatedAt")

_MAX_MISSED_BYTES = 64 * 1024 * 1024


class _Date(msgspec.Struct):
    milliseconds: int = msgspec.field(name="$date")


class _Sent(msgspec.Struct):
    """As much of an encoded message as says where it belongs among others."""

    ts: _Date
    id: str = msgspec.field(name="_id")


_decode_sent = msgspec.json.Decoder(_Sent).decode


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
    start: str = "",
    of_others: bool = False,
) -> ListMessagesReply:
    """A page of a room's messages, or of a thread's replies; dates are epoch milliseconds.

    `updated_since` asks for what changed, and fills `deleted`. `of_others`: an administrator reads a direct room.
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
            start=start,
            of_others=of_others,
        )
    )


async def list_missed(
    call: Call, room_id: str, *, thread_id: str = "", after: int = 0, updated_since: int = 0
) -> ListMessagesReply:
    """Everything that was sent after a date, or has changed since one: all of it, what was sent last comes first.

    Raises InvalidInput.
    """

    async def read(start: str) -> ListMessagesReply:
        # Changes by their age: what changes once more while they are read comes again, at the end, and is not lost.
        return await list_messages(
            call,
            room_id,
            thread_id=thread_id,
            after=after,
            updated_since=updated_since,
            ascending=bool(updated_since),
            start=start,
        )

    reply = await read("")
    start, size = reply.next, reply.ByteSize()
    while start:
        _check_missed(size)
        page = await read(start)
        reply.messages.extend(page.messages)
        start, size = page.next, size + page.ByteSize()
    if updated_since:
        changed = {_sent_at(message): message for message in reply.messages}
        del reply.messages[:]
        reply.messages.extend(changed[sent] for sent in sorted(changed, reverse=True))
    return reply


def _sent_at(message: bytes) -> tuple[int, str]:
    sent = _decode_sent(message)
    return sent.ts.milliseconds, sent.id


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
        with_total=True,
    )


async def list_missed_replies(call: Call, thread_id: str, updated_since: int) -> ListMessagesReply:
    """What has changed of a thread's replies: all of it. Raises MessageNotFound, InvalidInput."""
    _check_threads(call)
    room_id = await get_room_of(call, thread_id)
    return await list_missed(call, room_id, thread_id=thread_id, updated_since=updated_since)


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
) -> DocumentsReply:
    """A page of the first messages of a room's threads, and how many there are. Raises NotAllowed."""
    return await _read_threads(
        call, ListThreadsRequest(room_id=room_id, type=type, text=text, offset=offset, count=count)
    )


async def list_missed_threads(call: Call, room_id: str, updated_since: int) -> list[Fragment]:
    """The first messages of those of a room's threads that have changed: of all of them.

    Raises NotAllowed, InvalidInput.
    """
    request = ListThreadsRequest(room_id=room_id, updated_since=updated_since)
    found: list[Fragment] = []
    size = 0
    while True:
        reply = await _read_threads(call, request)
        found += fragments(reply.documents)
        size += reply.ByteSize()
        if not reply.next:
            return found
        _check_missed(size)
        request.start = reply.next


async def _read_threads(call: Call, request: ListThreadsRequest) -> DocumentsReply:
    _check_threads(call)
    request.actor.CopyFrom(call.actor)
    try:
        return await call.services.messaging.list_threads(request)
    except RoomNotFound as error:
        raise NotAllowed("Not Allowed") from error


async def list_marked(
    call: Call,
    room_id: str,
    mark: ListMarkedMessagesRequest.Mark.ValueType,
    *,
    ascending: bool = False,
    offset: int = 0,
    count: int = 0,
) -> tuple[list[Fragment], int]:
    """A page of a room's messages that are pinned, starred by the caller or mention them, and how many there are.

    Raises NotAllowed.
    """
    request = ListMarkedMessagesRequest(
        actor=call.actor, room_id=room_id, mark=mark, ascending=ascending, offset=offset, count=count
    )
    try:
        reply = await call.services.messaging.list_marked_messages(request)
    except RoomNotFound as error:
        raise NotAllowed("Not allowed") from error
    return fragments(reply.documents), reply.total


async def list_mentioning(
    call: Call, room_id: str, *, ascending: bool = False, offset: int = 0, count: int = 0
) -> tuple[list[Fragment], int]:
    """A page of a room's messages that mention the caller, and how many there are. Raises InvalidInput."""
    try:
        return await list_marked(
            call, room_id, ListMarkedMessagesRequest.MENTIONING, ascending=ascending, offset=offset, count=count
        )
    except NotAllowed as error:
        raise InvalidInput("Invalid room", code="error-invalid-room") from error


async def list_read_receipts(call: Call, message_id: str) -> list[Fragment]:
    """Who has read a message. Raises MessageNotFound, InvalidInput."""
    if not message_id:
        raise InvalidInput("The required 'messageId' param is missing.", code="error-invalid-message")
    request = MessageRequest(actor=call.actor, message_id=message_id)
    return fragments((await call.services.messaging.list_read_receipts(request)).documents)


async def search(call: Call, room_id: str, text: str, *, offset: int = 0, count: int = 0) -> list[Fragment]:
    """A page of a room's messages in which the words occur."""
    reply = await call.services.messaging.search_messages(
        SearchMessagesRequest(actor=call.actor, room_id=room_id, text=text, offset=offset, count=count)
    )
    return fragments(reply.documents)


def _check_threads(call: Call) -> None:
    if not call.setting("Threads_enabled"):
        raise NotAllowed("Threads Disabled")


def _check_missed(size: int) -> None:
    """Raises InvalidInput for more bytes than one answer to a client may have."""
    if size > _MAX_MISSED_BYTES:
        raise InvalidInput("Too much has changed since then: load the history", code="error-too-much-changed")
