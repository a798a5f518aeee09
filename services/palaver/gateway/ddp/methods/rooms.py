"""Methods of rooms and their members. Their REST twins are in `rest/rooms.py`, `channels.py`, `groups.py`, `im.py`."""

from typing import Any

import msgspec
import orjson

from palaver.errors import NotAllowed, RoomNotFound
from palaver.gateway.call import Call
from palaver.gateway.ddp.method import Count, Date, method
from palaver.gateway.ejson import Fragment, fragments
from palaver.gateway.operations import directory, discussions, rooms, users
from palaver.v1.messaging_pb2 import ListRoomsRequest

Document = dict[str, Any]

_SHOWN_COUNT = 50


class Slice(msgspec.Struct):
    """Which part of a list."""

    limit: Count | None = None
    skip: Count | None = None


class SpotlightTypes(msgspec.Struct):
    users: bool | None = None
    rooms: bool | None = None
    mentions: bool | None = None


class Invitation(msgspec.Struct):
    rid: str
    users: list[str]


class RoomAndUser(msgspec.Struct):
    rid: str
    username: str


class Browsed(msgspec.Struct, rename="camel"):
    """What `browseChannels` takes."""

    text: str | None = None
    type: str | None = None
    sort_by: str | None = None
    sort_direction: str | None = None
    page: Count | None = None
    offset: Count | None = None
    limit: Count | None = None


# -- made --------------------------------------------------------------------------------------------------------------


@method("createChannel", str, list[str] | None, bool | None, Document | None, Document | None)
async def create_channel(
    call: Call,
    name: str,
    members: list[str] | None,
    read_only: bool | None,
    custom_fields: Document | None,
    extra: Document | None,
) -> Document:
    return await _create(call, "c", name, members, read_only, custom_fields, extra)


@method("createPrivateGroup", str, list[str] | None, bool | None, Document | None, Document | None)
async def create_private_group(
    call: Call,
    name: str,
    members: list[str] | None,
    read_only: bool | None,
    custom_fields: Document | None,
    extra: Document | None,
) -> Document:
    return await _create(call, "p", name, members, read_only, custom_fields, extra)


async def _create(
    call: Call,
    room_type: str,
    name: str,
    members: list[str] | None,
    read_only: bool | None,
    custom_fields: Document | None,
    extra: Document | None,
) -> Document:
    new = rooms.NewRoom(name=name, members=members, read_only=read_only, custom_fields=custom_fields, extra_data=extra)
    return rooms.with_rid(await rooms.create_room(call, room_type, new))


@method("createDirectMessage", str, variadic=True)
async def create_direct_message(call: Call, *usernames: str) -> Document:
    return rooms.with_rid(await rooms.open_direct_room(call, [name for name in usernames if name]))


class NewDiscussion(msgspec.Struct):
    """What `createDiscussion` takes."""

    prid: str
    t_name: str
    pmid: str | None = None
    reply: str | None = None
    users: list[str] | None = None
    encrypted: bool | None = None
    topic: str | None = None


@method("createDiscussion", NewDiscussion)
async def create_discussion(call: Call, new: NewDiscussion) -> Document:
    reply = await discussions.create_discussion(
        call,
        new.prid,
        new.t_name,
        message_id=new.pmid or "",
        members=new.users or (),
        reply=new.reply or "",
        encrypted=bool(new.encrypted),
        topic=new.topic or "",
    )
    return rooms.with_rid(reply)


# -- found -------------------------------------------------------------------------------------------------------------


@method("rooms/get", Date | None, anonymous=True)
async def list_own(call: Call, since: Date | None) -> Any:
    """All rooms of the caller; with a date what changed. Nobody has none."""
    if call.user is None:
        return [] if since is None else {"update": [], "remove": []}
    reply = await rooms.list_rooms(
        call, ListRoomsRequest.JOINED, since=-1 if since is None else max(0, since.milliseconds)
    )
    if since is None:
        return fragments(reply.rooms)
    return {"update": fragments(reply.rooms), "remove": fragments(reply.removed)}


@method("getRoomByTypeAndName", str, str, anonymous=True)
async def get_room_by_type_and_name(call: Call, room_type: str, name: str) -> Fragment:
    return Fragment((await rooms.get_room(call, id_or_name=name, types=(room_type,))).room)


@method("getRoomById", str)
async def get_room_by_id(call: Call, room_id: str) -> Fragment:
    return Fragment((await _get(call, room_id=room_id)).room)


@method("getRoomIdByNameOrId", str)
async def get_room_id(call: Call, id_or_name: str) -> str:
    return str(orjson.loads((await _get(call, id_or_name=id_or_name)).room)["_id"])


@method("getRoomNameById", str)
async def get_room_name(call: Call, room_id: str) -> str | None:
    """A direct room has no name."""
    name: str | None = orjson.loads((await _get(call, room_id=room_id)).room).get("name")
    return name


@method("roomNameExists", str)
async def room_name_exists(call: Call, name: str) -> bool:
    return await rooms.has_name(call, name)


async def _get(call: Call, *, room_id: str = "", id_or_name: str = "") -> Any:
    """A room, where clients know another error than usual for one that they may not see."""
    try:
        return await rooms.get_room(call, room_id=room_id, id_or_name=id_or_name)
    except RoomNotFound as error:
        raise NotAllowed("Not allowed") from error


@method("spotlight", str, list[str] | None, SpotlightTypes | None, str | None, anonymous=True)
async def spotlight(
    call: Call, text: str, exclude: list[str] | None, types: SpotlightTypes | None, room_id: str | None
) -> Document:
    wanted = types or SpotlightTypes(users=True, rooms=True)
    found = await rooms.spotlight(
        call,
        text,
        users=bool(wanted.users),
        rooms=bool(wanted.rooms),
        exclude=exclude or (),
        mentions=bool(wanted.mentions),
        room_id=room_id or "",
    )
    return {"users": fragments(found.users), "rooms": fragments(found.rooms)}


@method("browseChannels", Browsed)
async def browse_channels(call: Call, wanted: Browsed) -> Document:
    sort = [(wanted.sort_by or "name", -1 if wanted.sort_direction == "desc" else 1)]
    limit = wanted.limit or _SHOWN_COUNT
    offset = wanted.offset if wanted.offset is not None else (wanted.page or 0) * limit
    found, total = await directory.browse(
        call, wanted.type or "channels", wanted.text or "", sort=sort, offset=offset, count=limit
    )
    return {"results": found, "total": total}


# -- members -----------------------------------------------------------------------------------------------------------


@method("getUsersOfRoom", str, bool | None, Slice | None, str | None)
async def list_members(
    call: Call, room_id: str, show_all: bool | None, part: Slice | None, term: str | None
) -> Document:
    """The members who are not offline, or with `show_all` all of them."""
    part = part or Slice()
    members, total = await rooms.list_members(
        call,
        room_id,
        term=term or "",
        status=() if show_all else ("online", "away", "busy"),
        offset=part.skip or 0,
        count=part.limit or 0,
    )
    return {"total": total, "records": fragments(members)}


@method("joinRoom", str, str | None)
async def join_room(call: Call, room_id: str, join_code: str | None) -> bool:
    await rooms.join(call, room_id, join_code or "")
    return True


@method("leaveRoom", str)
async def leave_room(call: Call, room_id: str) -> None:
    await rooms.leave(call, room_id)


@method("addUsersToRoom", Invitation)
async def add_users(call: Call, invitation: Invitation) -> bool:
    await rooms.invite(call, invitation.rid, usernames=invitation.users)
    return True


@method("addUserToRoom", RoomAndUser)
async def add_user(call: Call, added: RoomAndUser) -> bool:
    await rooms.invite(call, added.rid, usernames=[added.username])
    return True


@method("addAllUserToRoom", str, bool | None)
async def add_everybody(call: Call, room_id: str, active_only: bool | None) -> bool:
    await rooms.invite(call, room_id, everybody=True)
    return True


@method("removeUserFromRoom", RoomAndUser)
async def remove_user(call: Call, removed: RoomAndUser) -> bool:
    await rooms.remove(call, removed.rid, username=removed.username)
    return True


@method("getRoomRoles", str)
async def list_roles(call: Call, room_id: str) -> list[Document]:
    return await rooms.list_roles(call, room_id)


@method("addRoomOwner", str, str)
async def add_owner(call: Call, room_id: str, user_id: str) -> bool:
    return await _set_role(call, room_id, user_id, "owner", granted=True)


@method("removeRoomOwner", str, str)
async def remove_owner(call: Call, room_id: str, user_id: str) -> bool:
    return await _set_role(call, room_id, user_id, "owner", granted=False)


@method("addRoomModerator", str, str)
async def add_moderator(call: Call, room_id: str, user_id: str) -> bool:
    return await _set_role(call, room_id, user_id, "moderator", granted=True)


@method("removeRoomModerator", str, str)
async def remove_moderator(call: Call, room_id: str, user_id: str) -> bool:
    return await _set_role(call, room_id, user_id, "moderator", granted=False)


@method("addRoomLeader", str, str)
async def add_leader(call: Call, room_id: str, user_id: str) -> bool:
    return await _set_role(call, room_id, user_id, "leader", granted=True)


@method("removeRoomLeader", str, str)
async def remove_leader(call: Call, room_id: str, user_id: str) -> bool:
    return await _set_role(call, room_id, user_id, "leader", granted=False)


async def _set_role(call: Call, room_id: str, user_id: str, role: str, *, granted: bool) -> bool:
    user = await users.get_user(call, user_id, None)
    await rooms.set_role(call, room_id, user.id, role, granted=granted)
    return True
