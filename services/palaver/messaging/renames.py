"""Names follow a rename: what rooms and subscriptions say of a user who is called something else now.

A durable follower of the users' streams. It goes through the user's rooms and puts one event into each that still
shows the old name; where it stops half way, it finds the rest when it is handed the event again. Messages keep the name
under which they were written.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from palaver import failpoints
from palaver.access import USER_RENAMED, User, user_from
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.events import SYSTEM, room_stream
from palaver.log.durable import DurableFollower, Follower
from palaver.messaging import rules
from palaver.messaging.notices import reference
from palaver.messaging.store import Store
from palaver.messaging.views import find_member
from palaver.node import Node
from palaver.v1.auth_pb2 import GetUsersRequest
from palaver.v1.event_pb2 import Event

_PAGE = 200
_AT_ONCE = 8


class Renames:
    """Keeps the names in rooms true."""

    def __init__(self, node: Node, store: Store) -> None:
        self._node = node
        self._store = store

    def make_follower(self) -> DurableFollower:
        """The follower of this node; its owner runs and stops it."""
        follower = Follower("names", ("user",), frozenset({"user_changed"}), self.on_user_changed)
        node = self._node
        return DurableFollower(follower, node.database, node.log, node.live, node_id=node.config.node_id)

    async def on_user_changed(self, event: Event) -> None:
        """Whatever the event says, the names of now are what counts: a later change has an event of its own."""
        fact = event.user_changed
        if {"username", "name"}.isdisjoint([*orjson.loads(fact.set or b"{}"), *fact.unset]):
            return
        user = await self._find_user(event.stream_id)
        if user is None or not user.username:
            return
        shown = {"_id": user.id, "name": user.name, "username": user.username}
        await self._node.live.publish(USER_RENAMED, orjson.dumps(shown))
        command_id = f"renamed/{user.id}/{event.seq}"
        after = ""
        while page := await self._store.list_subscriptions_after(user.id, after, _PAGE):
            stale = [subscription["rid"] for subscription in page if subscription["u"] != reference(user)]
            for start in range(0, len(stale), _AT_ONCE):
                some = stale[start : start + _AT_ONCE]
                await asyncio.gather(*(self._rename_in(room_id, user.id, command_id) for room_id in some))
                failpoints.reach("rename.between_rooms")
            after = page[-1]["rid"]

    async def _find_user(self, user_id: str) -> User | None:
        """As auth knows the user at this moment, past every cache."""
        reply = await self._node.services.auth.get_users(GetUsersRequest(user_ids=[user_id]))
        return next((user_from(orjson.loads(data)) for data in reply.documents), None)

    async def _rename_in(self, room_id: str, user_id: str, command_id: str) -> None:
        async def decide(draft: Draft) -> None:
            room = await draft.get_own()
            member = await find_member(draft, user_id)
            if room is None or room.get("deleted_at") or member is None or await draft.find_command(command_id):
                return
            # Asked for after the room was read: no name that is older than what the room shows can get into it.
            user = await self._find_user(user_id)
            if user is None or member["u"] == reference(user):
                return
            event = Event()
            event.member_renamed.user_id = user_id
            others = await _list_members(draft, room) if room["t"] == "d" else [member]
            for subscription, changes in rename_subscriptions(others, user):
                renamed = event.member_renamed.subscriptions.add()
                renamed.user_id, renamed.subscription_id = subscription["u"]["_id"], subscription["_id"]
                renamed.set = orjson.dumps(changes)
            if changes := rename_in_room(room, member["u"]["username"], user):
                event.member_renamed.room = orjson.dumps(changes)
            draft.append(event, actor=SYSTEM, command_id=command_id, at=rules.event_time(room, now()))

        await self._node.commits.execute(room_stream(room_id), decide)


async def _list_members(draft: Draft, room: Document) -> list[Document]:
    """The subscriptions of a direct room, in the order of its members."""
    found = [await find_member(draft, user_id) for user_id in room.get("uids", ())]
    return [subscription for subscription in found if subscription is not None]


def rename_subscriptions(subscriptions: Sequence[Document], user: User) -> list[tuple[Document, dict[str, Any]]]:
    """What changes in the user's own subscription, and in a direct room in those that are called after the user."""
    names = {subscription["u"]["_id"]: subscription["u"] for subscription in subscriptions} | {user.id: reference(user)}
    renamed: list[tuple[Document, dict[str, Any]]] = []
    for subscription in subscriptions:
        own_id = subscription["u"]["_id"]
        changes: dict[str, Any] = {"u": names[own_id]} if own_id == user.id else {}
        if subscription["t"] == "d":
            others = [name for id, name in names.items() if id != own_id] or [names[own_id]]
            shown = {
                "name": ", ".join(other["username"] for other in others),
                "fname": ", ".join(other.get("name") or other["username"] for other in others),
            }
            changes |= {name: value for name, value in shown.items() if subscription.get(name) != value}
        if changes:
            renamed.append((subscription, changes))
    return renamed


def rename_in_room(room: Document, old: str, user: User) -> dict[str, Any]:
    """What changes in the room itself: whose it is, who is in a direct one, and who is muted."""
    changes: dict[str, Any] = {}
    if room.get("u", {}).get("_id") == user.id:
        changes["u"] = reference(user)
    if user.id in room.get("uids", ()):
        changes["usernames"] = [
            user.username if id == user.id else name for id, name in zip(room["uids"], room["usernames"], strict=True)
        ]
    for field in ("muted", "unmuted"):
        if old in room.get(field, ()):
            changes[field] = [user.username if name == old else name for name in room[field]]
    return {name: value for name, value in changes.items() if room.get(name) != value}
