"""What goes with a user who leaves the workspace: the rooms that nobody else owns, memberships, and what they wrote.

Before, whoever deletes or deactivates an account asks what would become of its rooms (`check`). Afterwards a durable
follower of the users' streams does it, room by room; where it stops half way, it finds the rest when it is handed the
event again. A room that has no other owner gets its oldest member as one; where nobody else is, it is deleted.

Of a deleted user's messages the setting Message_ErasureType has decided: `Delete` takes them away, `Unlink` puts the
workspace's bot in the user's place. Both end direct rooms of two: everybody would know who the other one was. `Keep`
leaves them as they are, with the name under which they were written.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from palaver import failpoints
from palaver.access import USER_DELETED, User
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import NotAllowed, RoomNotFound
from palaver.events import SYSTEM, room_stream
from palaver.log.durable import DurableFollower, Follower
from palaver.messaging import rules
from palaver.messaging.erasure import Erasure
from palaver.messaging.notices import Notices
from palaver.messaging.rooms import Rooms
from palaver.messaging.store import Store
from palaver.messaging.views import SYSTEM_USER, find_member
from palaver.node import Node
from palaver.v1.auth_pb2 import Empty, GetUsersRequest
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import CheckRelinquishRequest, RoomRequest

_PAGE = 200
_MEMBERS_PAGE = 1000
_HEIRS_ASKED = 50
_AT_ONCE = 8
# Who may end somebody's stay may know what becomes of their rooms.
_END_STAYS = ("delete-user", "edit-other-user-active-status", "manage-moderation-actions")


@dataclass(frozen=True, slots=True)
class Legacy:
    """A room that somebody owns alone, and who is to own it after them: nobody, where nobody else is in it."""

    room: Document
    heir: User | None


class Departures:
    """Settles what a user leaves behind."""

    def __init__(self, node: Node, store: Store, rooms: Rooms, notices: Notices, erasure: Erasure) -> None:
        self._node = node
        self._store = store
        self._rooms = rooms
        self._notices = notices
        self._erasure = erasure

    # -- before --------------------------------------------------------------------------------------------------------

    async def check(self, request: CheckRelinquishRequest) -> Empty:
        """Raises NotAllowed (user-last-owner, with the rooms' names) for a user who owns rooms alone."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        if request.user_id != actor.id and not any(access.may(actor, permission) for permission in _END_STAYS):
            raise NotAllowed(code="unauthorized")
        inherited: list[str] = []
        deleted: list[str] = []

        async def sort(room_id: str) -> None:
            legacy = await self._find_legacy(room_id, request.user_id)
            if legacy is not None:
                name = legacy.room.get("fname") or legacy.room.get("name", "")
                (deleted if legacy.heir is None else inherited).append(name)

        await self._each_room(request.user_id, _is_owner, sort)
        if inherited or deleted:
            details = {"shouldChangeOwner": sorted(inherited), "shouldBeRemoved": sorted(deleted)}
            raise NotAllowed("", code="user-last-owner", details=details)
        return Empty()

    # -- after ---------------------------------------------------------------------------------------------------------

    def make_follower(self) -> DurableFollower:
        """The follower of this node; its owner runs and stops it."""
        facts = frozenset({"user_deleted", "user_changed"})
        follower = Follower("departures", ("user",), facts, self.on_user_event)
        node = self._node
        return DurableFollower(follower, node.database, node.log, node.live, node_id=node.config.node_id)

    async def on_user_event(self, event: Event) -> None:
        """Settles what is left to settle: a part of it, or all, may be done already."""
        if event.WhichOneof("fact") == "user_deleted":
            await self._depart(event)
        elif event.user_changed.relinquishes and not await self._is_active(event.stream_id):
            await self._relinquish(event.stream_id)

    async def _is_active(self, user_id: str) -> bool:
        """As auth knows the user at this moment, past every cache. Who was deleted meanwhile has an event of that."""
        reply = await self._node.services.auth.get_users(GetUsersRequest(user_ids=[user_id]))
        return any(orjson.loads(data).get("active") for data in reply.documents)

    async def _depart(self, event: Event) -> None:
        user_id, erasure = event.stream_id, event.user_deleted.erasure
        told: dict[str, Any] = {"userId": user_id, "messageErasureType": erasure}
        if erasure == "Unlink":
            told["replaceByUser"] = self._erasure.stand_in()
        await self._node.live.publish(USER_DELETED, orjson.dumps(told))
        await self._relinquish(user_id)
        await self._each_room(
            user_id, lambda subscription: True, lambda room_id: self._leave(room_id, user_id, erasure)
        )
        # By now nothing that they still had under way can come after this.
        if erasure in ("Delete", "Unlink"):
            await self._erasure.erase(user_id, unlink=erasure == "Unlink")

    async def _relinquish(self, user_id: str) -> None:
        async def pass_on(room_id: str) -> None:
            legacy = await self._find_legacy(room_id, user_id)
            if legacy is None:
                return
            if legacy.heir is None:
                await self._delete(room_id)
            else:
                await self._make_owner(room_id, legacy.heir)

        await self._each_room(user_id, _is_owner, pass_on)

    async def _each_room(
        self, user_id: str, concerned: Callable[[Document], bool], work: Callable[[str], Awaitable[None]]
    ) -> None:
        """Does the work for each room of the user whose subscription it concerns, some at a time."""
        after = ""
        while page := await self._store.list_subscriptions_after(user_id, after, _PAGE):
            room_ids = [subscription["rid"] for subscription in page if concerned(subscription)]
            for start in range(0, len(room_ids), _AT_ONCE):
                await asyncio.gather(*map(work, room_ids[start : start + _AT_ONCE]))
                failpoints.reach("departure.between_rooms")
            after = page[-1]["rid"]

    async def _find_legacy(self, room_id: str, user_id: str) -> Legacy | None:
        """The room, if the user is its only owner who is still there."""
        room = await self._store.find_room(room_id)
        if room is None:
            return None
        owners = [owner["u"]["_id"] for owner in await self._store.list_owners([room_id])]
        known = await self._node.access.find_users([id for id in owners if id != user_id])
        if any(user.active for user in known.values()):
            return None
        others: list[tuple[int, str]] = []
        after = ""
        while page := await self._store.list_members_after(room_id, after, _MEMBERS_PAGE):
            others += [(member["ts"]["$date"], member["u"]["_id"]) for member in page if member["u"]["_id"] != user_id]
            after = page[-1]["u"]["username"]
        others.sort()
        for start in range(0, len(others), _HEIRS_ASKED):
            ids = [id for _, id in others[start : start + _HEIRS_ASKED]]
            users = await self._node.access.find_users(ids)
            for id in ids:
                if id in users and users[id].active and users[id].type == "user":
                    return Legacy(room, users[id])
        return Legacy(room, None)

    async def _make_owner(self, room_id: str, heir: User) -> None:
        async def decide(draft: Draft) -> None:
            room = await draft.get_own()
            member = await find_member(draft, heir.id)
            if room is None or room.get("deleted_at") or member is None or _is_owner(member):
                return
            at = rules.event_time(room, now())
            event = Event(also_tell=[heir.id])
            fact = event.member_changed
            fact.user_id = heir.id
            fact.subscription_id = member["_id"]
            fact.set = orjson.dumps({"roles": [*member.get("roles", ()), "owner"]})
            extra = {"role": "owner"}
            self._notices.add(fact.message, room, "subscription-role-added", heir.username, SYSTEM_USER, at, extra)
            draft.append(event, actor=SYSTEM, at=at)

        await self._node.commits.execute(room_stream(room_id), decide)

    async def _delete(self, room_id: str) -> None:
        with suppress(RoomNotFound):  # somebody was faster
            await self._rooms.delete(RoomRequest(actor=SYSTEM, room_id=room_id))

    async def _leave(self, room_id: str, user_id: str, erasure: str) -> None:
        room = await self._store.find_room(room_id)
        if room is None:
            return
        if room["t"] == "d":
            # Counted without the user, whose name a process that died may have taken from the room already.
            others = sum(id != user_id for id in room.get("uids", ()))
            if others == 0 or (others == 1 and erasure != "Keep"):
                await self._delete(room_id)
                return
            if others > 1:
                await self._node.commits.execute(room_stream(room_id), lambda draft: _take_name(draft, user_id))
                failpoints.reach("departure.between_name_and_leaving")

        async def decide(draft: Draft) -> None:
            room = await draft.get_own()
            member = await find_member(draft, user_id)
            if room is None or room.get("deleted_at") or member is None:
                return
            event = Event()
            event.member_left.user_id = user_id
            event.member_left.subscription_id = member["_id"]
            event.member_left.members = max(0, room.get("usersCount", 1) - 1)
            draft.append(event, actor=SYSTEM, at=rules.event_time(room, now()))

        await self._node.commits.execute(room_stream(room_id), decide)


def _is_owner(subscription: Document) -> bool:
    return subscription["t"] != "d" and "owner" in subscription.get("roles", ())


async def _take_name(draft: Draft, user_id: str) -> None:
    """Takes the user's name from a direct room of several, which is called after its members."""
    room = await draft.get_own()
    if room is None or room.get("deleted_at") or user_id not in room["uids"]:
        return
    left = [(id, name) for id, name in zip(room["uids"], room["usernames"], strict=True) if id != user_id]
    found = [await find_member(draft, id) for id, _ in left]
    members = [member for member in found if member is not None]
    event = Event()
    fact = event.member_renamed
    fact.user_id = user_id
    for member in members:
        others = [other["u"] for other in members if other is not member]
        renamed = fact.subscriptions.add()
        renamed.user_id, renamed.subscription_id = member["u"]["_id"], member["_id"]
        shown: dict[str, Any] = {
            "name": ", ".join(other["username"] for other in others),
            "fname": ", ".join(other.get("name") or other["username"] for other in others),
        }
        renamed.set = orjson.dumps(shown)
    fact.room = orjson.dumps({"uids": [id for id, _ in left], "usernames": [name for _, name in left]})
    draft.append(event, actor=SYSTEM, at=rules.event_time(room, now()))
