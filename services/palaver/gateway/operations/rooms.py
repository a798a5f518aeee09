"""Rooms and who is in them. Shared by `rest/rooms.py`, the three faces of rooms (`rest/channels.py`, `groups.py`,
`im.py`) and `ddp/methods/rooms.py`."""

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from palaver.access import ROLE_ASSIGNED, User
from palaver.errors import RoomNotFound
from palaver.events import SYSTEM
from palaver.gateway.call import Call
from palaver.gateway.ejson import encode
from palaver.gateway.operations.presence import join_status
from palaver.v1.messaging_pb2 import (
    CreateRoomRequest,
    GetRoomRequest,
    JoinRoomRequest,
    ListMembersRequest,
    ListRoomsReply,
    ListRoomsRequest,
    ListSubscriptionsRequest,
    MembersRequest,
    OpenDirectRoomRequest,
    PruneMessagesRequest,
    RoomReply,
    RoomRequest,
    SetMemberRoleRequest,
    SpotlightReply,
    SpotlightRequest,
    UpdateRoomRequest,
)

Document = dict[str, Any]

QUERY_FIELDS = ("_id", "t", "name", "fname", "default", "ts", "lm", "msgs", "usersCount", "prid", "teamId")
SORT_FIELDS = ("name", "fname", "t", "ts", "lm", "msgs", "usersCount")

BY_NAME = (("name", 1),)

# What a client may say of a new room besides its name. Teams as such and discussions have ways of their own.
_EXTRA = ("announcement", "broadcast", "description", "encrypted", "topic", "teamId")
MAX_LISTED = 1000


class NewRoom(msgspec.Struct, kw_only=True, rename="camel"):
    """A public or private room to be."""

    name: str = ""
    members: list[str] | None = None
    read_only: bool | None = None
    custom_fields: Document | None = None
    extra_data: Document | None = None
    exclude_self: bool | None = None


async def get_room(
    call: Call, *, room_id: str = "", name: str = "", id_or_name: str = "", types: Sequence[str] = ()
) -> RoomReply:
    """A room that the caller may see. A direct room has the other one's username as its name. Raises RoomNotFound."""
    request = GetRoomRequest(actor=call.reader, types=types)
    if room_id:
        request.room_id = room_id
    elif name:
        request.name = name
    else:
        request.id_or_name = id_or_name
    return await call.services.messaging.get_room(request)


async def has_name(call: Call, name: str) -> bool:
    """Whether some room has this name, also one that the caller may not see: it can't be given to another one."""
    try:
        await call.services.messaging.get_room(GetRoomRequest(actor=SYSTEM, name=name))
    except RoomNotFound:
        return False
    return True


async def create_room(call: Call, room_type: str, new: NewRoom) -> RoomReply:
    """Makes a room. Members that don't exist are left out."""
    extra = {name: value for name, value in (new.extra_data or {}).items() if name in _EXTRA}
    return await call.services.messaging.create_room(
        CreateRoomRequest(
            actor=call.actor,
            type=room_type,
            name=new.name,
            members=new.members or (),
            read_only=bool(new.read_only),
            custom_fields=encode(new.custom_fields) if new.custom_fields else b"",
            extra=encode(extra) if extra else b"",
            exclude_self=bool(new.exclude_self),
        )
    )


async def open_direct_room(
    call: Call, usernames: Sequence[str], *, user_ids: Sequence[str] = (), exclude_self: bool = False
) -> RoomReply:
    """The direct room of the caller and these users, made when there is none."""
    return await call.services.messaging.open_direct_room(
        OpenDirectRoomRequest(actor=call.actor, usernames=usernames, user_ids=user_ids, exclude_self=exclude_self)
    )


def with_rid(reply: RoomReply) -> Document:
    """The room in the form that answers to creating one have: with its id as `rid`, too."""
    room: Document = orjson.loads(reply.room)
    room["rid"] = room["_id"]
    return room


async def join(call: Call, room_id: str, join_code: str = "") -> RoomReply:
    return await call.services.messaging.join_room(
        JoinRoomRequest(actor=call.actor, room_id=room_id, join_code=join_code)
    )


async def leave(call: Call, room_id: str) -> RoomReply:
    return await call.services.messaging.leave_room(RoomRequest(actor=call.actor, room_id=room_id))


async def invite(
    call: Call, room_id: str, *, user_ids: Sequence[str] = (), usernames: Sequence[str] = (), everybody: bool = False
) -> RoomReply:
    """Makes others members."""
    return await call.services.messaging.invite_members(
        MembersRequest(actor=call.actor, room_id=room_id, user_ids=user_ids, usernames=usernames, everybody=everybody)
    )


async def remove(call: Call, room_id: str, *, user_id: str = "", username: str = "") -> RoomReply:
    """Ends somebody's membership."""
    return await call.services.messaging.remove_member(
        MembersRequest(
            actor=call.actor,
            room_id=room_id,
            user_ids=[user_id] if user_id else (),
            usernames=[username] if username else (),
        )
    )


async def set_role(call: Call, room_id: str, user_id: str, role: str, *, granted: bool) -> None:
    """Gives a member a role in the room, or takes it."""
    await call.services.messaging.set_member_role(
        SetMemberRoleRequest(actor=call.actor, room_id=room_id, user_id=user_id, role=role, granted=granted)
    )
    user = await call.access.find_user(user_id)
    if user is not None:
        await tell_role(call, role, user, granted=granted, room_id=room_id)


async def tell_role(call: Call, role: str, user: User, *, granted: bool, room_id: str = "") -> None:
    """Has clients show a role beside the name, or no longer, where the workspace shows roles at all."""
    if not call.setting("UI_DisplayRoles"):
        return
    told: Document = {
        "type": "added" if granted else "removed",
        "_id": role,
        "u": {"_id": user.id, "username": user.username, "name": user.name},
    }
    if room_id:
        told["scope"] = room_id
    await call.show(ROLE_ASSIGNED, orjson.dumps(told))


async def update_room(call: Call, room_id: str, **changes: Any) -> RoomReply:
    """Changes fields of a room, by the names that they have in its document."""
    return await call.services.messaging.update_room(
        UpdateRoomRequest(actor=call.actor, room_id=room_id, set=encode(changes))
    )


async def prune(call: Call, request: PruneMessagesRequest) -> int:
    """Prunes all that is meant, a part at a time; `request` lacks the actor. Answers how many messages it were."""
    request.actor.CopyFrom(call.actor)
    limit = request.limit
    count = 0
    while True:
        reply = await call.services.messaging.prune_messages(request)
        count += reply.count
        if not reply.next:
            return count
        request.start = reply.next
        request.limit = limit - count if limit else 0


async def delete_room(call: Call, room_id: str) -> None:
    await call.services.messaging.delete_room(RoomRequest(actor=call.actor, room_id=room_id))


async def list_rooms(
    call: Call,
    scope: ListRoomsRequest.Scope.ValueType,
    types: Sequence[str] = (),
    *,
    where: Document | None = None,
    sort: Sequence[tuple[str, int]] = (),
    offset: int = 0,
    count: int = 0,
    since: int = -1,
    parent_id: str = "",
) -> ListRoomsReply:
    """A page of rooms; `since` (epoch milliseconds) asks for what changed, and fills `removed`.

    `parent_id`: the room whose discussions are listed.
    """
    request = ListRoomsRequest(
        actor=call.actor,
        scope=scope,
        types=types,
        filter=orjson.dumps(where) if where else b"",
        sort=orjson.dumps(sort) if sort else b"",
        offset=offset,
        count=count,
        updated_since=since,
        parent_id=parent_id,
    )
    reply = part = await call.services.messaging.list_rooms(request)
    wanted = min(count or reply.total, max(0, reply.total - offset))
    # The last messages of very many rooms are more than one answer between processes can have.
    while part.rooms and len(reply.rooms) < wanted:
        request.offset = offset + len(reply.rooms)
        request.count = wanted - len(reply.rooms)
        part = await call.services.messaging.list_rooms(request)
        reply.rooms.extend(part.rooms)
    return reply


def named(text: str) -> Document:
    """The filter for rooms with this text in one of their names; everything for no text."""
    return {"$or": [{"name": {"$contains": text}}, {"fname": {"$contains": text}}]} if text else {}


async def list_members(
    call: Call,
    room_id: str,
    *,
    term: str = "",
    status: Sequence[str] = (),
    role: str = "",
    with_roles: bool = False,
    sort: Sequence[tuple[str, int]] = (),
    offset: int = 0,
    count: int = 0,
) -> tuple[list[bytes], int]:
    """A page of a room's members (encoded) by username, and how many there are in all.

    `role`: only those who have it in the room; `with_roles`: who have any.
    """
    reply = await call.services.messaging.list_members(
        ListMembersRequest(
            actor=call.actor,
            room_id=room_id,
            term=term,
            status=status,
            role=role,
            with_roles=with_roles,
            sort=orjson.dumps(sort) if sort else b"",
            offset=offset,
            count=count,
        )
    )
    return list(reply.documents), reply.total


async def list_roles(call: Call, room_id: str) -> list[Document]:
    """The members who have roles in the room, in the form of `channels.roles`: all of them."""
    documents: list[bytes] = []
    total = 1
    while len(documents) < total:
        page, total = await list_members(call, room_id, with_roles=True, offset=len(documents), count=MAX_LISTED)
        if not page:
            break
        documents += page
    return [
        {
            "rid": room_id,
            "u": {name: member[name] for name in ("_id", "username", "name") if name in member},
            "roles": member["roles"],
        }
        for member in map(orjson.loads, documents)
    ]


async def is_member(call: Call, room_id: str, user_id: str) -> bool:
    """Whether a user is in a room. The caller must see the room: raises RoomNotFound."""
    await get_room(call, room_id=room_id)
    reply = await call.services.messaging.list_subscriptions(
        ListSubscriptionsRequest(actor=SYSTEM, updated_since=-1, room_ids=[room_id], user_ids=[user_id])
    )
    return bool(reply.subscriptions)


async def spotlight(
    call: Call,
    text: str,
    *,
    users: bool = True,
    rooms: bool = True,
    exclude: Sequence[str] = (),
    mentions: bool = False,
    room_id: str = "",
) -> SpotlightReply:
    """A few users (as of now) and rooms with such a name. "@" in front asks for users only, "#" for rooms."""
    if text.startswith("@"):
        text, rooms = text[1:], False
    elif text.startswith("#"):
        text, users = text[1:], False
    if not users and not rooms:
        return SpotlightReply()
    reply = await call.services.messaging.spotlight(
        SpotlightRequest(
            actor=call.reader,
            text=text,
            exclude_usernames=exclude,
            users=users,
            rooms=rooms,
            mentions=mentions,
            room_id=room_id,
        )
    )
    found: list[Document] = [orjson.loads(user) for user in reply.users]
    await join_status(call, found)
    return SpotlightReply(users=map(encode, found), rooms=reply.rooms)
