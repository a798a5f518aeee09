"""Lists of a room's messages: pages of history, what surrounds a message, what changed, and threads' replies."""

from typing import Any

import orjson

from palaver.database import Document, Filter
from palaver.database.schema import COLLECTIONS, FieldType
from palaver.documents import public_message
from palaver.errors import MessageNotFound
from palaver.filters import read_filter, read_sort
from palaver.messaging import rules
from palaver.messaging.rules import milliseconds
from palaver.messaging.store import Store
from palaver.messaging.views import Views
from palaver.v1.messaging_pb2 import ListMessagesReply, ListMessagesRequest

_MAX_COUNT = 10_000
# What lists of messages can be filtered and sorted by.
_FILTERED: dict[str, FieldType] = {"_id": "text", **COLLECTIONS["messages"].fields}


class History:
    """The use case of reading a room."""

    def __init__(self, store: Store, views: Views) -> None:
        self._store = store
        self._views = views

    async def list_messages(self, request: ListMessagesRequest) -> ListMessagesReply:
        """A page of messages, newest first unless `ascending`. Raises RoomNotFound, NotAllowed, MessageNotFound."""
        view = await self._views.get_readable(request.actor, request.room_id)
        base = _visible(view.room, request)
        user_id = view.user.id
        if request.updated_since:
            return await self._list_changed(request, base, user_id)
        if request.around_id:
            return await self._list_around(request, view.room, base, user_id)
        where = base + _between(request)
        direction = 1 if request.ascending else -1
        sort = [(name, way) for name, way in read_sort(request.sort, _FILTERED) if name != "_id"]
        sort = sort or [("ts", direction)]
        count = min(request.count or _MAX_COUNT, _MAX_COUNT)
        messages = await self._find(where, sort, count + 1, request.offset)
        reply = ListMessagesReply()
        more = len(messages) > count
        del messages[count:]
        if sort[0] == ("ts", 1):
            reply.more_after, reply.more_before = more, request.offset > 0
        else:
            reply.more_before, reply.more_after = more, request.offset > 0
        reply.messages.extend(_shown(message, user_id) for message in messages)
        if request.with_total:
            if more or request.offset:
                reply.total = await self._count(request, view.room, where)
            else:
                reply.total = len(messages)
        if request.with_unread and messages:
            await self._add_unread(
                reply, request, base, min(milliseconds(message["ts"]) for message in messages), user_id
            )
        return reply

    async def _list_changed(self, request: ListMessagesRequest, base: list[Filter], user_id: str) -> ListMessagesReply:
        """What a client that was away has missed: changed and deleted messages."""
        since = {"$gt": {"$date": request.updated_since}}
        changed = await self._find([*base, {"_updatedAt": since}], [("ts", -1)], request.count or _MAX_COUNT, 0)
        where = {"rid": request.room_id, "deleted_at": since}
        deleted = await self._store.database.find("messages", where, limit=_MAX_COUNT)
        return ListMessagesReply(
            messages=[_shown(message, user_id) for message in changed],
            total=len(changed),
            deleted=[orjson.dumps({"_id": message["_id"], "_deletedAt": message["deleted_at"]}) for message in deleted],
        )

    async def _list_around(
        self, request: ListMessagesRequest, room: Document, base: list[Filter], user_id: str
    ) -> ListMessagesReply:
        """`count` messages with this one in the middle, oldest first where asked for."""
        middle = await self._store.database.get("messages", request.around_id)
        if middle is None or middle["rid"] != request.room_id or rules.is_gone(room, middle):
            raise MessageNotFound()
        half = max(1, (min(request.count, _MAX_COUNT) or 50) // 2)
        ts, id = middle["ts"], middle["_id"]
        earlier = {"$or": [{"ts": {"$lt": ts}}, {"ts": ts, "_id": {"$lt": id}}]}
        later = {"$or": [{"ts": {"$gt": ts}}, {"ts": ts, "_id": {"$gt": id}}]}
        # The plain bound lets the index skip to the place; the alternatives only settle messages of the same moment.
        before = await self._find([*base, {"ts": {"$lte": ts}}, earlier], [("ts", -1)], half + 1, 0)
        after = await self._find([*base, {"ts": {"$gte": ts}}, later], [("ts", 1)], half + 1, 0)
        messages = [*reversed(before[:half]), middle, *after[:half]]
        if not request.ascending:
            messages.reverse()
        return ListMessagesReply(
            messages=[_shown(message, user_id) for message in messages],
            total=len(messages),
            more_before=len(before) > half,
            more_after=len(after) > half,
        )

    async def _add_unread(
        self,
        reply: ListMessagesReply,
        request: ListMessagesRequest,
        base: list[Filter],
        oldest: int,
        user_id: str,
    ) -> None:
        """The first unread message and how many unread ones the page does not reach."""
        if oldest <= request.last_seen:
            return
        unread = [*base, {"ts": {"$gt": {"$date": request.last_seen}, "$lt": {"$date": oldest}}}]
        first = await self._find(unread, [("ts", 1)], 1, 0)
        if first:
            reply.first_unread = _shown(first[0], user_id)
            reply.unread_not_loaded = await self._store.database.count("messages", {"$and": unread})

    async def _count(self, request: ListMessagesRequest, room: Document, where: list[Filter]) -> int:
        """How many messages match. For a whole room with its threads it is known; else the index is scanned."""
        whole = request.thread_messages and not (
            request.after or request.before or request.filter or request.thread_id or room.get("cleared_at")
        )
        if not whole:
            return await self._store.database.count("messages", {"$and": where})
        deleted = await self._store.database.count("messages", {"rid": room["_id"], "deleted_at": {"$exists": True}})
        return max(0, int(room.get("msgs", 0)) - deleted)

    async def _find(self, where: list[Filter], sort: list[tuple[str, int]], limit: int, offset: int) -> list[Document]:
        """Messages that match all of `where`; ties are settled by `_id`, in the direction of the last field."""
        full = [*sort, ("_id", sort[-1][1])]
        return await self._store.database.find("messages", {"$and": where}, sort=full, skip=offset, limit=limit)


def _visible(room: Document, request: ListMessagesRequest) -> list[Filter]:
    """The conditions for messages that this list may show at all."""
    where: list[Filter] = [{"rid": room["_id"], "_hidden": None}]
    if request.thread_id:
        where.append({"tmid": request.thread_id})
    elif not request.thread_messages and not request.updated_since:
        where.append({"$or": [{"tmid": None}, {"tshow": True}]})
    if cleared := room.get("cleared_at"):
        where.append({"ts": {"$gt": cleared}})
    if chosen := read_filter(request.filter, _FILTERED):
        where.append(chosen)
    return where


def _between(request: ListMessagesRequest) -> list[Filter]:
    """The conditions on a message's time."""
    bounds: dict[str, Any] = {}
    if request.after:
        bounds["$gte" if request.inclusive else "$gt"] = {"$date": request.after}
    if request.before:
        bounds["$lte" if request.inclusive else "$lt"] = {"$date": request.before}
    return [{"ts": bounds}] if bounds else []


def _shown(message: Document, user_id: str) -> bytes:
    return orjson.dumps(public_message(message, user_id))
