"""What a user's room list shows, told as it changes: rooms-changed and subscriptions-changed of stream-notify-user.

State is last-wins: changes of a room within a window become one frame for each user, and a subscription is told only
when what its user sees of it changes. `inserted` and `removed` go out at once, in between.
"""

import asyncio
import logging
from collections.abc import Iterable

import orjson

from palaver.access import Access
from palaver.database import Document
from palaver.documents import public_room
from palaver.errors import PalaverError
from palaver.events import SYSTEM
from palaver.gateway.choices import choice_of
from palaver.gateway.fanout import Room
from palaver.gateway.session import ROOMS_CHANGED, SUBSCRIPTIONS_CHANGED, Session
from palaver.node import Node
from palaver.projections import project
from palaver.v1.event_pb2 import Event, MessageSent
from palaver.v1.messaging_pb2 import GetRoomRequest, ListSubscriptionsRequest

logger = logging.getLogger(__name__)

WINDOW = 0.2
"""Seconds between two tellings of one room's state, at least."""
SLICE = 200
"""Sessions told, or subscriptions asked for, between two turns of the event loop."""


class RoomStates:
    """Tells the members here of each room's changes. Owned by the gateway; fed by its room and user events."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._rooms_due: set[Room] = set()
        self._subscriptions_due: dict[Room, set[Session]] = {}
        # Rooms with something new: due for those whose subscription does not show it by the time of the telling.
        self._alerts_due: set[Room] = set()

    @property
    def _access(self) -> Access:
        return self._node.access

    def on_event(self, room: Room, event: Event) -> None:
        """One event of a room, in order: notes what has to be told of it, and when."""
        if not room.members:
            return
        fact = event.WhichOneof("fact")
        if fact is None:
            room.document = None  # what a newer version has done to it, messaging tells
        elif room.document is not None:
            _project(room, event)
        if _changes_room(event):
            self._rooms_due.add(room)
        if fact == "message_sent":
            self._due(room, self._sessions_moved(room, event.message_sent))
        elif fact == "room_changed":
            self._due(room, room.members)
        elif fact == "member_changed":
            self._due(room, [s for s in room.members if s.user_id == event.member_changed.user_id])
        elif fact == "member_renamed":
            renamed = {subscription.user_id for subscription in event.member_renamed.subscriptions}
            self._due(room, [s for s in room.members if s.user_id in renamed])
        elif fact == "message_changed" and (event.message_changed.followed or event.message_changed.unfollowed):
            changed = {*event.message_changed.followed, *event.message_changed.unfollowed}
            self._due(room, [s for s in room.members if s.user_id in changed])
        self._arm(room)

    def subscription_due(self, room: Room, session: Session) -> None:
        """The user changed something of their own about this room (read it, hid it …)."""
        room.alerted.discard(session)
        # Told or not: what they have chosen of the room is learned again, too.
        self._subscriptions_due.setdefault(room, set()).add(session)
        self._arm(room)

    def forget(self, room: Room) -> None:
        """Nobody's room list here shows this room any more."""
        self._rooms_due.discard(room)
        self._alerts_due.discard(room)
        self._subscriptions_due.pop(room, None)

    def _sessions_moved(self, room: Room, fact: MessageSent) -> Iterable[Session]:
        """Whose subscription may look different after this message."""
        mentioned = {mention.user_id for mention in fact.mentions}
        if fact.thread_root:
            mentioned.update(orjson.loads(fact.thread_root).get("replies", ()))
        moved = {session for session in room.members if session.user_id in mentioned} if mentioned else set()
        if not fact.counts:
            return moved
        setting = "Unread_Count_DM" if room.type == "d" else "Unread_Count"
        everyone = self._access.setting(setting) == "all_messages" or mentions_everybody(fact)
        if everyone:
            return room.members
        self._alerts_due.add(room)
        return moved

    def _due(self, room: Room, sessions: Iterable[Session]) -> None:
        due = self._subscriptions_due.setdefault(room, set())
        due.update(session for session in sessions if session.events & SUBSCRIPTIONS_CHANGED)

    def _arm(self, room: Room) -> None:
        if not room.state_armed:
            room.state_armed = True
            loop = asyncio.get_running_loop()
            wait = max(0.0, room.state_flushed_at + WINDOW - loop.time())
            loop.call_later(wait, self._start_telling, room)

    def _start_telling(self, room: Room) -> None:
        self._node.spawn(self._tell(room), f"state of {room.id}")

    async def _tell(self, room: Room) -> None:
        room.state_flushed_at = asyncio.get_running_loop().time()
        room.state_armed = False
        room_due = room in self._rooms_due
        self._rooms_due.discard(room)
        due = self._subscriptions_due.pop(room, set())
        if room in self._alerts_due:
            self._alerts_due.discard(room)
            due |= {s for s in room.members - room.alerted if s.events & SUBSCRIPTIONS_CHANGED}
        sessions_due = [session for session in due if session in room.members]
        try:
            if room_due:
                await self._tell_room(room)
            for start in range(0, len(sessions_due), SLICE):
                await self.tell_subscriptions(room, sessions_due[start : start + SLICE])
        except Exception:
            # Clients repair what they missed of state by their next updatedSince; the node lives on.
            logger.exception("could not tell the state of room %s", room.id)

    async def _tell_room(self, room: Room) -> None:
        listeners = [session for session in room.members if session.events & ROOMS_CHANGED]
        if not listeners:
            return
        await self.load(room)
        if room.document is None:
            return
        arguments = b'"updated",' + self._encode(room.document)
        for index, session in enumerate(listeners, 1):
            if room in session.rooms:
                session.tell(ROOMS_CHANGED, arguments)
            if index % SLICE == 0:
                await asyncio.sleep(0)

    async def load(self, room: Room) -> None:
        """Has the room's document, as of its last event."""
        if room.document is not None:
            return
        seq = room.seq
        reply = await self._node.services.messaging.get_room(GetRoomRequest(actor=SYSTEM, room_id=room.id))
        document = orjson.loads(reply.room)
        # An event that came meanwhile may or may not be in it: then the next telling asks again.
        if room.seq == seq:
            room.document = document

    async def tell_subscriptions(self, room: Room, sessions: list[Session], verb: str = "updated") -> None:
        """Sends these members their subscriptions as they are now, and learns what they have chosen."""
        by_user = {session.user_id: session for session in sessions}
        reply = await self._node.services.messaging.list_subscriptions(
            ListSubscriptionsRequest(actor=SYSTEM, updated_since=-1, room_ids=[room.id], user_ids=list(by_user))
        )
        for data in reply.subscriptions:
            subscription = orjson.loads(data)
            session = by_user.get(subscription["u"]["_id"])
            if session is None:
                continue
            if room in session.rooms:  # they may have left meanwhile
                room.learn(session, choice_of(subscription))
                if subscription.get("alert"):
                    room.alerted.add(session)
            session.tell(SUBSCRIPTIONS_CHANGED, orjson.dumps(verb) + b"," + data)

    async def tell_inserted(self, room: Room, session: Session) -> None:
        """The user has just become a member."""
        await self.load(room)
        await self.tell_subscriptions(room, [session], "inserted")
        if room.document is not None:
            session.tell(ROOMS_CHANGED, b'"inserted",' + self._encode(room.document))

    def _encode(self, document: Document) -> bytes:
        """A room as its members see it."""
        return orjson.dumps(public_room(document, outside=not self._access.setting("Store_Last_Message")))

    def tell_removed(self, room: Room, session: Session, subscription_id: str) -> None:
        """The user is a member no longer."""
        subscription = {"_id": subscription_id, "rid": room.id, "u": {"_id": session.user_id}, "t": room.type}
        session.tell(SUBSCRIPTIONS_CHANGED, b'"removed",' + orjson.dumps(subscription))
        session.tell(ROOMS_CHANGED, b'"removed",' + orjson.dumps({"_id": room.id, "t": room.type}))

    async def tell_deleted(self, room: Room, sessions: list[Session]) -> None:
        """The room is gone for these members; their clients know it by the subscription's id."""
        try:
            for start in range(0, len(sessions), SLICE):
                by_user = {session.user_id: session for session in sessions[start : start + SLICE]}
                reply = await self._node.services.messaging.list_subscriptions(
                    ListSubscriptionsRequest(actor=SYSTEM, updated_since=-1, room_ids=[room.id], user_ids=list(by_user))
                )
                for data in reply.subscriptions:
                    subscription = orjson.loads(data)
                    if (session := by_user.get(subscription["u"]["_id"])) is not None:
                        self.tell_removed(room, session, subscription["_id"])
        except PalaverError as error:
            logger.warning("could not tell that room %s is gone: %s", room.id, error)


def mentions_everybody(fact: MessageSent) -> bool:
    """Whether this very message mentions everybody. What else of it looks so its sender has written."""
    text = fact.message
    if not fact.group_mentions or not (b'"_id":"all"' in text or b'"_id":"here"' in text):
        return False
    return any(mention.get("type") != "user" for mention in orjson.loads(text).get("mentions", ()))


def _changes_room(event: Event) -> bool:
    """Whether the room itself looks different after the event."""
    match event.WhichOneof("fact"):
        case "message_changed":
            return event.message_changed.is_last or event.message_changed.HasField("notice")
        case "member_renamed":
            return bool(event.member_renamed.room)
    return True


def _project(room: Room, event: Event) -> None:
    """Applies what the event does to the room's own document."""
    document = room.document
    if document is None:
        return
    for put in project(event):
        if put.collection == "rooms" and put.id == room.id and put.insert is None:
            document.update(put.set)
            for name in put.unset:
                document.pop(name, None)
