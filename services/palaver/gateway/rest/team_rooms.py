"""The rooms of a team: `teams.listRooms` and its neighbours."""

from typing import Any, Literal

from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, fragments
from palaver.gateway.operations import rooms, teams
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page
from palaver.gateway.rest.errors import check_one_given
from palaver.gateway.rest.query import page, parse_query, parse_sort
from palaver.gateway.rest.teams import OneTeam, PageOfTeam, find_team, team_endpoint
from palaver.v1.auth_pb2 import DocumentsReply
from palaver.v1.team_pb2 import ListTeamRoomsRequest


class AddBody(OneTeam, kw_only=True):
    rooms: list[str]


class RemoveBody(OneTeam, rename="camel", kw_only=True):
    room_id: str


class DefaultBody(LooseParams, rename="camel"):
    room_id: str
    is_default: bool


class RoomsQuery(PageOfTeam):
    filter: str = ""
    type: str = ""


class RoomsOfUserQuery(PageOfTeam, rename="camel", kw_only=True):
    user_id: str
    can_user_delete: Literal["true", "false"] = "false"


class ChildrenQuery(Page, rename="camel"):
    """A team by exactly one of its id, its name and its main room's id."""

    team_id: str | None = None
    team_name: str | None = None
    room_id: str | None = None
    filter: str = ""
    type: Literal["channels", "discussions"] | None = None


@team_endpoint("POST", "teams.addRooms", body=AddBody)
async def add(call: Call, body: AddBody) -> Answer:
    team = await find_team(call, body)
    return {"rooms": fragments((await teams.add_rooms(call, team["_id"], body.rooms)).documents)}


@team_endpoint("POST", "teams.removeRoom", body=RemoveBody)
async def remove(call: Call, body: RemoveBody) -> Answer:
    team = await find_team(call, body)
    return {"room": Fragment((await teams.remove_room(call, team["_id"], body.room_id)).room)}


@team_endpoint("POST", "teams.updateRoom", body=DefaultBody)
async def set_default(call: Call, body: DefaultBody) -> Answer:
    """Says whether whoever enters the team enters this room, too."""
    return {"room": Fragment((await teams.set_default(call, body.room_id, body.is_default)).room)}


@team_endpoint("GET", "teams.listRooms", query=RoomsQuery, lists="rooms")
async def list_rooms(call: Call, query: RoomsQuery) -> Answer:
    """The rooms of a team without its main room; those for everybody who comes with the type `autoJoin`."""
    team = await find_team(call, query)
    return await _list(
        call,
        query,
        "rooms",
        team["_id"],
        ListTeamRoomsRequest.ROOMS,
        text=query.filter,
        only_default=query.type == "autoJoin",
    )


@team_endpoint("GET", "teams.listRoomsOfUser", query=RoomsOfUserQuery, lists="rooms")
async def list_rooms_of_user(call: Call, query: RoomsOfUserQuery) -> Answer:
    """The rooms of a team that somebody is in; with `canUserDelete`, those that the caller may delete."""
    team = await find_team(call, query)
    return await _list(
        call,
        query,
        "rooms",
        team["_id"],
        ListTeamRoomsRequest.ROOMS,
        user_id=query.user_id,
        only_deletable=query.can_user_delete == "true",
    )


_SCOPES = {
    None: ListTeamRoomsRequest.CHILDREN,
    "channels": ListTeamRoomsRequest.CHANNELS,
    "discussions": ListTeamRoomsRequest.DISCUSSIONS,
}


@team_endpoint("GET", "teams.listChildren", query=ChildrenQuery, lists="data")
async def list_children(call: Call, query: ChildrenQuery) -> Answer:
    """A team's rooms with its main room, and that one's discussions."""
    check_one_given(teamId=query.team_id, teamName=query.team_name, roomId=query.room_id)
    team = await teams.get_team(call, team_id=query.team_id or query.room_id or "", name=query.team_name or "")
    return await _list(call, query, "data", team["_id"], _SCOPES[query.type], text=query.filter)


async def _list(
    call: Call,
    query: Page,
    key: str,
    team_id: str,
    scope: ListTeamRoomsRequest.Scope.ValueType,
    *,
    text: str = "",
    **chosen: Any,
) -> Answer:
    offset, count = page(call, query)
    where = [part for part in (rooms.named(text), parse_query(query.query, rooms.QUERY_FIELDS)) if part]
    reply: DocumentsReply = await teams.list_rooms(
        call,
        team_id,
        scope,
        where={"$and": where} if where else None,
        sort=parse_sort(query.sort, rooms.SORT_FIELDS),
        offset=offset,
        count=count,
        **chosen,
    )
    found = fragments(reply.documents)
    return {key: found, "count": len(found), "offset": offset, "total": reply.total}
