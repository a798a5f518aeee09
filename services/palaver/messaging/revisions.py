"""Editing and deleting messages."""

from collections.abc import Sequence
from typing import Any

import orjson

from palaver.access import User
from palaver.commit import Draft, now
from palaver.database import Database, Document, Filter
from palaver.documents import public_message
from palaver.errors import InvalidInput, MessageNotFound, NotAllowed, PalaverError, Unavailable
from palaver.events import room_stream
from palaver.ids import new_id
from palaver.messaging import bad_words, markup, mentions, rules
from palaver.messaging.extras import add_quotes, check_extra_size, drop_quotes, extra_size, is_empty, parse_extra
from palaver.messaging.files import find_attached
from palaver.messaging.mentions import NOBODY
from palaver.messaging.messages import Messages, text_fields
from palaver.messaging.quotes import Quotes
from palaver.messaging.rules import milliseconds
from palaver.messaging.views import DELETED, View, Views, get_alterable, hiding_the_room
from palaver.node import Node
from palaver.v1.event_pb2 import Event, MessageChanged
from palaver.v1.messaging_pb2 import DeleteMessageRequest, EditMessageRequest, MessageReply

_EDITABLE_EXTRA = ("customFields", "attachments", "blocks", "previewUrls", "content", "e2e", "e2eMentions", "t")
_MAX_ATTEMPTS = 20
_KEPT_OF_DELETED = ("_id", "rid", "ts", "u", "tmid", "tshow", "tcount", "tlm")


class NotYet(PalaverError):
    """The decision needs a query over what earlier commands of its batch are about to write."""


class TooMuch(PalaverError):
    """The event of several messages would be larger than a database takes: it is to be made of fewer of them."""


_MAX_EVENT_BYTES = 4 * 1024 * 1024


class Revisions:
    """The use cases of changing what was sent."""

    def __init__(self, node: Node, views: Views, messages: Messages, quotes: Quotes) -> None:
        self._node = node
        self._views = views
        self._messages = messages
        self._quotes = quotes

    async def edit(self, request: EditMessageRequest) -> MessageReply:
        """Changes a message's text. Raises MessageNotFound, NotAllowed, InvalidInput."""
        access = self._node.access
        user = await self._views.get_actor(request.actor)
        text = bad_words.censor(request.text, access.setting)
        extra = parse_extra(request.extra) if request.extra else {}
        for name in extra:
            if name not in _EDITABLE_EXTRA:
                raise InvalidInput(f"must NOT have additional properties: {name}")
        self._messages.check_content(text, extra, editing=True)
        room_id = await self._find_room_id(request.message_id, request.room_id)
        named = NOBODY
        if "@" in text or "#" in text:
            named = await mentions.resolve(text, user, access, self._node.database)
        quoted = await self._quotes.find(text, user)

        options = markup.options_of(access)

        async def decide(draft: Draft) -> bytes:
            view = await self._views.get_drafted(draft, user)
            message = await get_alterable(draft, view.room, request.message_id)
            self._check_edit(view, message)
            self._messages.check_extra(extra, view)
            if message["msg"] == text and not extra:
                return orjson.dumps(public_message(message))
            _check_stays_encrypted(message, extra)
            self._messages.check_encrypted(view.room, message)
            applying = self._messages.apply_everybody(named, view)
            at = rules.event_time(view.room, now())
            changed = {
                **message,
                **text_fields(text, applying, _kept_of_links(message, extra), options),
                **{name: value for name, value in extra.items() if name != "previewUrls"},
                "editedAt": {"$date": at},
                "editedBy": {"_id": user.id, "username": user.username},
                "_updatedAt": {"$date": at},
            }
            if changed.get("t"):
                del changed["md"]
            drop_quotes(changed, set(mentions.links(message["msg"])).difference(mentions.links(text)))
            if is_empty(text, changed):
                raise InvalidInput("The message is empty", code="error-invalid-message")
            if extra:
                check_extra_size(extra_size(changed))
                self._messages.describe_attachments(changed, options)
            if quoted:
                add_quotes(changed, quoted)
            event = Event()
            fact = event.message_changed
            fact.message_id = request.message_id
            fact.change = MessageChanged.EDITED
            fact.message = orjson.dumps(changed)
            fact.is_last = _is_last(view.room, request.message_id)
            if access.setting("Message_KeepHistory"):
                fact.kept = _copy(message, user, at)
            before, after = list_mentioned(message), list_mentioned(changed)
            fact.mentioned.extend(id for id in after if id not in before)
            fact.unmentioned.extend(id for id in before if id not in after)
            draft.append(event, actor=request.actor, at=at)
            return orjson.dumps(public_message(changed))

        with hiding_the_room():
            message = await self._node.commits.execute(room_stream(room_id), decide)
        return MessageReply(message=message)

    async def delete(self, request: DeleteMessageRequest) -> MessageReply:
        """Deletes a message; returns it as it was. Raises MessageNotFound, NotAllowed."""
        user = await self._views.get_actor(request.actor)
        room_id = await self._find_room_id(request.message_id, request.room_id)

        async def decide(draft: Draft) -> bytes:
            view = await self._views.get_drafted(draft, user)
            message = await get_alterable(draft, view.room, request.message_id)
            self._check_delete(view, message, request)
            at = rules.event_time(view.room, now())
            event = Event()
            fact = event.message_deleted
            fact.message_id = request.message_id
            fact.sent_at = milliseconds(message["ts"])
            fact.parent_id = view.room.get("prid", "")
            fact.unmentioned.extend(list_mentioned(message))
            if self._node.access.setting("Message_KeepHistory"):
                fact.kept = _copy(message, user, at)
            if self._node.access.setting("Message_ShowDeletedStatus"):
                fact.shown = _tombstone(message, user, at)
            else:
                fact.remaining.CopyFrom(rules.remaining(view.room, 1))
            if (upload := await find_attached(draft, message)) is not None:
                fact.upload_id, fact.thumbnail_id = upload["_id"], upload.get("thumbnail_id", "")
            if thread_id := message.get("tmid"):
                fact.thread_id = thread_id
                root = await draft.get("messages", thread_id)
                if root is not None and not root.get("_hidden"):
                    tcount = max(0, root.get("tcount", 0) - 1)
                    fact.thread_root = orjson.dumps({**root, "tcount": tcount, "_updatedAt": {"$date": at}})
            if _is_last(view.room, request.message_id):
                rest = {"_id": {"$ne": request.message_id}}
                last = await find_last_message(self._node.database, draft, view.room, rest)
                fact.room_last_message = orjson.dumps(last)
            draft.append(event, actor=request.actor, at=at)
            return orjson.dumps(public_message(message))

        for _ in range(_MAX_ATTEMPTS):
            try:
                with hiding_the_room():
                    deleted = await self._node.commits.execute(room_stream(room_id), decide)
            except NotYet:
                continue
            return MessageReply(message=deleted)
        raise Unavailable("The room is too busy")

    async def _find_room_id(self, message_id: str, room_id: str) -> str:
        """The room of a message, which must be the given one if there is one. Raises MessageNotFound, InvalidInput."""
        message = await self._node.database.get("messages", message_id) if message_id else None
        if message is None:
            raise MessageNotFound()
        if room_id and message["rid"] != room_id:
            raise InvalidInput(
                "The room id provided does not match where the message is from.", code="error-invalid-room"
            )
        return str(message["rid"])

    def _check_edit(self, view: View, message: Document) -> None:
        setting = self._node.access.setting
        may_others = self._views.may(view.user, "edit-message", view.roles)
        own = message["u"]["_id"] == view.user.id and setting("Message_AllowEditing")
        if rules.is_system(message) or not (may_others or own):
            raise NotAllowed(
                "Message editing not allowed", code="error-action-not-allowed", details={"action": "Message_editing"}
            )
        self._messages.check_post(view)
        if not self._views.may(view.user, "bypass-time-limit-edit-and-delete", view.roles) and not (
            rules.is_within_minutes(
                milliseconds(message["ts"]), setting("Message_AllowEditing_BlockEditInMinutes"), now()
            )
        ):
            raise NotAllowed("Message editing is blocked", code="error-message-editing-blocked")

    def _check_delete(self, view: View, message: Document, request: DeleteMessageRequest) -> None:
        user, roles, setting = view.user, view.roles, self._node.access.setting
        if self._views.may(user, "force-delete-message", roles):
            return
        own = message["u"]["_id"] == user.id
        refused = NotAllowed(code="error-action-not-allowed", details={"action": "Delete_message"})
        if request.as_user and not own:
            raise NotAllowed(
                'Unauthorized. You must have the permission "force-delete-message" to delete other\'s message as them.'
            )
        if view.subscription is None or not setting("Message_AllowDeleting"):
            raise refused
        if not self._views.may(user, "delete-message", roles) and not (
            own and self._views.may(user, "delete-own-message", roles)
        ):
            raise refused
        if not self._views.may(user, "bypass-time-limit-edit-and-delete", roles) and not rules.is_within_minutes(
            milliseconds(message["ts"]), setting("Message_AllowDeleting_BlockDeleteInMinutes"), now()
        ):
            raise refused
        if view.room.get("ro") and not view.is_listed("unmuted") and not self._views.may(user, "post-readonly", roles):
            raise NotAllowed("You can't delete messages because the room is readonly.")


async def find_last_message(database: Database, draft: Draft, room: Document, where: Filter) -> Document | None:
    """What becomes the room's last message, of those that match. Raises NotYet while the database lags behind."""
    if await database.get_head(draft.stream) != draft.head:
        raise NotYet()
    wanted: dict[str, Any] = {
        "rid": room["_id"],
        "_hidden": None,
        "t": None,
        "$or": [{"tmid": None}, {"tshow": True}],
        **where,
        **rules.not_cleared(room),
    }
    found = await database.find("messages", wanted, sort=[("ts", -1), ("_id", -1)], limit=1)
    return found[0] if found else None


def _copy(message: Document, editor: User, at: int) -> bytes:
    """The message as it is now, for the history: under another id, and seen in no list."""
    edited = {"editedAt": {"$date": at}, "editedBy": {"_id": editor.id, "username": editor.username}}
    return orjson.dumps({**message, **edited, "_id": new_id(), "_hidden": True, "parent": message["_id"]})


def _tombstone(message: Document, user: User, at: int) -> bytes:
    """What is seen in the place of a deleted message: whose it was, and who deleted it."""
    return orjson.dumps(
        {
            **{name: message[name] for name in _KEPT_OF_DELETED if name in message},
            "t": DELETED,
            "msg": "",
            "urls": [],
            "mentions": [],
            "attachments": [],
            "editedAt": {"$date": at},
            "editedBy": {"_id": user.id, "username": user.username},
            "_updatedAt": {"$date": at},
        }
    )


def _check_stays_encrypted(message: Document, extra: Document) -> None:
    """Raises InvalidInput for an edit that shows everybody what was encrypted, or the other way round."""
    is_encrypted = extra.get("t") == "e2e" or "content" in extra
    if is_encrypted != (message.get("t") == "e2e"):
        raise InvalidInput("An edit does not change whether a message is encrypted", code="error-invalid-update-key")


def _kept_of_links(message: Document, extra: Document) -> dict[str, Any]:
    """What an edited text's links are made with: those that stay are not fetched again."""
    kept = {"parseUrls": message.get("parseUrls", True), "urls": message.get("urls", [])}
    return {**kept, "previewUrls": extra["previewUrls"]} if "previewUrls" in extra else kept


def check_size(event: Event, messages: Sequence[Document]) -> None:
    """Raises TooMuch where an event of so many messages is too large, and one of fewer is possible."""
    if len(messages) > 1 and event.ByteSize() > _MAX_EVENT_BYTES:
        raise TooMuch


def list_mentioned(message: Document) -> list[str]:
    """Whom the message mentions directly."""
    return [entry["_id"] for entry in message.get("mentions", ()) if entry.get("type") == "user"]


def _is_last(room: Document, message_id: str) -> bool:
    return bool(room.get("lastMessage", {}).get("_id") == message_id)
