"""Lists of a room's messages: pages of history, what surrounds a message, what changed, and threads' replies."""

from typing import Any

import orjson

from palaver.database import Document, Filter
from palaver.database.schema import COLLECTIONS, FieldType
from palaver.errors import InvalidInput, MessageNotFound, RoomNotFound
from palaver.filters import read_filter, read_sort
from palaver.messaging import rules
from palaver.messaging.paging import Order, Page, place, read_page
from palaver.messaging.rules import not_cleared
from palaver.messaging.store import Store
from palaver.messaging.views import View, Views
from palaver.v1.messaging_pb2 import ListMessagesReply, ListMessagesRequest

_MAX_COUNT = 10_000
_MAX_DELETED = 100_000
# What lists of messages can be sorted by.
_SORTED: dict[str, FieldType] = {"_id": "text", "ts": "date", "_updatedAt": "date"}
# What they can be filtered by.
_FILTERED: dict[str, FieldType] = {"_id": "text", **COLLECTIONS["messages"].fields}


class History:
    """The use case of reading a room."""

    def __init__(self, store: Store, views: Views) -> None:
        self._store = store
        self._views = views

    async def list_messages(self, request: ListMessagesRequest) -> ListMessagesReply:
        """A page of messages, newest first unless `ascending`. Raises RoomNotFound, NotAllowed, MessageNotFound."""
        view = await self._get_view(request)
        base = _visible(view.room, request)
        user_id = view.user.id
        if request.updated_since:
            return await self._list_changed(request, base, user_id)
        if request.around_id:
            return await self._list_around(request, view.room, base, user_id)
        where = base + _between(request)
        order = _order(request)
        page = await self._read(where, order, request, user_id)
        reply = ListMessagesReply(messages=page.messages, next=page.next)
        if order == ("ts", 1):
            reply.more_after, reply.more_before = page.more, request.offset > 0
        else:
            reply.more_before, reply.more_after = page.more, request.offset > 0
        if request.with_total:
            if page.more or request.offset or request.start:
                reply.total = await self._count(request, view.room, where)
            else:
                reply.total = len(page.messages)
        if request.with_unread and page.messages:
            await self._add_unread(reply, request, base, min(page.times), user_id)
        return reply

    async def _get_view(self, request: ListMessagesRequest) -> View:
        """The room, which the actor may read. Raises RoomNotFound, NotAllowed."""
        if not request.of_others:
            return await self._views.get_readable(request.actor, request.room_id)
        self._views.check_may_read_others()
        user = await self._views.get_actor(request.actor)
        self._views.check(user, "view-room-administration")
        room = await self._store.find_room(request.room_id)
        if room is None or room["t"] != "d":
            raise RoomNotFound(f"No direct message room found by the id of: {request.room_id}")
        return View(user, room, None)

    async def _read(self, where: list[Filter], order: Order, request: ListMessagesRequest, user_id: str) -> Page:
        return await read_page(
            self._store.database,
            where,
            order,
            lambda found: self._views.show_messages(found, user_id),
            count=min(request.count or _MAX_COUNT, _MAX_COUNT),
            offset=request.offset,
            start=request.start,
        )

    async def _list_changed(self, request: ListMessagesRequest, base: list[Filter], user_id: str) -> ListMessagesReply:
        """What a client that was away has missed: changed messages in the order of their changes, and with the first
        of them the deleted ones.
        """
        since = {"$gt": {"$date": request.updated_since}}
        order = ("_updatedAt", 1 if request.ascending else -1)
        changed = await self._read([*base, {"_updatedAt": since}], order, request, user_id)
        reply = ListMessagesReply(messages=changed.messages, total=len(changed.messages), next=changed.next)
        if not request.start:
            where: Filter = {"rid": request.room_id, "deleted_at": since}
            deleted = await read_page(
                self._store.database, [where], ("deleted_at", 1), _show_deleted, count=_MAX_DELETED
            )
            if deleted.more:
                raise InvalidInput("Too much has been deleted since then", code="error-too-much-changed")
            reply.deleted.extend(deleted.messages)
        return reply

    async def _list_around(
        self, request: ListMessagesRequest, room: Document, base: list[Filter], user_id: str
    ) -> ListMessagesReply:
        """`count` messages with this one in the middle, oldest first where asked for."""
        middle = await self._store.database.get("messages", request.around_id)
        if middle is None or middle["rid"] != request.room_id or rules.is_gone(room, middle):
            raise MessageNotFound()
        half = max(1, (min(request.count, _MAX_COUNT) or 50) // 2)

        async def read(direction: int) -> Page:
            return await read_page(
                self._store.database,
                base,
                ("ts", direction),
                lambda found: self._views.show_messages(found, user_id),
                count=half,
                start=place(middle, "ts"),
            )

        before, after = await read(-1), await read(1)
        messages = [*reversed(before.messages), *await self._views.show_messages([middle], user_id), *after.messages]
        if not request.ascending:
            messages.reverse()
        return ListMessagesReply(messages=messages, total=len(messages), more_before=before.more, more_after=after.more)

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
        database = self._store.database
        first = await database.find("messages", {"$and": unread}, sort=[("ts", 1), ("_id", 1)], limit=1)
        if first:
            [reply.first_unread] = await self._views.show_messages(first, user_id)
            reply.unread_not_loaded = await database.count("messages", {"$and": unread})

    async def _count(self, request: ListMessagesRequest, room: Document, where: list[Filter]) -> int:
        """How many messages match. For a whole room with its threads it is known; else the index is scanned."""
        whole = request.thread_messages and not (
            request.after or request.before or request.filter or request.thread_id or room.get("cleared_at")
        )
        if not whole:
            return await self._store.database.count("messages", {"$and": where})
        deleted = await self._store.database.count("messages", {"rid": room["_id"], "deleted_at": {"$exists": True}})
        return max(0, int(room.get("msgs", 0)) - (deleted - int(room.get("gone", 0))))


def _visible(room: Document, request: ListMessagesRequest) -> list[Filter]:
    """The conditions for messages that this list may show at all."""
    where: list[Filter] = [{"rid": room["_id"], "_hidden": None, **not_cleared(room)}]
    if request.thread_id:
        where.append({"tmid": request.thread_id})
    elif not request.thread_messages and not request.updated_since:
        where.append({"$or": [{"tmid": None}, {"tshow": True}]})
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


def _order(request: ListMessagesRequest) -> Order:
    """What the list is sorted by: the first date of those that are asked for. Raises InvalidInput."""
    chosen = [(name, way) for name, way in read_sort(request.sort, _SORTED) if name != "_id"]
    return chosen[0] if chosen else ("ts", 1 if request.ascending else -1)


async def _show_deleted(messages: list[Document]) -> list[bytes]:
    return [orjson.dumps({"_id": message["_id"], "_deletedAt": message["deleted_at"]}) for message in messages]
