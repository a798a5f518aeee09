"""Members of rooms: joining, leaving, inviting, removing, and their roles."""

from collections.abc import Awaitable, Callable, Iterable

import orjson

from palaver.access import User
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import InvalidInput, NotAllowed, UserNotFound
from palaver.events import room_stream, user_actor
from palaver.ids import new_id
from palaver.messaging import rules
from palaver.messaging.notices import Notices, reference
from palaver.messaging.rooms import Rooms, check_not_direct
from palaver.messaging.store import Store
from palaver.messaging.views import SYSTEM_USER, View, Views, find_member
from palaver.node import Node
from palaver.v1.auth_pb2 import Empty, ListUsersRequest
from palaver.v1.event_pb2 import Actor, Event
from palaver.v1.messaging_pb2 import (
    JoinDefaultRoomsRequest,
    JoinRoomRequest,
    MembersRequest,
    RoomReply,
    RoomRequest,
    SetMemberRoleRequest,
)

# Who may do one of these lets somebody into the default rooms.
_BRING_ABOUT = ("create-user", "edit-other-user-active-status", "manage-moderation-actions")
_MAX_INVITED = 1000
_USERS_PER_CALL = 500

_LAST_OWNER = "You are the last owner. Please set new owner before leaving the room."


class Members:
    """The use cases of who is in a room."""

    def __init__(self, node: Node, store: Store, views: Views, rooms: Rooms, notices: Notices) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._rooms = rooms
        self._notices = notices

    async def join(self, request: JoinRoomRequest) -> RoomReply:
        """The actor enters a public room, or a discussion of a room that they see. Raises RoomNotFound, NotAllowed."""
        user = await self._views.get_actor(request.actor)

        def check(view: View) -> None:
            if (view.room["t"] != "c" and view.parent is None) or user is SYSTEM_USER:
                raise NotAllowed()
            _check_not_archived(view)
            if (
                view.room.get("joinCodeRequired")
                and view.room.get("join_code") != request.join_code
                and not self._views.may(user, "join-without-join-code")
            ):
                raise InvalidInput("Invalid Room Password", code="error-code-invalid")

        await self._add(request.actor, user, request.room_id, user, check, "uj")
        return await self._rooms.reply(request.room_id, user)

    async def join_default(self, request: JoinDefaultRoomsRequest) -> Empty:
        """The actor, or a user whom the actor may make or activate, becomes a member of every default room.

        Idempotent. Raises NotAllowed, UserNotFound.
        """
        access = self._node.access
        user_id = request.user_id or request.actor.id
        access.forget_user(user_id)  # who may have been activated at this moment
        user = await self._views.get_actor(request.actor)
        if user_id != user.id:
            if not any(self._views.may(user, permission) for permission in _BRING_ABOUT):
                raise NotAllowed()
            found = await access.find_user(user_id)
            if found is None or not found.active:
                raise UserNotFound()
            user = found
        if user is SYSTEM_USER:
            raise InvalidInput("The system is a member of nothing")
        for room in await self._node.database.find("rooms", {"default": True}):
            if not room.get("deleted_at") and not room.get("archived"):
                actor = user_actor(user.id)
                notice = "" if request.silently else "uj"
                await self._add(actor, user, room["_id"], user, _no_check, notice, by_system=True)
        return Empty()

    async def invite(self, request: MembersRequest) -> RoomReply:
        """Others become members. Raises RoomNotFound, UserNotFound, NotAllowed."""
        inviter = await self._views.get_actor(request.actor)
        view = await self._views.get_view(request.actor, request.room_id)
        if request.everybody:
            self._views.check(inviter, "add-all-to-room", view.roles)
            users = await self.list_everybody(request.actor)
            limit = self._node.access.setting("API_User_Limit")
            if len(users) > limit:
                raise NotAllowed("User Limit Exceeded", code="error-user-limit-exceeded", details={"limit": limit})
        else:
            users = [user for user in await self._get_users(request) if user.active]
            if not users:
                raise NotAllowed("Deactivated users can't become members", code="error-user-is-not-activated")

        def check(view: View) -> None:
            check_not_direct(view)
            _check_not_archived(view)
            if request.everybody:
                self._views.check(inviter, "add-all-to-room", view.roles)
                return
            joined = view.subscription is not None and self._views.may(inviter, "add-user-to-joined-room", view.roles)
            if not joined:
                self._views.check(inviter, f"add-user-to-any-{view.room['t']}-room", view.roles)

        check(view)
        for user in users:
            await self._add(request.actor, inviter, request.room_id, user, check, "au")
        return await self._rooms.reply(request.room_id, inviter)

    async def leave(self, request: RoomRequest) -> RoomReply:
        """The actor is a member no longer. Raises RoomNotFound, NotAllowed."""
        user = await self._views.get_actor(request.actor)

        def check(view: View) -> None:
            check_not_direct(view)
            if view.subscription is None:
                raise NotAllowed("You are not in this room", code="error-user-not-in-room")
            self._views.check(user, f"leave-{view.room['t']}", view.roles)

        room = await self._remove(request.actor, user, request.room_id, user, check, "ul")
        return await self._rooms.reply_for(user, room, None)

    async def remove(self, request: MembersRequest) -> RoomReply:
        """Others are members no longer. Raises RoomNotFound, UserNotFound, NotAllowed."""
        remover = await self._views.get_actor(request.actor)
        view = await self._views.get_view(request.actor, request.room_id)

        def check(view: View) -> None:
            check_not_direct(view)
            member = view.subscription is not None and self._views.may(remover, "remove-user", view.roles)
            if not member:
                self._views.check(remover, f"kick-user-from-any-{view.room['t']}-room", view.roles)

        check(view)
        for user in await self._get_users(request):
            await self._remove(request.actor, remover, request.room_id, user, check, "ru")
        return await self._rooms.reply(request.room_id, remover)

    async def set_role(
        self, request: SetMemberRoleRequest, get_view: Callable[[Draft, User], Awaitable[View]] | None = None
    ) -> Empty:
        """Gives a member a role in the room, or takes it. Raises RoomNotFound, NotAllowed, InvalidInput, …

        `get_view`: how whoever calls this sees the room, if in another way than its members do.
        """
        get_view = get_view or self._views.get_drafted
        user = await self._views.get_actor(request.actor)
        target = await self._node.access.find_user(request.user_id)
        self.check_role(request.role)
        if target is None:
            raise UserNotFound()

        async def decide(draft: Draft) -> None:
            view = await get_view(draft, user)
            permission = f"set-{request.role}" if request.role in rules.MEMBER_ROLES else "access-permissions"
            self._views.check(user, permission, view.roles)
            subscription = await find_member(draft, target.id)
            if subscription is None:
                raise NotAllowed("User is not in this room", code="error-user-not-in-room")
            roles = list(subscription.get("roles", ()))
            if (request.role in roles) == request.granted:
                state = "already" if request.granted else "not"
                raise InvalidInput(f"User is {state} {request.role}", code=f"error-user-{state}-{request.role}")
            if request.granted:
                roles.append(request.role)
            else:
                roles.remove(request.role)
                if request.role == "owner" and not await self._has_other_owner(draft, subscription):
                    raise NotAllowed(
                        "This is the last owner. Please set a new owner before removing this one.",
                        code="error-remove-last-owner",
                    )
            at = rules.event_time(view.room, now())
            event = Event(also_tell=[target.id])
            fact = event.member_changed
            fact.user_id = target.id
            fact.subscription_id = subscription["_id"]
            fact.set = orjson.dumps({"roles": roles})
            notice = "subscription-role-added" if request.granted else "subscription-role-removed"
            self._notices.add(fact.message, view.room, notice, target.username, user, at, {"role": request.role})
            draft.append(event, actor=request.actor, at=at)

        await self._node.commits.execute(room_stream(request.room_id), decide)
        return Empty()

    def check_role(self, name: str) -> None:
        """Raises InvalidInput unless it is a role that somebody has in a room."""
        role = self._node.access.policy.roles.get(name)
        if role is None or role.get("scope") != "Subscriptions":
            raise InvalidInput("Invalid role", code="error-invalid-role")

    async def list_everybody(self, actor: Actor) -> list[User]:
        """Every active user of the workspace, as far as the actor may list them."""
        found: list[User] = []
        offset = 0
        while True:
            reply = await self._node.services.auth.list_users(
                ListUsersRequest(actor=actor, offset=offset, count=_USERS_PER_CALL)
            )
            ids = [orjson.loads(data)["_id"] for data in reply.documents]
            users = await self._node.access.find_users(ids)
            found += [users[id] for id in ids if id in users]
            offset += len(ids)
            if len(ids) < _USERS_PER_CALL:
                return [user for user in found if user.active]

    async def add_silently(self, room_id: str, users: Iterable[User]) -> None:
        """For the first members of GENERAL: no system message."""
        for user in users:
            await self._add(user_actor(user.id), user, room_id, user, _no_check, "", by_system=True)

    async def _add(
        self,
        actor: Actor,
        author: User,
        room_id: str,
        user: User,
        check: Callable[[View], None],
        notice: str,
        *,
        by_system: bool = False,
    ) -> None:
        """Makes `user` a member, unless they are one; `author` does it, and must see the room unless `by_system`."""
        access = self._node.access

        async def decide(draft: Draft) -> None:
            view = await self._views.get_drafted(draft, SYSTEM_USER if by_system else author)
            subscription = await find_member(draft, user.id)
            if subscription is not None:
                return
            check(view)
            is_favorite = by_system and bool(view.room.get("favorite")) and access.setting("Favorite_Rooms")
            self.append_join(draft, view.room, user, actor=actor, author=author, notice=notice, is_favorite=is_favorite)

        await self._node.commits.execute(room_stream(room_id), decide)

    def append_join(
        self,
        draft: Draft,
        room: Document,
        user: User,
        *,
        actor: Actor,
        author: User,
        notice: str,
        is_favorite: bool = False,
        command_id: str = "",
    ) -> Event:
        """The event of `user`, who is no member of the draft's room, becoming one; `author` did it."""
        at = rules.event_time(room, now())
        event = Event(also_tell=[user.id])
        fact = event.member_joined
        fact.user_id = user.id
        subscription = rules.new_subscription(new_id(), room, reference(user), at)
        if is_favorite:
            subscription["f"] = True
        if author.id not in ("", user.id):
            subscription["added_by"] = author.id
        fact.subscription = orjson.dumps(subscription)
        fact.members = room.get("usersCount", 0) + 1
        if notice:
            notice = rules.member_notice(notice, room)
            self._notices.add(fact.message, room, notice, user.username, author, at)
        return draft.append(event, actor=actor, command_id=command_id, at=at)

    async def _remove(
        self, actor: Actor, author: User, room_id: str, user: User, check: Callable[[View], None], notice: str
    ) -> Document:
        """Ends the membership of `user`; returns the room as it was."""

        async def decide(draft: Draft) -> Document:
            view = await self._views.get_drafted(draft, author, administered=author.id != user.id)
            check(view)
            event = await self.append_leave(draft, view.room, user, actor=actor, author=author, notice=notice)
            return {**view.room, "usersCount": event.member_left.members}

        return await self._node.commits.execute(room_stream(room_id), decide)

    async def append_leave(
        self, draft: Draft, room: Document, user: User, *, actor: Actor, author: User, notice: str
    ) -> Event:
        """The event of `user` being a member of the draft's room no longer; `author` did it. Raises NotAllowed."""
        subscription = await find_member(draft, user.id)
        if subscription is None:
            raise NotAllowed("User is not in this room", code="error-user-not-in-room")
        members = max(0, room.get("usersCount", 1) - 1)
        if (
            "owner" in subscription.get("roles", ())
            and members
            and not await self._has_other_owner(draft, subscription)
        ):
            raise NotAllowed(_LAST_OWNER, code="error-you-are-last-owner")
        at = rules.event_time(room, now())
        event = Event(also_tell=[user.id])
        fact = event.member_left
        fact.user_id = user.id
        fact.subscription_id = subscription["_id"]
        fact.members = members
        self._notices.add(fact.message, room, rules.member_notice(notice, room), user.username, author, at)
        return draft.append(event, actor=actor, at=at)

    async def _has_other_owner(self, draft: Draft, subscription: Document) -> bool:
        """Whether the room has an owner besides this one."""
        for found in await self._store.list_owners([draft.stream.id]):
            if found["_id"] != subscription["_id"]:
                current = await draft.get("subscriptions", found["_id"])
                if current is not None and not current.get("left_at") and "owner" in current.get("roles", ()):
                    return True
        return False

    async def _get_users(self, request: MembersRequest) -> list[User]:
        """The users of a request, once each. Raises UserNotFound, and InvalidInput when there are none or too many."""
        if len(request.user_ids) + len(request.usernames) > _MAX_INVITED:
            raise InvalidInput("Too many users at once", code="error-user-limit-exceeded")
        users: dict[str, User] = {}
        if request.user_ids:
            by_id = await self._node.access.find_users(request.user_ids)
            users.update((id, by_id[id]) for id in request.user_ids if id in by_id)
            if len(by_id) < len(set(request.user_ids)):
                raise UserNotFound()
        if request.usernames:
            by_name = await self._node.access.find_users_by_name(request.usernames)
            users.update((user.id, user) for user in by_name.values())
            if len(by_name) < len(set(request.usernames)):
                raise UserNotFound()
        if not users:
            raise InvalidInput("No users given", code="invalid-user-invite-list")
        return list(users.values())


def _no_check(view: View) -> None:
    """For joins that the system makes."""


def _check_not_archived(view: View) -> None:
    if view.room.get("archived"):
        raise NotAllowed("Room is archived", code="error-room-archived")
