"""Pure rules of outgoing webhooks: what an event means to them, which of them want it, and what they post."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from palaver.database import Document
from palaver.documents import public_message, public_room, with_iso_dates
from palaver.messaging.integrations.rules import EVENTS
from palaver.v1.event_pb2 import Event, MessageChanged

FACTS = frozenset(
    {"message_sent", "message_changed", "room_created", "room_changed", "member_joined", "member_left", "user_created"}
)
"""The facts that a webhook can be about."""

_OF_ROOM_TYPE = {"c": "all_public_channels", "p": "all_private_groups", "d": "all_direct_messages"}


@dataclass(frozen=True, slots=True)
class Happening:
    """What happened, as webhooks know it: a file that is sent is a message, too.

    `user_id`: who is in it, besides the author of a message.
    """

    events: tuple[str, ...]
    message: Document = field(default_factory=dict)
    is_edited: bool = False
    user_id: str = ""
    user: Document = field(default_factory=dict)


def read(event: Event) -> Happening | None:
    """What a fact is for webhooks; None for what is nothing to them, and for what one of them has said."""
    match event.WhichOneof("fact"):
        case "message_sent":
            message = orjson.loads(event.message_sent.message)
            if message.get("bot") or message.get("t") or event.message_sent.backfilled:
                return None
            return Happening(("sendMessage", "fileUploaded") if message.get("file") else ("sendMessage",), message)
        case "message_changed" if event.message_changed.change == MessageChanged.EDITED:
            message = orjson.loads(event.message_changed.message)
            # Without who edited it, it was no person: a preview was added.
            if message.get("bot") or message.get("t") or event.actor.kind != event.actor.USER:
                return None
            return Happening(("sendMessage",), message, is_edited=True)
        case "room_created":
            room = orjson.loads(event.room_created.room)
            return Happening(("roomCreated",), user_id=event.actor.id) if room["t"] in ("c", "p") else None
        case "room_changed":
            is_archived = orjson.loads(event.room_changed.set or b"{}").get("archived") is True
            return Happening(("roomArchived",), user_id=event.actor.id) if is_archived else None
        case "member_joined":
            return Happening(("roomJoined",), user_id=event.member_joined.user_id)
        case "member_left":
            return Happening(("roomLeft",), user_id=event.member_left.user_id)
        case "user_created":
            user = orjson.loads(event.user_created.user)
            return Happening(("userCreated",), user_id=user["_id"], user=user)
    return None


def wants(integration: Document, happening: Happening, room: Document, at: int) -> bool:
    """Whether an integration is about this. `at`: when it happened; what came before it was made is none of its."""
    if not integration["enabled"] or integration["event"] not in happening.events:
        return False
    if at < integration["_createdAt"]["$date"] or (happening.is_edited and not integration["runOnEdits"]):
        return False
    if not EVENTS[integration["event"]]:
        return True
    names = {_OF_ROOM_TYPE.get(room.get("t", ""), "")}
    if room.get("t") == "d":
        names |= {f"@{name}" for name in room.get("usernames", ())}
    else:
        names |= {f"#{room.get('name')}", f"#{room.get('_id')}"}
    return not names.isdisjoint(integration["channel"])


def find_trigger_word(integration: Document, happening: Happening) -> str | None:
    """The word that triggers it; "" where none is needed; None where there should be one."""
    words = integration["triggerWords"]
    if integration["event"] != "sendMessage" or not words:
        return ""
    text = happening.message.get("msg", "")
    for word in words:
        if word in text if integration["triggerWordAnywhere"] else text.startswith(word):
            return str(word)
    return None


def compose(
    integration: Document, happening: Happening, room: Document, user: Document, at: int, site_url: str, word: str
) -> dict[str, Any]:
    """What is posted."""
    data: dict[str, Any] = {
        "token": integration.get("token", ""),
        "bot": False,
        "timestamp": with_iso_dates({"$date": at}),
        "siteUrl": site_url,
    }
    if room:
        data |= {"channel_id": room["_id"], "channel_name": room.get("name")}
        if integration["event"] != "sendMessage":
            data["room"] = with_iso_dates(public_room(room, outside=True))
    if happening.message:
        message = happening.message
        data |= {
            "message_id": message["_id"],
            "timestamp": with_iso_dates(message["ts"]),
            "user_id": message["u"]["_id"],
            "user_name": message["u"]["username"],
            "text": message["msg"],
        }
        for name, shown_as in (("alias", "alias"), ("tmid", "tmid"), ("file", "file")):
            if message.get(name):
                data[shown_as] = message[name]
        if integration["event"] == "fileUploaded":
            data |= {"user": message["u"], "message": with_iso_dates(public_message(message))}
        if happening.is_edited:
            data["isEdited"] = True
        if word:
            data["trigger_word"] = word
    elif user:
        data |= {"user_id": user["_id"], "user_name": user.get("username", ""), "user": user}
        if integration["event"] == "roomCreated":
            data["owner"] = user
    return data


def retry_delay(integration: Document, attempts: int) -> int | None:
    """Milliseconds until the next try after so many; None for no more."""
    if not integration["retryFailedCalls"] or attempts > integration["retryCount"]:
        return None
    match integration["retryDelay"]:
        case "powers-of-two":
            return int(2**attempts) * 1000
        case "increments-of-two":
            return attempts * 2000
    return int(10 ** (attempts + 1))
