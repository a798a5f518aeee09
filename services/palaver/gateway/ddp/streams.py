"""The streams: who may subscribe to what, and where each subscription's events come from. (Writing is `writing.py`.)

Every refusal is NotAllowed ("not-allowed"), an unknown stream StreamNotFound (404).
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from palaver.errors import NotAllowed, NotFound, PalaverError
from palaver.events import user_actor
from palaver.gateway.ddp import watchers
from palaver.gateway.ddp.activity import ACTIVITY_EVENTS, Activity, tell_activity
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.ddp.publications import (
    CLOSED_STREAMS,
    EMPTY_PUBLICATIONS,
    LOGGED_STREAMS,
    NOTIFY_ROOM_EVENTS,
    OPEN_STREAMS,
    TOPICS,
)
from palaver.gateway.ddp.watchers import Watchers
from palaver.gateway.fanout import Room, Rooms
from palaver.gateway.frames import changed_frame, frame
from palaver.gateway.people import People
from palaver.gateway.session import MY_MESSAGES, NOTIFY_USER_BITS
from palaver.node import Node
from palaver.v1.messaging_pb2 import CheckAccessReply, CheckAccessRequest, ListHearingRequest
from palaver.v1.presence_pb2 import ActivityChanged, PresenceChanged

logger = logging.getLogger(__name__)

_SETTINGS_PERMISSIONS = ("view-privileged-setting", "edit-privileged-setting", "manage-selected-settings")
_MAX_SUBSCRIPTIONS = 1000
_CHECKS_AT_ONCE = 4
_LISTENERS_ASKED = 500  # in one call


class StreamRefused(NotAllowed):
    code = "not-allowed"
    reason = "Not allowed"


class StreamNotFound(NotFound):
    code = "404"


class Streams:
    """Every subscription of every connection here."""

    def __init__(self, node: Node, rooms: Rooms, people: People) -> None:
        self._node = node
        self._rooms = rooms
        self._people = people
        self._topics: dict[tuple[str, str], dict[Connection, None]] = {}
        self._watchers = Watchers()
        self._activities: dict[str, Activity] = {}
        self._access_changes = 0  # how often who may hear which rooms may have changed for more than one

    async def open(self) -> None:
        await self._node.live.subscribe("presence", self._on_presence)
        self._node.live.on_gap(self._on_presence_gap)
        self._node.spawn(self._watchers.run(self._node.services.presence), "presence of who is watched")

    # -- subscribing ---------------------------------------------------------------------------------------------

    async def subscribe(self, connection: Connection, id: str, name: str, parameters: list[Any]) -> None:
        """Answers `sub`: `added` if asked for, `ready` when the interest stands. Raises what the client is told."""
        if name in EMPTY_PUBLICATIONS:
            connection.write(frame(msg="ready", subs=[id]))
            return
        if id in connection.subs:
            return  # a repeated `sub` of the same id is ignored, as Meteor does
        if not name.startswith("stream-"):
            raise StreamNotFound(f"Subscription '{name[:100]}' not found")
        event = parameters[0] if parameters else ""
        options = parameters[1] if len(parameters) > 1 else False
        if name == "stream-user-presence":
            self._watchers.watch(connection, id, options)
            return
        if not isinstance(event, str) or not event:
            raise StreamRefused("Event name is invalid", code="invalid-event-name")
        if len(connection.subs) >= _MAX_SUBSCRIPTIONS:
            raise StreamRefused("Too many subscriptions")
        await self._enter(connection, name, event)
        connection.subs[id] = (name, event)
        if options is True or (isinstance(options, dict) and options.get("useCollection") is True):
            connection.write(frame(msg="added", collection=name, id="id", fields={"eventName": event}))
        connection.write(frame(msg="ready", subs=[id]))

    async def unsubscribe(self, connection: Connection, id: str) -> None:
        """Answers `unsub`."""
        if id == connection.presence_sub:
            self._watchers.unwatch_all(connection)
            connection.presence_sub = None
        elif (sub := connection.subs.pop(id, None)) is not None and sub not in connection.subs.values():
            await self._leave(connection, *sub)
        connection.write(frame(msg="nosub", id=id))

    async def leave_all(self, connection: Connection) -> None:
        """The connection is gone, or nobody is logged in on it any more."""
        subs, connection.subs = set(connection.subs.values()), {}
        for stream, event in subs:
            await self._leave(connection, stream, event)
        self._watchers.unwatch_all(connection)
        connection.presence_sub = None

    async def _enter(self, connection: Connection, stream: str, event: str) -> None:
        if stream in OPEN_STREAMS or stream in LOGGED_STREAMS:
            if event not in TOPICS[stream]:
                raise StreamRefused
            if stream in LOGGED_STREAMS:
                await self._check_logged_in(connection, event)
            self._topics.setdefault((stream, event), {})[connection] = None
        elif stream == "stream-room-messages":
            await self._enter_messages(connection, event)
        elif stream == "stream-notify-user":
            await self._enter_user(connection, event)
        elif stream == "stream-notify-room":
            await self._enter_room(connection, event)
        elif stream in CLOSED_STREAMS:
            raise StreamRefused
        else:
            raise StreamNotFound(f"Subscription '{stream[:100]}' not found")

    async def _check_logged_in(self, connection: Connection, event: str) -> None:
        user = None if connection.user is None else await self._node.access.find_user(connection.user.id)
        if user is None or not user.active or connection.user is None:
            raise StreamRefused
        if event == "private-settings-changed":
            access = self._node.access
            if not any(access.may(user, permission) for permission in _SETTINGS_PERMISSIONS):
                raise StreamRefused

    async def _enter_messages(self, connection: Connection, event: str) -> None:
        if event == "__my_messages__":
            if connection.user is None:
                raise StreamRefused
            await self._people.hear(connection, MY_MESSAGES)
            return
        if connection.subscribes_to("stream-room-messages", event):
            return
        room = await self._listen(connection, event)
        room.messages[connection] = None

    async def _listen(self, connection: Connection, room_id: str) -> Room:
        """One interest in a room that the connection may hear: asked while every change of that is heard."""
        (room,) = await self._rooms.listen([room_id])
        try:
            while True:
                changes = room.access_changes, self._access_changes
                access = await self._check_access(connection, room_id)
                if access.parent_id and await self._rooms.follow_parent(room, access.parent_id):
                    continue  # who has left the parent until then, nobody has heard
                if not connection.open:
                    raise StreamRefused
                if changes == (room.access_changes, self._access_changes):
                    return room
        except BaseException:
            await self._rooms.unlisten([room])
            raise

    async def _enter_user(self, connection: Connection, event: str) -> None:
        user_id, _, name = event.partition("/")
        if connection.user is None or user_id != connection.user.id or name not in NOTIFY_USER_BITS:
            raise StreamRefused
        await self._people.hear(connection, NOTIFY_USER_BITS[name])

    async def _enter_room(self, connection: Connection, event: str) -> None:
        room_id, _, name = event.rpartition("/")
        if name not in NOTIFY_ROOM_EVENTS or not room_id:
            raise StreamRefused
        if connection.subscribes_to("stream-notify-room", event):
            return
        room = await self._listen(connection, room_id)
        room.events.setdefault(name, {})[connection] = None
        if name in ACTIVITY_EVENTS:
            try:
                await self._activities.setdefault(room_id, Activity()).listen(
                    self._node.live, room_id, self._on_activity
                )
            except BaseException:
                await self._leave_room_event(connection, event)
                raise

    async def _leave(self, connection: Connection, stream: str, event: str) -> None:
        if topic := self._topics.get((stream, event)):
            topic.pop(connection, None)
            if not topic:
                del self._topics[stream, event]
        elif stream == "stream-room-messages" and event == "__my_messages__":
            await self._people.ignore(connection, MY_MESSAGES)
        elif stream == "stream-room-messages":
            room = self._rooms.find(event)
            if room is not None and connection in room.messages:
                del room.messages[connection]
                await self._rooms.unlisten([room])
        elif stream == "stream-notify-user":
            await self._people.ignore(connection, NOTIFY_USER_BITS[event.partition("/")[2]])
        elif stream == "stream-notify-room":
            await self._leave_room_event(connection, event)

    async def _leave_room_event(self, connection: Connection, event: str) -> None:
        room_id, _, name = event.rpartition("/")
        room = self._rooms.find(room_id)
        if room is None or connection not in room.events.get(name, ()):
            return
        _forget(room, name, connection)
        await self._leave_room(room)

    async def _leave_room(self, room: Room) -> None:
        """Takes one interest in a room back, and the one in its typing when nobody listens to that any more."""
        if not any(activity in room.events for activity in ACTIVITY_EVENTS):
            activity = self._activities.pop(room.id, None)
            if activity is not None:
                await activity.stop()
        await self._rooms.unlisten([room])

    # -- who may still hear -------------------------------------------------------------------------------------------

    def evict(self, room: Room, user_id: str = "") -> None:
        """Ends what a user (or everybody) hears of a room, at once."""
        for connection in _listeners(room):
            if not user_id or connection.user is None or connection.user.id == user_id:
                self._end(connection, room)

    def evict_outsiders(self, room: Room) -> None:
        """The same for whoever is no member of the room: they may subscribe anew."""
        for connection in _listeners(room):
            if connection.session not in room.members:
                self._end(connection, room)

    def recheck(self, room: Room, user_id: str = "") -> None:
        """Finds out again whether a user (or everybody) may hear the room; until then they hear nothing of it."""
        room.access_changes += 1
        self._recheck_soon([room], user_id)

    def recheck_all(self, user_id: str = "") -> None:
        """The same for every room, after a permission, a role or a setting has changed."""
        self._access_changes += 1
        self._recheck_soon(self._list_heard(user_id) if user_id else self._rooms.all(), user_id)
        self._topics_recheck(user_id)

    def _list_heard(self, user_id: str) -> list[Room]:
        """The rooms of which a user hears something."""
        session = self._people.find(user_id)
        connections = () if session is None else session.connections
        ids = {
            event if stream == "stream-room-messages" else event.rpartition("/")[0]
            for connection in connections
            for stream, event in connection.subs.values()
            if stream in ("stream-room-messages", "stream-notify-room")
        }
        return [room for room in map(self._rooms.find, ids) if room is not None]

    def _recheck_soon(self, rooms: list[Room], user_id: str) -> None:
        listeners: dict[tuple[Room, str], list[Connection]] = {}  # by room and user
        for room in rooms:
            for connection in _listeners(room):
                key = "" if connection.user is None else connection.user.id
                if not user_id or key == user_id:
                    listeners.setdefault((room, key), []).append(connection)
                    room.suspend([connection])
        if listeners:
            self._node.spawn(self._recheck_listeners(listeners, bool(user_id)), "who may hear rooms")

    async def _recheck_listeners(
        self, listeners: dict[tuple[Room, str], list[Connection]], users_changed: bool
    ) -> None:
        """Some at a time: there may be many thousands, and who waited in vain for an answer would hear nothing."""
        pairs = list(listeners)
        rest = iter([pairs[start : start + _LISTENERS_ASKED] for start in range(0, len(pairs), _LISTENERS_ASKED)])

        async def recheck_some() -> None:
            for part in rest:
                for pair, allowed in zip(part, await self._list_hearing(part, users_changed), strict=True):
                    for connection in listeners[pair]:
                        if not allowed:
                            self._end(connection, pair[0])
                        pair[0].resume(connection)

        async with asyncio.TaskGroup() as group:
            for _ in range(_CHECKS_AT_ONCE):
                group.create_task(recheck_some())

    async def _list_hearing(self, pairs: list[tuple[Room, str]], users_changed: bool) -> Sequence[bool]:
        """Whether each of these users may hear the room. When nobody can say they may not: clients subscribe again."""
        request = ListHearingRequest(
            listeners=[ListHearingRequest.Listener(room_id=room.id, user_id=user_id) for room, user_id in pairs],
            policy_seq=self._node.access.policy.seq,
            users_changed=users_changed,
        )
        try:
            return (await self._node.services.messaging.list_hearing(request)).allowed
        except PalaverError as error:
            logger.warning("who may hear rooms is unknown: %s", error)
            return [False] * len(pairs)

    def _end(self, connection: Connection, room: Room) -> None:
        """Ends the connection's subscriptions to a room."""
        for id, (stream, event) in list(connection.subs.items()):
            if stream == "stream-room-messages" and event == room.id:
                room.messages.pop(connection, None)
            elif stream == "stream-notify-room" and event.rpartition("/")[0] == room.id:
                _forget(room, event.rpartition("/")[2], connection)
            else:
                continue
            del connection.subs[id]
            connection.write(frame(msg="nosub", id=id))
            if (stream, event) not in connection.subs.values():
                self._node.spawn(self._leave_room(room), f"unlisten {room.id}")

    def _topics_recheck(self, user_id: str) -> None:
        key = ("stream-notify-logged", "private-settings-changed")
        for connection in list(self._topics.get(key, ())):
            if not user_id or (connection.user is not None and connection.user.id == user_id):
                self._node.spawn(self._recheck_topic(connection, *key), "who may hear settings")

    async def _recheck_topic(self, connection: Connection, stream: str, event: str) -> None:
        try:
            await self._check_logged_in(connection, event)
        except PalaverError:
            for id in [id for id, sub in connection.subs.items() if sub == (stream, event)]:
                await self.unsubscribe(connection, id)

    async def _check_access(self, connection: Connection, room_id: str) -> CheckAccessReply:
        request = CheckAccessRequest(room_id=room_id, policy_seq=self._node.access.policy.seq)
        if connection.user is not None:
            request.actor.CopyFrom(user_actor(connection.user.id))
        elif not self._node.access.setting("Accounts_AllowAnonymousRead"):
            raise StreamRefused
        try:
            reply = await self._node.services.messaging.check_access(request)
        except NotFound:
            raise StreamRefused from None
        if not reply.allowed:
            raise StreamRefused
        return reply

    # -- what everybody hears --------------------------------------------------------------------------------------

    def tell(self, stream: str, event: str, arguments: bytes, *, only: Iterable[Connection] | None = None) -> None:
        """Sends one event of notify-logged, notify-all or roles to who hears it, of `only` these if some are given.

        `arguments`: JSON without the brackets.
        """
        if topic := self._topics.get((stream, event)):
            data = changed_frame(stream, event, arguments)
            for connection in list(topic) if only is None else [each for each in only if each in topic]:
                connection.write(data)

    def _on_presence(self, data: bytes) -> None:
        """Every gateway hears of everybody; what it costs beyond that goes by who wants to know."""
        users = PresenceChanged.FromString(data).users
        watchers.CHANGES_HEARD.inc(len(users))
        for user in users:
            self._watchers.tell(user)
            if topic := self._topics.get(("stream-notify-logged", "user-status")):
                status = [user.user_id, user.username, user.status, user.status_text, user.name, list(user.roles)]
                self.tell("stream-notify-logged", "user-status", orjson.dumps(status))
                watchers.FRAMES_WRITTEN.inc(len(topic))

    def _on_presence_gap(self) -> None:
        self._node.spawn(self._watchers.catch_up(self._node.services.presence), "presence after a gap")

    def _on_activity(self, data: bytes) -> None:
        message = ActivityChanged.FromString(data)
        if (room := self._rooms.find(message.room_id)) is not None:
            tell_activity(room, message)


def _forget(room: Room, name: str, connection: Connection) -> None:
    """The connection hears this event of the room no more."""
    connections = room.events.get(name, {})
    connections.pop(connection, None)
    if not connections:
        room.events.pop(name, None)


def _listeners(room: Room) -> list[Connection]:
    """Every connection that hears something of the room."""
    return list(dict.fromkeys([*room.messages, *(c for connections in room.events.values() for c in connections)]))
