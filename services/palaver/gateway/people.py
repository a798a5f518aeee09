"""The users with connections here: their sessions, what concerns only them, and their rooms as memberships change."""

import logging

import orjson
from prometheus_client import Gauge

from palaver.access import User
from palaver.events import user_stream
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.fanout import Room, Rooms
from palaver.gateway.session import MY_MESSAGES, NEEDS_ROOMS, NOTIFY_USER_BITS, Session
from palaver.gateway.state import RoomStates
from palaver.node import Node
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import ListMembershipsRequest
from palaver.v1.presence_pb2 import ConnectRequest, DisconnectRequest

logger = logging.getLogger(__name__)

SESSIONS = Gauge("palaver_users_connected", "Users with a connection to this gateway")

_USER_DATA = NOTIFY_USER_BITS["userData"]
_FORCE_LOGOUT = NOTIFY_USER_BITS["force_logout"]


class People:
    """Sessions by user id."""

    def __init__(self, node: Node, rooms: Rooms, states: RoomStates) -> None:
        self._node = node
        self._rooms = rooms
        self._states = states
        self._sessions: dict[str, Session] = {}

    def find(self, user_id: str) -> Session | None:
        return self._sessions.get(user_id)

    async def attach(self, connection: Connection, user: User, hashed_token: str) -> None:
        """A connection has logged in."""
        connection.hashed_token = hashed_token
        if connection.session is not None:
            if connection.session.user_id == user.id:
                connection.user = user
                return
            await self.detach(connection)
        connection.user = user
        session = self._sessions.get(user.id)
        if session is None:
            session = self._sessions[user.id] = Session(user.id)
            SESSIONS.set(len(self._sessions))
        connection.session = session
        session.connections.append(connection)
        if session.follow is None:
            session.follow = await self._node.log.follow(user_stream(user.id), self._on_user_event)
        await self._node.services.presence.connect(
            ConnectRequest(node_id=self._node.config.node_id, connection_id=connection.id, user_id=user.id)
        )

    async def detach(self, connection: Connection) -> None:
        """A connection has logged out or is gone."""
        session, connection.session, connection.user = connection.session, None, None
        if session is None:
            return
        session.connections.remove(connection)
        connection.notify_events = 0
        self._update_events(session)
        await self._node.services.presence.disconnect(
            DisconnectRequest(node_id=self._node.config.node_id, connection_id=connection.id, user_id=session.user_id)
        )
        if not session.connections and self._sessions.get(session.user_id) is session:
            del self._sessions[session.user_id]
            SESSIONS.set(len(self._sessions))
            if session.follow is not None:
                await session.follow.stop()
            await self._leave_rooms(session)
        elif not session.events & NEEDS_ROOMS:
            await self._leave_rooms(session)

    async def hear(self, connection: Connection, bits: int) -> None:
        """The connection wants these of its user's events; returns when every later one will reach it."""
        session = connection.session
        if session is None:
            return
        connection.notify_events |= bits
        self._update_events(session)
        if bits & NEEDS_ROOMS and not session.rooms_wanted:
            session.rooms_wanted = True
            reply = await self._node.services.messaging.list_memberships(
                ListMembershipsRequest(user_id=session.user_id)
            )
            for room in await self._rooms.listen(reply.room_ids):
                self._enter(session, room)

    async def ignore(self, connection: Connection, bits: int) -> None:
        """The connection no longer wants these."""
        connection.notify_events &= ~bits
        if connection.session is not None:
            self._update_events(connection.session)
            if not connection.session.events & NEEDS_ROOMS:
                await self._leave_rooms(connection.session)

    def _update_events(self, session: Session) -> None:
        was_bot = session.events & MY_MESSAGES
        session.update_events()
        if session.events & MY_MESSAGES != was_bot:
            for room in session.rooms:
                (room.bots.discard if was_bot else room.bots.add)(session)

    def _enter(self, session: Session, room: Room) -> None:
        session.rooms.add(room)
        room.members.add(session)
        if session.events & MY_MESSAGES:
            room.bots.add(session)

    async def _leave_rooms(self, session: Session) -> None:
        session.rooms_wanted = False
        rooms, session.rooms = session.rooms, set()
        for room in rooms:
            self._exit(session, room)
        await self._rooms.unlisten(rooms)

    def _exit(self, session: Session, room: Room) -> None:
        room.members.discard(session)
        room.bots.discard(session)
        room.alerted.discard(session)
        if not room.members:
            room.document = None
            self._states.forget(room)

    # -- events ----------------------------------------------------------------------------------------------------

    def _on_user_event(self, event: Event) -> None:
        """An event of a connected user's own stream, or a membership that concerns them."""
        if event.stream_kind == "room":
            for user_id in event.also_tell:
                session = self._sessions.get(user_id)
                if session is not None and event.WhichOneof("fact") in ("member_joined", "room_created"):
                    self._node.spawn(self._on_joined(session, event.stream_id), f"join {event.stream_id}")
            return
        session = self._sessions.get(event.stream_id)
        if session is None:
            return
        match event.WhichOneof("fact"):
            case "tokens_revoked":
                revoked = set(event.tokens_revoked.hashed_tokens)
                self._close(session, [c for c in session.connections if c.hashed_token in revoked])
            case "user_changed":
                self._on_user_changed(session, event)
            case "user_deleted":
                self._close(session, list(session.connections))
            case "room_read":
                self._on_own_change(session, event.room_read.room_id)
            case "subscription_preferred":
                self._on_own_change(session, event.subscription_preferred.room_id)

    def _on_user_changed(self, session: Session, event: Event) -> None:
        changes = orjson.loads(event.user_changed.set or b"{}")
        if changes.get("active") is False:
            self._close(session, list(session.connections))
            return
        changes.pop("services", None)
        changes.pop("username_lower", None)
        changes.pop("emails_lower", None)
        data = {
            "type": "updated",
            "id": session.user_id,
            "diff": changes,
            "unset": dict.fromkeys(event.user_changed.unset, 1),
        }
        session.tell(_USER_DATA, orjson.dumps(data))

    def _on_own_change(self, session: Session, room_id: str) -> None:
        room = self._rooms.find(room_id)
        if room is not None and room in session.rooms:
            self._states.subscription_due(room, session)

    def _close(self, session: Session, connections: list[Connection]) -> None:
        if connections:
            session.tell(_FORCE_LOGOUT, b"")
        for connection in connections:
            connection.close(1000, "logged out")

    async def _on_joined(self, session: Session, room_id: str) -> None:
        if not session.rooms_wanted or any(room.id == room_id for room in session.rooms):
            return
        (room,) = await self._rooms.listen([room_id])
        if room in session.rooms or not session.rooms_wanted:
            await self._rooms.unlisten([room])
            return
        self._enter(session, room)
        try:
            await self._states.tell_inserted(room, session)
        except Exception:
            logger.exception("could not tell %s of room %s", session.user_id, room_id)

    def on_member_left(self, room: Room, event: Event) -> None:
        """Somebody has left or was removed: their room list loses the room."""
        session = self._sessions.get(event.member_left.user_id)
        if session is not None and room in session.rooms:
            self._states.tell_removed(room, session, event.member_left.subscription_id)
            session.rooms.discard(room)
            self._exit(session, room)
            self._node.spawn(self._rooms.unlisten([room]), f"leave {room.id}")

    def on_room_deleted(self, room: Room) -> None:
        """A room is gone: every room list loses it."""
        for session in list(room.members):
            self._states.tell_removed(room, session, "")
            session.rooms.discard(room)
            self._exit(session, room)
            self._node.spawn(self._rooms.unlisten([room]), f"leave {room.id}")
