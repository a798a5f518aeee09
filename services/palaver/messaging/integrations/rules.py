"""Pure rules of integrations: what their documents may say."""

from typing import Any

import msgspec
import orjson

from palaver.database import Document
from palaver.errors import InvalidInput, NotBuilt
from palaver.http import parse_url

INCOMING, OUTGOING = "webhook-incoming", "webhook-outgoing"
TYPES = (INCOMING, OUTGOING)

EVERYWHERE = ("all_public_channels", "all_private_groups", "all_direct_messages")
"""What an outgoing webhook may name instead of a channel."""
# The events of outgoing webhooks, and whether they are of a room that can be chosen.
EVENTS = {
    "sendMessage": True,
    "fileUploaded": True,
    "roomArchived": False,
    "roomCreated": False,
    "roomJoined": True,
    "roomLeft": True,
    "userCreated": False,
}
DELAYS = ("powers-of-ten", "powers-of-two", "increments-of-two")

_MAX_CHANNELS = 100
_MAX_URLS = 20
_MAX_WORDS = 100
_MAX_TEXT = 1000
_MAX_RETRIES = 10


class Fields(msgspec.Struct, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """What a client may say of an integration; what it does not say stays as it is. None says nothing."""

    name: str | None = None
    enabled: bool | None = None
    username: str | None = None
    channel: str | None = None  # several with commas between
    alias: str | None = None
    avatar: str | None = None
    emoji: str | None = None
    script: str | None = None
    script_enabled: bool | None = None
    script_engine: str | None = None
    # incoming
    override_destination_channel_enabled: bool | None = None
    # outgoing
    event: str | None = None
    urls: list[str] | None = None
    trigger_words: list[str] | None = None
    trigger_word_anywhere: bool | None = None
    target_room: str | None = None
    token: str | None = None
    run_on_edits: bool | None = None
    retry_failed_calls: bool | None = None
    retry_count: int | None = None
    retry_delay: str | None = None
    impersonate_user: bool | None = None


_OF_INCOMING = {"overrideDestinationChannelEnabled": False}
_OF_OUTGOING: Document = {
    "event": "",
    "urls": [],
    "triggerWords": [],
    "triggerWordAnywhere": False,
    "targetRoom": "",
    "runOnEdits": True,
    "retryFailedCalls": True,
    "retryCount": 6,
    "retryDelay": "powers-of-ten",
    "impersonateUser": False,
}
_OF_BOTH: Document = {"name": "", "enabled": False, "alias": "", "avatar": "", "emoji": "", "channel": []}


def read_fields(data: bytes) -> Fields:
    """What a client says. Raises InvalidInput, and NotBuilt for a script."""
    try:
        fields = msgspec.json.decode(data, type=Fields)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidInput(f"The integration is not understood: {error}", code="error-invalid-params") from error
    if fields.script_enabled:
        raise NotBuilt("Scripts of integrations do not run here: set scriptEnabled to false")
    return fields


def apply(fields: Fields, before: Document, integration_type: str) -> Document:
    """The integration with these fields instead. Raises InvalidInput."""
    own = _OF_INCOMING if integration_type == INCOMING else _OF_OUTGOING
    given = {name: value for name, value in msgspec.to_builtins(fields).items() if value is not None}
    given.pop("scriptEnabled", None)
    given.pop("scriptEngine", None)
    given.pop("script", None)
    allowed = {*own, *_OF_BOTH, "username", *(("token",) if integration_type == OUTGOING else ())}
    for name in given:
        if name not in allowed:
            raise InvalidInput(f"{name} is no field of a {integration_type}", code="error-invalid-params")
    if "channel" in given:
        given["channel"] = split_channels(given["channel"])
    after: Document = {**_OF_BOTH, **own, **before, **given, "type": integration_type, "scriptEnabled": False}
    for name, value in after.items():
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise InvalidInput(f"{name} is too long", code="error-invalid-params")
    if integration_type == OUTGOING:
        _check_outgoing(after)
    elif not after["channel"]:
        raise _invalid_channel()
    for channel in after["channel"]:
        if channel[0] not in "@#" and not (integration_type == OUTGOING and channel in EVERYWHERE):
            raise InvalidInput("Invalid channel. Start with @ or #", code="error-invalid-channel-start-with-chars")
    return after


def split_channels(text: str) -> list[str]:
    """The channels of "#one, @two". Raises InvalidInput for too many."""
    channels = list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    if len(channels) > _MAX_CHANNELS or any(len(channel) < 2 for channel in channels):
        raise _invalid_channel()
    return channels


def _check_outgoing(integration: Document) -> None:
    event = integration["event"]
    if event not in EVENTS:
        raise InvalidInput("Invalid event type", code="error-invalid-event-type")
    if EVENTS[event] and not integration["channel"]:
        raise _invalid_channel()
    target = integration["targetRoom"]
    if target and target[0] not in "@#":
        raise InvalidInput("Invalid target room. Start with @ or #", code="error-invalid-targetRoom-start-with-chars")
    urls = integration["urls"] = [url.strip() for url in integration["urls"] if url.strip()]
    if not 0 < len(urls) <= _MAX_URLS:
        raise InvalidInput("Invalid URLs", code="error-invalid-urls")
    for url in urls:
        parse_url(url)
    words = integration["triggerWords"] = [word.strip() for word in integration["triggerWords"] if word.strip()]
    if len(words) > _MAX_WORDS or any(len(word) > _MAX_TEXT for word in words):
        raise InvalidInput("Invalid trigger words", code="error-invalid-triggerWords")
    if not 0 <= integration["retryCount"] <= _MAX_RETRIES:
        raise InvalidInput(f"Invalid number of retries: 0 to {_MAX_RETRIES}", code="error-invalid-retryCount")
    if integration["retryDelay"] not in DELAYS:
        raise InvalidInput(f"Invalid retry delay: {', '.join(DELAYS)}", code="error-invalid-retryDelay")


def public_integration(integration: Document) -> Document:
    """The document as those see it who may manage it: its token, too, which is what they give to others."""
    return {name: value for name, value in integration.items() if name != "deleted_at"}


def encode(integration: Document) -> bytes:
    return orjson.dumps(public_integration(integration))


def _invalid_channel() -> InvalidInput:
    return InvalidInput("Invalid channel", code="error-invalid-channel")


def read_targets(targets: Any) -> list[str]:
    """Channels that somebody names in a call. Raises InvalidInput for too many, and for an empty one."""
    found = list(targets)
    if len(found) > _MAX_CHANNELS or not all(found):
        raise _invalid_channel()
    return found
