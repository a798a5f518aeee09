"""Rooms: created, looked up, changed, deleted; and GENERAL, which everybody is in."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from palaver.access import User
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import Conflict, InvalidInput, NotAllowed, PalaverError, RoomNotFound, Unavailable
from palaver.events import SYSTEM, room_stream
from palaver.ids import direct_room_id, new_id
from palaver.messaging import rules
from palaver.messaging.names import Names
from palaver.messaging.notices import reference
from palaver.messaging.store import Store
from palaver.messaging.views import SYSTEM_USER, View, Views, room_roles
from palaver.node import Node
from palaver.v1.auth_pb2 import Empty
from palaver.v1.event_pb2 import Actor, Event
from palaver.v1.messaging_pb2 import CreateRoomRequest, GetRoomRequest, RoomReply, RoomRequest

_MAX_MEMBERS = 1000
_MAX_OBJECT_BYTES = 64 * 1024
# What may be given to a new room besides its name, with its type.
_EXTRA: dict[str, type] = {
    "description": str,
    "topic": str,
    "announcement": str,
    "broadcast": bool,
    "encrypted": bool,
    "federated": bool,
    "teamId": str,
    "fname": str,
}


class Rooms:
    """The use cases of whole rooms."""

    def __init__(self, node: Node, store: Store, views: Views, names: Names) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._names = names

    async def create(self, request: CreateRoomRequest) -> RoomReply:
        """A new public or private room. Raises NotAllowed, InvalidInput, Conflict."""
        user = await self._views.get_actor(request.actor)
        room_type = request.type or "c"
        if room_type not in ("c", "p"):
            raise InvalidInput("A room is of type c or p", code="error-invalid-room-type")
        self._views.check(user, f"create-{room_type}")
        name, shown = self._names.parse(request.name)
        extra = parse_fields(request.extra, _EXTRA)
        if team_id := extra.pop("teamId", ""):
            extra |= await self._get_team_fields(user, team_id)
        custom_fields = parse_object(request.custom_fields)
        if len(request.members) > _MAX_MEMBERS:
            raise InvalidInput("Too many members at once", code="error-user-limit-exceeded")
        found = await self._node.access.find_users_by_name(request.members) if request.members else {}
        members = [member for member in found.values() if member.active and member.id != user.id]
        if not request.exclude_self and user is not SYSTEM_USER:
            members.insert(0, user)
        room_id = request.room_id if request.room_id and user is SYSTEM_USER else new_id()
        at = now()
        room = new_room(room_id, room_type, at, len(members))
        room.update({"name": name, "fname": extra.pop("fname", shown), "ro": request.read_only, **extra})
        if user is not SYSTEM_USER:
            room["u"] = reference(user)
        if room.get("broadcast"):
            room["ro"] = True
        if custom_fields:
            room["customFields"] = custom_fields
        if request.is_default:
            room["default"] = True
        subscriptions = []
        for member in members:
            roles = ["owner"] if member.id == user.id else []
            subscriptions.append(rules.new_subscription(new_id(), room, reference(member), at, roles=roles))
        await self.add(request.actor, room, subscriptions)
        return await self.reply(room_id, user)

    async def add(self, actor: Actor, room: Document, subscriptions: Sequence[Document]) -> None:
        """A new room with a name, and its first members. Raises NotAllowed (where nothing is encrypted), Conflict."""
        if room.get("encrypted"):
            self._node.access.check_encryption()
        await self._names.claim(room["name"], room["_id"])
        try:
            await self._create(actor, room, subscriptions)
        except Unavailable:
            raise  # it is unknown whether the room was created: whoever wants the name next finds out
        except PalaverError:
            await self._names.release(room["name"], room["_id"])
            raise

    async def _create(self, actor: Actor, room: Document, subscriptions: Sequence[Document]) -> None:
        """Appends RoomCreated, once. Raises Conflict when a room of this id exists."""

        async def decide(draft: Draft) -> None:
            if await draft.get_own() is not None:
                raise Conflict("A room with this id exists", code="error-duplicate-room")
            await self._names.check_claim(room["name"], room["_id"])
            draft.append(room_created(room, subscriptions), actor=actor, at=room["ts"]["$date"])

        await self._node.commits.execute(room_stream(room["_id"]), decide)

    async def has_general(self) -> bool:
        """Whether GENERAL was ever created."""
        return await self._node.database.get("rooms", "GENERAL") is not None

    async def create_general(self, users: Sequence[User]) -> bool:
        """Creates GENERAL with these members; False when another process was faster."""
        at = now()
        room = new_room("GENERAL", "c", at, len(users))
        room.update({"name": "general", "fname": "general", "ro": False, "default": True})
        subscriptions = [rules.new_subscription(new_id(), room, reference(user), at) for user in users]
        await self._names.claim("general", "GENERAL")
        try:
            await self._create(SYSTEM, room, subscriptions)
        except Conflict:
            return False
        return True

    async def get(self, request: GetRoomRequest) -> RoomReply:
        """A room by its id, its name, or either; a direct room also by the other's username. Raises RoomNotFound."""
        user = await self._views.get_reader(request.actor)
        which = request.WhichOneof("which") or "room_id"
        wanted = getattr(request, which)

        def chosen(room: Document | None) -> Document | None:
            return None if room is None or (request.types and room["t"] not in request.types) else room

        room = None if which == "name" else chosen(await self._store.find_room(wanted))
        if room is None and which != "room_id":
            room = chosen(await self._store.find_room_by_name(wanted))
        if room is None and which != "room_id" and "d" in request.types:
            room = await self._find_direct_room(user, wanted)
        view = await self._views.view_for(user, room)
        reply = await self.reply_for(user, view.room, view.subscription)
        if self._views.may(user, "view-join-code", view.roles):
            reply.join_code = view.room.get("join_code", "")
        return reply

    async def _get_team_fields(self, user: User, team_id: str) -> Document:
        """What a new room of the team has. Raises InvalidInput, NotAllowed."""
        main = await self._store.find_room(team_id)
        if main is None or not main.get("teamMain"):
            raise InvalidInput("Invalid team", code="invalid-team")
        subscription = await self._store.find_subscription(team_id, user.id)
        self._views.check(user, "add-team-channel", room_roles(subscription))
        return rules.team_fields(main)

    async def delete(self, request: RoomRequest) -> Empty:
        """Deletes a room for everybody. Raises RoomNotFound, NotAllowed."""
        user = await self._views.get_actor(request.actor)

        async def get_view(draft: Draft) -> View:
            view = await self._views.get_drafted(draft, user, administered=True)
            permission = "delete-team" if view.room.get("teamMain") else f"delete-{view.room['t']}"
            self._views.check(user, permission, view.roles)
            return view

        await self.end(request.actor, request.room_id, get_view)
        return Empty()

    async def end(
        self,
        actor: Actor,
        room_id: str,
        get_view: Callable[[Draft], Awaitable[View]],
        deleted_room_ids: Sequence[str] = (),
    ) -> Event:
        """Deletes the room that `get_view` gives if it may be; `deleted_room_ids`: of its team, which go with it."""

        async def decide(draft: Draft) -> tuple[Event, Document]:
            view = await get_view(draft)
            event = Event()
            event.room_deleted.deleted_room_ids.extend(deleted_room_ids)
            event.room_deleted.SetInParent()
            return draft.append(event, actor=actor, at=rules.event_time(view.room, now())), view.room

        event, room = await self._node.commits.execute(room_stream(room_id), decide)
        if name := room.get("name"):
            await self._names.release(name, room_id)
        if key := room.get("members_key"):
            await self._node.database.release(f"direct:{key}", room_id)
        return event

    async def reply(self, room_id: str, user: User) -> RoomReply:
        """A room and the user's subscription of it, as they are now."""
        room = await self._store.find_room(room_id)
        if room is None:
            raise RoomNotFound()
        return await self.reply_for(user, room, await self._store.find_subscription(room_id, user.id))

    async def reply_for(self, user: User, room: Document, subscription: Document | None) -> RoomReply:
        """The same for documents that were read just now."""
        shown_room = self._views.show_room(room, user, is_member=subscription is not None)
        answer = RoomReply(room=orjson.dumps(shown_room))
        if subscription is not None:
            settings = self._views.unread_settings()
            shown = await self._store.present_subscription(subscription, room, settings)
            answer.subscription = orjson.dumps(shown)
        return answer

    async def _find_direct_room(self, user: User, username: str) -> Document | None:
        other = (await self._node.access.find_users_by_name([username])).get(username)
        return (
            None if other is None or not user.id else await self._store.find_room(direct_room_id([user.id, other.id]))
        )


def new_room(room_id: str, room_type: str, at: int, members: int) -> Document:
    """The document of a new room; the caller adds what it is called and whose it is."""
    return {
        "_id": room_id,
        "t": room_type,
        "msgs": 0,
        "usersCount": members,
        "ts": {"$date": at},
        "_updatedAt": {"$date": at},
        "changed_at": {"$date": at},
        "counted": 0,
        "group_mentions": 0,
    }


def room_created(room: Document, subscriptions: Sequence[Document]) -> Event:
    """The event for a new room and its first members, who are all told."""
    event = Event(also_tell=[subscription["u"]["_id"] for subscription in subscriptions])
    event.room_created.room = orjson.dumps(room)
    event.room_created.subscriptions.extend(orjson.dumps(subscription) for subscription in subscriptions)
    return event


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object, or {} for nothing. Raises InvalidInput, also for one that is too large."""
    if not data:
        return {}
    if len(data) > _MAX_OBJECT_BYTES:
        raise InvalidInput(f"more than {_MAX_OBJECT_BYTES // 1024} KiB", code="error-invalid-params")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput("not JSON") from error
    if not isinstance(value, dict):
        raise InvalidInput("not an object")
    return value


def parse_fields(data: bytes, allowed: dict[str, type]) -> dict[str, Any]:
    """A JSON object of allowed fields; null is the same as absent. Raises InvalidInput."""
    fields = {name: value for name, value in parse_object(data).items() if value is not None}
    for name, value in fields.items():
        if name not in allowed:
            raise InvalidInput(f"must NOT have additional properties: {name}")
        if not isinstance(value, allowed[name]):
            raise InvalidInput(f"{name} has the wrong type")
    return fields


def check_not_direct(view: View) -> None:
    """Raises NotAllowed for a direct room: its members are who they are."""
    if view.room["t"] == "d":
        raise NotAllowed()
