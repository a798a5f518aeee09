"""Direct rooms: of two users, of one with themself, of a few; the same room for the same people."""

import orjson

from palaver.access import User
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import InvalidInput, NotAllowed, UserNotFound
from palaver.events import room_stream
from palaver.ids import direct_room_id, new_id
from palaver.messaging import rules
from palaver.messaging.notices import reference
from palaver.messaging.reads import Reads
from palaver.messaging.rooms import Rooms, new_room, room_created
from palaver.messaging.views import SYSTEM_USER, Views
from palaver.node import Node
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import OpenDirectRoomRequest, RoomReply


class DirectRooms:
    """The use case of talking to somebody."""

    def __init__(self, node: Node, views: Views, rooms: Rooms, reads: Reads) -> None:
        self._node = node
        self._views = views
        self._rooms = rooms
        self._reads = reads

    async def open(self, request: OpenDirectRoomRequest) -> RoomReply:
        """The direct room of these users, made when there is none; the actor hides it no longer.

        Who opens one that they are not in may make it, and gets its id for that; one that exists, or was deleted, is
        none of their business. Raises UserNotFound, NotAllowed, InvalidInput.
        """
        actor = await self._views.get_actor(request.actor)
        members = await self._get_members(request, actor)
        is_member = actor is SYSTEM_USER or any(member.id == actor.id for member in members)
        if not is_member and len(members) == 1:
            raise NotAllowed("Notes to oneself are nobody else's")
        key = ",".join(sorted(member.id for member in members))
        if len(members) > 2:
            room_id = await self._claim(key)
        else:
            room_id = direct_room_id([member.id for member in members])

        async def decide(draft: Draft) -> None:
            room = await draft.get_own()
            if room is not None and not is_member:
                raise NotAllowed()
            if room is None:
                self._views.check(actor, "create-d")
                new = _compose(room_id, members, key if len(members) > 2 else "", now())
                subscriptions = [_subscription(new, member, members, actor) for member in members]
                draft.append(room_created(new, subscriptions), actor=request.actor, at=new["ts"]["$date"])
            elif room.get("deleted_at"):
                # The people are the same and so is the id; what was said before stays deleted.
                at = rules.event_time(room, now())
                event = Event(also_tell=[member.id for member in members])
                event.room_changed.set = b'{"cleared_at":{"$date":%d}}' % room["deleted_at"]["$date"]
                event.room_changed.unset.extend(("deleted_at", "lastMessage", "lm"))
                draft.append(event, actor=request.actor, at=at)

        await self._node.commits.execute(room_stream(room_id), decide)
        if not is_member:
            return RoomReply(room=orjson.dumps({"_id": room_id, "t": "d"}))
        if actor is not SYSTEM_USER:
            await self._reads.show(request.actor, room_id)
        return await self._rooms.reply(room_id, actor)

    async def _get_members(self, request: OpenDirectRoomRequest, actor: User) -> list[User]:
        by_id = await self._node.access.find_users(request.user_ids) if request.user_ids else {}
        by_name = await self._node.access.find_users_by_name(request.usernames) if request.usernames else {}
        if len(by_id) < len(set(request.user_ids)) or len(by_name) < len(set(request.usernames)):
            raise UserNotFound()
        members = {user.id: user for user in [*by_id.values(), *by_name.values()]}
        if not members:
            raise InvalidInput("No users given", code="error-invalid-user")
        if any(not member.active for member in members.values()):
            raise NotAllowed("Deactivated users can't be talked to", code="error-not-allowed")
        if not request.exclude_self and actor is not SYSTEM_USER:
            members.setdefault(actor.id, actor)
        if list(members) == [actor.id] and not self._node.access.setting("Message_AllowDirectMessagesToYourself"):
            raise NotAllowed("Direct messages to yourself are not allowed", code="error-invalid-user")
        if len(members) > self._node.access.setting("DirectMesssage_maxUsers"):
            raise NotAllowed("Too many users for a direct room", code="error-direct-message-max-user-exceeded")
        return sorted(members.values(), key=lambda member: member.username)

    async def _claim(self, key: str) -> str:
        """The id of the room of more than two: whoever claims it first decides, and everybody may make it."""
        while True:
            if (owner := await self._node.database.find_claim(f"direct:{key}")) is not None:
                return owner
            room_id = new_id()
            if await self._node.database.claim(f"direct:{key}", room_id):
                return room_id


def _compose(room_id: str, members: list[User], key: str, at: int) -> Document:
    room = new_room(room_id, "d", at, len(members))
    room["uids"] = [member.id for member in members]
    room["usernames"] = [member.username for member in members]
    if key:
        room["members_key"] = key
    return room


def _subscription(room: Document, member: User, members: list[User], actor: User) -> Document:
    """A member's subscription shows the others; it is hidden from all but the actor until somebody writes."""
    others = [other for other in members if other.id != member.id] or [member]
    at = room["ts"]["$date"]
    subscription = rules.new_subscription(new_id(), room, reference(member), at)
    subscription["name"] = ", ".join(other.username for other in others)
    subscription["fname"] = ", ".join(other.name or other.username for other in others)
    if member.id != actor.id:
        subscription["hidden_at_counted"] = 0
    return subscription
