"""System messages: what a room tells its members about itself. They travel inside the event that they tell of."""

from collections.abc import Mapping
from typing import Any

import orjson

from palaver.access import User
from palaver.database import Document
from palaver.ids import new_id
from palaver.messaging import rules
from palaver.messaging.views import SYSTEM_USER
from palaver.node import Node
from palaver.v1.event_pb2 import MessageSent

ROCKET_CAT = "rocket.cat"


def reference(user: User) -> dict[str, str]:
    """The user inside another document."""
    if user is SYSTEM_USER:
        return {"_id": ROCKET_CAT, "username": ROCKET_CAT, "name": "Rocket.Cat"}
    return {"_id": user.id, "username": user.username, "name": user.name}


class Notices:
    """Writes system messages into events, where the room shows them."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def add(
        self,
        fact: MessageSent,
        room: Document,
        message_type: str,
        text: str,
        author: User,
        at: int,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Fills `fact`, the message inside an event of this room; leaves it alone where the room hides this type."""
        if not rules.is_shown(message_type, room, self._node.access.setting("Hide_System_Messages") or ()):
            return
        message_id = new_id()
        message = {
            "_id": message_id,
            "rid": room["_id"],
            "t": message_type,
            "msg": text,
            "ts": {"$date": at},
            "u": reference(author),
            "groupable": False,
            "_updatedAt": {"$date": at},
            **(extra or {}),
        }
        fact.message = orjson.dumps(message)
        fact.message_id = message_id
        fact.sent_at = at
        fact.parent_id = room.get("prid", "")
        fact.messages = room.get("msgs", 0) + 1
        fact.counted = room.get("counted", 0)
        fact.group_mentions = room.get("group_mentions", 0)
