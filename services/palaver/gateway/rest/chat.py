"""Messages: posted, changed, reacted to, found. Threads are in `threads.py`."""

import time
from typing import Any

import orjson

from palaver.errors import InvalidInput, MessageNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, fragments
from palaver.gateway.operations import messages, reading, subscriptions
from palaver.gateway.operations.messages import SentMessage
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, endpoint
from palaver.gateway.rest.errors import Failure
from palaver.gateway.rest.permissions import parse_since
from palaver.gateway.rest.posting import Posting
from palaver.gateway.rest.query import page


class SendBody(LooseParams, rename="camel"):
    message: SentMessage | None = None
    preview_urls: list[str] | None = None


class PostBody(Posting, rename="camel"):
    custom_fields: dict[str, Any] | None = None
    tshow: bool | None = None


class UpdateBody(LooseParams, rename="camel", kw_only=True):
    room_id: str
    msg_id: str
    text: str
    custom_fields: dict[str, Any] | None = None
    preview_urls: list[str] | None = None
    attachments: list[dict[str, Any]] | None = None


class DeleteBody(LooseParams, rename="camel"):
    msg_id: str
    room_id: str
    as_user: bool | None = None


class ReactBody(LooseParams, rename="camel"):
    message_id: str = ""
    emoji: str = ""
    reaction: str = ""
    should_react: bool | None = None


class MessageQuery(LooseParams, rename="camel"):
    msg_id: str = ""


class PreviewQuery(LooseParams, rename="camel"):
    room_id: str = ""
    url: str = ""


class SearchQuery(Page, rename="camel"):
    room_id: str = ""
    search_text: str = ""


class SyncQuery(LooseParams, rename="camel"):
    room_id: str = ""
    last_update: str = ""


class DeletedQuery(Page, rename="camel"):
    room_id: str = ""
    since: str = ""


class OffTheRecordBody(LooseParams, rename="camel"):
    room_id: str = ""
    type: str = ""


class IgnoreQuery(LooseParams, rename="camel"):
    rid: str = ""
    user_id: str = ""
    ignore: str = "true"


@endpoint("POST", "chat.sendMessage", body=SendBody, shows="message")
async def send(call: Call, body: SendBody) -> Answer:
    if body.message is None:
        raise InvalidInput('The "message" parameter must be provided.', code="error-invalid-params")
    return {"message": await messages.send(call, body.message, body.preview_urls)}


@endpoint("POST", "chat.postMessage", body=PostBody, shows="message")
async def post(call: Call, body: PostBody) -> Answer:
    """To "#name", "@username", an id or a name, or a list of these; the answer tells of the first one."""
    sender = body.get_sender()
    message = SentMessage(
        rid="",
        msg=body.get_text(),
        alias=sender.alias,
        emoji=sender.emoji,
        avatar=sender.avatar,
        attachments=body.list_attachments(),
        groupable=bool(body.groupable),
        parse_urls=body.parse_urls,
        custom_fields=body.custom_fields,
        tmid=body.tmid,
        tshow=body.tshow,
    )
    posted = await messages.post(call, body.list_targets(), message)
    return {"ts": int(time.time() * 1000), "channel": posted[0].target, "message": posted[0].message}


@endpoint("POST", "chat.update", body=UpdateBody, shows="message")
async def update(call: Call, body: UpdateBody) -> Answer:
    extra = {
        "customFields": body.custom_fields,
        "previewUrls": body.preview_urls,
        "attachments": body.attachments,
    }
    try:
        return {"message": await messages.edit(call, body.msg_id, body.text, room_id=body.room_id, extra=extra)}
    except (MessageNotFound, InvalidInput) as error:
        raise _failure(error, body.msg_id) from error


@endpoint("POST", "chat.delete", body=DeleteBody)
async def delete(call: Call, body: DeleteBody) -> Answer:
    try:
        message = await messages.delete(call, body.msg_id, room_id=body.room_id, as_user=bool(body.as_user))
    except (MessageNotFound, InvalidInput) as error:
        raise _failure(error, body.msg_id) from error
    return {"_id": body.msg_id, "ts": str(int(time.time() * 1000)), "message": message}


def _failure(error: MessageNotFound | InvalidInput, message_id: str) -> MessageNotFound | InvalidInput:
    """The words that clients know of these two endpoints."""
    if isinstance(error, MessageNotFound):
        return Failure(f'No message found with the id of "{message_id[:100]}".')
    if error.error_code == "error-invalid-room":
        return Failure(error.error_reason)
    return error


@endpoint("POST", "chat.react", body=ReactBody)
async def react(call: Call, body: ReactBody) -> Answer:
    """Sets, removes or (without `shouldReact`) toggles."""
    if not body.message_id.strip():
        raise InvalidInput('The required "messageId" param is missing.', code="error-messageid-param-not-provided")
    emoji = body.emoji or body.reaction
    if not emoji:
        raise InvalidInput('The required "emoji" param is missing.', code="error-emoji-param-not-provided")
    try:
        await messages.react(call, body.message_id, emoji, body.should_react)
    except MessageNotFound as error:
        raise MessageNotFound('The provided "messageId" does not match any existing message.') from error
    return {}


@endpoint("GET", "chat.getMessage", query=MessageQuery, shows="message")
async def get_message(call: Call, query: MessageQuery) -> Answer:
    if not query.msg_id:
        raise Failure('The "msgId" query parameter must be provided.')
    try:
        return {"message": Fragment(await messages.get_message(call, query.msg_id))}
    except MessageNotFound as error:
        raise Failure(error.error_reason) from error


@endpoint("GET", "chat.search", query=SearchQuery)
async def search(call: Call, query: SearchQuery) -> Answer:
    if not query.room_id:
        raise InvalidInput('The required "roomId" query param is missing.', code="error-roomId-param-not-provided")
    if not query.search_text:
        raise InvalidInput(
            'The required "searchText" query param is missing.', code="error-searchText-param-not-provided"
        )
    offset, count = page(call, query)
    return {
        "messages": await reading.search(call, query.room_id, query.search_text, offset=offset, count=count),
    }


@endpoint("GET", "chat.syncMessages", query=SyncQuery)
async def sync(call: Call, query: SyncQuery) -> Answer:
    """What changed in a room, and what was deleted, since a date."""
    if not query.room_id:
        raise InvalidInput('The required "roomId" query param is missing.', code="error-roomId-param-not-provided")
    if not query.last_update:
        raise InvalidInput(
            'The required "lastUpdate" query param is missing.', code="error-lastUpdate-param-not-provided"
        )
    since = parse_since(query.last_update, name="lastUpdate")
    reply = await reading.list_missed(call, query.room_id, updated_since=max(1, since or 0))
    return {"result": {"updated": fragments(reply.messages), "deleted": fragments(reply.deleted)}}


@endpoint("GET", "chat.getDeletedMessages", query=DeletedQuery, lists="messages")
async def list_deleted(call: Call, query: DeletedQuery) -> Answer:
    """Ids of the messages that were deleted since a date."""
    if not query.room_id:
        raise Failure('The required "roomId" query param is missing.')
    if not query.since:
        raise Failure('The required "since" query param is missing.')
    try:
        since = parse_since(query.since, name="since") or 0
    except InvalidInput as error:
        raise Failure(error.error_reason) from error
    offset, count = page(call, query)
    reply = await reading.list_messages(call, query.room_id, updated_since=max(1, since), count=1)
    ids = [orjson.loads(deleted)["_id"] for deleted in reply.deleted]
    shown = ids[offset : offset + count if count else None]
    return {"messages": [{"_id": id} for id in shown], "count": len(shown), "offset": offset, "total": len(ids)}


@endpoint("POST", "chat.otr", body=OffTheRecordBody)
async def tell_off_the_record(call: Call, body: OffTheRecordBody) -> Answer:
    if not body.room_id:
        raise InvalidInput('The required "roomId" param is missing.', code="error-invalid-params")
    if not body.type:
        raise InvalidInput('The required "type" param is missing.', code="error-invalid-params")
    await messages.tell_off_the_record(call, body.room_id, body.type)
    return {}


@endpoint("GET", "chat.ignoreUser", query=IgnoreQuery)
async def ignore_user(call: Call, query: IgnoreQuery) -> Answer:
    if not query.rid.strip():
        raise InvalidInput('The required "rid" param is missing.', code="error-room-id-param-not-provided")
    if not query.user_id.strip():
        raise InvalidInput('The required "userId" param is missing.', code="error-user-id-param-not-provided")
    ignore = query.ignore.lower() in ("true", "1", "")
    await subscriptions.ignore_user(call, query.rid, query.user_id, ignore=ignore)
    return {}


@endpoint("GET", "chat.getURLPreview", query=PreviewQuery)
async def get_url_preview(call: Call, query: PreviewQuery) -> Answer:
    """What a link shows, before its message is sent."""
    if not query.room_id.strip():
        raise InvalidInput('The required "roomId" query param is missing.', code="error-roomId-param-not-provided")
    if not query.url.strip():
        raise InvalidInput('The required "url" query param is missing.', code="error-url-param-not-provided")
    return {"urlPreview": await messages.preview_url(call, query.room_id, query.url.strip())}
