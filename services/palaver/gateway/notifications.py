"""Desktop notifications: whom a message here is told by the event `notification` of stream-notify-user.

Who follows a thread is asked by its replies as who is mentioned. In this order:

    disableNotifications, or the sender is ignored        nothing
    busy, as the user's own choice of a status            nothing
    @all, @here, and muteGroupMentions                    nothing, unless the member is asked themselves
    nothing                                               nothing
    mentions                                              what asks the member or everybody, and direct rooms
    all                                                   and all that the room shows; in rooms of more than
                                                          Notifications_Max_Room_Members only who chose it there

The choice is the subscription's, else the user's own, else Accounts_Default_User_Preferences_desktopNotifications.
A message asks whoever it mentions, and whose words (the preference `highlights`) are in it: in a thread, too. Such a
word is a mention for their notifications alone. It counts for no `userMentions` and no list of mentions: that would
be a write for each of them, and for every message a look at all members of the room, connected or not.
Nothing is read for a message, and in large rooms nobody looked at but those whom it asks and who chose something.
Whoever is connected here is seen as busy if that is what they chose, so it takes no word of presence.
"""

import asyncio
from collections.abc import Callable

import orjson

from palaver.database import Document
from palaver.gateway.choices import NO_CHOICE
from palaver.gateway.fanout import SLICE, Room
from palaver.gateway.highlights import Text
from palaver.gateway.session import NOTIFICATION, Session
from palaver.gateway.state import mentions_everybody
from palaver.node import Node
from palaver.v1.event_pb2 import MessageSent

_DEFAULT = "Accounts_Default_User_Preferences_desktopNotifications"


class Notifications:
    """Owned by the gateway; fed with every message of the rooms here."""

    def __init__(self, node: Node, find_session: Callable[[str], Session | None]) -> None:
        self._node = node
        self._find_session = find_session

    def on_message(self, room: Room, fact: MessageSent) -> None:
        """Tells those of the room's members here who want to know, in slices where they are many."""
        asked = {mention.user_id for mention in fact.mentions}
        if fact.thread_root:
            asked.update(orjson.loads(fact.thread_root).get("replies", ()))
        if not (fact.counts or asked or room.highlighters):
            return
        setting = self._node.access.setting
        limit = setting("Notifications_Max_Room_Members")
        telling = _Telling(
            room,
            fact,
            asked,
            is_everybodys=fact.counts and mentions_everybody(fact),
            has_all=fact.counts and (limit == 0 or 0 < room.size <= limit),
            default=setting(_DEFAULT),
        )
        candidates = room.members
        if not (telling.has_all or telling.is_everybodys or (fact.counts and room.type == "d")):
            found = (self._find_session(user_id) for user_id in asked)
            candidates = {session for session in found if session is not None and room in session.rooms}
            candidates |= room.highlighters
            if fact.counts:
                candidates.update(room.choices)
        if listeners := [session for session in candidates if session.events & NOTIFICATION]:
            telling.run(listeners)


class _Telling:
    """One message, for those who may want to hear of it."""

    __slots__ = (
        "_arguments",
        "_asked",
        "_default",
        "_room",
        "_sender_id",
        "_text",
        "_words",
        "has_all",
        "is_everybodys",
    )

    def __init__(
        self, room: Room, fact: MessageSent, asked: set[str], *, is_everybodys: bool, has_all: bool, default: str
    ) -> None:
        self._room = room
        self._text = fact.message
        self._asked = asked
        self._default = default
        self._sender_id = ""
        self._arguments = b""
        self._words: Text | None = None  # where somebody looks for theirs
        self.is_everybodys = is_everybodys
        self.has_all = has_all

    def run(self, listeners: list[Session], start: int = 0) -> None:
        """One slice now, and the rest in later turns of the loop."""
        if not self._arguments:
            message = orjson.loads(self._text)
            self._sender_id = message["u"]["_id"]
            self._arguments = orjson.dumps(_notification(self._room, message))
            if self._room.highlighters and "t" not in message:  # what is encrypted holds nobody's words
                self._words = Text(message["msg"])
        for session in listeners[start : start + SLICE]:
            if session.user_id != self._sender_id and self._is_wanted(session):
                session.tell(NOTIFICATION, self._arguments)
        if start + SLICE < len(listeners):
            asyncio.get_running_loop().call_soon(self.run, listeners, start + SLICE)

    def _is_wanted(self, session: Session) -> bool:
        choice = self._room.choices.get(session, NO_CHOICE)
        if choice.is_silent or session.wishes.is_busy or self._sender_id in choice.ignored:
            return False
        is_asked = session.user_id in self._asked or (
            self._words is not None and session.highlights.are_in(self._words)
        )
        if self.is_everybodys and choice.mutes_groups and not is_asked:
            return False
        wanted = choice.desktop or session.wishes.desktop or self._default
        if wanted == "nothing":
            return False
        if is_asked or self.is_everybodys or self._room.type == "d":
            return True
        return wanted == "all" and (self.has_all or choice.desktop == "all")


def _notification(room: Room, message: Document) -> Document:
    sender = message["u"]
    name = room.name
    shown = message.get("alias") or sender.get("name") or sender["username"]
    payload = {
        "_id": message["_id"],
        "rid": room.id,
        "sender": sender,
        "type": room.type,
        "message": {name: message[name] for name in ("msg", "t", "content") if name in message},
    }
    if message.get("tmid"):
        payload["tmid"] = message["tmid"]
    if name:
        payload["name"] = name
    return {
        "title": f"#{name}" if name else shown,
        "text": f"{shown}: {message['msg']}" if name else message["msg"],
        "payload": payload,
    }
