"""The caller's own subscriptions: what is in their room list, and what they have read."""

import msgspec

from palaver.errors import RoomNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, fragments
from palaver.gateway.operations import subscriptions
from palaver.gateway.rest.endpoint import Answer, LooseParams, Params, endpoint
from palaver.gateway.rest.errors import Failure, check_one_given
from palaver.gateway.rest.permissions import parse_since


class SinceQuery(Params, rename="camel"):
    updated_since: str | None = None


class OneQuery(Params, rename="camel"):
    room_id: str


class ReadBody(Params, rename="camel"):
    rid: str | None = None
    room_id: str | None = None
    read_threads: bool = False


class Message(LooseParams):
    id: str = msgspec.field(name="_id")


class UnreadBody(Params, rename="camel"):
    room_id: str | None = None
    first_unread_message: Message | None = None


@endpoint("GET", "subscriptions.get", query=SinceQuery)
async def list_own(call: Call, query: SinceQuery) -> Answer:
    """All of the caller's, or what changed."""
    since = parse_since(query.updated_since or None)
    reply = await subscriptions.list_subscriptions(call, -1 if since is None else since)
    return {"update": fragments(reply.subscriptions), "remove": fragments(reply.removed)}


@endpoint("GET", "subscriptions.getOne", query=OneQuery)
async def get_one(call: Call, query: OneQuery) -> Answer:
    found = await subscriptions.find_subscription(call, query.room_id)
    return {"subscription": None if found is None else Fragment(found)}


@endpoint("POST", "subscriptions.read", body=ReadBody)
async def read(call: Call, body: ReadBody) -> Answer:
    check_one_given(rid=body.rid, roomId=body.room_id)
    try:
        await subscriptions.mark_read(call, body.rid or body.room_id or "", with_threads=body.read_threads)
    except RoomNotFound as error:
        raise Failure("error-invalid-subscription") from error
    return {}


@endpoint("POST", "subscriptions.unread", body=UnreadBody)
async def unread(call: Call, body: UnreadBody) -> Answer:
    check_one_given(roomId=body.room_id, firstUnreadMessage=body.first_unread_message)
    message = body.first_unread_message
    await subscriptions.mark_unread(call, room_id=body.room_id or "", message_id=message.id if message else "")
    return {}
