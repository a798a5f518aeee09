"""Methods of messages and threads. Their REST twins are in `rest/chat.py`, `rest/threads.py` and the faces of rooms."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from palaver.errors import MessageNotFound, NotAllowed, RoomNotFound
from palaver.gateway.call import Call
from palaver.gateway.ddp.method import Count, Date, method
from palaver.gateway.ejson import Fragment, fragments
from palaver.gateway.operations import messages, moderation, reading
from palaver.gateway.operations.messages import SentMessage

Document = dict[str, Any]

_SHOWN = 20
_AROUND = 50


class EditedMessage(msgspec.Struct, kw_only=True, rename="camel"):
    """A message to change. Clients send the whole of it; only these are looked at."""

    id: str = msgspec.field(name="_id")
    rid: str | None = None
    msg: str | None = None
    custom_fields: Document | None = None
    attachments: list[Document] | None = None
    content: Document | None = None
    e2e_mentions: Document | None = None
    t: str | None = None


class MessageId(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    rid: str | None = None


class StarredMessage(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    starred: bool = False


class ReadMessage(msgspec.Struct, rename="camel"):
    message_id: str = ""


class MentionsOptions(msgspec.Struct):
    limit: Count | None = None
    skip: Count | None = None
    sort: dict[str, int] | None = None


class MentionsPart(msgspec.Struct, rename="camel"):
    room_id: str
    options: MentionsOptions | None = None


class ThreadMessage(msgspec.Struct):
    mid: str


class ThreadPart(msgspec.Struct):
    tmid: str
    limit: Count | None = None
    skip: Count | None = None


class ThreadsPart(msgspec.Struct):
    rid: str
    limit: Count | None = None
    skip: Count | None = None


class SearchPart(msgspec.Struct):
    """Where to search, and how much to show."""

    rid: str | None = None
    limit: Count | None = None


class Sync(msgspec.Struct, rename="camel"):
    """What `messages/get` takes."""

    last_update: Date | None = None
    latest_date: Date | None = None
    oldest_date: Date | None = None
    inclusive: bool | None = None
    count: Count | None = None
    unreads: bool | None = None


class History(msgspec.Struct, rename="camel"):
    """What `getChannelHistory` takes."""

    rid: str
    latest: Date | None = None
    oldest: Date | None = None
    inclusive: bool | None = None
    offset: Count | None = None
    count: Count | None = None
    unreads: bool | None = None
    show_thread_messages: bool | None = None


# -- sent and changed --------------------------------------------------------------------------------------------------


@method("sendMessage", SentMessage, list[str] | None)
async def send_message(call: Call, message: SentMessage, preview_urls: list[str] | None) -> Fragment:
    return await messages.send(call, message, preview_urls)


@method("updateMessage", EditedMessage, list[str] | None)
async def update_message(call: Call, message: EditedMessage, preview_urls: list[str] | None) -> None:
    extra = {
        "customFields": message.custom_fields,
        "previewUrls": preview_urls,
        "content": message.content,
        "e2eMentions": message.e2e_mentions,
        # Of messages that were sent as they are, `t` is none of the client's business.
        "t": message.t if message.t == "e2e" else None,
    }
    await messages.edit(call, message.id, message.msg or "", room_id=message.rid or "", extra=extra)


@method("deleteMessage", MessageId)
async def delete_message(call: Call, message: MessageId) -> None:
    await messages.delete(call, message.id, room_id=message.rid or "")


@method("setReaction", str, str, bool | None)
async def set_reaction(call: Call, emoji: str, message_id: str, should_react: bool | None) -> bool:
    """Sets it, removes it, or toggles it (without the last parameter)."""
    await messages.react(call, message_id, emoji, should_react)
    return True


@method("pinMessage", MessageId)
async def pin_message(call: Call, message: MessageId) -> Fragment:
    """The answer is the message that tells the room of it."""
    with _invalid_message():
        return await messages.pin(call, message.id, pin=True)


@method("unpinMessage", MessageId)
async def unpin_message(call: Call, message: MessageId) -> bool:
    with _invalid_message():
        await messages.pin(call, message.id, pin=False)
    return True


@method("starMessage", StarredMessage)
async def star_message(call: Call, message: StarredMessage) -> bool:
    """Sets the star or takes it away, as `starred` says."""
    await messages.star(call, message.id, star=message.starred)
    return True


@method("followMessage", ThreadMessage)
async def follow_message(call: Call, message: ThreadMessage) -> None:
    with _invalid_message():
        await messages.follow(call, message.mid, follow=True)


@method("unfollowMessage", ThreadMessage)
async def unfollow_message(call: Call, message: ThreadMessage) -> None:
    with _invalid_message():
        await messages.follow(call, message.mid, follow=False)


@method("reportMessage", str, str)
async def report_message(call: Call, message_id: str, description: str) -> bool:
    await moderation.report_message(call, message_id, description)
    return True


@contextmanager
def _invalid_message() -> Iterator[None]:
    """Clients know an unknown message by another code in these methods."""
    try:
        yield
    except MessageNotFound as error:
        raise MessageNotFound("Invalid message", code="error-invalid-message") from error


# -- read --------------------------------------------------------------------------------------------------------------


@method("getSingleMessage", str)
async def get_message(call: Call, message_id: str) -> Fragment | None:
    """The message, or nothing: for one that does not exist, and for one that the caller may not read."""
    try:
        return Fragment(await messages.get_message(call, message_id))
    except MessageNotFound:
        return None


@method("loadHistory", str, Date | None, Count | None, Date | str | None, bool | None, anonymous=True)
async def load_history(
    call: Call,
    room_id: str,
    before: Date | None,
    limit: int | None,
    last_seen: Date | str | None,
    show_threads: bool | None,
) -> Document:
    """Newest first; with the date of the last visit also the first unread message."""
    return await reading.load_history(
        call,
        room_id,
        before=before.milliseconds if before else 0,
        count=_SHOWN if limit is None else limit,
        with_threads=show_threads is not False,
        last_seen=last_seen.milliseconds if isinstance(last_seen, Date) else None,
    )


@method("loadNextMessages", str, Date | None, Count | None)
async def load_next_messages(call: Call, room_id: str, after: Date | None, limit: int | None) -> Document:
    """Oldest first, after a date."""
    reply = await reading.list_messages(
        call,
        room_id,
        after=after.milliseconds if after else 0,
        ascending=True,
        count=_SHOWN if limit is None else limit,
    )
    return {"messages": fragments(reply.messages)}


@method("loadMissedMessages", str, Date)
async def load_missed_messages(call: Call, room_id: str, since: Date) -> Any:
    """Everything after a date, newest first; false for a room that the caller may not read."""
    try:
        reply = await reading.list_missed(call, room_id, after=since.milliseconds)
    except (RoomNotFound, NotAllowed):
        return False
    return fragments(reply.messages)


@method("loadSurroundingMessages", MessageId, Count | None)
async def load_surrounding_messages(call: Call, message: MessageId, limit: int | None) -> Any:
    """The messages around one, oldest first; false for one that the caller may not read."""
    try:
        room_id = message.rid or await messages.get_room_of(call, message.id)
        return await reading.load_surrounding(call, room_id, message.id, limit or _AROUND)
    except (MessageNotFound, RoomNotFound, NotAllowed):
        return False


@method("getChannelHistory", History)
async def get_channel_history(call: Call, wanted: History) -> Document:
    oldest = wanted.oldest.milliseconds if wanted.oldest else 0
    return await reading.load_history(
        call,
        wanted.rid,
        before=wanted.latest.milliseconds if wanted.latest else 0,
        after=oldest,
        inclusive=bool(wanted.inclusive),
        offset=wanted.offset or 0,
        count=_SHOWN if wanted.count is None else wanted.count,
        with_threads=wanted.show_thread_messages is not False,
        last_seen=oldest if wanted.unreads else None,
    )


@method("messages/get", str, Sync)
async def sync_messages(call: Call, room_id: str, wanted: Sync) -> Document:
    """What changed since a date, or a part of the history."""
    if wanted.last_update is not None:
        since = max(1, wanted.last_update.milliseconds)
        reply = await reading.list_missed(call, room_id, updated_since=since)
        return {"updated": fragments(reply.messages), "deleted": fragments(reply.deleted)}
    return await reading.load_history(
        call,
        room_id,
        before=wanted.latest_date.milliseconds if wanted.latest_date else 0,
        after=wanted.oldest_date.milliseconds if wanted.oldest_date else 0,
        inclusive=bool(wanted.inclusive),
        count=_SHOWN if wanted.count is None else wanted.count,
    )


@method("getMessages", list[str])
async def get_messages(call: Call, message_ids: list[str]) -> list[Fragment]:
    return await messages.get_messages(call, message_ids)


@method("deleteFileMessage", str)
async def delete_file_message(call: Call, upload_id: str) -> None:
    await messages.delete_file_message(call, upload_id)


@method("getUserMentionsByChannel", MentionsPart)
async def get_user_mentions(call: Call, part: MentionsPart) -> list[Fragment]:
    """Messages of a room that mention the caller, newest first."""
    options = part.options or MentionsOptions()
    found, _ = await reading.list_mentioning(
        call,
        part.room_id,
        ascending=(options.sort or {}).get("ts", -1) > 0,
        offset=options.skip or 0,
        count=_SHOWN if options.limit is None else options.limit,
    )
    return found


@method("getReadReceipts", ReadMessage)
async def get_read_receipts(call: Call, message: ReadMessage) -> list[Fragment]:
    return await reading.list_read_receipts(call, message.message_id)


# -- threads and search ------------------------------------------------------------------------------------------------


@method("getThreadMessages", ThreadPart)
async def get_thread_messages(call: Call, part: ThreadPart) -> list[Fragment]:
    """The thread's first message, then its replies, newest first. The caller has read them then."""
    first, replies = await reading.load_thread(call, part.tmid, offset=part.skip or 0, count=part.limit or 0)
    return [first, *fragments(replies)]


@method("getThreadsList", ThreadsPart)
async def get_threads_list(call: Call, part: ThreadsPart) -> list[Fragment]:
    count = _AROUND if part.limit is None else part.limit
    return fragments((await reading.list_threads(call, part.rid, offset=part.skip or 0, count=count)).documents)


@method("messageSearch", str, str | None, Count | None, Count | None)
async def search_messages(
    call: Call, text: str, room_id: str | None, limit: int | None, offset: int | None
) -> Document:
    return await _search(call, text, room_id, limit or _SHOWN, offset or 0)


@method("rocketchatSearch.search", str, SearchPart | None, SearchPart | None)
async def search(call: Call, text: str, context: SearchPart | None, payload: SearchPart | None) -> Document:
    room_id = context.rid if context else None
    return await _search(call, text, room_id, (payload.limit if payload else None) or _SHOWN, 0)


async def _search(call: Call, text: str, room_id: str | None, limit: int, offset: int) -> Document:
    """Messages of one room. Without a room there is nothing to find."""
    if not room_id:
        return {"message": {"docs": []}}
    return {"message": {"docs": await reading.search(call, room_id, text, offset=offset, count=limit)}}


@method("rocketchatSearch.getProvider")
async def get_search_provider(call: Call) -> Document:
    return {
        "key": "defaultProvider",
        "description": "Default provider",
        "icon": "icon-search",
        "suggestionSupported": False,
        "resultTemplate": "DefaultSearchResultTemplate",
        "settings": {"PageSize": _SHOWN, "GlobalSearchEnabled": False},
    }
