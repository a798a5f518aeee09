"""What clients write to streams: who is typing, and signals to other clients. Called by `server.py`.

A write is a method call of the stream's name. What is not allowed, or not understood, is dropped without a word: that
is what clients expect of it.
"""

from typing import Any

import orjson

from palaver.access import User
from palaver.errors import NotFound
from palaver.events import user_actor
from palaver.gateway.ddp.activity import activity_subject, parse_written
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.ddp.signals import Signals, parse_signal
from palaver.node import Node
from palaver.v1.messaging_pb2 import CheckAccessRequest, RoomRequest

WRITTEN_STREAMS = frozenset({"stream-notify-room", "stream-notify-user", "stream-notify-room-users"})
"""The streams that clients may write to."""


class Writing:
    """Every write of every connection here."""

    def __init__(self, node: Node, signals: Signals) -> None:
        self._node = node
        self._signals = signals

    async def write(self, connection: Connection, stream: str, arguments: list[Any]) -> None:
        """A client writes to a stream. Raises Unavailable."""
        if stream not in WRITTEN_STREAMS or connection.user is None:
            return
        # As they are called now: it may have changed since they came.
        user = await self._node.access.find_user(connection.user.id)
        if user is None or not user.active:
            return
        if stream == "stream-notify-room":
            await self._write_activity(connection, user, arguments)
        else:
            await self._write_signal(user, stream, arguments)

    async def _write_activity(self, connection: Connection, user: User, arguments: list[Any]) -> None:
        real_names = bool(self._node.access.setting("UI_Use_Real_Name"))
        message = parse_written(arguments, user, connection.id, real_names=real_names)
        if message is None:
            return
        request = CheckAccessRequest(
            actor=user_actor(user.id), room_id=message.room_id, policy_seq=self._node.access.policy.seq
        )
        try:
            reply = await self._node.services.messaging.check_access(request)
        except NotFound:
            return
        if reply.allowed:
            await self._node.live.publish(activity_subject(message.room_id), message.SerializeToString())

    async def _write_signal(self, user: User, stream: str, arguments: list[Any]) -> None:
        """Only among the members of a room, and not from who is blocked there."""
        signal = parse_signal(stream, arguments, user.id)
        if signal is None or (signal.event == "otr" and not self._node.access.setting("OTR_Enable")):
            return
        request = RoomRequest(actor=user_actor(user.id), room_id=signal.room_id)
        try:
            reply = await self._node.services.messaging.get_subscription(request)
        except NotFound:
            return
        own = orjson.loads(reply.subscription) if reply.subscription else {}
        if own and not own.get("blocked") and not own.get("blocker"):
            await self._signals.send(signal)
