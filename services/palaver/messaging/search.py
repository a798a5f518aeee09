"""Finding messages within a room, and people and rooms by a part of their names (spotlight)."""

from typing import Any

import orjson

from palaver.access import User
from palaver.database import Document
from palaver.messaging.paging import read_page
from palaver.messaging.store import Store
from palaver.messaging.views import SYSTEM_USER, Views
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, ListUsersRequest
from palaver.v1.messaging_pb2 import SearchMessagesRequest, SpotlightReply, SpotlightRequest

_MAX_COUNT = 1000
_SPOTLIGHT = 5
_CANDIDATES = 50
_SHOWN_OF_USER = ("_id", "username", "name", "nickname", "status", "statusText", "avatarETag")
_SHOWN_OF_ROOM = ("_id", "t", "name", "fname", "lastMessage", "prid", "teamId", "teamMain", "avatarETag")


class Search:
    """The use cases of searching."""

    def __init__(self, node: Node, store: Store, views: Views) -> None:
        self._node = node
        self._store = store
        self._views = views

    async def search_messages(self, request: SearchMessagesRequest) -> DocumentsReply:
        """Messages of a room in which every word occurs, newest first. Raises RoomNotFound, NotAllowed."""
        view = await self._views.get_readable(request.actor, request.room_id)
        if not request.text.strip():
            return DocumentsReply()
        where: dict[str, Any] = {"rid": request.room_id, "_hidden": None, "t": None, "$text": request.text}
        if cleared := view.room.get("cleared_at"):
            where["ts"] = {"$gt": cleared}
        count = min(request.count or _MAX_COUNT, _MAX_COUNT)
        database = self._node.database
        page = await read_page(
            database,
            [where],
            ("ts", -1),
            lambda found: self._views.show_messages(found, view.user.id),
            count=count,
            offset=request.offset,
        )
        total = len(page.messages)
        if request.offset or page.more:
            total = await database.count("messages", where)
        return DocumentsReply(documents=page.messages, total=total)

    async def spotlight(self, request: SpotlightRequest) -> SpotlightReply:
        """A few users and rooms whose names hold the text, among those whom the actor may see."""
        user = await self._views.get_reader(request.actor)
        text = request.text.strip()
        both = not request.users and not request.rooms
        reply = SpotlightReply()
        if (request.users or both) and user.id:
            reply.users.extend(orjson.dumps(found) for found in await self._find_users(user, text, request))
        if request.rooms or both:
            reply.rooms.extend(orjson.dumps(found) for found in await self._find_rooms(user, text))
        return reply

    async def _find_users(self, user: User, text: str, request: SpotlightRequest) -> list[Document]:
        if not self._views.may(user, "view-d-room") or not self._views.may(user, "view-outside-room"):
            return await self._find_members(user, text, request)
        reply = await self._node.services.auth.list_users(
            ListUsersRequest(actor=request.actor, term=text, count=_CANDIDATES, exceptions=request.exclude_usernames)
        )
        users = [orjson.loads(data) for data in reply.documents]
        return _best(
            [{name: found[name] for name in _SHOWN_OF_USER if name in found} for found in users if found.get("active")],
            text,
            "username",
        )

    async def _find_members(self, user: User, text: str, request: SpotlightRequest) -> list[Document]:
        """For those who may not look outside their rooms: members of the room at hand."""
        if not request.room_id or await self._store.find_subscription(request.room_id, user.id) is None:
            return []
        where = {"rid": request.room_id, "left_at": None, "u.username": {"$contains": text}}
        found = await self._node.database.find("subscriptions", where, limit=_CANDIDATES)
        users = [dict(subscription["u"]) for subscription in found]
        return _best([u for u in users if u["username"] not in request.exclude_usernames], text, "username")

    async def _find_rooms(self, user: User, text: str) -> list[Document]:
        if not text:
            return []
        named: dict[str, Any] = {"$or": [{"name": {"$contains": text}}, {"fname": {"$contains": text}}]}
        visible: list[dict[str, Any]] = []
        if self._views.may(user, "view-c-room"):
            visible.append({"t": "c"})
        if user.id:
            own = await self._store.list_subscriptions(user.id)
            ids = [subscription["rid"] for subscription in own if subscription["t"] != "d"]
            visible.append({"_id": {"$in": ids}})
        if not visible and user is not SYSTEM_USER:
            return []
        where: dict[str, Any] = {"$and": [{"deleted_at": None}, named, *([{"$or": visible}] if visible else [])]}
        rooms = await self._node.database.find("rooms", where, sort=[("name", 1)], limit=_CANDIDATES)
        return _best([{name: room[name] for name in _SHOWN_OF_ROOM if name in room} for room in rooms], text, "name")


def _best(found: list[Document], text: str, name: str) -> list[Document]:
    """The few best: the very name, then those that begin with the text, then the rest, each by name."""
    wanted = text.lower().lstrip("@#")

    def rank(document: Document) -> tuple[int, str]:
        value = str(document.get(name, "")).lower()
        return (0 if value == wanted else 1 if value.startswith(wanted) else 2, value)

    return sorted(found, key=rank)[:_SPOTLIGHT]
