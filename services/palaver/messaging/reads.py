"""What a user has read, hidden and preferred. Events of the user's stream, so that reading never waits for the room."""

from typing import Any

import orjson
from prometheus_client import Counter

from palaver.access import User
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import InvalidInput, MessageNotFound, NotAllowed, RoomNotFound
from palaver.events import user_stream
from palaver.messaging import rules
from palaver.messaging.receipts import Receipts
from palaver.messaging.rooms import parse_object
from palaver.messaging.rules import NO_THREADS, milliseconds
from palaver.messaging.store import Store
from palaver.messaging.views import Views
from palaver.node import Node
from palaver.v1.auth_pb2 import Empty
from palaver.v1.event_pb2 import Actor, Event
from palaver.v1.messaging_pb2 import (
    MarkReadRequest,
    MarkUnreadRequest,
    RoomRequest,
    SetSubscriptionRequest,
    SubscriptionReply,
)

READ = Counter("palaver_rooms_read_total", "Times that a user read a room or a thread", ["what"])

_MAX_IGNORED = 1000
_NOTIFY = ("default", "all", "mentions", "nothing")
_NOTIFICATIONS = ("desktopNotifications", "mobilePushNotifications", "emailNotifications")
# What else a user prefers of a subscription, with its type.
_PREFERENCES: dict[str, type | tuple[type, ...]] = {
    "f": bool,
    "audioNotificationValue": str,
    "disableNotifications": bool,
    "hideUnreadStatus": bool,
    "hideMentionStatus": bool,
    "muteGroupMentions": bool,
    "unreadAlert": str,
    "autoTranslate": bool,
    "autoTranslateLanguage": str,
    "ignored": list,
    "userHighlights": list,
}


class Reads:
    """The use cases of one's own subscriptions."""

    def __init__(self, node: Node, store: Store, views: Views, receipts: Receipts) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._receipts = receipts

    async def get_subscription(self, request: RoomRequest) -> SubscriptionReply:
        """The actor's subscription of a room; empty when they are no member. Raises RoomNotFound."""
        view = await self._views.get_view(request.actor, request.room_id)
        found = await self._store.find_membership(request.room_id, view.user.id)
        if found is None:
            return SubscriptionReply()
        room, subscription = found
        shown = await self._store.present_subscription(subscription, room, self._views.unread_settings())
        return SubscriptionReply(subscription=orjson.dumps(shown))

    async def mark_read(self, request: MarkReadRequest) -> Empty:
        """The actor has read the room up to now, or one thread. Raises RoomNotFound."""
        user = await self._views.get_actor(request.actor)
        previous: int | None = None  # until when it was read before, if that changes

        async def decide(draft: Draft) -> None:
            nonlocal previous
            room, subscription = await self._get_membership(user, request.room_id)
            at = rules.preference_time(subscription, room, now())
            event = Event()
            fact = event.room_read
            fact.room_id = room["_id"]
            fact.subscription_id = subscription["_id"]
            # Never before the messages that it covers: their times may be ahead of this clock by a little.
            fact.read_at = max(at, milliseconds(room.get("_updatedAt")))
            if request.thread_id:
                record = await self._node.database.get("thread_reads", f"{user.id}/{request.thread_id}")
                if record is None:
                    return
                head = await self._node.database.get("messages", request.thread_id)
                last = milliseconds((head or {}).get("tlm"))
                if milliseconds(record.get("read_at")) >= last > 0:
                    return
                fact.read_at = max(fact.read_at, last)
                fact.thread_id = request.thread_id
                previous = max(milliseconds(record.get("read_at")), milliseconds(record.get("replied_at")))
            else:
                threads = (await self._store.find_unread_threads(user.id, room["_id"])).get(room["_id"], NO_THREADS)
                mark = rules.read_mark(room, subscription)
                fact.counted = mark["counted"]
                fact.own = mark["own"]
                fact.mentioned = mark["mentioned"]
                fact.group_mentions = mark["group_mentions"]
                if request.with_threads:
                    fact.threads.extend(threads.all)
                    fact.read_at = max(fact.read_at, threads.changed_at)
                if _is_read(room, subscription) and not fact.threads:
                    return
                previous = milliseconds(subscription.get("ls"))
            draft.append(event, actor=request.actor, at=at)

        await self._node.commits.execute(user_stream(user.id), decide)
        READ.labels("thread" if request.thread_id else "room").inc()
        if previous is not None:
            await self._receipts.on_read(request.room_id, previous, request.thread_id)
        return Empty()

    async def mark_unread(self, request: MarkUnreadRequest) -> Empty:
        """The actor wants to read again, from a message or the room's last one on. Raises NotAllowed, …"""
        user = await self._views.get_actor(request.actor)
        if request.first_unread_id:
            message = await self._node.database.get("messages", request.first_unread_id)
            room_id = message["rid"] if message is not None else ""
        else:
            room_id = request.room_id
            message = await self._find_last_of_others(room_id, user.id)
        room, _ = await self._get_membership(user, room_id)
        if message is None or rules.is_gone(room, message):
            raise MessageNotFound("There are no messages to mark unread", code="error-no-message-for-unread")
        if message["u"]["_id"] == user.id:
            raise NotAllowed(code="error-action-not-allowed", details={"action": "Unread_messages"})
        await self._prefer(
            user, request.actor, room_id, {"forced_alert": True, "ls": message["ts"]}, ["hidden_at_counted"]
        )
        return Empty()

    async def set_subscription(self, request: SetSubscriptionRequest) -> Empty:
        """Hides or shows a room, and sets what the actor prefers of it, or whom they ignore there.

        Raises RoomNotFound, NotAllowed, InvalidInput.
        """
        user = await self._views.get_actor(request.actor)
        changes, unset = _parse_preferences(request.set)
        if changes.get("f") and not self._node.access.setting("Favorite_Rooms"):
            raise NotAllowed("Rooms are no favourites here", code="error-action-not-allowed")
        await self._prefer(
            user, request.actor, request.room_id, changes, unset, ignored=request.ignored, unignored=request.unignored
        )
        return Empty()

    async def show(self, actor: Actor, room_id: str) -> None:
        """The actor hides this room no longer; nothing happens where they don't."""
        user = await self._views.get_actor(actor)
        subscription = await self._store.find_subscription(room_id, user.id)
        if subscription is not None and "hidden_at_counted" in subscription:
            await self._prefer(user, actor, room_id, {}, ["hidden_at_counted"])

    async def _prefer(
        self,
        user: User,
        actor: Actor,
        room_id: str,
        changes: dict[str, Any],
        unset: list[str],
        *,
        ignored: str = "",
        unignored: str = "",
    ) -> None:
        async def decide(draft: Draft) -> None:
            room, subscription = await self._get_membership(user, room_id)
            made = {**changes}
            if made.pop("open", True) is False:
                made["hidden_at_counted"] = room.get("counted", 0)
            if ignored or unignored:
                # As the draft has it: another of the user's commands may be about to change it.
                drafted = await draft.get("subscriptions", subscription["_id"]) or subscription
                subscription = {**subscription, "ignored": drafted.get("ignored", [])}
                made["ignored"] = _change_ignored(subscription["ignored"], ignored, unignored)
            made = {name: value for name, value in made.items() if subscription.get(name) != value}
            removed = [name for name in unset if name in subscription]
            if not made and not removed:
                return
            event = Event()
            fact = event.subscription_preferred
            fact.room_id = room_id
            fact.subscription_id = subscription["_id"]
            fact.set = orjson.dumps(made)
            fact.unset.extend(removed)
            draft.append(event, actor=actor, at=rules.preference_time(subscription, room, now()))

        await self._node.commits.execute(user_stream(user.id), decide)

    async def _get_membership(self, user: User, room_id: str) -> tuple[Document, Document]:
        """Room and subscription as the database has them: a user's draft does not follow the room's events."""
        found = await self._store.find_membership(room_id, user.id)
        if found is None:
            raise RoomNotFound()
        return found

    async def _find_last_of_others(self, room_id: str, user_id: str) -> Document | None:
        where = {"rid": room_id, "_hidden": None, "t": None, "u._id": {"$ne": user_id}}
        found = await self._node.database.find("messages", where, sort=[("ts", -1), ("_id", -1)], limit=1)
        return found[0] if found else None


def _is_read(room: Document, subscription: Document) -> bool:
    """Whether reading changes nothing, so that a client that tells it again and again costs nothing."""
    return (
        subscription.get("read") == rules.read_mark(room, subscription)
        and not subscription.get("forced_alert")
        and "hidden_at_counted" not in subscription
        and milliseconds(subscription.get("ls")) >= max(1, milliseconds(room.get("lm")))
    )


def _change_ignored(user_ids: list[str], added: str, removed: str) -> list[str]:
    """Whom the user ignores from now on. Raises InvalidInput where these are too many."""
    changed = [id for id in user_ids if id != removed]
    if not added or added in changed:
        return changed
    if len(changed) >= _MAX_IGNORED:
        raise InvalidInput("You ignore too many users here", code="error-too-many-ignored-users")
    return [*changed, added]


def _parse_preferences(data: bytes) -> tuple[dict[str, Any], list[str]]:
    """What to set and to unset. Raises InvalidInput for an unknown name or a wrong value."""
    changes: dict[str, Any] = {}
    unset: list[str] = []
    for name, value in parse_object(data).items():
        if name == "open":
            if not isinstance(value, bool):
                raise InvalidInput("open must be boolean")
            changes["open"] = value
            if value:
                unset.append("hidden_at_counted")
        elif name in _NOTIFICATIONS:
            if value not in _NOTIFY:
                raise InvalidInput(f"{name} must be equal to one of the allowed values", code="error-invalid-settings")
            if value == "default":
                unset += [name, _origin(name)]
            else:
                changes[name] = value
                changes[_origin(name)] = "subscription"
        elif name not in _PREFERENCES:
            raise InvalidInput(f"must NOT have additional properties: {name}", code="error-invalid-settings")
        elif value is None:
            unset.append(name)
        elif not isinstance(value, _PREFERENCES[name]):
            raise InvalidInput(f"{name} has the wrong type", code="error-invalid-settings")
        else:
            changes[name] = value
    return changes, unset


def _origin(name: str) -> str:
    return {
        "desktopNotifications": "desktopPrefOrigin",
        "mobilePushNotifications": "mobilePrefOrigin",
        "emailNotifications": "emailPrefOrigin",
    }[name]
