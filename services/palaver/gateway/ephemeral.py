"""Messages that one user sees now, and that nobody keeps: what the server answers to a command in a room.

Whoever writes one publishes it; the gateways with the user's connections send it to those that listen to their
`message` event. Who has none at that moment misses it.
"""

import logging
import time
from typing import Any

import msgspec
import orjson

from palaver.gateway.call import Call
from palaver.gateway.people import People
from palaver.gateway.session import NOTIFY_USER_BITS
from palaver.ids import new_id
from palaver.node import Node

logger = logging.getLogger(__name__)

_SUBJECT = "ephemeral"
_MESSAGE = NOTIFY_USER_BITS["message"]
_AUTHOR = {"_id": "rocket.cat", "username": "rocket.cat"}


class _Told(msgspec.Struct):
    user_id: str
    message: msgspec.Raw


async def tell_caller(call: Call, room_id: str, text: str, thread_id: str = "") -> None:
    """Shows the caller a message in a room, on all of their connections. Raises Unavailable."""
    message: dict[str, Any] = {
        "_id": new_id(),
        "rid": room_id,
        "msg": text,
        "ts": {"$date": time.time_ns() // 1_000_000},
        "u": _AUTHOR,
        "private": True,
    }
    if thread_id:
        message["tmid"] = thread_id
    told = _Told(call.me.id, msgspec.Raw(orjson.dumps(message)))
    await call.live.publish(_SUBJECT, msgspec.json.encode(told))


class Ephemeral:
    """This gateway's ear for them."""

    def __init__(self, node: Node, people: People) -> None:
        self._node = node
        self._people = people

    async def open(self) -> None:
        await self._node.live.subscribe(_SUBJECT, self._on_told)

    def _on_told(self, data: bytes) -> None:
        try:
            told = msgspec.json.decode(data, type=_Told)
        except msgspec.MsgspecError:
            logger.warning("somebody else's message on the subject %s is passed over", _SUBJECT)
            return
        session = self._people.find(told.user_id)
        if session is not None:
            session.tell(_MESSAGE, bytes(told.message))
