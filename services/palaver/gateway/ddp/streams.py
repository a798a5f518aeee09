"""The streams: who may subscribe to what, who may write, and where each subscription's events come from.

Every refusal is NotAllowed ("not-allowed"), an unknown stream StreamNotFound (404).
"""

import logging
from collections.abc import Iterable
from typing import Any

import orjson

from palaver.errors import NotAllowed, NotFound
from palaver.events import user_actor
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.fanout import Rooms
from palaver.gateway.frames import changed_frame, frame
from palaver.gateway.people import People
from palaver.gateway.session import MY_MESSAGES, NOTIFY_USER_BITS
from palaver.ids import encode_subject_token
from palaver.live import Subscription
from palaver.node import Node
from palaver.v1.messaging_pb2 import CheckAccessReply, RoomRequest
from palaver.v1.presence_pb2 import ActivityChanged, PresenceChanged, UserPresence

logger = logging.getLogger(__name__)

NOTIFY_ROOM_EVENTS = frozenset(
    {
        "user-activity",
        "typing",
        "deleteMessage",
        "deleteMessageBulk",
        "messagesRead",
        "messagesImported",
        "e2e.keyRequest",
        "videoconf",
        "webrtc",
    }
)
_ACTIVITIES = frozenset({"user-typing", "user-recording", "user-uploading", "user-playing"})
_ACTIVITY_EVENTS = ("user-activity", "typing")
# Streams whose events concern everybody who is logged in, or everybody at all.
_LOGGED_STREAMS = frozenset({"stream-notify-logged", "stream-roles"})
_OPEN_STREAMS = frozenset({"stream-notify-all"})
# Subscriptions of Meteor's own that carry no documents here.
_EMPTY_PUBLICATIONS = frozenset({"meteor.loginServiceConfiguration", "meteor_autoupdate_clientVersions", "activeUsers"})
_SETTINGS_PERMISSIONS = ("view-privileged-setting", "edit-privileged-setting", "manage-selected-settings")
_MAX_WATCHED = 20_000


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
        self._watchers: dict[str, set[Connection]] = {}
        self._activity: dict[str, Subscription] = {}

    async def open(self) -> None:
        await self._node.live.subscribe("presence", self._on_presence)

    # -- subscribing ---------------------------------------------------------------------------------------------

    async def subscribe(self, connection: Connection, id: str, name: str, parameters: list[Any]) -> None:
        """Answers `sub`: `added` if asked for, `ready` when the interest stands. Raises what the client is told."""
        if name in _EMPTY_PUBLICATIONS:
            connection.write(frame(msg="ready", subs=[id]))
            return
        if id in connection.subs:
            return  # a repeated `sub` of the same id is ignored, as Meteor does
        if not name.startswith("stream-"):
            raise StreamNotFound(f"Subscription '{name[:100]}' not found")
        event = parameters[0] if parameters else ""
        options = parameters[1] if len(parameters) > 1 else False
        if name == "stream-user-presence":
            self._watch(connection, id, options)
            return
        if not isinstance(event, str) or not event:
            raise StreamRefused("Event name is invalid", code="invalid-event-name")
        await self._enter(connection, name, event)
        connection.subs[id] = (name, event)
        if options is True or (isinstance(options, dict) and options.get("useCollection") is True):
            connection.write(frame(msg="added", collection=name, id="id", fields={"eventName": event}))
        connection.write(frame(msg="ready", subs=[id]))

    async def unsubscribe(self, connection: Connection, id: str) -> None:
        """Answers `unsub`."""
        if id == connection.presence_sub and id:
            self._unwatch_all(connection)
            connection.presence_sub = ""
        elif (sub := connection.subs.pop(id, None)) is not None and sub not in connection.subs.values():
            await self._leave(connection, *sub)
        connection.write(frame(msg="nosub", id=id))

    async def leave_all(self, connection: Connection) -> None:
        """The connection is gone, or nobody is logged in on it any more."""
        subs, connection.subs = set(connection.subs.values()), {}
        for stream, event in subs:
            await self._leave(connection, stream, event)
        self._unwatch_all(connection)
        connection.presence_sub = ""

    async def _enter(self, connection: Connection, stream: str, event: str) -> None:
        if stream in _OPEN_STREAMS or stream in _LOGGED_STREAMS:
            if stream in _LOGGED_STREAMS:
                self._check_logged_in(connection, event)
            self._topics.setdefault((stream, event), {})[connection] = None
        elif stream == "stream-room-messages":
            await self._enter_messages(connection, event)
        elif stream == "stream-notify-user":
            await self._enter_user(connection, event)
        elif stream == "stream-notify-room":
            await self._enter_room(connection, event)
        elif stream == "stream-notify-room-users":
            raise StreamRefused
        else:
            raise StreamNotFound(f"Subscription '{stream[:100]}' not found")

    def _check_logged_in(self, connection: Connection, event: str) -> None:
        user = connection.user
        if user is None:
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
        await self._check_access(connection, event)
        if not connection.subscribes_to("stream-room-messages", event):
            (room,) = await self._rooms.listen([event])
            if connection.open:
                room.messages[connection] = None
            else:
                await self._rooms.unlisten([room])

    async def _enter_user(self, connection: Connection, event: str) -> None:
        user_id, _, name = event.partition("/")
        if connection.user is None or user_id != connection.user.id or name not in NOTIFY_USER_BITS:
            raise StreamRefused
        await self._people.hear(connection, NOTIFY_USER_BITS[name])

    async def _enter_room(self, connection: Connection, event: str) -> None:
        room_id, _, name = event.rpartition("/")
        if name not in NOTIFY_ROOM_EVENTS or not room_id:
            raise StreamRefused
        await self._check_access(connection, room_id)
        if connection.subscribes_to("stream-notify-room", event):
            return
        (room,) = await self._rooms.listen([room_id])
        if not connection.open:
            await self._rooms.unlisten([room])
            return
        room.events.setdefault(name, {})[connection] = None
        if name in _ACTIVITY_EVENTS and room_id not in self._activity:
            self._activity[room_id] = await self._node.live.subscribe(_activity_subject(room_id), self._on_activity)

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
        del room.events[name][connection]
        if not room.events[name]:
            del room.events[name]
        if not any(activity in room.events for activity in _ACTIVITY_EVENTS):
            heard = self._activity.pop(room_id, None)
            if heard is not None:
                await heard.stop()
        await self._rooms.unlisten([room])

    async def end_access(self, room_id: str, user_id: str) -> None:
        """A user may no longer read a room: ends their subscriptions to it."""
        session = self._people.find(user_id)
        if session is None:
            return
        for connection in list(session.connections):
            for id, (stream, event) in list(connection.subs.items()):
                of_room = stream == "stream-room-messages" and event == room_id
                of_room = of_room or (stream == "stream-notify-room" and event.rpartition("/")[0] == room_id)
                if of_room:
                    del connection.subs[id]
                    await self._leave(connection, stream, event)
                    connection.write(frame(msg="nosub", id=id))

    async def _check_access(self, connection: Connection, room_id: str) -> CheckAccessReply:
        request = RoomRequest(room_id=room_id)
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

    def tell(self, stream: str, event: str, arguments: bytes) -> None:
        """Sends one event of notify-logged, notify-all or roles. `arguments`: JSON without the brackets."""
        if topic := self._topics.get((stream, event)):
            data = changed_frame(stream, event, arguments)
            for connection in list(topic):
                connection.write(data)

    # -- writing -----------------------------------------------------------------------------------------------------

    async def write(self, connection: Connection, stream: str, arguments: list[Any]) -> None:
        """A client writes to a stream. What is not allowed, or not understood, is silently dropped."""
        if stream != "stream-notify-room" or connection.user is None or len(arguments) < 2:
            return
        event, who, *rest = arguments
        if not isinstance(event, str) or not isinstance(who, str):
            return
        room_id, _, name = event.rpartition("/")
        user = connection.user
        if name not in _ACTIVITY_EVENTS or who not in (user.username, user.name) or not room_id:
            return
        try:
            await self._check_access(connection, room_id)
        except NotAllowed:
            return
        activities: list[str] = []
        if name == "typing":
            activities = ["user-typing"] if rest and rest[0] is True else []
        elif rest and isinstance(rest[0], list):
            activities = [activity for activity in rest[0][:8] if activity in _ACTIVITIES]
        options = rest[1] if len(rest) > 1 and isinstance(rest[1], dict) else {}
        thread_id = options.get("tmid")
        shown = user.name if self._node.access.setting("UI_Use_Real_Name") and user.name else user.username
        message = ActivityChanged(
            room_id=room_id,
            user_id=user.id,
            display_name=shown,
            activities=activities,
            thread_id=thread_id if isinstance(thread_id, str) else "",
            connection_id=connection.id,
        )
        await self._node.live.publish(_activity_subject(room_id), message.SerializeToString())

    def _on_activity(self, data: bytes) -> None:
        message = ActivityChanged.FromString(data)
        room = self._rooms.find(message.room_id)
        if room is None:
            return
        extra = {"tmid": message.thread_id} if message.thread_id else {}
        arguments = {
            "user-activity": [message.display_name, list(message.activities), extra],
            "typing": [message.display_name, "user-typing" in message.activities],
        }
        for name, values in arguments.items():
            if connections := room.events.get(name):
                data = changed_frame("stream-notify-room", f"{room.id}/{name}", orjson.dumps(values)[1:-1])
                for connection in list(connections):
                    if connection.id != message.connection_id:
                        connection.write(data)

    # -- presence ----------------------------------------------------------------------------------------------------

    def _watch(self, connection: Connection, id: str, options: Any) -> None:
        """`stream-user-presence`: the first subscription stays open, later ones only change whom it watches."""
        if connection.user is None:
            raise StreamRefused
        if connection.watched is None:
            connection.watched = set()
        changes = options if isinstance(options, dict) else {}
        for user_id in _strings(changes.get("added")):
            if len(connection.watched) < _MAX_WATCHED:
                connection.watched.add(user_id)
                self._watchers.setdefault(user_id, set()).add(connection)
        for user_id in _strings(changes.get("removed")):
            connection.watched.discard(user_id)
            self._unwatch(connection, user_id)
        if connection.presence_sub:
            connection.write(frame(msg="nosub", id=id))
        else:
            connection.presence_sub = id
            connection.write(frame(msg="ready", subs=[id]))

    def _unwatch(self, connection: Connection, user_id: str) -> None:
        watchers = self._watchers.get(user_id)
        if watchers is not None:
            watchers.discard(connection)
            if not watchers:
                del self._watchers[user_id]

    def _unwatch_all(self, connection: Connection) -> None:
        for user_id in connection.watched or ():
            self._unwatch(connection, user_id)
        connection.watched = None

    def _on_presence(self, data: bytes) -> None:
        user = PresenceChanged.FromString(data).user
        if watchers := self._watchers.get(user.user_id):
            told = _presence_frame(user)
            for connection in list(watchers):
                connection.write(told)
        if ("stream-notify-logged", "user-status") in self._topics:
            status = [user.user_id, user.username, user.status, user.status_text, user.name, list(user.roles)]
            self.tell("stream-notify-logged", "user-status", orjson.dumps(status))


def _presence_frame(user: UserPresence) -> bytes:
    fields = {
        "uid": user.user_id,
        "eventName": user.user_id,
        "args": [[user.username, user.status, user.status_text]],
    }
    return frame(msg="changed", collection="stream-user-presence", id=user.user_id, fields=fields)


def _activity_subject(room_id: str) -> str:
    return f"activity.{encode_subject_token(room_id)}"


def _strings(value: Any) -> Iterable[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
