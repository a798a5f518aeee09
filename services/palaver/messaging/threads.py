"""Threads: listing those of a room, following one or not."""

from typing import Any

import orjson

from palaver.commit import Draft, now
from palaver.errors import InvalidInput, MessageNotFound, NotAllowed
from palaver.events import room_stream
from palaver.filters import check_text
from palaver.messaging import rules
from palaver.messaging.paging import list_page
from palaver.messaging.store import Store
from palaver.messaging.views import Views, get_message, hiding_the_room
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, Empty
from palaver.v1.event_pb2 import Event, MessageChanged
from palaver.v1.messaging_pb2 import FollowThreadRequest, ListThreadsRequest

_MAX_COUNT = 1000
_TYPES = ("", "all", "following", "unread")


class Threads:
    """The use cases of threads."""

    def __init__(self, node: Node, store: Store, views: Views) -> None:
        self._node = node
        self._store = store
        self._views = views

    async def list_threads(self, request: ListThreadsRequest) -> DocumentsReply:
        """First messages of the room's threads, those with the last reply first. Raises RoomNotFound, NotAllowed."""
        view = await self._views.get_readable(request.actor, request.room_id)
        if not self._node.access.setting("Threads_enabled"):
            raise NotAllowed("Threads Disabled")
        if request.type not in _TYPES:
            raise InvalidInput("Unknown type of threads")
        where: dict[str, Any] = {
            "rid": request.room_id,
            "_hidden": None,
            "tlm": {"$exists": True},
            "tcount": {"$gt": 0},
            **rules.not_cleared(view.room),
        }
        if request.text:
            where["$text"] = check_text(request.text)
        if request.updated_since:
            where["_updatedAt"] = {"$gt": {"$date": request.updated_since}}
        if request.type in ("following", "unread"):
            ids = await self._list_own(view.user.id, request)
            where["_id"] = {"$in": ids}
        return await list_page(
            self._node.database,
            where,
            ("_updatedAt" if request.updated_since else "tlm", -1),
            lambda found: self._views.show_messages(found, view.user.id),
            count=min(request.count or _MAX_COUNT, _MAX_COUNT),
            offset=request.offset,
            start=request.start,
        )

    async def follow(self, request: FollowThreadRequest) -> Empty:
        """The actor hears of a thread's replies, or no longer. Raises MessageNotFound, NotAllowed."""
        user = await self._views.get_actor(request.actor)
        if not self._node.access.setting("Threads_enabled"):
            raise NotAllowed("Threads Disabled")
        message = await self._node.database.get("messages", request.message_id)
        if message is None:
            raise MessageNotFound()
        thread_id = message.get("tmid") or message["_id"]

        async def decide(draft: Draft) -> None:
            view = await self._views.get_drafted(draft, user)
            root = await get_message(draft, view.room, thread_id)
            if view.subscription is None:
                raise NotAllowed()
            followers = list(root.get("replies", ()))
            if (user.id in followers) == request.follow:
                return
            if request.follow:
                followers.append(user.id)
            else:
                followers.remove(user.id)
            at = rules.event_time(view.room, now())
            changed = {**root, "replies": followers, "_updatedAt": {"$date": at}}
            event = Event()
            fact = event.message_changed
            fact.message_id = thread_id
            fact.change = MessageChanged.FOLLOWED
            fact.message = orjson.dumps(changed)
            fact.is_last = view.room.get("lastMessage", {}).get("_id") == thread_id
            (fact.followed if request.follow else fact.unfollowed).append(user.id)
            draft.append(event, actor=request.actor, at=at)

        with hiding_the_room():
            await self._node.commits.execute(room_stream(message["rid"]), decide)
        return Empty()

    async def _list_own(self, user_id: str, request: ListThreadsRequest) -> list[str]:
        if request.type == "unread":
            unread = await self._store.find_unread_threads(user_id, request.room_id)
            return list(unread[request.room_id].all) if request.room_id in unread else []
        records = await self._node.database.find("thread_reads", {"user_id": user_id, "rid": request.room_id})
        return [record["thread_id"] for record in records if record.get("following")]
