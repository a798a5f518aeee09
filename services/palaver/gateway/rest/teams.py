"""Teams: `teams.*` of a team as such. Its members are in `team_members.py`, its rooms in `team_rooms.py`."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

import msgspec

from palaver.errors import PalaverError
from palaver.gateway.call import Call
from palaver.gateway.ejson import fragments
from palaver.gateway.operations import rooms, teams
from palaver.gateway.rest.endpoint import Answer, H, LooseParams, Page, Params, endpoint
from palaver.gateway.rest.errors import Failure, check_one_given
from palaver.gateway.rest.query import page, parse_query, parse_sort
from palaver.gateway.rest.room_faces import WhichRoom
from palaver.v1.team_pb2 import ListTeamsRequest

TeamType = Literal[0, 1]
"""Public or private."""

_AUTOCOMPLETED = 10
# What clients sort teams by, and what a main room calls it.
_SORT_FIELDS = {"name": "name", "createdAt": "ts", "numberOfUsers": "usersCount"}


class WhichTeam(LooseParams, rename="camel"):
    """A team by its id or its name."""

    team_id: str | None = None
    team_name: str | None = None


class OneTeam(Params, rename="camel"):
    """The same by exactly one of them."""

    team_id: str | None = None
    team_name: str | None = None


class PageOfTeam(Page, rename="camel"):
    """A page of something in a team."""

    team_id: str | None = None
    team_name: str | None = None


class RoomOptions(LooseParams, rename="camel"):
    """The main room of a new team."""

    name: str | None = None
    read_only: bool | None = None
    extra_data: dict[str, Any] | None = None


class Sidepanel(LooseParams):
    items: list[str] = msgspec.field(default_factory=list)


class CreateBody(LooseParams):
    name: str
    type: TeamType
    members: list[str] | None = None
    room: RoomOptions | None = None
    owner: str | None = None
    sidepanel: Sidepanel | None = None


class TeamData(Params):
    name: str | None = None
    type: TeamType | None = None


class UpdateBody(OneTeam, rename="camel", kw_only=True):
    """`updateRoom`: a team's name and privacy are its main room's, so it makes no difference."""

    data: TeamData
    update_room: bool = True
    name: str | None = None


class EndBody(OneTeam, rename="camel"):
    rooms_to_remove: list[str] = msgspec.field(default_factory=list)


class ChannelBody(Params, rename="camel"):
    channel_id: str | None = None
    channel_name: str | None = None


class NameQuery(LooseParams):
    name: str = ""


class UserQuery(Params, rename="camel"):
    user_id: str


def team_endpoint(method: str, *paths: str, **options: Any) -> Callable[[H], H]:
    """Declares an endpoint of teams: what has no reason but its code is said in that one word."""

    def declare(handler: H) -> H:
        @wraps(handler)
        async def handle(*parameters: Any) -> Answer:
            try:
                return await handler(*parameters)
            except PalaverError as error:
                if error.error_reason or isinstance(error, Failure):
                    raise
                raise Failure(error.error_code) from error

        return endpoint(method, *paths, **options)(handle)  # type: ignore[return-value]

    return declare


async def find_team(call: Call, which: WhichTeam | OneTeam | PageOfTeam) -> dict[str, Any]:
    """The team that parameters name. Raises InvalidInput, TeamNotFound."""
    check_one_given(teamId=which.team_id, teamName=which.team_name)
    return await teams.get_team(call, team_id=which.team_id or "", name=which.team_name or "")


@team_endpoint("POST", "teams.create", body=CreateBody, shows="team")
async def create(call: Call, body: CreateBody) -> Answer:
    options = body.room or RoomOptions()
    team = await teams.create_team(
        call,
        body.name,
        private=body.type == 1,
        members=body.members or (),
        owner=body.owner or "",
        read_only=bool(options.read_only),
        extra=options.extra_data,
        sidepanel=body.sidepanel.items if body.sidepanel else (),
    )
    return {"team": team}


@team_endpoint("GET", "teams.info", query=OneTeam, shows="teamInfo")
async def info(call: Call, query: OneTeam) -> Answer:
    return {"teamInfo": await find_team(call, query)}


@team_endpoint("GET", "teams.list", query=Page, lists="teams")
async def list_own(call: Call, query: Page) -> Answer:
    """The caller's teams."""
    return await _list(call, query, ListTeamsRequest.OWN)


@team_endpoint("GET", "teams.listAll", query=Page, lists="teams")
async def list_every(call: Call, query: Page) -> Answer:
    """All teams, for those who may see them."""
    return await _list(call, query, ListTeamsRequest.ALL)


async def _list(call: Call, query: Page, scope: ListTeamsRequest.Scope.ValueType) -> Answer:
    offset, count = page(call, query)
    by = [(_SORT_FIELDS[name], direction) for name, direction in parse_sort(query.sort, _SORT_FIELDS)]
    where = parse_query(query.query, teams.QUERY_FIELDS)
    reply = await teams.list_teams(call, scope, where=where, sort=by, offset=offset, count=count)
    found = fragments(reply.documents)
    return {"teams": found, "count": len(found), "offset": offset, "total": reply.total}


@team_endpoint("GET", "users.listTeams", query=UserQuery)
async def list_of_user(call: Call, query: UserQuery) -> Answer:
    """Somebody's teams, as far as the caller may see them."""
    reply = await teams.list_teams(call, ListTeamsRequest.OF_USER, user_id=query.user_id)
    return {"teams": fragments(reply.documents)}


@team_endpoint("GET", "teams.autocomplete", query=NameQuery)
async def autocomplete(call: Call, query: NameQuery) -> Answer:
    """A few teams with such a name, as their main rooms are shown."""
    reply = await teams.list_teams(
        call, ListTeamsRequest.VISIBLE, where=rooms.named(query.name), count=_AUTOCOMPLETED, main_rooms=True
    )
    shown = ("_id", "fname", "teamId", "name", "t", "avatarETag")
    found = map(msgspec.json.decode, reply.documents)
    return {"teams": [{name: room[name] for name in shown if name in room} for room in found]}


@team_endpoint("POST", "channels.convertToTeam", body=ChannelBody)
async def convert_channel(call: Call, body: ChannelBody) -> Answer:
    """A public room becomes a team's main room."""
    check_one_given(channelId=body.channel_id, channelName=body.channel_name)
    return await _convert(call, "c", body.channel_id, body.channel_name)


@team_endpoint("POST", "groups.convertToTeam", body=WhichRoom)
async def convert_group(call: Call, body: WhichRoom) -> Answer:
    """A private room becomes a team's main room."""
    check_one_given(roomId=body.room_id, roomName=body.room_name)
    return await _convert(call, "p", body.room_id, body.room_name)


async def _convert(call: Call, room_type: str, room_id: str | None, name: str | None) -> Answer:
    reply = await rooms.get_room(call, room_id=room_id or "", name=name or "", types=(room_type,))
    return {"team": await teams.convert_to_team(call, msgspec.json.decode(reply.room)["_id"])}


@team_endpoint("POST", "teams.update", body=UpdateBody)
async def update(call: Call, body: UpdateBody) -> Answer:
    team = await find_team(call, body)
    private = None if body.data.type is None else body.data.type == 1
    await teams.update_team(call, team["_id"], name=body.data.name or "", private=private)
    return {}


@team_endpoint("POST", "teams.delete", body=EndBody)
async def delete(call: Call, body: EndBody) -> Answer:
    """Deletes a team with these rooms of it; the others leave it."""
    team = await find_team(call, body)
    await teams.end_team(call, team["_id"], body.rooms_to_remove, keeps_room=False)
    return {}


@team_endpoint("POST", "teams.convertToChannel", body=EndBody)
async def convert_to_channel(call: Call, body: EndBody) -> Answer:
    """Ends a team and deletes these rooms of it; its main room stays, a room like any other."""
    team = await find_team(call, body)
    await teams.end_team(call, team["_id"], body.rooms_to_remove, keeps_room=True)
    return {}
