"""Messages that are pinned for everybody in their room, starred by one user, or mention one; and the lists of these.

A pin is the message's and a fact of the room. A star is its user's own: a fact of their stream, which costs the room
nothing, however many there are. Who is mentioned has an entry for it, written with the message (`projections`).
"""

from typing import Any

import orjson

from palaver.commit import Draft, now
from palaver.database import Filter
from palaver.documents import public_message
from palaver.errors import InvalidInput, MessageNotFound, NotAllowed
from palaver.events import room_stream, user_stream
from palaver.messaging import rules
from palaver.messaging.messages import Messages
from palaver.messaging.notices import Notices
from palaver.messaging.paging import list_page, read_page
from palaver.messaging.quotes import quote
from palaver.messaging.store import Store
from palaver.messaging.views import DELETED, View, Views, get_alterable, hiding_the_room
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, Empty
from palaver.v1.event_pb2 import Event, MessageChanged
from palaver.v1.messaging_pb2 import (
    ListMarkedMessagesRequest,
    MessageReply,
    MessageRequest,
    PinMessageRequest,
    StarMessageRequest,
)

_MAX_COUNT = 1000
_MAX_STARS = 10_000
"""Of one user in one room: the list of them is sorted anew each time."""


class Marks:
    """The use cases of pinning, starring, and listing what is marked."""

    def __init__(self, node: Node, store: Store, views: Views, messages: Messages, notices: Notices) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._messages = messages
        self._notices = notices

    async def pin(self, request: PinMessageRequest) -> MessageReply:
        """Pins a message or takes the pin away. Raises MessageNotFound, NotAllowed."""
        user = await self._views.get_actor(request.actor)
        setting = self._node.access.setting
        if not setting("Message_AllowPinning"):
            raise NotAllowed(
                "Message pinning not allowed", code="error-action-not-allowed", details={"action": "Message_pinning"}
            )
        stored = await self._node.database.get("messages", request.message_id) if request.message_id else None
        if stored is None:
            raise MessageNotFound()

        async def decide(draft: Draft) -> bytes:
            view = await self._views.get_drafted(draft, user)
            message = await get_alterable(draft, view.room, request.message_id)
            if view.subscription is None:
                raise NotAllowed()
            self._views.check(user, "pin-message", view.roles, code="not-authorized")
            if view.room.get("archived"):
                raise NotAllowed("Room is archived", code="error-room-archived")
            if bool(message.get("pinned")) == request.pin:
                return orjson.dumps(public_message(message))
            at = rules.event_time(view.room, now())
            changed = {
                **message,
                "pinned": request.pin,
                "pinnedAt": {"$date": at},
                "pinnedBy": {"_id": user.id, "username": user.username},
                "_updatedAt": {"$date": at},
            }
            event = Event()
            fact = event.message_changed
            fact.message_id = request.message_id
            fact.change = MessageChanged.PINNED
            fact.message = orjson.dumps(changed)
            fact.is_last = view.room.get("lastMessage", {}).get("_id") == request.message_id
            if request.pin:
                shown = quote(message, setting("Message_QuoteChainLimit"))
                self._notices.add(fact.notice, view.room, "message_pinned", "", user, at, {"attachments": [shown]})
            draft.append(event, actor=request.actor, at=at)
            return fact.notice.message or orjson.dumps(public_message(changed))

        with hiding_the_room():
            return MessageReply(message=await self._node.commits.execute(room_stream(stored["rid"]), decide))

    async def star(self, request: StarMessageRequest) -> Empty:
        """Stars a message for the actor or takes the star away. Raises MessageNotFound, NotAllowed, InvalidInput."""
        user = await self._views.get_actor(request.actor)
        if not self._node.access.setting("Message_AllowStarring"):
            raise NotAllowed(
                "Message starring not allowed", code="error-action-not-allowed", details={"action": "Message_starring"}
            )
        message = await self._messages.find_readable(MessageRequest(actor=request.actor, message_id=request.message_id))
        if message is None or message.get("t") == DELETED:
            raise MessageNotFound()
        if await self._store.find_subscription(message["rid"], user.id) is None:
            raise NotAllowed()

        async def decide(draft: Draft) -> None:
            star = await draft.get("stars", f"{user.id}/{message['_id']}")
            if (star is not None and star["starred"]) == request.star:
                return
            own = {"user_id": user.id, "rid": message["rid"], "starred": True}
            if request.star and await self._node.database.count("stars", own) >= _MAX_STARS:
                raise InvalidInput("You have starred too many messages here", code="error-too-many-stars")
            event = Event()
            fact = event.message_starred
            fact.room_id = message["rid"]
            fact.message_id = message["_id"]
            fact.starred = request.star
            fact.message = orjson.dumps(public_message(message, user.id if request.star else ""))
            draft.append(event, actor=request.actor)

        await self._node.commits.execute(user_stream(user.id), decide)
        return Empty()

    async def list_marked(self, request: ListMarkedMessagesRequest) -> DocumentsReply:
        """A page of the room's messages with this mark, newest first. Raises RoomNotFound, NotAllowed."""
        view = await self._views.get_readable(request.actor, request.room_id)
        order = ("ts", 1 if request.ascending else -1)
        count = min(request.count or _MAX_COUNT, _MAX_COUNT)
        if request.mark == ListMarkedMessagesRequest.MENTIONING:
            return await self._list_mentioning(request, view, count)
        where: dict[str, Any] = {"_hidden": None, **rules.not_cleared(view.room)}
        if request.mark == ListMarkedMessagesRequest.PINNED:
            where |= {"rid": request.room_id, "pinned": True}
        else:
            own: Filter = {"user_id": view.user.id, "rid": request.room_id, "starred": True}
            where["_id"] = {"$in": await self._node.database.list_values("stars", "message_id", own)}
        return await list_page(
            self._node.database,
            where,
            order,
            lambda found: self._views.show_messages(found, view.user.id),
            count=count,
            offset=request.offset,
        )

    async def _list_mentioning(self, request: ListMarkedMessagesRequest, view: View, count: int) -> DocumentsReply:
        """By the user's own entries: those say which messages the page has."""
        database = self._node.database
        where: dict[str, Any] = {
            "user_id": view.user.id,
            "rid": request.room_id,
            "removed": None,
            **rules.not_cleared(view.room),
        }
        way = 1 if request.ascending else -1
        entries = await database.find(
            "mentions", where, sort=[("ts", way), ("_id", way)], skip=request.offset, limit=count
        )
        page = await read_page(
            database,
            [{"_id": {"$in": [entry["message_id"] for entry in entries]}, "_hidden": None}],
            ("ts", way),
            lambda found: self._views.show_messages(found, view.user.id),
            count=count,
        )
        total = len(entries)
        if request.offset or total == count:
            total = await database.count("mentions", where)
        return DocumentsReply(documents=page.messages, total=total, next=page.next)
