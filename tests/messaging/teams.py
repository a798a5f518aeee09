"""What people do with teams, for the tests of them."""

from typing import Any

from palaver.v1.event_pb2 import Actor
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
)
from tests.messaging.helpers import Chat, Document, loaded


class Teams:
    """What people do with teams: each method is one call of the service."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.service = chat.messaging

    async def create(self, actor: Actor, name: str, *members: str, **fields: Any) -> str:
        """The new team's id."""
        request = CreateTeamRequest(actor=actor, name=name, members=members, **fields)
        return str(loaded((await self.service.create_team(request)).team)["_id"])

    async def get(self, actor: Actor, team_id: str) -> Document:
        return loaded((await self.service.get_team(GetTeamRequest(actor=actor, room_id=team_id))).team)

    async def names(self, actor: Actor, scope: str, **fields: Any) -> list[str]:
        request = ListTeamsRequest(actor=actor, scope=ListTeamsRequest.Scope.Value(scope), **fields)
        return [loaded(data)["name"] for data in (await self.service.list_teams(request)).documents]

    async def add(self, actor: Actor, team_id: str, *users: Actor, roles: tuple[str, ...] = ()) -> None:
        request = AddTeamMembersRequest(actor=actor, room_id=team_id)
        for user in users:
            request.members.add(user_id=user.id, roles=roles)
        await self.service.add_team_members(request)

    async def remove(self, actor: Actor, team_id: str, user_id: str = "", *room_ids: str) -> None:
        await self.service.remove_team_member(
            RemoveTeamMemberRequest(actor=actor, room_id=team_id, user_id=user_id, room_ids=room_ids)
        )

    async def set_roles(self, actor: Actor, team_id: str, user: Actor, *roles: str) -> None:
        await self.service.set_team_roles(
            SetTeamRolesRequest(actor=actor, room_id=team_id, user_id=user.id, roles=roles)
        )

    async def add_rooms(self, actor: Actor, team_id: str, *room_ids: str) -> list[Document]:
        request = AddTeamRoomsRequest(actor=actor, room_id=team_id, added_room_ids=room_ids)
        return [loaded(data) for data in (await self.service.add_team_rooms(request)).documents]

    async def remove_room(self, actor: Actor, team_id: str, room_id: str) -> Document:
        request = RemoveTeamRoomRequest(actor=actor, room_id=team_id, removed_room_id=room_id)
        return loaded((await self.service.remove_team_room(request)).room)

    async def set_default(self, actor: Actor, room_id: str, is_default: bool = True) -> Document:
        request = SetTeamDefaultRequest(actor=actor, room_id=room_id, is_default=is_default)
        return loaded((await self.service.set_team_default(request)).room)

    async def rooms(self, actor: Actor, team_id: str, scope: str = "ROOMS", **fields: Any) -> list[str]:
        request = ListTeamRoomsRequest(
            actor=actor, room_id=team_id, scope=ListTeamRoomsRequest.Scope.Value(scope), **fields
        )
        found = (await self.service.list_team_rooms(request)).documents
        return [str(room["fname"]) for room in map(loaded, found)]

    async def members(self, actor: Actor, team_id: str, **fields: Any) -> dict[str, list[str]]:
        """Roles by username."""
        request = ListTeamMembersRequest(actor=actor, room_id=team_id, **fields)
        found = [loaded(data) for data in (await self.service.list_team_members(request)).documents]
        return {member["user"]["username"]: member["roles"] for member in found}

    async def end(self, actor: Actor, team_id: str, *room_ids: str, keeps_room: bool = False) -> None:
        await self.service.end_team(
            EndTeamRequest(actor=actor, room_id=team_id, deleted_room_ids=room_ids, keeps_room=keeps_room)
        )
