"""The caller's own subscriptions: listed, read, hidden, preferred. Shared by `rest/subscriptions.py`, `rest/rooms.py`
and `ddp/methods/subscriptions.py`."""

from typing import Any

from palaver.errors import InvalidInput, RoomNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import encode
from palaver.v1.messaging_pb2 import (
    CountersReply,
    GetCountersRequest,
    ListSubscriptionsReply,
    ListSubscriptionsRequest,
    MarkReadRequest,
    MarkUnreadRequest,
    RoomRequest,
    SetSubscriptionRequest,
)

# Preferences that clients send as "0" and "1", and those that they send as text.
_SWITCHES = ("disableNotifications", "hideUnreadStatus", "hideMentionStatus", "muteGroupMentions")
_CHOICES = (
    "desktopNotifications",
    "mobilePushNotifications",
    "emailNotifications",
    "audioNotificationValue",
    "unreadAlert",
)


async def list_subscriptions(call: Call, since: int = -1) -> ListSubscriptionsReply:
    """All of the caller's, or those that changed since then (epoch milliseconds) and those that ended."""
    return await call.services.messaging.list_subscriptions(
        ListSubscriptionsRequest(actor=call.actor, updated_since=since)
    )


async def find_subscription(call: Call, room_id: str) -> bytes | None:
    """The caller's of a room (encoded); None where they have none, whether or not the room exists."""
    try:
        reply = await call.services.messaging.get_subscription(RoomRequest(actor=call.actor, room_id=room_id))
    except RoomNotFound:
        return None
    return reply.subscription or None


async def get_counters(call: Call, room_id: str, user_id: str = "") -> CountersReply:
    """How much of a room the caller, or somebody else, has not read."""
    return await call.services.messaging.get_counters(
        GetCountersRequest(actor=call.actor, room_id=room_id, user_id=user_id)
    )


async def prefer(call: Call, room_id: str, **preferences: Any) -> None:
    """Sets what the caller prefers of a room: `open`, `f` and the like."""
    await call.services.messaging.set_subscription(
        SetSubscriptionRequest(actor=call.actor, room_id=room_id, set=encode(preferences))
    )


async def save_notifications(call: Call, room_id: str, notifications: dict[str, str]) -> None:
    """Sets how the caller hears of a room. Raises InvalidInput for what does not exist."""
    preferences: dict[str, Any] = {}
    for name, value in notifications.items():
        if name in _SWITCHES:
            preferences[name] = value == "1"
        elif name in _CHOICES:
            preferences[name] = value
        else:
            raise InvalidInput("Invalid settings provided", code="error-invalid-settings", details={"setting": name})
    await prefer(call, room_id, **preferences)


async def ignore_user(call: Call, room_id: str, user_id: str, *, ignore: bool) -> None:
    """The caller does not want to see what somebody writes in a room, or wants to again. Raises RoomNotFound."""
    request = SetSubscriptionRequest(actor=call.actor, room_id=room_id)
    if ignore:
        request.ignored = user_id
    else:
        request.unignored = user_id
    await call.services.messaging.set_subscription(request)


async def mark_read(call: Call, room_id: str, *, with_threads: bool = False, thread_id: str = "") -> None:
    """The caller has read a room up to now, or one thread of it."""
    await call.services.messaging.mark_read(
        MarkReadRequest(actor=call.actor, room_id=room_id, with_threads=with_threads, thread_id=thread_id)
    )


async def mark_unread(call: Call, *, room_id: str = "", message_id: str = "") -> None:
    """The caller wants to read again: from a message on, or a room's last one."""
    await call.services.messaging.mark_unread(
        MarkUnreadRequest(actor=call.actor, room_id=room_id, first_unread_id=message_id)
    )
