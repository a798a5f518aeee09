"""Methods of the channels of a workspace: listed, counted, entered."""

from typing import Any, Literal

from palaver.errors import InvalidInput, NotAllowed, RoomNotFound
from palaver.gateway.call import Call
from palaver.gateway.ddp.method import Count, method
from palaver.gateway.ejson import Fragment, fragments
from palaver.gateway.operations import rooms
from palaver.v1.messaging_pb2 import JoinDefaultRoomsRequest, ListRoomsRequest

Document = dict[str, Any]

_SORTS = {"name": (("name", 1),), "msgs": (("msgs", -1),)}


@method("channelsList", str | None, Literal["public", "private", ""] | None, Count | None, str | None)
async def list_channels(
    call: Call, text: str | None, channel_type: str | None, limit: int | None, sort: str | None
) -> Document:
    """Public rooms, and private ones that the caller is in; by name, or those with the most messages first."""
    if (sort or "name") not in _SORTS:
        raise InvalidInput("Channels are sorted by name or msgs", code="error-invalid-sort")
    found: list[bytes] = []
    wanted = (("public", ListRoomsRequest.PUBLIC, ("c",)), ("private", ListRoomsRequest.JOINED, ("p",)))
    for name, scope, types in wanted:
        if not channel_type or channel_type == name:
            count = min(limit or rooms.MAX_LISTED, rooms.MAX_LISTED) - len(found)
            if count > 0:
                reply = await rooms.list_rooms(
                    call, scope, types, where=rooms.named(text or ""), sort=_SORTS[sort or "name"], count=count
                )
                found += reply.rooms
    return {"channels": fragments(found)}


@method("getTotalChannels")
async def count_channels(call: Call) -> int:
    return (await rooms.list_rooms(call, ListRoomsRequest.PUBLIC, ("c",), count=1)).total


@method("joinDefaultChannels", bool | None)
async def join_default(call: Call, silenced: bool | None) -> None:
    """The caller becomes a member of every default room."""
    request = JoinDefaultRoomsRequest(actor=call.actor, silently=bool(silenced))
    await call.services.messaging.join_default_rooms(request)


@method("canAccessRoom", str, str | None, Any)
async def find_accessible(call: Call, room_id: str, user_id: str | None, extra: Any) -> Fragment | bool:
    """The room, if the caller may see it, else false. What others may see is nobody's business."""
    if user_id is not None and user_id != call.me.id:
        raise NotAllowed("Not allowed")
    try:
        return Fragment((await rooms.get_room(call, room_id=room_id)).room)
    except RoomNotFound:
        return False
