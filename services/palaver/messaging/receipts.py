"""Read receipts: who has read a message, and until when everybody has read a room.

Nothing is kept for them: a member has read what was sent between their coming and their last visit (`ls`), and a
thread's reply when they read the thread. So a message costs no more with receipts than without, in rooms of any size; a
receipt's time is that of the member's last visit, and who has left the room has none.
"""

import orjson

from palaver.database import Document
from palaver.errors import MessageNotFound
from palaver.events import ROOM_READ
from palaver.messaging.messages import Messages
from palaver.messaging.rules import milliseconds
from palaver.messaging.store import Store
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply
from palaver.v1.messaging_pb2 import MessageRequest

_PART = 1000


class Receipts:
    """The use cases of read receipts."""

    def __init__(self, node: Node, store: Store, messages: Messages) -> None:
        self._node = node
        self._store = store
        self._messages = messages

    @property
    def are_on(self) -> bool:
        return bool(self._node.access.setting("Message_Read_Receipt_Enabled"))

    async def list_receipts(self, request: MessageRequest) -> DocumentsReply:
        """Everybody who has read a message, its sender first. Nobody where the settings don't have it told.

        Raises MessageNotFound.
        """
        message = await self._messages.find_readable(request)
        if message is None:
            raise MessageNotFound("Invalid message", code="error-invalid-message")
        if not self.are_on or not self._node.access.setting("Message_Read_Receipt_Store_Users"):
            return DocumentsReply()
        readers = await self._find_readers(message)
        sender = message["u"]
        readers.pop(sender["_id"], None)
        receipts = [_receipt(message, sender, message["ts"])]
        receipts += [_receipt(message, user, read_at) for user, read_at in readers.values()]
        return DocumentsReply(documents=receipts, total=len(receipts))

    async def _find_readers(self, message: Document) -> dict[str, tuple[Document, Document]]:
        """By id: each member who has read the message, and when at the latest."""
        in_thread = "tmid" in message and not message.get("tshow")
        if in_thread:
            records = await self._node.database.find("thread_reads", {"thread_id": message["tmid"]})
            times = {record["user_id"]: _thread_time(record) for record in records}
            wanted = [user_id for user_id, at in times.items() if at >= milliseconds(message["ts"])]
            found = await self._store.list_room_subscriptions(message["rid"], wanted)
            return {s["u"]["_id"]: (s["u"], {"$date": times[s["u"]["_id"]]}) for s in found}
        where = {"rid": message["rid"], "left_at": None, "ls": {"$gte": message["ts"]}}
        readers: dict[str, tuple[Document, Document]] = {}
        for start in range(0, 2**31, _PART):
            found = await self._node.database.find(
                "subscriptions", where, sort=[("ls", 1), ("_id", 1)], skip=start, limit=_PART
            )
            joined = [s for s in found if milliseconds(s["ts"]) <= milliseconds(message["ts"])]
            readers |= {s["u"]["_id"]: (s["u"], s["ls"]) for s in joined}
            if len(found) < _PART:
                break
        return readers

    async def on_read(self, room_id: str, previous: int, thread_id: str = "") -> None:
        """A member who had read until `previous` has read more: tells if now everybody has."""
        if not self.are_on:
            return
        told: Document = {"rid": room_id}
        if thread_id:
            told["tmid"] = thread_id
            until = await self._find_thread_read_until(thread_id)
        else:
            until = await self._store.find_read_until(room_id)
        if until > previous:
            await self._node.live.publish(ROOM_READ, orjson.dumps({**told, "until": until}))

    async def _find_thread_read_until(self, thread_id: str) -> int:
        """Until when all followers of a thread have read it."""
        records = await self._node.database.find("thread_reads", {"thread_id": thread_id})
        return min((_thread_time(record) for record in records if record.get("following")), default=0)


def _thread_time(record: Document) -> int:
    return max(milliseconds(record.get("read_at")), milliseconds(record.get("replied_at")))


def _receipt(message: Document, user: Document, read_at: Document) -> bytes:
    return orjson.dumps(
        {
            "_id": f"{message['_id']}{user['_id']}",
            "messageId": message["_id"],
            "roomId": message["rid"],
            "userId": user["_id"],
            "ts": read_at,
            "user": {"_id": user["_id"], "username": user.get("username", ""), "name": user.get("name", "")},
        }
    )
