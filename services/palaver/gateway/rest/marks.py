"""Messages that are pinned, starred, or mention the caller, and who has read one. Done by `operations/messages.py`."""

from palaver.errors import InvalidInput, MessageNotFound
from palaver.gateway.call import Call
from palaver.gateway.operations import messages, reading
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, endpoint
from palaver.gateway.rest.errors import Failure
from palaver.gateway.rest.query import is_ascending, page
from palaver.v1.messaging_pb2 import ListMarkedMessagesRequest


class MarkBody(LooseParams, rename="camel"):
    message_id: str = ""


class MarkedQuery(Page, rename="camel"):
    room_id: str = ""


class MentionsQuery(Page, rename="camel", kw_only=True):
    room_id: str
    query: str = ""


class ReceiptsQuery(LooseParams, rename="camel"):
    message_id: str = ""


def _check(body: MarkBody) -> str:
    if not body.message_id.strip():
        raise InvalidInput('The required "messageId" param is missing.', code="error-messageid-param-not-provided")
    return body.message_id


def _unknown(error: MessageNotFound) -> MessageNotFound:
    return MessageNotFound('The provided "messageId" does not match any existing message.')


@endpoint("POST", "chat.pinMessage", body=MarkBody)
async def pin(call: Call, body: MarkBody) -> Answer:
    """Answers the message that tells the room of it."""
    message_id = _check(body)
    try:
        return {"message": await messages.pin(call, message_id, pin=True)}
    except MessageNotFound as error:
        raise _unknown(error) from error


@endpoint("POST", "chat.unPinMessage", body=MarkBody)
async def unpin(call: Call, body: MarkBody) -> Answer:
    message_id = _check(body)
    try:
        await messages.pin(call, message_id, pin=False)
    except MessageNotFound as error:
        raise _unknown(error) from error
    return {}


@endpoint("POST", "chat.starMessage", body=MarkBody)
async def star(call: Call, body: MarkBody) -> Answer:
    return await _star(call, body, star=True)


@endpoint("POST", "chat.unStarMessage", body=MarkBody)
async def unstar(call: Call, body: MarkBody) -> Answer:
    return await _star(call, body, star=False)


async def _star(call: Call, body: MarkBody, *, star: bool) -> Answer:
    message_id = _check(body)
    try:
        await messages.star(call, message_id, star=star)
    except MessageNotFound as error:
        raise _unknown(error) from error
    return {}


@endpoint("GET", "chat.getMessageReadReceipts", query=ReceiptsQuery)
async def list_read_receipts(call: Call, query: ReceiptsQuery) -> Answer:
    if not query.message_id:
        raise Failure("The required 'messageId' param is missing.")
    return {"receipts": await reading.list_read_receipts(call, query.message_id)}


@endpoint("GET", "chat.getPinnedMessages", query=MarkedQuery, lists="messages")
async def list_pinned(call: Call, query: MarkedQuery) -> Answer:
    if not query.room_id.strip():
        raise InvalidInput('The required "roomId" query param is missing.', code="error-roomId-param-not-provided")
    return await _list(call, query, ListMarkedMessagesRequest.PINNED)


@endpoint("GET", "chat.getStarredMessages", query=MarkedQuery, lists="messages")
async def list_starred(call: Call, query: MarkedQuery) -> Answer:
    return await _list(call, query, ListMarkedMessagesRequest.STARRED)


@endpoint("GET", "chat.getMentionedMessages", query=MarkedQuery, lists="messages")
async def list_mentioning(call: Call, query: MarkedQuery) -> Answer:
    return await _list(call, query, ListMarkedMessagesRequest.MENTIONING)


@endpoint("GET", "channels.getAllUserMentionsByChannel", query=MentionsQuery, lists="mentions")
async def list_mentioning_in_channel(call: Call, query: MentionsQuery) -> Answer:
    """The same for older clients, under another name, of any room."""
    offset, count = page(call, query)
    found, total = await reading.list_mentioning(
        call, query.room_id, ascending=is_ascending(query.sort), offset=offset, count=count
    )
    return {"mentions": found, "count": len(found), "offset": offset, "total": total}


async def _list(call: Call, query: MarkedQuery, mark: ListMarkedMessagesRequest.Mark.ValueType) -> Answer:
    if not query.room_id.strip():
        raise InvalidInput('The required "roomId" query param is missing.', code="error-invalid-params")
    offset, count = page(call, query)
    found, total = await reading.list_marked(
        call, query.room_id, mark, ascending=is_ascending(query.sort), offset=offset, count=count
    )
    return {"messages": found, "count": len(found), "offset": offset, "total": total}
