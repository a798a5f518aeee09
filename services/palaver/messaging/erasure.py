"""Erasing what a deleted user wrote: taken away, or given to the workspace's bot. Called by departures.py.

Some messages of one room at a time, in one event; who is handed the same user again finds only what is left.
"""

import asyncio
from collections.abc import Sequence

import orjson

from palaver import failpoints
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import Unavailable
from palaver.events import SYSTEM, room_stream
from palaver.messaging import rules
from palaver.messaging.files import list_attached, list_ids
from palaver.messaging.notices import reference
from palaver.messaging.revisions import NotYet, TooMuch, check_size, find_last_message, list_mentioned
from palaver.messaging.store import Store
from palaver.messaging.views import DELETED, SYSTEM_USER
from palaver.node import Node
from palaver.v1.event_pb2 import Event, Remaining, Unmentioned

ALIAS = "Removed User"

_PAGE = 400
_PER_EVENT = 100
_AT_ONCE = 4
_MAX_ATTEMPTS = 20


class Erasure:
    """Takes messages away from a user."""

    def __init__(self, node: Node, store: Store) -> None:
        self._node = node
        self._store = store

    def stand_in(self) -> dict[str, str]:
        """Whose messages are those that nobody may be linked to."""
        return {**reference(SYSTEM_USER), "alias": ALIAS}

    async def erase(self, user_id: str, *, unlink: bool) -> None:
        """Takes away every message of the user, or with `unlink` gives them all to the bot."""
        after = ""
        while page := await self._store.list_messages_by(user_id, after, _PAGE):
            by_room: dict[str, list[str]] = {}
            for message in filter(_is_there, page):
                by_room.setdefault(message["rid"], []).append(message["_id"])
            parts = [
                (room_id, ids[start : start + _PER_EVENT])
                for room_id, ids in by_room.items()
                for start in range(0, len(ids), _PER_EVENT)
            ]
            for start in range(0, len(parts), _AT_ONCE):
                some = parts[start : start + _AT_ONCE]
                await asyncio.gather(*(self._erase(room_id, ids, user_id, unlink) for room_id, ids in some))
                failpoints.reach("departure.between_erasures")
            after = page[-1]["_id"]

    async def _erase(self, room_id: str, message_ids: Sequence[str], user_id: str, unlink: bool) -> None:
        async def decide(draft: Draft) -> None:
            room = await draft.get_own()
            found = await draft.get_many("messages", message_ids)
            messages = [message for message in found if message["u"]["_id"] == user_id and _is_there(message)]
            if room is None or not messages:
                return
            at = rules.event_time(room, now())
            event = Event()
            fact = event.messages_erased
            fact.user_id = user_id
            fact.message_ids.extend(message["_id"] for message in messages)
            for upload in await list_attached(draft, messages):
                fact.upload_ids.extend(list_ids(upload))
            if unlink:
                fact.author = orjson.dumps(reference(SYSTEM_USER))
                fact.alias = ALIAS
            else:
                fact.thread_roots.extend(await list_roots(draft, messages, at))
                fact.remaining.CopyFrom(_remaining(room, messages))
                fact.unmentioned.extend(list_unmentioned(messages))
            last = room.get("lastMessage")
            if last is not None and last["_id"] in fact.message_ids:
                if unlink:
                    last = {**last, "u": reference(SYSTEM_USER), "alias": ALIAS}
                else:
                    last = await find_last_message(self._node.database, draft, room, {"u._id": {"$ne": user_id}})
                fact.room_last_message = orjson.dumps(last)
            check_size(event, messages)
            draft.append(event, actor=SYSTEM, at=at)

        for _ in range(_MAX_ATTEMPTS):
            try:
                return await self._node.commits.execute(room_stream(room_id), decide)
            except NotYet:
                continue
            except TooMuch:
                half = len(message_ids) // 2
                await self._erase(room_id, message_ids[:half], user_id, unlink)
                return await self._erase(room_id, message_ids[half:], user_id, unlink)
        raise Unavailable("The room is too busy")


def _remaining(room: Document, messages: Sequence[Document]) -> Remaining:
    """Copies in the history of edits were never counted."""
    copies = sum(bool(message.get("_hidden")) for message in messages)
    return rules.remaining(room, len(messages) - copies, copies)


def _is_there(message: Document) -> bool:
    """Whether it is still there to see, or in the history of edits."""
    return not message.get("_hidden") or ("parent" in message and "deleted_at" not in message)


async def list_roots(draft: Draft, messages: Sequence[Document], at: int) -> list[bytes]:
    """The first messages of threads that lose replies, with how many they have from now on."""
    gone = {message["_id"] for message in messages}
    lost: dict[str, int] = {}
    for message in messages:
        if message.get("_hidden") or message.get("t") == DELETED:
            continue  # it was taken off the count when it was deleted
        if (thread_id := message.get("tmid")) and thread_id not in gone:
            lost[thread_id] = lost.get(thread_id, 0) + 1
    roots: list[bytes] = []
    for root in await draft.get_many("messages", list(lost)):
        if not root.get("_hidden"):
            tcount = max(0, root.get("tcount", 0) - lost[root["_id"]])
            roots.append(orjson.dumps({**root, "tcount": tcount, "_updatedAt": {"$date": at}}))
    return roots


def list_unmentioned(messages: Sequence[Document]) -> list[Unmentioned]:
    """Who is mentioned no longer, because these messages go."""
    found = [Unmentioned(message_id=message["_id"], user_ids=list_mentioned(message)) for message in messages]
    return [unmentioned for unmentioned in found if unmentioned.user_ids]
