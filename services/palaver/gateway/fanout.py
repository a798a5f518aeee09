"""Fan-out: from one event of a room to the sockets of everybody who hears it.

A room's messages, edits and deletions go through one ordered queue. The first frame after a pause goes out at once;
what comes
within the next few milliseconds is joined into one write per socket, because the cost is the system call and not
the bytes. A flush to many sockets gives way to the event loop every few hundred writes, and the window grows with
the time that a flush takes, so that the sender's answer never waits for it.

State (rooms-changed, subscriptions-changed) is `state.py`: there the last value wins.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import orjson
from prometheus_client import Counter, Gauge, Histogram

from palaver.database import Document
from palaver.errors import PalaverError, Unavailable
from palaver.events import room_stream
from palaver.gateway.choices import NO_CHOICE, Choice
from palaver.gateway.feeds import Feed, Feeds
from palaver.gateway.frames import CHANGED_SUFFIX, changed_frame, changed_prefix, text_frame
from palaver.gateway.session import MY_MESSAGES, Session
from palaver.log import Follow
from palaver.node import Node
from palaver.telemetry import NO_SPAN, Span, current_trace, resumed_span
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import GetRoomHeadsRequest, ListRoomEventsRequest

if TYPE_CHECKING:
    from palaver.gateway.ddp.connection import Connection

logger = logging.getLogger(__name__)

DELIVERED = Counter("palaver_deliveries_total", "Frames written to sockets for events of rooms")
FLUSH_SECONDS = Histogram(
    "palaver_flush_seconds", "Time to write one room's frames", buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
)
FOLLOWED = Gauge("palaver_rooms_followed", "Rooms that somebody here listens to")

WINDOW = 0.02
"""Seconds between two flushes of a busy room, at least."""
SLICE = 500
"""Writes between two turns of the event loop."""

OnRoomEvent = Callable[["Room", Event], None]
_Run = tuple["dict[Connection, None]", "list[Connection]", bytes]
"""Who hears it, who of them heard it when it was due, and the frames."""


class Room(Feed):
    """A room that somebody on this gateway listens to. Compared by identity."""

    __slots__ = (
        "_armed",
        "_flush_seconds",
        "_flushed_at",
        "_pending",
        "_prefix",
        "_span",
        "_suspended",
        "_traces",
        "access_changes",
        "alerted",
        "bots",
        "choices",
        "discussions",
        "document",
        "events",
        "highlighters",
        "listeners",
        "members",
        "messages",
        "name",
        "parent",
        "size",
        "state_armed",
        "state_flushed_at",
        "type",
    )

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.type = ""
        self.name = ""
        self.size = 0  # how many members it has; 0 while that is not known
        self.listeners = 0  # interests that keep this room followed
        self.messages: dict[Connection, None] = {}  # who hears stream-room-messages
        self.events: dict[str, dict[Connection, None]] = {}  # who hears which event of stream-notify-room
        self.members: set[Session] = set()  # whose room list shows it
        self.bots: set[Session] = set()  # of these, who hear every message of all their rooms
        self.alerted: set[Session] = set()  # of these, whose subscription shows it as unread already
        self.choices: dict[Session, Choice] = {}  # of these, who want to be told of it otherwise than by default
        self.highlighters: set[Session] = set()  # of these, who want to be told of words of their own
        self.parent: Room | None = None  # of a discussion that somebody hears who is no member: followed with it
        self.discussions: set[Room] = set()  # those of this room of which that is true
        self.document: Document | None = None  # the public room, while its state is told
        self.access_changes = 0  # how often it may have changed who may hear the room
        self.state_armed = False
        self.state_flushed_at = 0.0
        self._prefix = changed_prefix("stream-room-messages", id)
        self._pending: list[tuple[dict[Connection, None], bytes]] = []
        self._traces: list[str] = []  # of what is pending, as far as it is traced
        self._span: Span = NO_SPAN  # of the flush under way
        self._armed = False
        self._suspended: dict[Connection, _Suspension] = {}
        self._flushed_at = 0.0
        self._flush_seconds = 0.0

    def learn(self, session: Session, choice: Choice) -> None:
        """What one of the members here has chosen of this room."""
        if choice == NO_CHOICE:
            self.choices.pop(session, None)
        else:
            self.choices[session] = choice

    def queue_message(self, message: bytes) -> None:
        """A message, new or changed, for everybody who hears the room's messages."""
        if self.messages:
            self._queue(self.messages, text_frame(self._prefix + message + CHANGED_SUFFIX))

    def tell_message(self, session: Session, message: bytes) -> None:
        """A message as only this user sees it, for those of their connections that hear the room's messages."""
        connections = [connection for connection in session.connections if connection in self.messages]
        if connections:
            frame = text_frame(self._prefix + message + CHANGED_SUFFIX)
            for connection in self._keep_back(connections, self.messages, frame):
                connection.write(frame)

    def queue_event(self, name: str, arguments: bytes) -> None:
        """An event of stream-notify-room, in order with the messages."""
        if connections := self.events.get(name):
            self._queue(connections, changed_frame("stream-notify-room", f"{self.id}/{name}", arguments))

    def _queue(self, connections: "dict[Connection, None]", frame: bytes) -> None:
        self._pending.append((connections, frame))
        if trace := current_trace():
            self._traces.append(trace)
        self._arm()

    def suspend(self, connections: "Iterable[Connection]") -> None:
        """Keeps back what these would hear, until `resume`: it is being found out whether they still may."""
        for connection in connections:
            self._suspended.setdefault(connection, _Suspension()).times += 1

    def resume(self, connection: "Connection") -> None:
        """Sends what was kept back of what the connection still hears. Once for each time that it was suspended."""
        suspension = self._suspended[connection]
        suspension.times -= 1
        if not suspension.times:
            del self._suspended[connection]
            if frames := [data for hearing, data in suspension.kept if connection in hearing]:
                connection.write(b"".join(frames))

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            loop = asyncio.get_running_loop()
            wait = self._flushed_at + max(WINDOW, 2 * self._flush_seconds) - loop.time()
            if wait > 0:
                loop.call_later(wait, self._flush, loop)
            else:
                loop.call_soon(self._flush, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        pending, self._pending = self._pending, []
        self._flushed_at = loop.time()
        runs: list[_Run] = []
        start = 0
        for index in range(1, len(pending) + 1):
            if index == len(pending) or pending[index][0] is not pending[start][0]:
                frames = [frame for _, frame in pending[start:index]]
                hearing = pending[start][0]
                runs.append((hearing, list(hearing), frames[0] if len(frames) == 1 else b"".join(frames)))
                start = index
        deliveries = sum(len(connections) for connections, _ in pending)
        DELIVERED.inc(deliveries)
        traces, self._traces = self._traces, []
        self._span = resumed_span("flush", "internal", traces)
        self._span.note("palaver.deliveries", deliveries)
        self._write(loop, runs, 0, 0)

    def _write(self, loop: asyncio.AbstractEventLoop, runs: "list[_Run]", run: int, start: int) -> None:
        """Writes one slice, and the rest in later turns of the loop."""
        left = SLICE
        while run < len(runs):
            hearing, connections, data = runs[run]
            part = connections if start == 0 and len(connections) <= left else connections[start : start + left]
            for connection in self._keep_back(part, hearing, data) if self._suspended else part:
                connection.write(data)
            left -= len(part)
            if start + len(part) < len(connections):
                loop.call_soon(self._write, loop, runs, run, start + len(part))
                return
            run, start = run + 1, 0
            if left <= 0 and run < len(runs):
                loop.call_soon(self._write, loop, runs, run, 0)
                return
        self._flush_seconds = loop.time() - self._flushed_at
        FLUSH_SECONDS.observe(self._flush_seconds)
        self._span.end()
        self._armed = False
        if self._pending:
            self._armed = True
            loop.call_later(max(WINDOW, 2 * self._flush_seconds) - self._flush_seconds, self._flush, loop)

    def _keep_back(
        self, connections: "list[Connection]", hearing: "dict[Connection, None]", data: bytes
    ) -> "list[Connection]":
        """Those of the connections that hear the frames now; the others' are kept."""
        others = []
        for connection in connections:
            if (suspension := self._suspended.get(connection)) is None:
                others.append(connection)
            else:
                suspension.kept.append((hearing, data))
        return others


class _Suspension:
    """What a connection does not hear yet, each with the dictionary of those who hear it."""

    __slots__ = ("kept", "times")

    def __init__(self) -> None:
        self.times = 0
        self.kept: list[tuple[dict[Connection, None], bytes]] = []


class Rooms:
    """The rooms that this gateway follows, and every event of theirs, once and in order."""

    def __init__(self, node: Node, on_event: OnRoomEvent) -> None:
        self._node = node
        self._rooms: dict[str, Room] = {}
        self._feeds = Feeds(
            node,
            "room",
            self._rooms,
            get_heads=self._get_heads,
            list_events=self._list_events,
            on_event=on_event,
        )
        self._opening: dict[str, asyncio.Future[None]] = {}

    def find(self, room_id: str) -> Room | None:
        return self._rooms.get(room_id)

    def all(self) -> list[Room]:
        return list(self._rooms.values())

    async def listen(self, room_ids: Iterable[str]) -> list[Room]:
        """Follows these rooms, one interest each; returns when every later event will be heard."""
        rooms: list[Room] = []
        fresh: list[Room] = []
        waiting: list[asyncio.Future[None]] = []
        for room_id in room_ids:
            room = self._rooms.get(room_id)
            if room is None:
                room = self._rooms[room_id] = Room(room_id)
                fresh.append(room)
            elif room_id in self._opening:
                waiting.append(self._opening[room_id])
            room.listeners += 1
            rooms.append(room)
        try:
            if fresh:
                await self._follow(fresh)
            for future in waiting:
                await asyncio.shield(future)
        except BaseException:
            await self.unlisten(rooms)
            raise
        return rooms

    async def _follow(self, rooms: list[Room]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._opening.update((room.id, done) for room in rooms)
        follows: list[Follow] = []
        try:
            follows = await self._node.log.follow_all([room_stream(room.id) for room in rooms], self._feeds.hear)
            for room, follow in zip(rooms, follows, strict=True):
                room.follow = follow
            reply = await self._node.services.messaging.get_room_heads(
                GetRoomHeadsRequest(room_ids=[room.id for room in rooms])
            )
            for index, room in enumerate(rooms):
                applied = reply.applied[index]
                room.type, room.name = reply.types[index], reply.names[index]
                room.size = reply.sizes[index] if reply.sizes else 0  # older versions don't say
                # What is appended and not yet projected is in no history yet: it is still to be heard.
                if room.seq is None or room.seq < applied:
                    room.seq = applied
        except BaseException as error:
            # Nobody may believe that these rooms are heard.
            for room in rooms:
                if self._rooms.get(room.id) is room:
                    del self._rooms[room.id]
            for follow in follows:
                await follow.stop()
            done.set_exception(error if isinstance(error, PalaverError) else Unavailable())
            done.exception()  # there may be nobody who waits
            raise
        else:
            done.set_result(None)
        finally:
            for room in rooms:
                self._opening.pop(room.id, None)
            FOLLOWED.set(len(self._rooms))

    async def follow_parent(self, room: Room, parent_id: str) -> bool:
        """Follows the room that decides who may hear a discussion, for as long as the discussion is followed.

        False where that was so already: nothing can have been missed.
        """
        if room.parent is not None:
            return False
        (parent,) = await self.listen([parent_id])
        if room in parent.discussions or self._rooms.get(room.id) is not room:
            await self.unlisten([parent])
            return True
        room.parent = parent
        parent.discussions.add(room)
        return True

    async def unlisten(self, rooms: Iterable[Room]) -> None:
        """Takes one interest in each of these rooms back; a room without any is followed no longer."""
        for room in rooms:
            room.listeners -= 1
            if room.listeners <= 0 and self._rooms.get(room.id) is room:
                del self._rooms[room.id]
                if room.follow is not None:
                    try:
                        await room.follow.stop()
                    except PalaverError as error:
                        logger.warning("could not stop following room %s: %s", room.id, error)
                if (parent := room.parent) is not None:
                    room.parent = None
                    parent.discussions.discard(room)
                    await self.unlisten([parent])
        FOLLOWED.set(len(self._rooms))

    async def compare(self, grace: float) -> None:
        """Fetches what is missing of every room here (`Feeds.compare`)."""
        await self._feeds.compare(grace)

    async def _get_heads(self, room_ids: Sequence[str]) -> Sequence[int]:
        request = GetRoomHeadsRequest(room_ids=room_ids, only_heads=True)
        return (await self._node.services.messaging.get_room_heads(request)).heads

    async def _list_events(self, room_id: str, after: int) -> Sequence[Event]:
        request = ListRoomEventsRequest(room_id=room_id, after=after)
        return (await self._node.services.messaging.list_room_events(request)).events


def my_messages_frame(room: Room, message: bytes) -> bytes:
    """A message for those who hear `__my_messages__`, as a member."""
    about: Document = {"roomParticipant": True, "roomType": room.type}
    if room.name:
        about["roomName"] = room.name
    return changed_frame("stream-room-messages", "__my_messages__", message + b"," + orjson.dumps(about))


def tell_my_messages(room: Room, message: bytes) -> None:
    """Sends a message to the members here that hear all their rooms at once (bots)."""
    if not room.bots:
        return
    frame = my_messages_frame(room, message)
    for session in room.bots:
        for connection in session.connections:
            if connection.notify_events & MY_MESSAGES:
                connection.write(frame)
