"""Who is in a team: `teams.members` and its neighbours."""

import msgspec

from palaver.errors import UserNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import fragments
from palaver.gateway.operations import teams
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page
from palaver.gateway.rest.query import page
from palaver.gateway.rest.teams import OneTeam, find_team, team_endpoint


class Member(LooseParams, rename="camel"):
    user_id: str
    roles: list[str] | None = None


class AddBody(OneTeam, kw_only=True):
    members: list[Member]


class UpdateBody(OneTeam, kw_only=True):
    member: Member


class LeaveBody(OneTeam):
    rooms: list[str] = msgspec.field(default_factory=list)


class RemoveBody(LeaveBody, rename="camel", kw_only=True):
    user_id: str


class MembersQuery(Page, rename="camel"):
    """`status` may be given several times, also as `status[]`."""

    team_id: str | None = None
    team_name: str | None = None
    username: str = ""
    name: str = ""
    status: list[str] | str = msgspec.field(default_factory=list)


@team_endpoint("GET", "teams.members", query=MembersQuery, lists="members")
async def list_members(call: Call, query: MembersQuery) -> Answer:
    team = await find_team(call, OneTeam(query.team_id, query.team_name))
    offset, count = page(call, query)
    status = [query.status] if isinstance(query.status, str) else query.status
    reply = await teams.list_members(
        call,
        team["_id"],
        username=query.username,
        name=query.name,
        status=[one for one in status if one],
        offset=offset,
        count=count,
    )
    found = fragments(reply.documents)
    return {"members": found, "count": len(found), "offset": offset, "total": reply.total}


@team_endpoint("POST", "teams.addMembers", body=AddBody)
async def add(call: Call, body: AddBody) -> Answer:
    team = await find_team(call, body)
    await teams.add_members(call, team["_id"], [(one.user_id, one.roles or ()) for one in body.members])
    return {}


@team_endpoint("POST", "teams.updateMember", body=UpdateBody)
async def update(call: Call, body: UpdateBody) -> Answer:
    """Gives a member exactly these roles; without any said, they stay as they are."""
    team = await find_team(call, body)
    if body.member.roles is not None:
        await teams.set_roles(call, team["_id"], body.member.user_id, body.member.roles)
    return {}


@team_endpoint("POST", "teams.removeMember", body=RemoveBody)
async def remove(call: Call, body: RemoveBody) -> Answer:
    """Removes somebody from a team, and from these rooms of it."""
    team = await find_team(call, body)
    if not body.user_id:
        raise UserNotFound("", code="invalid-user")  # for messaging, nobody is the caller
    await teams.remove_member(call, team["_id"], body.user_id, body.rooms)
    return {}


@team_endpoint("POST", "teams.leave", body=LeaveBody)
async def leave(call: Call, body: LeaveBody) -> Answer:
    """The caller leaves a team, and these rooms of it."""
    team = await find_team(call, body)
    await teams.remove_member(call, team["_id"], "", body.rooms)
    return {}
