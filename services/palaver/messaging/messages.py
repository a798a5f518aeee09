"""Sending a message, and looking at one. `send` is the hot path of the whole server."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson
from prometheus_client import Counter

from palaver.access import User
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.documents import public_message
from palaver.errors import InvalidInput, MessageNotFound, NotAllowed, Unavailable
from palaver.events import room_stream
from palaver.messaging import bad_words, custom_fields, files, markdown, markup, mentions, rules
from palaver.messaging.extras import add_quotes, is_empty, parse_extra
from palaver.messaging.mentions import NOBODY, Mentions
from palaver.messaging.quotes import Quotes
from palaver.messaging.store import Store
from palaver.messaging.views import View, Views, find_member
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import GetMessagesRequest, MessageReply, MessageRequest, SendMessageRequest

SENT = Counter("palaver_messages_sent_total", "Messages that users sent", ["room_type"])

_MAX_ID = 64
_MAX_ASKED = 100  # messages by their ids, in one call
# The random ids that clients make: nobody guesses one.
_is_random = re.compile(r"[A-Za-z0-9]{17}").fullmatch
# How long a command of unknown outcome may take to be seen in the database.
_DOUBT_SECONDS = 60.0

# What makes a message look like somebody else's. An emoji in the place of the picture is nobody's face.
_IMPERSONATING = ("alias", "avatar")


class Messages:
    """The use cases of single messages."""

    def __init__(self, node: Node, store: Store, views: Views, quotes: Quotes) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._quotes = quotes
        self._under_way = _UnderWay()
        self._sent = {kind: SENT.labels(kind) for kind in ("c", "p", "d", "l", "v")}

    async def send(self, request: SendMessageRequest, *, impersonating: bool = False) -> MessageReply:
        """Sends a message; the same one when the sender repeats it.

        `impersonating`: an integration's, which may look like anybody's whatever its user may.

        An id is of one message in one room. Each room has a stream of its own, so that the check against the stored
        messages misses one that is being sent to another room at this instant. `_UnderWay` sees it in this process. In
        another process, the claim does, but costs a write: it is made for ids that somebody might guess. What remains
        is a sender who sends one random id to two rooms through two processes at once: of the two, one is lost.

        Raises RoomNotFound, NotAllowed, InvalidInput, MessageNotFound (of the thread).
        """
        access = self._node.access
        sender = await access.get_actor(request.actor)
        text = bad_words.censor(request.text, access.setting)
        extra = parse_extra(request.extra) if request.extra else None
        if text or not request.upload_id:
            self.check_content(text, extra)
        if len(request.description) > access.setting("Message_MaxAllowedSize"):
            raise InvalidInput("Message size exceeds Message_MaxAllowedSize", code="error-message-size-exceeded")
        message_id = request.message_id
        if not 0 < len(message_id) <= _MAX_ID:
            problem = "too long" if message_id else "missing"
            raise InvalidInput(f"The message's id is {problem}", code="error-invalid-message-id")
        if request.thread_id and not access.setting("Threads_enabled"):
            raise NotAllowed("Threads are disabled")
        named = NOBODY
        if "@" in text or "#" in text:
            named = await mentions.resolve(text, sender, access, self._node.database)
        options = markup.options_of(access)
        quoted = await self._quotes.find(text, sender)
        room_id = request.room_id
        room_type = ""  # of the room, once there is something new in it

        async def decide(draft: Draft) -> bytes:
            nonlocal room_type
            if (repeated := await self._find_repeated(draft, request, sender)) is not None:
                return repeated
            view = await self._views.get_drafted(draft, sender)
            self.check_post(view)
            self.check_encrypted(view.room, extra or {})
            if extra is not None:
                self.check_extra(extra, view, impersonating=impersonating)
            room, subscription = view.room, view.subscription
            assert subscription is not None
            at = rules.event_time(room, now())
            applying = self.apply_everybody(named, view)
            message = _compose(message_id, room_id, sender, text, at, extra, applying, options)
            if access.setting("Message_Read_Receipt_Enabled"):
                message["unread"] = True
            event = Event()
            fact = event.message_sent
            if request.upload_id:
                upload = await files.find_own(draft, request.upload_id, sender.id)
                fact.upload_id, fact.thumbnail_id = request.upload_id, upload.get("thumbnail_id", "")
                thumbnail = await draft.get("uploads", fact.thumbnail_id) if fact.thumbnail_id else None
                message.update(files.message_fields(upload, thumbnail, request.description))
            self.describe_attachments(message, options)
            if quoted:
                add_quotes(message, quoted)
            fact.sender_group_mentions = subscription.get("own_group_mentions", 0)
            root: Document | None = None
            if request.thread_id:
                root = await _get_root(draft, room, request.thread_id)
                message["tmid"] = root["_id"]
                if request.show_in_room:
                    message["tshow"] = True
            counts = rules.is_counted(message)
            group_mentions = room.get("group_mentions", 0)
            if applying.everybody and counts:
                group_mentions += 1
                fact.sender_group_mentions += 1
            mentioned_ids = await _mention(draft, event, applying, sender, counts)
            if root is not None:
                reply = rules.reply_to(root, sender.id, mentioned_ids, at)
                fact.thread_root = orjson.dumps(reply.root)
                fact.new_followers.extend(reply.new_followers)
            data = orjson.dumps(message)
            fact.message = data
            fact.message_id = message_id
            fact.messages = room.get("msgs", 0) + 1
            fact.counted = room.get("counted", 0) + counts
            fact.group_mentions = group_mentions
            fact.counts = counts
            fact.without_last = not access.setting("Store_Last_Message")
            fact.sender_subscription_id = subscription["_id"]
            fact.sender_own = subscription.get("own", 0) + counts
            fact.sent_at = at
            fact.parent_id = room.get("prid", "")
            draft.append(event, actor=request.actor, command_id=f"{sender.id}/{message_id}", at=at)
            room_type = room["t"]
            return data

        with self._under_way.hold(message_id, room_id):
            if not _is_random(message_id):
                await self._claim(message_id, room_id, sender)
            message = await self._node.commits.execute(room_stream(room_id), decide)
        if room_type:
            self._sent[room_type].inc()
        return MessageReply(message=message)

    async def get(self, request: MessageRequest) -> MessageReply:
        """A message that the actor may read. Raises MessageNotFound, also for one that they may not."""
        message = await self.find_readable(request)
        if message is None:
            raise MessageNotFound()
        [shown] = await self._views.show_messages([message], request.actor.id)
        return MessageReply(message=shown)

    async def get_many(self, request: GetMessagesRequest) -> DocumentsReply:
        """Several messages in the order asked for; unknown ones are left out. Raises NotAllowed, InvalidInput."""
        if len(request.message_ids) > _MAX_ASKED:
            raise InvalidInput(f"At most {_MAX_ASKED} messages at once")
        user = await self._views.get_actor(request.actor)
        found = await self._node.database.get_many("messages", request.message_ids)
        rooms: dict[str, Document] = {}
        for message in found.values():
            if message["rid"] not in rooms:
                view = await self._views.view_for(user, await self._store.find_room(message["rid"]))
                if not self._views.may_read(view):
                    raise NotAllowed()
                rooms[message["rid"]] = view.room
        ids = dict.fromkeys(request.message_ids)
        there = [found[id] for id in ids if id in found and not rules.is_gone(rooms[found[id]["rid"]], found[id])]
        shown = await self._views.show_messages(there, user.id)
        return DocumentsReply(documents=shown, total=len(shown))

    async def find_readable(self, request: MessageRequest) -> Document | None:
        """The stored message, or None for an unknown, deleted or forbidden one."""
        return await self._views.find_readable(await self._views.get_actor(request.actor), request.message_id)

    def check_post(self, view: View) -> None:
        """Raises NotAllowed unless the user may write in the room (now, and as a member)."""
        room, subscription = view.room, view.subscription
        if subscription is None:
            raise NotAllowed()
        if room.get("archived"):
            raise NotAllowed("Room is archived", code="error-room-archived")
        if room.get("blockers"):
            raise NotAllowed("room_is_blocked")
        if (
            (room.get("ro") or room.get("broadcast"))
            and not view.is_listed("unmuted")
            and not self._views.may(view.user, "post-readonly", view.roles)
        ):
            raise NotAllowed("You can't send messages because the room is readonly.")
        if view.is_listed("muted"):
            raise NotAllowed("You_have_been_muted")

    def check_content(self, text: str, extra: dict[str, Any] | None, *, editing: bool = False) -> None:
        """Raises InvalidInput for a message that is too long or empty; of an edit, what is left decides that."""
        if len(text) > self._node.access.setting("Message_MaxAllowedSize"):
            raise InvalidInput("Message size exceeds Message_MaxAllowedSize", code="error-message-size-exceeded")
        if not editing and is_empty(text, extra or {}):
            raise InvalidInput("The message is empty", code="error-invalid-message")

    def check_extra(self, extra: dict[str, Any], view: View, *, impersonating: bool = False) -> None:
        """Raises NotAllowed, InvalidInput for what this user may not add to a message."""
        if (
            not impersonating
            and any(extra.get(name) for name in _IMPERSONATING)
            and not self._views.may(view.user, "message-impersonate", view.roles)
        ):
            raise NotAllowed("Not enough permission")
        if "customFields" in extra:
            custom_fields.check(extra["customFields"], self._node.access.setting)

    def check_encrypted(self, room: Document, message: Mapping[str, Any]) -> None:
        """Raises NotAllowed for what can be read in a room whose members have agreed that nobody else reads it."""
        setting = self._node.access.setting
        if (
            room.get("encrypted")
            and message.get("t") != "e2e"
            and setting("E2E_Enable")
            and not setting("E2E_Allow_Unencrypted_Messages")
        ):
            raise NotAllowed("Not allowed to send un-encrypted messages in an encrypted room")

    def describe_attachments(self, message: dict[str, Any], options: markdown.Options) -> None:
        """Gives the message's attachments the trees of their descriptions. Nobody here reads encrypted ones."""
        if message.get("attachments") and message.get("t") != "e2e":
            most_characters = self._node.access.setting("Message_MaxAllowedSize")
            message["attachments"] = markup.described(message["attachments"], options, most_characters)

    def apply_everybody(self, named: Mentions, view: View) -> Mentions:
        """The mentions as they hold in this room: nobody mentions everybody where more are members than the settings
        allow for it. Raises NotAllowed for who may not."""
        if not named.everybody:
            return named
        mentions.check_everybody(named, view.user, self._node.access, view.roles)
        limit = self._node.access.setting("Message_MaxAll")
        if limit <= 0 or view.room.get("usersCount", 0) <= limit:
            return named
        return replace(named, everybody=())

    async def _find_repeated(self, draft: Draft, request: SendMessageRequest, sender: User) -> bytes | None:
        """The message with the client's id, if it is this very command's. Raises InvalidInput for somebody else's."""
        found = await draft.get("messages", request.message_id)
        if found is None:
            return None
        if found["rid"] != request.room_id or found["u"]["_id"] != sender.id or found.get("_hidden"):
            raise _taken()
        return orjson.dumps(public_message(found))

    async def _claim(self, message_id: str, room_id: str, sender: User) -> None:
        """Makes the id this room's, for a sender who may post there. Raises RoomNotFound, NotAllowed, InvalidInput."""
        self.check_post(await self._views.view_for(sender, await self._store.find_room(room_id)))
        if not await self._node.database.claim(f"message:{message_id}", room_id):
            raise _taken()


class _UnderWay:
    """The messages that this process is sending."""

    def __init__(self) -> None:
        self._rooms: dict[str, tuple[str, int]] = {}  # by id: the room, and how often it is being sent to it

    @contextmanager
    def hold(self, message_id: str, room_id: str) -> Iterator[None]:
        """Lets this id be sent to this room only, until the outcome can be seen. Raises InvalidInput."""
        held_by, times = self._rooms.get(message_id, (room_id, 0))
        if held_by != room_id:
            raise _taken()
        self._rooms[message_id] = (room_id, times + 1)
        try:
            yield
        except (asyncio.CancelledError, Unavailable):
            asyncio.get_running_loop().call_later(_DOUBT_SECONDS, self._leave, message_id)
            raise
        except BaseException:
            self._leave(message_id)
            raise
        self._leave(message_id)

    def _leave(self, message_id: str) -> None:
        room_id, times = self._rooms.pop(message_id)
        if times > 1:
            self._rooms[message_id] = (room_id, times - 1)


def _taken() -> InvalidInput:
    return InvalidInput("A message with this id exists already", code="error-invalid-message-id")


def text_fields(text: str, named: Mentions, extra: dict[str, Any] | None, options: markdown.Options) -> dict[str, Any]:
    """The fields of a message that follow from its text. `extra` may say which links show their pages (`previewUrls`:
    these, and no others), and what is known of links already (`urls`)."""
    extra = extra or {}
    addresses = mentions.links(text) if extra.get("parseUrls", True) else []
    wanted = None if (given := extra.get("previewUrls")) is None else frozenset(given)
    known = {link["url"]: link for link in extra.get("urls", ())}
    urls: list[Document] = []
    for address in addresses:
        if wanted is not None and address not in wanted:
            urls.append({"url": address, "ignoreParse": True})
        else:
            link = known.get(address, {"url": address})
            urls.append({name: value for name, value in link.items() if wanted is None or name != "ignoreParse"})
    return {
        "msg": text,
        "urls": urls,
        "mentions": named.user_entries() if named is not NOBODY else [],
        "channels": list(named.rooms),
        "md": markdown.parse(text, options),
    }


def _compose(
    message_id: str,
    room_id: str,
    sender: User,
    text: str,
    at: int,
    extra: dict[str, Any] | None,
    named: Mentions,
    options: markdown.Options,
) -> dict[str, Any]:
    moment = {"$date": at}
    message: dict[str, Any] = {
        "_id": message_id,
        "rid": room_id,
        "ts": moment,
        "u": {"_id": sender.id, "username": sender.username, "name": sender.name},
        "_updatedAt": moment,
        **text_fields(text, named, extra, options),
    }
    if extra is not None:
        message.update((name, value) for name, value in extra.items() if name != "previewUrls")
        if extra.get("t"):
            del message["md"]
    return message


async def _get_root(draft: Draft, room: Document, thread_id: str) -> Document:
    """The first message of a thread in the draft's room; a reply stands for its own thread."""
    message = await draft.get("messages", thread_id)
    if message is not None and message.get("tmid"):
        message = await draft.get("messages", message["tmid"])
    if message is None or message["rid"] != draft.stream.id or rules.is_gone(room, message):
        raise MessageNotFound("The thread does not exist", code="error-invalid-message")
    return message


async def _mention(draft: Draft, event: Event, named: Mentions, sender: User, counts: bool) -> list[str]:
    """Adds a mention to the event for each member that the message names; returns their ids.

    In a thread that the room does not show, it counts for the thread alone: `mentioned` stays as it is.
    """
    members = []
    for user in named.users:
        subscription = await find_member(draft, user.id) if user.id != sender.id else None
        if subscription is not None:
            members.append(user.id)
            mentioned = subscription.get("mentioned", 0) + counts
            event.message_sent.mentions.add(user_id=user.id, subscription_id=subscription["_id"], mentioned=mentioned)
    return members
