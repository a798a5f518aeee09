"""Discussions: rooms beside another one, their parent, whose message tells of them.

The parent is another stream, so whatever it shows of a discussion follows the discussion's own events: a durable
follower posts the message that tells of a new one (unless the request that made it has done so), and keeps in it what
the discussion is called, how many messages it has, and when the last one came. A deleted parent takes its discussions
with it, and a message that is pruned the one that it told of.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from palaver import failpoints
from palaver.access import User
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.documents import is_open
from palaver.errors import InvalidInput, NotAllowed, RoomNotFound
from palaver.events import SYSTEM, room_stream, user_actor
from palaver.filters import check_text
from palaver.ids import new_id
from palaver.log.durable import DurableFollower, Follower
from palaver.messaging import rules
from palaver.messaging.extras import extra_size
from palaver.messaging.messages import Messages
from palaver.messaging.notices import Notices, reference
from palaver.messaging.paging import list_page
from palaver.messaging.rooms import Rooms, new_room
from palaver.messaging.store import Store
from palaver.messaging.views import View, Views
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply
from palaver.v1.event_pb2 import Event, MessageChanged
from palaver.v1.messaging_pb2 import (
    CreateDiscussionRequest,
    ListDiscussionsRequest,
    RoomReply,
    RoomRequest,
    SendMessageRequest,
)

_FACTS = frozenset(
    {
        "room_created",
        "room_changed",
        "room_deleted",
        "member_joined",
        "member_left",
        "message_sent",
        "message_deleted",
        "messages_erased",
        "messages_pruned",
    }
)
_MAX_NAME = 200
_MAX_MEMBERS = 1000
_MAX_COUNT = 1000
_MAX_QUOTED_BYTES = 32 * 1024  # of a message's attachments: a quotation has to fit into another message
_PATHS = {"c": "channel", "p": "group", "d": "direct"}
_REFUSED = "You are not allowed to create a discussion"


class Discussions:
    """The use cases of discussions."""

    def __init__(
        self, node: Node, store: Store, views: Views, rooms: Rooms, messages: Messages, notices: Notices
    ) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._rooms = rooms
        self._messages = messages
        self._notices = notices

    def make_follower(self) -> DurableFollower:
        """The follower of this node; its owner runs and stops it."""
        follower = Follower("discussions", ("room",), _FACTS, self.on_room_event, _may_concern)
        node = self._node
        return DurableFollower(follower, node.database, node.log, node.live, node_id=node.config.node_id)

    # -- made ----------------------------------------------------------------------------------------------------------

    async def create(self, request: CreateDiscussionRequest) -> RoomReply:
        """A new discussion, which its parent tells of. Raises RoomNotFound, NotAllowed, InvalidInput."""
        user = await self._node.access.get_actor(request.actor)
        if not self._node.access.setting("Discussion_enabled"):
            raise NotAllowed(_REFUSED, code="error-action-not-allowed")
        try:
            view = await self._views.get_view(request.actor, request.room_id)
        except RoomNotFound as error:
            raise RoomNotFound("Invalid room", code="error-invalid-room") from error
        if view.room.get("prid"):
            raise InvalidInput("Cannot create nested discussions", code="error-nested-discussion")
        message = await self._find_message(view, request.message_id)
        self._check(view, message)
        shown = request.name.strip()
        if not 0 < len(shown) <= _MAX_NAME:
            raise InvalidInput("The discussion's name is missing or too long", code="error-invalid-name")
        if request.encrypted and request.reply:
            raise InvalidInput(
                "Encrypted discussions must not receive an initial reply.", code="error-invalid-arguments"
            )
        if request.reply:
            self._messages.check_content(request.reply, None)
        members = await self._list_members(user, request.members, message)
        room, subscriptions = _compose(view.room, user, members, shown, now())
        if topic := request.topic or str(view.room.get("fname") or view.room.get("name") or ""):
            room["topic"] = topic[:_MAX_NAME]
        if request.encrypted:
            room["encrypted"] = True
        if message is not None:
            room["parent_message_id"] = message["_id"]
        await self._rooms.add(request.actor, room, subscriptions)
        await self._announce(room)
        if message is not None and not request.encrypted:  # there, nothing is said that the server can read
            quoted = orjson.dumps({"attachments": [self._quote(message, view.room)]})
            await self._send(request, room["_id"], extra=quoted)
        if request.reply:
            await self._send(request, room["_id"], text=request.reply)
        return await self._rooms.reply(room["_id"], user)

    async def _find_message(self, view: View, message_id: str) -> Document | None:
        """The parent's message that the discussion is about, if one is named. Raises InvalidInput."""
        if not message_id:
            return None
        message = await self._node.database.get("messages", message_id)
        if message is None or message["rid"] != view.room_id or rules.is_gone(view.room, message):
            raise InvalidInput("Invalid message", code="error-invalid-message")
        return message

    def _check(self, view: View, message: Document | None) -> None:
        """Whoever starts a discussion puts a message into the parent, so they must be allowed to write there."""
        is_others = message is not None and message["u"]["_id"] != view.user.id
        permissions = (
            ["start-discussion-other-user"] if is_others else ["start-discussion", "start-discussion-other-user"]
        )
        if not any(self._views.may(view.user, permission, view.roles) for permission in permissions):
            raise NotAllowed(_REFUSED, code="error-action-not-allowed", details={"permission": permissions[0]})
        self._messages.check_post(view)

    async def _list_members(self, user: User, usernames: Iterable[str], message: Document | None) -> list[User]:
        """Its first members: who starts it, whom they name, and who wrote the message that it is about."""
        wanted = dict.fromkeys(usernames)
        if len(wanted) > _MAX_MEMBERS:
            raise InvalidInput("Too many members at once", code="error-user-limit-exceeded")
        found = list((await self._node.access.find_users_by_name(wanted)).values()) if wanted else []
        if message is not None and (author := await self._node.access.find_user(message["u"]["_id"])) is not None:
            found.append(author)
        members = {user.id: user} | {member.id: member for member in found if member.active}
        return list(members.values())

    async def _send(
        self, request: CreateDiscussionRequest, room_id: str, *, text: str = "", extra: bytes = b""
    ) -> None:
        await self._messages.send(
            SendMessageRequest(actor=request.actor, room_id=room_id, message_id=new_id(), text=text, extra=extra)
        )

    # -- told ----------------------------------------------------------------------------------------------------------

    async def on_room_event(self, event: Event) -> None:
        """Whatever the event says, how the discussion is now is what the parent shows."""
        match event.WhichOneof("fact"):
            case "room_created":
                room: Document = orjson.loads(event.room_created.room)
                if "prid" not in room:
                    return
                await self._announce(room)
            case "room_deleted":
                rooms = await self._node.database.find("rooms", {"prid": event.stream_id, "deleted_at": None})
                await self._delete_discussions(rooms)
            case "messages_pruned":
                told_of = await self._node.database.get_many("rooms", event.messages_pruned.discussion_ids)
                await self._delete_discussions(room for room in told_of.values() if room.get("prid") == event.stream_id)
        await self._refresh(event.stream_id)

    async def _announce(self, room: Document) -> None:
        """Has the parent tell of a new discussion, once, where it shows such messages."""
        command_id = f"discussion/{room['_id']}"
        author = await self._node.access.find_user(room["u"]["_id"])
        about = room.get("parent_message_id")
        message = await self._node.database.get("messages", about) if about else None

        async def decide(draft: Draft) -> None:
            parent = await draft.get_own()
            if author is None or parent is None or parent.get("deleted_at") or await draft.find_command(command_id):
                return
            at = rules.event_time(parent, now())
            extra: dict[str, Any] = {"drid": room["_id"], "dcount": 0}
            if message is not None and not rules.is_gone(parent, message):
                extra["attachments"] = [self._quote(message, parent)]
            event = Event()
            self._notices.add(event.message_sent, parent, "discussion-created", room["fname"], author, at, extra)
            if event.message_sent.message:
                draft.append(event, actor=user_actor(author.id), command_id=command_id, at=at)

        await self._node.commits.execute(room_stream(room["prid"]), decide)

    async def _refresh(self, room_id: str) -> None:
        """Has the parent's message show what the discussion is by now."""
        database = self._node.database
        room = await database.get("rooms", room_id)
        parent_id = None if room is None else room.get("prid")
        if not parent_id:
            return
        found = await database.find_one("messages", {"rid": parent_id, "drid": room_id})
        if found is None:
            return

        async def decide(draft: Draft) -> None:
            parent = await draft.get_own()
            message = await draft.get("messages", found["_id"])
            discussion = await database.get("rooms", room_id)
            if parent is None or message is None or discussion is None or rules.is_gone(parent, message):
                return
            changed = _shown(message, discussion)
            if changed == message:
                return
            at = rules.event_time(parent, now())
            event = Event()
            fact = event.message_changed
            fact.message_id = message["_id"]
            fact.change = MessageChanged.DISCUSSED
            fact.message = orjson.dumps({**changed, "_updatedAt": {"$date": at}})
            fact.is_last = parent.get("lastMessage", {}).get("_id") == message["_id"]
            draft.append(event, actor=SYSTEM, at=at)

        await self._node.commits.execute(room_stream(parent_id), decide)

    async def _delete_discussions(self, rooms: Iterable[Document]) -> None:
        """Those of a room that is deleted go with it, and one goes with the message that told of it."""
        for room in rooms:
            failpoints.reach("discussion.before_deletion")
            try:
                await self._rooms.delete(RoomRequest(actor=SYSTEM, room_id=room["_id"]))
            except RoomNotFound:
                continue  # somebody else has deleted it meanwhile

    def _quote(self, message: Document, room: Document) -> dict[str, Any]:
        """A message as an attachment of another one."""
        author = message["u"]["username"]
        place = f"{_PATHS.get(room['t'], 'channel')}/{room.get('name') or room['_id']}"
        site = str(self._node.access.setting("Site_Url")).rstrip("/")
        quote = {
            "text": message["msg"],
            "author_name": author,
            "author_icon": f"/avatar/{author}",
            "message_link": f"{site}/{place}?msg={message['_id']}",
            "ts": message["ts"],
        }
        if message.get("attachments") and extra_size(message) <= _MAX_QUOTED_BYTES:
            quote["attachments"] = message["attachments"]
        return quote

    # -- listed --------------------------------------------------------------------------------------------------------

    async def list_messages(self, request: ListDiscussionsRequest) -> DocumentsReply:
        """A room's messages that tell of discussions, newest first. Raises RoomNotFound, NotAllowed."""
        view = await self._views.get_readable(request.actor, request.room_id)
        where: dict[str, Any] = {"rid": request.room_id, "_hidden": None, "drid": {"$exists": True}}
        where |= rules.not_cleared(view.room)
        if request.text:
            where["$text"] = check_text(request.text)
        return await list_page(
            self._node.database,
            where,
            ("ts", -1),
            lambda found: self._views.show_messages(found, view.user.id),
            count=min(request.count or _MAX_COUNT, _MAX_COUNT),
            offset=request.offset,
            start=request.start,
        )


def _may_concern(event: Event) -> bool:
    """Messages and members concern the parent of a discussion: of another room's, nothing is shown anywhere."""
    match event.WhichOneof("fact"):
        case "message_sent":
            return bool(event.message_sent.parent_id)
        case "message_deleted":
            return bool(event.message_deleted.parent_id)
        case "member_joined":
            return bool(event.member_joined.message.parent_id)
        case "member_left":
            return bool(event.member_left.message.parent_id)
        case _:
            return True


def _compose(parent: Document, user: User, members: list[User], shown: str, at: int) -> tuple[Document, list[Document]]:
    """The room, called by an id, and its subscriptions. Beside a room that is not for everybody it is private."""
    room_id = new_id()
    room = new_room(room_id, "c" if is_open(parent) else "p", at, len(members))
    room.update({"name": room_id, "fname": shown, "ro": False, "prid": parent["_id"], "u": reference(user)})
    subscriptions = [
        rules.new_subscription(new_id(), room, reference(member), at, roles=["owner"] if member.id == user.id else [])
        for member in members
    ]
    return room, subscriptions


def _shown(message: Document, discussion: Document) -> Document:
    """The message that tells of a discussion, as it should be; of a deleted one it tells no longer."""
    if discussion.get("deleted_at"):
        return {name: value for name, value in message.items() if name not in ("drid", "dcount", "dlm")}
    changed = {**message, "msg": discussion["fname"], "dcount": discussion.get("msgs", 0)}
    if "lm" in discussion:
        changed["dlm"] = discussion["lm"]
    return changed
