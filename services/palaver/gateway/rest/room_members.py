"""What the three faces of rooms have for people: who is in a room, who comes and goes, and their roles there."""

from typing import Literal

from palaver.errors import InvalidInput, NotAllowed
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, fragments
from palaver.gateway.operations import rooms, users
from palaver.gateway.rest.endpoint import Answer
from palaver.gateway.rest.errors import Forbidden
from palaver.gateway.rest.query import page, parse_sort
from palaver.gateway.rest.room_faces import Face, OneRoom, PageOfOneDirectRoom, PageOfRoom, WhichRoom

Role = Literal["owner", "moderator", "leader"]


class MembersQuery(PageOfRoom):
    status: list[str] | str = ""
    filter: str = ""


class DirectMembersQuery(PageOfOneDirectRoom, forbid_unknown_fields=True):
    status: list[str] | str = ""
    filter: str = ""


class MemberBody(WhichRoom, rename="camel"):
    """A room and one user."""

    user_id: str | None = None
    username: str | None = None
    user: str | None = None


class ModeratorsQuery(MemberBody, forbid_unknown_fields=True):
    """Who asks may name a user, too, who is not looked at."""


class KickBody(OneRoom, rename="camel", forbid_unknown_fields=True):
    user_id: str | None = None
    username: str | None = None


class InviteBody(MemberBody, rename="camel"):
    """A room and one user or several."""

    user_ids: list[str] | None = None
    usernames: list[str] | None = None


class JoinBody(OneRoom, rename="camel", forbid_unknown_fields=True):
    join_code: str = ""


class AddAllBody(WhichRoom, rename="camel"):
    active_users_only: bool | str | None = None


class StrictAddAllBody(OneRoom, rename="camel", forbid_unknown_fields=True):
    active_users_only: bool | None = None


async def list_members(face: Face, call: Call, query: MembersQuery | DirectMembersQuery) -> Answer:
    found = await face.find(call, query, archived_too=True)
    offset, count = page(call, query)
    status = [query.status] if isinstance(query.status, str) else query.status
    try:
        members, total = await rooms.list_members(
            call,
            found.id,
            term=query.filter,
            status=[one for one in status if one],
            sort=parse_sort(query.sort, ("username",)),
            offset=offset,
            count=count,
        )
    except NotAllowed as error:
        raise Forbidden from error
    return {"members": fragments(members), "count": len(members), "offset": offset, "total": total}


async def join(face: Face, call: Call, body: JoinBody) -> Answer:
    found = await face.find(call, body)
    reply = await rooms.join(call, found.id, body.join_code)
    return {face.key: Fragment(reply.room)}


async def leave(face: Face, call: Call, body: WhichRoom) -> Answer:
    found = await face.find(call, body, archived_too=True)
    reply = await rooms.leave(call, found.id)
    return {face.key: Fragment(reply.room)} if face.room_type == "c" else {}


async def invite(face: Face, call: Call, body: InviteBody) -> Answer:
    """One user, or several by `userIds` or `usernames`."""
    found = await face.find(call, body)
    ids, names = list(body.user_ids or ()), list(body.usernames or ())
    if not ids and not names:
        if not (body.user_id or body.username or body.user):
            code = "invalid-user-invite-list" if face.room_type == "c" else "error-empty-invite-list"
            raise InvalidInput("Cannot invite if no users are provided", code=code)
        user = await users.get_user(call, body.user_id, body.username or body.user)
        ids = [user.id]
    reply = await rooms.invite(call, found.id, user_ids=ids, usernames=names)
    return {face.key: Fragment(reply.room)}


async def add_all(face: Face, call: Call, body: AddAllBody | StrictAddAllBody) -> Answer:
    """Every active user becomes a member."""
    found = await face.find(call, body)
    reply = await rooms.invite(call, found.id, everybody=True)
    return {face.key: Fragment(reply.room)}


async def kick(face: Face, call: Call, body: MemberBody | KickBody) -> Answer:
    if body.user_id is None:
        raise InvalidInput("must have required property 'userId'")
    found = await face.find(call, body)
    user = await users.get_user(call, body.user_id, body.username)
    reply = await rooms.remove(call, found.id, user_id=user.id)
    return {face.key: Fragment(reply.room)} if face.room_type == "c" else {}


async def add_owner(face: Face, call: Call, body: MemberBody) -> Answer:
    return await _set_role(face, call, body, "owner", granted=True)


async def remove_owner(face: Face, call: Call, body: MemberBody) -> Answer:
    return await _set_role(face, call, body, "owner", granted=False)


async def add_moderator(face: Face, call: Call, body: MemberBody) -> Answer:
    return await _set_role(face, call, body, "moderator", granted=True)


async def remove_moderator(face: Face, call: Call, body: MemberBody) -> Answer:
    return await _set_role(face, call, body, "moderator", granted=False)


async def add_leader(face: Face, call: Call, body: MemberBody) -> Answer:
    return await _set_role(face, call, body, "leader", granted=True)


async def remove_leader(face: Face, call: Call, body: MemberBody) -> Answer:
    return await _set_role(face, call, body, "leader", granted=False)


async def _set_role(face: Face, call: Call, body: MemberBody, role: Role, *, granted: bool) -> Answer:
    found = await face.find(call, body)
    user = await users.get_user(call, body.user_id, body.username or body.user)
    await rooms.set_role(call, found.id, user.id, role, granted=granted)
    return {}


async def list_roles(face: Face, call: Call, query: WhichRoom) -> Answer:
    """The members who have roles in the room."""
    found = await face.find(call, query)
    return {"roles": await rooms.list_roles(call, found.id)}


async def list_moderators(face: Face, call: Call, query: WhichRoom) -> Answer:
    found = await face.find(call, query)
    roles = await rooms.list_roles(call, found.id)
    return {"moderators": [holder["u"] for holder in roles if "moderator" in holder["roles"]]}
