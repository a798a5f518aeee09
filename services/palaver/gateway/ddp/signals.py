"""Signals: what somebody's client says to other people's clients, and nobody keeps: that a key is missing, that two
want to talk off the record or to call each other.

It is written to a stream (`writing.py`), to the other side of a direct room or to the other members of a room, and they
hear it as an event of their own `stream-notify-user`. A client believes what a signal says of its writer and of the
room, so one that says anything else than the truth of these is no signal.
"""

import logging
from collections.abc import Iterable
from typing import Any

import msgspec
import orjson

from palaver.gateway.fanout import Rooms
from palaver.gateway.people import People
from palaver.gateway.session import NOTIFY_USER_BITS, Session
from palaver.ids import direct_room_id
from palaver.node import Node

logger = logging.getLogger(__name__)

_SUBJECT = "signals"
_TO_USER = frozenset({"otr", "webrtc", "video-conference"})
_TO_ROOM = frozenset({"e2ekeyRequest", "otr", "webrtc"})
_MAX_BYTES = 32 * 1024
# The names under which signals say who wrote them, and in which room that is.
_WRITER = ("userId", "uid", "from")
_ROOM = ("roomId", "rid", "room")


class Signal(msgspec.Struct):
    """To the user `user_id`, or where that is empty to all other members of the room who are connected."""

    event: str
    room_id: str
    writer_id: str
    user_id: str
    arguments: list[Any]


def parse_signal(stream: str, arguments: list[Any], writer_id: str) -> Signal | None:
    """What a client writes to `stream-notify-user` ("<user id>/<event>") or `stream-notify-room-users` ("<room
    id>/<event>"); None for what is no signal."""
    if not arguments or not isinstance(arguments[0], str):
        return None
    whom, _, event = arguments[0].rpartition("/")
    # Clients append an empty string where they have no second factor.
    said = arguments[1:-1] if arguments[-1] == "" else arguments[1:]
    if not whom or not _is_small(said):
        return None
    if stream == "stream-notify-user" and event in _TO_USER and whom != writer_id:
        signal = Signal(event, direct_room_id([writer_id, whom]), writer_id, whom, said)
    elif stream == "stream-notify-room-users" and event in _TO_ROOM:
        signal = Signal(event, whom, writer_id, "", said)
    else:
        return None
    return signal if _is_true(signal) else None


def _is_small(said: list[Any]) -> bool:
    try:
        return len(orjson.dumps(said)) <= _MAX_BYTES
    except TypeError:  # nested without end
        return False


def _is_true(signal: Signal) -> bool:
    """Whether what the signal says of its writer and its room is so."""
    if signal.event == "e2ekeyRequest":
        return bool(signal.arguments and signal.arguments[0] == signal.room_id)
    objects = [argument for argument in signal.arguments if isinstance(argument, dict)]
    objects += [one["params"] for one in objects if isinstance(one.get("params"), dict)]
    return all(
        one.get(name, truth) == truth
        for one in objects
        for names, truth in ((_WRITER, signal.writer_id), (_ROOM, signal.room_id))
        for name in names
    )


class Signals:
    """The way of signals between gateways, and to the sockets of this one."""

    def __init__(self, node: Node, rooms: Rooms, people: People) -> None:
        self._node = node
        self._rooms = rooms
        self._people = people

    async def open(self) -> None:
        """Begins to hear them."""
        await self._node.live.subscribe(_SUBJECT, self._on_signal)

    async def send(self, signal: Signal) -> None:
        """Tells every gateway. Raises Unavailable."""
        await self._node.live.publish(_SUBJECT, msgspec.json.encode(signal))

    def _on_signal(self, data: bytes) -> None:
        try:
            signal = msgspec.json.decode(data, type=Signal)
            bit = NOTIFY_USER_BITS[signal.event]
        except (msgspec.MsgspecError, KeyError):
            logger.warning("somebody else's message on the subject %s is passed over", _SUBJECT)
            return
        said = orjson.dumps(signal.arguments)[1:-1]
        for session in self._hearers(signal):
            session.tell(bit, said)

    def _hearers(self, signal: Signal) -> Iterable[Session]:
        if signal.user_id:
            session = self._people.find(signal.user_id)
            return [] if session is None else [session]
        room = self._rooms.find(signal.room_id)
        members = () if room is None else room.members
        return [session for session in members if session.user_id != signal.writer_id]
