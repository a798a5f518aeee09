"""Finding messages within a room, and people and rooms by a part of their names (spotlight)."""

import asyncio
import re
from typing import Any

import orjson

from palaver.access import User
from palaver.database import Document
from palaver.errors import InvalidInput
from palaver.filters import check_text
from palaver.messaging.paging import read_page
from palaver.messaging.rules import not_cleared
from palaver.messaging.store import Store
from palaver.messaging.views import SYSTEM_USER, Views
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, ListUsersRequest
from palaver.v1.messaging_pb2 import SearchMessagesRequest, SpotlightReply, SpotlightRequest

_MAX_COUNT = 1000
_PATTERN = re.compile(r"/(.+)/[dgimsuxy]*", re.DOTALL)
_SPECIAL = re.compile(r"[\\^$.|?*+()\[\]{}]")
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
        """Messages of a room in which every word is a part of one, newest first; without a total, which takes looking
        at all of them. Raises RoomNotFound, NotAllowed, InvalidInput."""
        view = await self._views.get_readable(request.actor, request.room_id)
        text = _read_query(request.text)
        if not text.strip():
            return DocumentsReply()
        where: dict[str, Any] = {"rid": request.room_id, "_hidden": None, "t": None, "$text": text}
        page = await read_page(
            self._node.database,
            [where | not_cleared(view.room)],
            ("ts", -1),
            lambda found: self._views.show_messages(found, view.user.id),
            count=min(request.count or _MAX_COUNT, _MAX_COUNT),
            offset=request.offset,
        )
        return DocumentsReply(documents=page.messages, next=page.next)

    async def spotlight(self, request: SpotlightRequest) -> SpotlightReply:
        """A few users and rooms whose names hold the text, among those whom the actor may see."""
        user = await self._views.get_reader(request.actor)
        text = check_text(request.text.strip())
        users, rooms = await asyncio.gather(
            self._find_users(user, text, request), self._find_rooms(user, text, request)
        )
        return SpotlightReply(users=map(orjson.dumps, users), rooms=map(orjson.dumps, rooms))

    async def _find_users(self, user: User, text: str, request: SpotlightRequest) -> list[Document]:
        if not user.id or (request.rooms and not request.users):
            return []
        if not self._views.may(user, "view-d-room") or not self._views.may(user, "view-outside-room"):
            return await self._find_members(user, text, request)
        reply = await self._node.services.auth.list_users(
            ListUsersRequest(
                actor=request.actor,
                term=text,
                count=_CANDIDATES,
                exceptions=request.exclude_usernames,
                without_total=True,
            )
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

    async def _find_rooms(self, user: User, text: str, request: SpotlightRequest) -> list[Document]:
        if not text or (request.users and not request.rooms):
            return []
        named: dict[str, Any] = {"$or": [{"name": {"$contains": text}}, {"fname": {"$contains": text}}]}
        visible: list[dict[str, Any]] = []
        if self._views.may(user, "view-c-room"):
            visible.append({"t": "c", **await self._store.open_rooms(user.id)})
        if user.id:
            visible.append({"t": {"$ne": "d"}, "_id": {"$in": await self._store.list_room_ids(user.id)}})
        if not visible and user is not SYSTEM_USER:
            return []
        where: dict[str, Any] = {"$and": [{"deleted_at": None}, named, *([{"$or": visible}] if visible else [])]}
        rooms = await self._node.database.find("rooms", where, sort=[("name", 1)], limit=_CANDIDATES)
        best = _best(rooms, text, "name")
        own = await self._store.list_subscriptions(user.id, [room["_id"] for room in best]) if user.id and best else []
        joined = {subscription["rid"] for subscription in own}
        seen = [self._views.show_room(room, user, is_member=room["_id"] in joined) for room in best]
        return [{name: room[name] for name in _SHOWN_OF_ROOM if name in room} for room in seen]


def _read_query(text: str) -> str:
    """What is looked for. "/word/" is a regular expression to clients: without anything special in it, it is its text.
    Raises InvalidInput."""
    check_text(text)
    if pattern := _PATTERN.fullmatch(text.strip()):
        if _SPECIAL.search(pattern[1]):
            raise InvalidInput(
                "Regular expressions are not searched for: parts of words are found without them",
                code="error-regular-expression-not-supported",
            )
        return pattern[1]
    return text


def _best(found: list[Document], text: str, name: str) -> list[Document]:
    """The few best: the very name, then those that begin with the text, then the rest, each by name."""
    wanted = text.lower().lstrip("@#")

    def rank(document: Document) -> tuple[int, str]:
        value = str(document.get(name, "")).lower()
        return (0 if value == wanted else 1 if value.startswith(wanted) else 2, value)

    return sorted(found, key=rank)[:_SPOTLIGHT]
