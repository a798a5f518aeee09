"""Threads: lists of them, their replies, and following them."""

from palaver.errors import InvalidInput, MessageNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import fragments
from palaver.gateway.operations import messages, reading
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, endpoint
from palaver.gateway.rest.errors import Failure
from palaver.gateway.rest.permissions import parse_since
from palaver.gateway.rest.query import page, parse_query, parse_sort
from palaver.gateway.rest.room_reading import shown_messages

_OLDEST_FIRST = (("ts", 1),)


class FollowBody(LooseParams):
    mid: str = ""


class ThreadsQuery(Page):
    rid: str = ""
    type: str = ""
    text: str = ""


class RepliesQuery(Page):
    tmid: str = ""


class SyncThreadsQuery(Page, rename="camel"):
    rid: str = ""
    updated_since: str = ""


class SyncRepliesQuery(Page, rename="camel"):
    tmid: str = ""
    updated_since: str = ""


class InvalidMessage(MessageNotFound):
    code = "error-invalid-message"
    reason = "Invalid Message"


@endpoint("GET", "chat.getThreadsList", query=ThreadsQuery, lists="threads")
async def list_threads(call: Call, query: ThreadsQuery) -> Answer:
    """The first messages of a room's threads; of type `following` or `unread` only those."""
    if not query.rid:
        raise InvalidInput('The required "rid" query param is missing.', code="error-room-id-param-not-provided")
    offset, count = page(call, query)
    reply = await reading.list_threads(call, query.rid, type=query.type, text=query.text, offset=offset, count=count)
    found = shown_messages(reply.documents, query.fields)
    return {"threads": found, "count": len(found), "offset": offset, "total": reply.total}


@endpoint("GET", "chat.syncThreadsList", query=SyncThreadsQuery)
async def sync_threads(call: Call, query: SyncThreadsQuery) -> Answer:
    """What changed of a room's threads since a date."""
    if not query.rid:
        raise InvalidInput('The required "rid" query param is missing.', code="error-room-id-param-not-provided")
    since = _since(query.updated_since)
    return {"threads": {"update": await reading.list_missed_threads(call, query.rid, since), "remove": []}}


@endpoint("GET", "chat.getThreadMessages", query=RepliesQuery, lists="messages")
async def list_replies(call: Call, query: RepliesQuery) -> Answer:
    """A thread's replies, oldest first."""
    if not query.tmid:
        raise InvalidInput('The required "tmid" query param is missing.', code="error-invalid-params")
    offset, count = page(call, query)
    try:
        reply = await reading.list_thread(
            call,
            query.tmid,
            where=parse_query(query.query, reading.QUERY_FIELDS),
            sort=parse_sort(query.sort, reading.SORT_FIELDS) or _OLDEST_FIRST,
            offset=offset,
            count=count,
        )
    except MessageNotFound as error:
        raise InvalidMessage from error
    return {
        "messages": shown_messages(reply.messages, query.fields),
        "count": len(reply.messages),
        "offset": offset,
        "total": reply.total,
    }


@endpoint("GET", "chat.syncThreadMessages", query=SyncRepliesQuery)
async def sync_replies(call: Call, query: SyncRepliesQuery) -> Answer:
    """What changed of a thread's replies since a date."""
    if not query.tmid:
        raise InvalidInput('The required "tmid" query param is missing.', code="error-invalid-params")
    since = _since(query.updated_since)
    try:
        reply = await reading.list_missed_replies(call, query.tmid, since)
    except MessageNotFound as error:
        raise InvalidMessage from error
    return {"messages": {"update": fragments(reply.messages), "remove": fragments(reply.deleted)}}


def _since(text: str) -> int:
    if not text:
        raise InvalidInput('The required param "updatedSince" is missing.', code="error-updatedSince-param-invalid")
    return max(1, parse_since(text, code="error-updatedSince-param-invalid") or 0)


@endpoint("POST", "chat.followMessage", body=FollowBody)
async def follow(call: Call, body: FollowBody) -> Answer:
    return await _follow(call, body, follow=True)


@endpoint("POST", "chat.unfollowMessage", body=FollowBody)
async def unfollow(call: Call, body: FollowBody) -> Answer:
    return await _follow(call, body, follow=False)


async def _follow(call: Call, body: FollowBody, *, follow: bool) -> Answer:
    if not body.mid:
        raise Failure('The required "mid" body param is missing.')
    try:
        await messages.follow(call, body.mid, follow=follow)
    except MessageNotFound as error:
        raise InvalidMessage("Invalid message") from error
    return {}
