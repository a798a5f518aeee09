"""Who is in a team: the members of its main room."""

from collections.abc import Iterable, Sequence

import orjson

from palaver.access import User
from palaver.commit import Draft
from palaver.database import Document
from palaver.errors import InvalidInput, NotAllowed, UserNotFound
from palaver.events import room_stream
from palaver.messaging.listing import Listing
from palaver.messaging.members import Members
from palaver.messaging.store import Store
from palaver.messaging.teams.following import Following
from palaver.messaging.teams.sight import Sight
from palaver.messaging.views import View, Views, find_member
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, Empty
from palaver.v1.event_pb2 import Actor, Event
from palaver.v1.messaging_pb2 import ListMembersRequest, SetMemberRoleRequest
from palaver.v1.team_pb2 import (
    AddTeamMembersRequest,
    ListTeamMembersRequest,
    RemoveTeamMemberRequest,
    SetTeamRolesRequest,
)

_MAX_AT_ONCE = 1000
# What clients name as the role of somebody who has none.
_MEMBER = "member"
_SHOWN = ("_id", "username", "name", "nickname", "status", "statusText", "avatarETag")


class TeamMembers:
    """The use cases of who is in a team."""

    def __init__(
        self,
        node: Node,
        store: Store,
        views: Views,
        sight: Sight,
        members: Members,
        listing: Listing,
        following: Following,
    ) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._sight = sight
        self._members = members
        self._listing = listing
        self._following = following

    async def add(self, request: AddTeamMembersRequest) -> Empty:
        """Users become members, with these roles besides those that they have.

        Raises TeamNotFound, NotAllowed, UserNotFound, InvalidInput.
        """
        view = await self._sight.get_view(request.actor, request.room_id)
        self._check_may_add(view)
        if len(request.members) > _MAX_AT_ONCE:
            raise InvalidInput("Too many members at once", code="error-user-limit-exceeded")
        wanted = {member.user_id: self._parse_roles(member.roles) for member in request.members}
        users = await self._node.access.find_users(wanted)
        if len(users) < len(wanted) or not all(user.active for user in users.values()):
            raise UserNotFound("", code="invalid-user")
        for user_id, roles in wanted.items():
            event = await self._join(request.actor, view.user, request.room_id, users[user_id])
            if event is not None:
                await self._following.settle_soon(event)
            for role in roles:
                await self._set_role(request.actor, request.room_id, user_id, role, granted=True)
        return Empty()

    def _parse_roles(self, named: Iterable[str]) -> list[str]:
        """The roles that are meant, once each. Raises InvalidInput for what is none, before anything is done."""
        known = self._node.access.policy.roles
        roles = [role for role in dict.fromkeys(named) if role != _MEMBER or role in known]
        for role in roles:
            self._members.check_role(role)
        return roles

    def _check_may_add(self, view: View) -> None:
        if not any(self._views.may(view.user, one, view.roles) for one in ("add-team-member", "edit-team-member")):
            raise NotAllowed(code="unauthorized", details={"permission": "add-team-member"})

    async def _join(self, actor: Actor, author: User, team_id: str, user: User) -> Event | None:
        async def decide(draft: Draft) -> Event | None:
            view = await self._sight.get_drafted(draft, author)
            if await find_member(draft, user.id) is not None:
                return None
            self._check_may_add(view)
            if view.room.get("archived"):
                raise NotAllowed("Room is archived", code="error-room-archived")
            return self._members.append_join(draft, view.room, user, actor=actor, author=author, notice="au")

        return await self._node.commits.execute(room_stream(team_id), decide)

    async def set_roles(self, request: SetTeamRolesRequest) -> Empty:
        """A member has exactly these roles from now on. Besides edit-team-member it needs the permission for each role
        that changes, so that nobody makes themself an owner. Raises TeamNotFound, NotAllowed, InvalidInput."""
        view = await self._sight.get_view(request.actor, request.room_id)
        self._views.check(view.user, "edit-team-member", view.roles, code="unauthorized")
        member = await self._store.find_subscription(request.room_id, request.user_id)
        if member is None:
            raise UserNotFound("", code="invalid-user")
        before = member.get("roles", ())
        roles = self._parse_roles(request.roles)
        for role in roles:
            if role not in before:
                await self._set_role(request.actor, request.room_id, request.user_id, role, granted=True)
        for role in before:
            if role not in roles:
                await self._set_role(request.actor, request.room_id, request.user_id, role, granted=False)
        return Empty()

    async def _set_role(self, actor: Actor, team_id: str, user_id: str, role: str, *, granted: bool) -> None:
        """Nothing where the member has, or lacks, the role already."""
        member = await self._store.find_subscription(team_id, user_id)
        if member is not None and (role in member.get("roles", ())) == granted:
            return
        change = SetMemberRoleRequest(actor=actor, room_id=team_id, user_id=user_id, role=role, granted=granted)
        try:
            await self._members.set_role(change, self._sight.get_drafted)
        except NotAllowed as error:
            raise _say_last_owner(error) from error

    async def remove(self, request: RemoveTeamMemberRequest) -> Empty:
        """The actor leaves the team, or somebody else is removed; and the chosen ones of its rooms with it.

        Raises TeamNotFound, NotAllowed, UserNotFound.
        """
        view = await self._sight.get_view(request.actor, request.room_id)
        leaves = not request.user_id
        if not leaves:
            self._views.check(view.user, "edit-team-member", view.roles, code="unauthorized")
        user = view.user if leaves else await self._node.access.find_user(request.user_id)
        if user is None or await self._store.find_subscription(request.room_id, user.id) is None:
            raise UserNotFound("", code="invalid-user")
        room_ids = await self._list_left(request.room_id, user.id, request.room_ids)

        async def decide(draft: Draft) -> Event:
            current = await self._sight.get_drafted(draft, view.user)
            if not leaves:
                self._views.check(view.user, "edit-team-member", current.roles, code="unauthorized")
            event = await self._members.append_leave(
                draft, current.room, user, actor=request.actor, author=view.user, notice="ul" if leaves else "ru"
            )
            event.member_left.room_ids.extend(room_ids)
            return event

        try:
            event = await self._node.commits.execute(room_stream(request.room_id), decide)
        except NotAllowed as error:
            raise _say_last_owner(error) from error
        await self._following.settle_soon(event)
        return Empty()

    async def _list_left(self, team_id: str, user_id: str, room_ids: Sequence[str]) -> list[str]:
        """Those of the rooms that belong to the team and have the user. Raises NotAllowed for one's last owner."""
        if len(room_ids) > _MAX_AT_ONCE:
            raise InvalidInput("Too many rooms at once", code="error-invalid-params")
        if not room_ids:
            return []
        where = {"_id": {"$in": list(room_ids)}, "teamId": team_id, "teamMain": None, "deleted_at": None}
        rooms = await self._node.database.find("rooms", where)
        own = await self._store.list_subscriptions(user_id, [room["_id"] for room in rooms]) if rooms else []
        if await find_last_owned(self._store, own, rooms):
            raise NotAllowed("", code="last-owner-can-not-be-removed")
        return [member["rid"] for member in own]

    async def list_members(self, request: ListTeamMembersRequest) -> DocumentsReply:
        """A page of members by username. Raises TeamNotFound, NotAllowed."""
        view = await self._sight.get_view(request.actor, request.room_id)
        self._listing.check(view)
        found, total = await self._listing.read(
            ListMembersRequest(
                room_id=request.room_id,
                name=request.name,
                status=request.status,
                offset=request.offset,
                count=request.count,
            ),
            username=request.username,
        )
        maker = view.room["team_created"]["u"]["_id"]
        by_ids = {subscription.get("added_by", maker) for subscription, _ in found}
        by = await self._node.access.find_users(by_ids) if by_ids else {}
        documents = []
        for subscription, member in found:
            shown: Document = {
                "user": {name: member[name] for name in _SHOWN if name in member},
                "roles": member.get("roles", []),
                "createdAt": subscription["ts"],
            }
            if (added_by := by.get(subscription.get("added_by", maker))) is not None:
                shown["createdBy"] = {"_id": added_by.id, "username": added_by.username}
            documents.append(orjson.dumps(shown))
        return DocumentsReply(documents=documents, total=total)


async def find_last_owned(store: Store, own: Sequence[Document], rooms: Iterable[Document]) -> set[str]:
    """The ids of those of these rooms that have other members, and no owner but the user whose subscriptions of them
    `own` are."""
    mine = {member["rid"]: member["_id"] for member in own if "owner" in member.get("roles", ())}
    if not mine:
        return set()
    others = {owner["rid"] for owner in await store.list_owners(list(mine)) if owner["_id"] != mine[owner["rid"]]}
    shared = {room["_id"] for room in rooms if room.get("usersCount", 0) > 1}
    return (mine.keys() & shared) - others


def _say_last_owner(error: NotAllowed) -> NotAllowed:
    """The same error, as teams say it."""
    if error.error_code in ("error-you-are-last-owner", "error-remove-last-owner"):
        return NotAllowed("", code="last-owner-can-not-be-removed")
    return error
