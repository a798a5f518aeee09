"""What the messaging service's API has about teams, and its assembly; every method delegates to a use case."""

from palaver.log.durable import DurableFollower
from palaver.messaging.answering import Answering
from palaver.messaging.changes import Changes
from palaver.messaging.listing import Listing
from palaver.messaging.members import Members
from palaver.messaging.names import Names
from palaver.messaging.notices import Notices
from palaver.messaging.rooms import Rooms
from palaver.messaging.store import Store
from palaver.messaging.teams.following import Following
from palaver.messaging.teams.members import TeamMembers
from palaver.messaging.teams.rooms import TeamRooms
from palaver.messaging.teams.sight import Sight
from palaver.messaging.teams.teams import Teams
from palaver.messaging.views import Views
from palaver.node import Node
from palaver.v1 import auth_pb2 as auth
from palaver.v1 import messaging_pb2 as api
from palaver.v1 import team_pb2 as team


class TeamUseCases:
    """What there is to do with teams."""

    def __init__(
        self,
        node: Node,
        store: Store,
        views: Views,
        rooms: Rooms,
        changes: Changes,
        members: Members,
        names: Names,
        notices: Notices,
    ) -> None:
        sight = Sight(node, store, views)
        following = Following(node, store, rooms, members, notices)
        self.follower: DurableFollower = following.make_follower()
        self.teams = Teams(node, store, views, sight, rooms, changes, names, notices, following)
        self.members = TeamMembers(node, store, views, sight, members, Listing(node, views), following)
        self.rooms = TeamRooms(node, store, views, sight, rooms, following)


class TeamService:
    """The methods of `api.Messaging` about teams; the service itself has what they need."""

    _teams: TeamUseCases
    _answering: Answering

    async def create_team(self, request: team.CreateTeamRequest) -> team.TeamReply:
        return await self._answering.answer("create_team", request, self._teams.teams.create)

    async def convert_to_team(self, request: api.RoomRequest) -> team.TeamReply:
        return await self._answering.answer("convert_to_team", request, self._teams.teams.convert)

    async def get_team(self, request: team.GetTeamRequest) -> team.TeamReply:
        return await self._answering.answer("get_team", request, self._teams.teams.get)

    async def list_teams(self, request: team.ListTeamsRequest) -> auth.DocumentsReply:
        return await self._answering.answer("list_teams", request, self._teams.teams.list_teams)

    async def update_team(self, request: team.UpdateTeamRequest) -> team.TeamReply:
        return await self._answering.answer("update_team", request, self._teams.teams.update)

    async def end_team(self, request: team.EndTeamRequest) -> auth.Empty:
        return await self._answering.answer("end_team", request, self._teams.teams.end)

    async def add_team_members(self, request: team.AddTeamMembersRequest) -> auth.Empty:
        return await self._answering.answer("add_team_members", request, self._teams.members.add)

    async def set_team_roles(self, request: team.SetTeamRolesRequest) -> auth.Empty:
        return await self._answering.answer("set_team_roles", request, self._teams.members.set_roles)

    async def remove_team_member(self, request: team.RemoveTeamMemberRequest) -> auth.Empty:
        return await self._answering.answer("remove_team_member", request, self._teams.members.remove)

    async def list_team_members(self, request: team.ListTeamMembersRequest) -> auth.DocumentsReply:
        return await self._answering.answer("list_team_members", request, self._teams.members.list_members)

    async def add_team_rooms(self, request: team.AddTeamRoomsRequest) -> auth.DocumentsReply:
        return await self._answering.answer("add_team_rooms", request, self._teams.rooms.add)

    async def remove_team_room(self, request: team.RemoveTeamRoomRequest) -> api.RoomReply:
        return await self._answering.answer("remove_team_room", request, self._teams.rooms.remove)

    async def set_team_default(self, request: team.SetTeamDefaultRequest) -> api.RoomReply:
        return await self._answering.answer("set_team_default", request, self._teams.rooms.set_default)

    async def list_team_rooms(self, request: team.ListTeamRoomsRequest) -> auth.DocumentsReply:
        return await self._answering.answer("list_team_rooms", request, self._teams.rooms.list_rooms)
