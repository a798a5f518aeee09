"""Direct rooms, under both of their names. What the shared endpoints do is in `room_reading.py` and its siblings."""

from msgspec import UNSET, UnsetType

from palaver.errors import InvalidInput, NotAllowed, RoomNotFound
from palaver.gateway.call import Call
from palaver.gateway.operations import rooms
from palaver.gateway.rest import room_changing as changing
from palaver.gateway.rest import room_files as files
from palaver.gateway.rest import room_members as members
from palaver.gateway.rest import room_reading as reading
from palaver.gateway.rest.endpoint import Answer, Page, Params, endpoint
from palaver.gateway.rest.errors import Forbidden, check_one_given
from palaver.gateway.rest.room_faces import (
    DirectRoomBody,
    DirectRoomQuery,
    Face,
    OneDirectRoom,
    PageOfOneDirectRoom,
)
from palaver.v1.messaging_pb2 import ListRoomsRequest

DIRECT = Face(
    module=__name__,
    room_type="d",
    key="room",
    list_key="ims",
    noun="direct message room",
    name_field="username",
    name_parameter="username",
    not_given=("error-room-param-not-provided", 'Query param "roomId" or "username" is required'),
    not_found='The required "roomId" or "username" param provided does not match any direct message',
)
_declare = DIRECT.endpoint


class CreateBody(Params, rename="camel"):
    """One other user, or several by their usernames with commas between."""

    username: str | None = None
    usernames: str | None = None
    exclude_self: bool = False


class CountersQuery(DirectRoomQuery, rename="camel"):
    user_id: str | None = None


class OthersQuery(Page, rename="camel"):
    room_id: str = ""


class TopicBody(DirectRoomBody):
    topic: str | UnsetType = UNSET


@endpoint("POST", "im.create", "dm.create", body=CreateBody, shows="room")
async def create(call: Call, body: CreateBody) -> Answer:
    check_one_given(username=body.username, usernames=body.usernames)
    names = [body.username] if body.username is not None else (body.usernames or "").split(",")
    wanted = [name.strip() for name in names if name.strip()]
    reply = await rooms.open_direct_room(call, wanted, exclude_self=body.exclude_self)
    return {"room": rooms.with_rid(reply)}


@endpoint("POST", "im.delete", "dm.delete", body=OneDirectRoom)
async def delete(call: Call, body: OneDirectRoom) -> Answer:
    """For administrators, who need not be in the room."""
    try:
        room_id = (await DIRECT.find(call, body, archived_too=True)).id
    except RoomNotFound:
        if not body.room_id or not call.may("view-room-administration"):
            raise
        where = {"_id": body.room_id}
        found = await rooms.list_rooms(call, ListRoomsRequest.EVERYTHING, ("d",), where=where, count=1)
        if not found.rooms:
            raise
        room_id = body.room_id
    await rooms.delete_room(call, room_id)
    return {}


list_joined = _declare("GET", "im.list", "dm.list", does=reading.list_joined, query=Page, lists="ims")
list_every = _declare("GET", "im.list.everyone", "dm.list.everyone", does=reading.list_every, query=Page, lists="ims")
list_files = _declare("GET", "im.files", "dm.files", does=files.list_files, query=files.DirectFilesQuery, lists="files")


@endpoint("GET", "im.messages.others", "dm.messages.others", query=OthersQuery, lists="messages")
async def list_messages_of_others(call: Call, query: OthersQuery) -> Answer:
    """For administrators, who need not be in the room, where the workspace's settings let them."""
    if not call.setting("API_Enable_Direct_Message_History_EndPoint"):
        raise NotAllowed("This endpoint is disabled", code="error-endpoint-disabled")
    if not call.may("view-room-administration"):
        raise Forbidden
    if not query.room_id:
        raise InvalidInput('The parameter "roomId" is required', code="error-roomid-param-not-provided")
    return await reading.page_of_messages(call, query.room_id, query, of_others=True)


history = _declare("GET", "im.history", "dm.history", does=reading.history, query=reading.DirectHistoryQuery)
messages = _declare(
    "GET", "im.messages", "dm.messages", does=reading.list_messages, query=PageOfOneDirectRoom, lists="messages"
)
list_members = _declare(
    "GET", "im.members", "dm.members", does=members.list_members, query=members.DirectMembersQuery, lists="members"
)
counters = _declare("GET", "im.counters", "dm.counters", does=reading.counters, query=CountersQuery)
set_topic = _declare("POST", "im.setTopic", "dm.setTopic", does=changing.set_topic, body=TopicBody)
hide = _declare("POST", "im.close", "dm.close", does=changing.hide, body=DirectRoomBody)
show = _declare("POST", "im.open", "dm.open", does=changing.show, body=DirectRoomBody)
