"""Discussions: `rooms.createDiscussion` and the lists of those of a room."""

from typing import Any

import msgspec

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.ejson import fragments
from palaver.gateway.operations import discussions, rooms
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, endpoint
from palaver.gateway.rest.errors import Failure
from palaver.gateway.rest.query import page, parse_query, parse_sort
from palaver.gateway.rest.room_faces import PageOfRoom, WhichRoom
from palaver.gateway.rest.room_reading import shown_rooms
from palaver.gateway.rest.rooms import find_room
from palaver.v1.messaging_pb2 import ListRoomsRequest

_BY_SHOWN_NAME = (("fname", 1),)


class DiscussionBody(LooseParams):
    """A discussion to be: in the room `prid`, about its message `pmid`."""

    prid: str = ""
    pmid: str | None = None
    t_name: str = ""
    users: Any = None
    reply: str | None = None
    encrypted: Any = None
    topic: str | None = None


class DiscussionsQuery(Page, rename="camel"):
    room_id: str = ""
    text: str = ""


@endpoint("POST", "rooms.createDiscussion", body=DiscussionBody, shows="discussion")
async def create(call: Call, body: DiscussionBody) -> Answer:
    if not body.prid:
        raise Failure('Body parameter "prid" is required.')
    if not body.t_name:
        raise Failure('Body parameter "t_name" is required.')
    if body.encrypted is not None and not isinstance(body.encrypted, bool):
        raise Failure('Body parameter "encrypted" must be a boolean when included.')
    try:
        members = msgspec.convert(body.users or [], list[str])
    except msgspec.ValidationError as error:
        raise Failure('Body parameter "users" must be an array.') from error
    reply = await discussions.create_discussion(
        call,
        body.prid,
        body.t_name,
        message_id=body.pmid or "",
        members=members,
        reply=body.reply or "",
        encrypted=bool(body.encrypted),
        topic=body.topic or "",
    )
    return {"discussion": rooms.with_rid(reply)}


@endpoint("GET", "rooms.getDiscussions", query=PageOfRoom, lists="discussions")
async def list_rooms(call: Call, query: PageOfRoom) -> Answer:
    """The discussions of a room."""
    _, room = await find_room(call, WhichRoom(room_id=query.room_id, room_name=query.room_name))
    offset, count = page(call, query)
    reply = await rooms.list_rooms(
        call,
        ListRoomsRequest.DISCUSSIONS,
        parent_id=room["_id"],
        where=parse_query(query.query, rooms.QUERY_FIELDS),
        sort=parse_sort(query.sort, rooms.SORT_FIELDS) or _BY_SHOWN_NAME,
        offset=offset,
        count=count,
    )
    return {
        "discussions": shown_rooms(reply, query.fields),
        "count": len(reply.rooms),
        "offset": offset,
        "total": reply.total,
    }


@endpoint("GET", "chat.getDiscussions", query=DiscussionsQuery, lists="messages")
async def list_messages(call: Call, query: DiscussionsQuery) -> Answer:
    """The messages of a room that tell of its discussions, newest first."""
    if not query.room_id:
        raise InvalidInput('The required "roomId" query param is missing.', code="error-invalid-params")
    offset, count = page(call, query)
    reply = await discussions.list_messages(call, query.room_id, query.text, offset=offset, count=count)
    return {
        "messages": fragments(reply.documents),
        "count": len(reply.documents),
        "offset": offset,
        "total": reply.total,
    }
