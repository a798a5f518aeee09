"""Discussions: rooms beside another one. Shared by `rest/discussions.py` and `ddp/methods/rooms.py`."""

from collections.abc import Sequence

from palaver.gateway.call import Call
from palaver.v1.auth_pb2 import DocumentsReply
from palaver.v1.messaging_pb2 import CreateDiscussionRequest, ListDiscussionsRequest, RoomReply


async def create_discussion(
    call: Call,
    parent_id: str,
    name: str,
    *,
    message_id: str = "",
    members: Sequence[str] = (),
    reply: str = "",
    encrypted: bool = False,
    topic: str = "",
) -> RoomReply:
    """A discussion in a room, about one of its messages if one is named. Members are usernames."""
    return await call.services.messaging.create_discussion(
        CreateDiscussionRequest(
            actor=call.actor,
            room_id=parent_id,
            message_id=message_id,
            name=name,
            members=members,
            reply=reply,
            encrypted=encrypted,
            topic=topic,
        )
    )


async def list_messages(call: Call, room_id: str, text: str, *, offset: int, count: int) -> DocumentsReply:
    """A page of a room's messages that tell of discussions, newest first."""
    reply = part = await call.services.messaging.list_discussions(
        ListDiscussionsRequest(actor=call.actor, room_id=room_id, text=text, offset=offset, count=count)
    )
    while part.next and len(reply.documents) < count:
        part = await call.services.messaging.list_discussions(
            ListDiscussionsRequest(
                actor=call.actor, room_id=room_id, text=text, count=count - len(reply.documents), start=part.next
            )
        )
        reply.documents.extend(part.documents)
    return reply
