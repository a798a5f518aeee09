"""The users with connections here: their sessions, what concerns only them, and their rooms as memberships change.

A session follows its user's stream from its first connection on, and the rooms only while somebody listens to what
needs them. Whoever enters rooms does it on what was true a moment ago; `Session.news` keeps what changed meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import orjson
from prometheus_client import Counter, Gauge

from palaver.access import User
from palaver.documents import public_user
from palaver.errors import LoginRequired, PalaverError
from palaver.events import user_stream
from palaver.gateway.choices import choice_of
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.fanout import Room, Rooms
from palaver.gateway.feeds import Feeds
from palaver.gateway.highlights import NO_HIGHLIGHTS, Highlights
from palaver.gateway.once import Once
from palaver.gateway.presence_reports import PresenceReports
from palaver.gateway.session import MY_MESSAGES, NEEDS_ROOMS, NOTIFY_USER_BITS, Session
from palaver.gateway.state import RoomStates
from palaver.node import Node
from palaver.v1.auth_pb2 import CheckLoginRequest, GetUserHeadsRequest, ListUserEventsRequest
from palaver.v1.event_pb2 import Event, MessageStarred
from palaver.v1.messaging_pb2 import ListJoinsRequest, ListMembershipsReply, ListMembershipsRequest
from palaver.v1.presence_pb2 import ONLINE
from palaver.wishes import NO_WISHES, Wishes, wishes_of

logger = logging.getLogger(__name__)

SESSIONS = Gauge("palaver_users_connected", "Users with a connection to this gateway")
CLOSED = Counter("palaver_logins_ended_total", "Connections closed because their login does not stand any more")

_USER_DATA = NOTIFY_USER_BITS["userData"]
_ATTEMPTS = 10
_FORCE_LOGOUT = NOTIFY_USER_BITS["force_logout"]


class People:
    """Sessions by user id."""

    def __init__(self, node: Node, rooms: Rooms, states: RoomStates, reports: PresenceReports) -> None:
        self._node = node
        self._rooms = rooms
        self._states = states
        self._reports = reports
        self._sessions: dict[str, Session] = {}
        self._feeds = Feeds(
            node,
            "user",
            self._sessions,
            get_heads=self._get_heads,
            list_events=self._list_events,
            on_event=self._on_own_event,
        )
        self._joins_as_of = 0
        self.on_roles_changed: Callable[[str], None] = lambda user_id: None

    def find(self, user_id: str) -> Session | None:
        return self._sessions.get(user_id)

    async def attach(self, connection: Connection, user: User, hashed_token: str) -> None:
        """A connection has logged in. On failure nobody is logged in on it."""
        if connection.session is not None and connection.session.user_id != user.id:
            await self.detach(connection)
        session = connection.session or self._add(connection, user)
        connection.user, connection.hashed_token = user, hashed_token
        try:
            await session.following.run(lambda: self._follow(session))
            # The token may have been revoked a moment ago, when nobody here would have heard of it.
            await self.check_login(connection)
            self._reports.on_connections_changed(session)
        except BaseException:
            await self.detach(connection)
            raise

    def _add(self, connection: Connection, user: User) -> Session:
        session = self._sessions.get(user.id)
        if session is None:
            session = self._sessions[user.id] = Session(user.id)
            SESSIONS.set(len(self._sessions))
        connection.session = session
        connection.status = ONLINE
        session.connections.append(connection)
        return session

    async def check_login(self, connection: Connection) -> None:
        """Has auth say that the connection's login still stands. Raises LoginRequired, Unavailable."""
        session = connection.session
        if session is None:
            raise LoginRequired
        request = CheckLoginRequest(user_id=session.user_id, hashed_token=connection.hashed_token)
        reply = await self._node.services.auth.check_login(request)
        if session.seq is None:
            session.seq = reply.applied_seq

    async def _follow(self, session: Session) -> None:
        follow = await self._node.log.follow(user_stream(session.user_id), self._on_user_event)
        if self._sessions.get(session.user_id) is session:
            session.follow = follow
        else:
            await follow.stop()

    async def detach(self, connection: Connection) -> None:
        """A connection has logged out or is gone."""
        session, connection.session, connection.user = connection.session, None, None
        if session is None:
            return
        session.connections.remove(connection)
        self._reports.on_connections_changed(session)
        connection.notify_events = 0
        self._update_events(session)
        if not session.connections and self._sessions.get(session.user_id) is session:
            del self._sessions[session.user_id]
            SESSIONS.set(len(self._sessions))
            if session.follow is not None:
                await session.follow.stop()
        if not session.events & NEEDS_ROOMS:
            await self._leave_rooms(session)

    async def hear(self, connection: Connection, bits: int) -> None:
        """The connection wants these of its user's events; returns when every later one will reach it."""
        session = connection.session
        if session is None:
            return
        connection.notify_events |= bits
        self._update_events(session)
        if bits & NEEDS_ROOMS:
            if session.loading is None:
                session.loading = Once()
            await session.loading.run(lambda: self._load_rooms(session))

    async def ignore(self, connection: Connection, bits: int) -> None:
        """The connection no longer wants these."""
        connection.notify_events &= ~bits
        if connection.session is not None:
            self._update_events(connection.session)
            if not connection.session.events & NEEDS_ROOMS:
                await self._leave_rooms(connection.session)

    async def _load_rooms(self, session: Session) -> None:
        with self._news(session) as news:
            seq = session.seq
            # What is remembered may be older than a change whose news came before this session listened.
            self._node.access.forget_user(session.user_id)
            reply = await self._list_with_choices(session)
            await self._listen(session, reply.room_ids, news)
            while late := [room_id for room_id, joined in news.items() if joined and not self._is_in(session, room_id)]:
                await self._listen(session, late, news)
            for _ in range(_ATTEMPTS):
                if session.seq == seq:
                    break
                seq = session.seq  # they may have chosen otherwise meanwhile
                self._node.access.forget_user(session.user_id)
                reply = await self._list_with_choices(session)
            for data in reply.choices:
                subscription = orjson.loads(data)
                room = self._rooms.find(subscription["rid"])
                if room is not None and room in session.rooms:
                    room.learn(session, choice_of(subscription))

    async def _list_with_choices(self, session: Session) -> ListMembershipsReply:
        """The user's rooms, and what they want to be told of these; learns what holds for all of them."""
        user = await self._node.access.find_user(session.user_id)
        self._learn(session, NO_WISHES if user is None else user.wishes)
        return await self._node.services.messaging.list_memberships(
            ListMembershipsRequest(user_id=session.user_id, with_choices=True)
        )

    async def _listen(self, session: Session, room_ids: Iterable[str], news: dict[str, bool]) -> list[Room]:
        """Enters the rooms, once every later event of theirs is heard, unless the user has left meanwhile."""
        entered = []
        surplus = []
        for room in await self._rooms.listen(room_ids):
            if news.get(room.id, True) and room not in session.rooms and session.events & NEEDS_ROOMS:
                self._enter(session, room)
                entered.append(room)
            else:
                news.pop(room.id, None)
                surplus.append(room)
        await self._rooms.unlisten(surplus)
        return entered

    @contextmanager
    def _news(self, session: Session) -> Iterator[dict[str, bool]]:
        """The memberships that change while something is under way that was begun without knowing them."""
        session.waiting += 1
        try:
            yield session.news
        finally:
            session.waiting -= 1
            if not session.waiting:
                session.news.clear()

    def _is_in(self, session: Session, room_id: str) -> bool:
        room = self._rooms.find(room_id)
        return room is not None and room in session.rooms

    def _update_events(self, session: Session) -> None:
        was_bot = session.events & MY_MESSAGES
        session.update_events()
        if session.events & MY_MESSAGES != was_bot:
            for room in session.rooms:
                (room.bots.discard if was_bot else room.bots.add)(session)

    def _learn(self, session: Session, wishes: Wishes) -> None:
        """What the user wants to be told of, from now on."""
        if wishes.highlights != session.wishes.highlights:
            session.highlights = Highlights(wishes.highlights) if wishes.highlights else NO_HIGHLIGHTS
            for room in session.rooms:
                (room.highlighters.add if session.highlights else room.highlighters.discard)(session)
        session.wishes = wishes

    def _enter(self, session: Session, room: Room) -> None:
        session.rooms.add(room)
        room.members.add(session)
        if session.events & MY_MESSAGES:
            room.bots.add(session)
        if session.highlights:
            room.highlighters.add(session)

    async def _leave_rooms(self, session: Session) -> None:
        session.loading = None
        rooms, session.rooms = session.rooms, set()
        for room in rooms:
            self._exit(session, room)
        await self._rooms.unlisten(rooms)

    def _exit(self, session: Session, room: Room) -> None:
        room.members.discard(session)
        room.bots.discard(session)
        room.alerted.discard(session)
        room.choices.pop(session, None)
        room.highlighters.discard(session)
        if not room.members:
            room.document = None
            self._states.forget(room)

    # -- what the log did not bring --------------------------------------------------------------------------------

    async def compare(self, grace: float, user_ids: Iterable[str] | None = None) -> None:
        """Fetches what is missing of the users' own streams here, of all or of these users (`Feeds.compare`)."""
        await self._feeds.compare(grace, user_ids)

    async def _get_heads(self, user_ids: Sequence[str]) -> Sequence[int]:
        return (await self._node.services.auth.get_user_heads(GetUserHeadsRequest(user_ids=user_ids))).heads

    async def _list_events(self, user_id: str, after: int) -> Sequence[Event]:
        request = ListUserEventsRequest(user_id=user_id, after=after)
        return (await self._node.services.auth.list_user_events(request)).events

    async def find_joins(self) -> None:
        """Lets those enter who became members of rooms, and of whom nobody told: they don't follow those yet.

        Who has left, the rooms' own streams tell. Raises Unavailable.
        """
        reply = await self._node.services.messaging.list_joins(ListJoinsRequest(since=self._joins_as_of))
        untold: dict[Session, None] = {}
        for join in reply.joins:
            session = self._sessions.get(join.user_id)
            if session is None or session.loading is None or not session.loading.is_done:
                continue
            if not self._is_in(session, join.room_id):
                untold[session] = None
        for session in untold:
            # They may have left again since: what counts is read while it is heard what changes.
            with self._news(session) as news:
                memberships = await self._node.services.messaging.list_memberships(
                    ListMembershipsRequest(user_id=session.user_id)
                )
                missing = [room_id for room_id in memberships.room_ids if not self._is_in(session, room_id)]
                for room in await self._listen(session, missing, news):
                    await self._states.tell_inserted(room, session)
        self._joins_as_of = reply.as_of

    # -- events ----------------------------------------------------------------------------------------------------

    def _on_user_event(self, event: Event) -> None:
        """From the log: an event of a connected user's own stream, or a membership that concerns them."""
        if event.stream_kind == "room":
            self._on_membership(event)
        else:
            self._feeds.hear(event)

    def _on_own_event(self, session: Session, event: Event) -> None:
        """The table of what each event of a user's own stream means here. In order, once."""
        match event.WhichOneof("fact"):
            case "tokens_revoked":
                revoked = set(event.tokens_revoked.hashed_tokens)
                self._end(session, [c for c in session.connections if c.hashed_token in revoked])
            case "user_changed":
                self._on_user_changed(session, event)
            case "user_deleted":
                self._end(session, list(session.connections))
            case "room_read":
                self._on_own_change(session, event.room_read.room_id)
            case "subscription_preferred":
                self._on_own_change(session, event.subscription_preferred.room_id)
            case "message_starred":
                self._on_starred(session, event.message_starred)

    def _on_starred(self, session: Session, fact: MessageStarred) -> None:
        if (room := self._rooms.find(fact.room_id)) is not None:
            room.tell_message(session, fact.message)

    def _on_user_changed(self, session: Session, event: Event) -> None:
        self._node.access.forget_user(session.user_id)
        changes = orjson.loads(event.user_changed.set or b"{}")
        if changes.get("active") is False:
            self._end(session, list(session.connections))
            return
        if "roles" in changes:
            self.on_roles_changed(session.user_id)
        self._learn(session, wishes_of(changes, session.wishes))
        data = {
            "type": "updated",
            "id": session.user_id,
            "diff": public_user(changes),
            "unset": public_user(dict.fromkeys(event.user_changed.unset, 1)),
        }
        session.tell(_USER_DATA, orjson.dumps(data))

    def _on_own_change(self, session: Session, room_id: str) -> None:
        room = self._rooms.find(room_id)
        if room is not None and room in session.rooms:
            self._states.subscription_due(room, session)

    def end(self, connection: Connection) -> None:
        """The connection's login does not stand any more."""
        if connection.session is not None:
            self._end(connection.session, [connection])

    def _end(self, session: Session, connections: list[Connection]) -> None:
        session.tell(_FORCE_LOGOUT, b"", connections)
        for connection in connections:
            CLOSED.inc()
            connection.close(1000, "logged out")

    def _on_membership(self, event: Event) -> None:
        """The user of a session here has become a member of a room, or is one no longer."""
        joined = event.WhichOneof("fact") != "member_left"
        for user_id in event.also_tell:
            session = self._sessions.get(user_id)
            if session is None or session.loading is None:
                continue
            if session.waiting:
                session.news[event.stream_id] = joined
            if joined:
                self._node.spawn(self._on_joined(session, event.stream_id), f"join {event.stream_id}")

    async def _on_joined(self, session: Session, room_id: str) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                with self._news(session) as news:
                    for room in await self._listen(session, [room_id], news):
                        await self._states.tell_inserted(room, session)
                return
            except PalaverError as error:
                logger.warning("could not tell %s of room %s: %s", session.user_id, room_id, error)
                await asyncio.sleep(min(2**attempt, 30))

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
        sessions = list(room.members)
        for session in sessions:
            session.rooms.discard(room)
            self._exit(session, room)
            self._node.spawn(self._rooms.unlisten([room]), f"leave {room.id}")
        self._node.spawn(self._states.tell_deleted(room, sessions), f"deleted {room.id}")
