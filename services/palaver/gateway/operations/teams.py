"""Teams: main rooms with the rooms that belong to them. Shared by `rest/teams.py`, `team_members.py`, `team_rooms.py`,
the faces of rooms, `rest/rooms.py` and the directory."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from palaver.errors import InvalidInput, TeamNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, encode
from palaver.v1.auth_pb2 import DocumentsReply
from palaver.v1.messaging_pb2 import RoomReply, RoomRequest
from palaver.v1.team_pb2 import (
    AddTeamMembersRequest,
    AddTeamRoomsRequest,
    CreateTeamRequest,
    EndTeamRequest,
    GetTeamRequest,
    ListTeamMembersRequest,
    ListTeamRoomsRequest,
    ListTeamsRequest,
    RemoveTeamMemberRequest,
    RemoveTeamRoomRequest,
    SetTeamDefaultRequest,
    SetTeamRolesRequest,
    UpdateTeamRequest,
)

Document = dict[str, Any]

MAX_MEMBERS = 1000  # that a new room may have from the beginning
QUERY_FIELDS = ("_id", "name", "ts", "usersCount")
SORT_FIELDS = ("name", "ts", "usersCount")
# What a client may say of a new team's main room.
_EXTRA = ("announcement", "broadcast", "description", "encrypted", "topic")


async def create_team(
    call: Call,
    name: str,
    *,
    private: bool,
    members: Sequence[str] = (),
    owner: str = "",
    read_only: bool = False,
    extra: Document | None = None,
    sidepanel: Sequence[str] = (),
) -> Fragment:
    """Makes a team. Members are ids or usernames; those that don't exist are left out."""
    fields = {name: value for name, value in (extra or {}).items() if name in _EXTRA}
    reply = await call.services.messaging.create_team(
        CreateTeamRequest(
            actor=call.actor,
            name=name,
            private=private,
            members=members,
            owner=owner,
            read_only=read_only,
            extra=encode(fields) if fields else b"",
            sidepanel=sidepanel,
        )
    )
    return Fragment(reply.team)


async def convert_to_team(call: Call, room_id: str) -> Fragment:
    """Makes a room the main room of a team."""
    reply = await call.services.messaging.convert_to_team(RoomRequest(actor=call.actor, room_id=room_id))
    return Fragment(reply.team)


async def get_team(call: Call, *, team_id: str = "", name: str = "") -> Document:
    """A team that the caller may see. Raises TeamNotFound."""
    request = GetTeamRequest(actor=call.actor, room_id=team_id) if team_id else GetTeamRequest(name=name)
    request.actor.CopyFrom(call.actor)
    team: Document = orjson.loads((await call.services.messaging.get_team(request)).team)
    return team


async def find_team(call: Call, team_id: str) -> Document | None:
    """The same, or None."""
    try:
        return await get_team(call, team_id=team_id)
    except TeamNotFound:
        return None


async def list_teams(
    call: Call,
    scope: ListTeamsRequest.Scope.ValueType,
    *,
    user_id: str = "",
    where: Document | None = None,
    sort: Sequence[tuple[str, int]] = (),
    offset: int = 0,
    count: int = 0,
    main_rooms: bool = False,
) -> DocumentsReply:
    """A page of teams, or of their main rooms; conditions and order are about these."""
    return await call.services.messaging.list_teams(
        ListTeamsRequest(
            actor=call.actor,
            scope=scope,
            user_id=user_id,
            filter=orjson.dumps(where) if where else b"",
            sort=orjson.dumps(sort) if sort else b"",
            offset=offset,
            count=count,
            main_rooms=main_rooms,
        )
    )


async def update_team(call: Call, team_id: str, *, name: str = "", private: bool | None = None) -> None:
    request = UpdateTeamRequest(actor=call.actor, room_id=team_id, name=name)
    if private is not None:
        request.private = private
    await call.services.messaging.update_team(request)


async def end_team(call: Call, team_id: str, deleted_room_ids: Sequence[str], *, keeps_room: bool) -> None:
    """Ends a team: its main room is deleted, or a room like any other from now on."""
    await call.services.messaging.end_team(
        EndTeamRequest(actor=call.actor, room_id=team_id, deleted_room_ids=deleted_room_ids, keeps_room=keeps_room)
    )


async def add_members(call: Call, team_id: str, members: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Makes users members, each with these roles."""
    request = AddTeamMembersRequest(actor=call.actor, room_id=team_id)
    for user_id, roles in members:
        request.members.add(user_id=user_id, roles=roles)
    await call.services.messaging.add_team_members(request)


async def set_roles(call: Call, team_id: str, user_id: str, roles: Sequence[str]) -> None:
    await call.services.messaging.set_team_roles(
        SetTeamRolesRequest(actor=call.actor, room_id=team_id, user_id=user_id, roles=roles)
    )


async def remove_member(call: Call, team_id: str, user_id: str, room_ids: Sequence[str]) -> None:
    """Ends somebody's membership of a team and of these rooms of it; the caller's own without a user."""
    await call.services.messaging.remove_team_member(
        RemoveTeamMemberRequest(actor=call.actor, room_id=team_id, user_id=user_id, room_ids=room_ids)
    )


async def list_members(
    call: Call,
    team_id: str,
    *,
    username: str = "",
    name: str = "",
    status: Sequence[str] = (),
    offset: int = 0,
    count: int = 0,
) -> DocumentsReply:
    return await call.services.messaging.list_team_members(
        ListTeamMembersRequest(
            actor=call.actor,
            room_id=team_id,
            username=username,
            name=name,
            status=status,
            offset=offset,
            count=count,
        )
    )


async def list_usernames(call: Call, names: Iterable[str]) -> list[str]:
    """Who is in these teams, once each. Raises TeamNotFound, NotAllowed; InvalidInput for more than MAX_MEMBERS."""
    found: dict[str, None] = {}
    for name in dict.fromkeys(names):
        team = await get_team(call, name=name)
        reply = await list_members(call, team["_id"], count=MAX_MEMBERS)
        found.update(dict.fromkeys(orjson.loads(member)["user"]["username"] for member in reply.documents))
        if max(len(found), reply.total) > MAX_MEMBERS:
            raise InvalidInput("Too many members at once", code="error-user-limit-exceeded")
    return list(found)


async def add_rooms(call: Call, team_id: str, room_ids: Sequence[str]) -> DocumentsReply:
    return await call.services.messaging.add_team_rooms(
        AddTeamRoomsRequest(actor=call.actor, room_id=team_id, added_room_ids=room_ids)
    )


async def remove_room(call: Call, team_id: str, room_id: str) -> RoomReply:
    return await call.services.messaging.remove_team_room(
        RemoveTeamRoomRequest(actor=call.actor, room_id=team_id, removed_room_id=room_id)
    )


async def set_default(call: Call, room_id: str, is_default: bool) -> RoomReply:
    return await call.services.messaging.set_team_default(
        SetTeamDefaultRequest(actor=call.actor, room_id=room_id, is_default=is_default)
    )


async def list_rooms(
    call: Call,
    team_id: str,
    scope: ListTeamRoomsRequest.Scope.ValueType,
    *,
    user_id: str = "",
    only_default: bool = False,
    only_deletable: bool = False,
    where: Document | None = None,
    sort: Sequence[tuple[str, int]] = (),
    offset: int = 0,
    count: int = 0,
) -> DocumentsReply:
    """A page of a team's rooms that the caller sees: as many as one answer between processes can have."""
    return await call.services.messaging.list_team_rooms(
        ListTeamRoomsRequest(
            actor=call.actor,
            room_id=team_id,
            scope=scope,
            user_id=user_id,
            only_default=only_default,
            only_deletable=only_deletable,
            filter=orjson.dumps(where) if where else b"",
            sort=orjson.dumps(sort) if sort else b"",
            offset=offset,
            count=count,
        )
    )
