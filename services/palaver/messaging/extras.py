"""What a message has besides its text: what a client may add to it, and how much of it there may be.

Called where messages are sent, edited and quoted.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from palaver.database import Document
from palaver.errors import InvalidInput
from palaver.messaging import markup

_MAX_ATTACHMENTS = 100
# What a message has besides its text, all together. A room's last message is in everybody's list of rooms.
_MAX_EXTRA_BYTES = 64 * 1024

# What a client may add to a message, with its type. Everything else is refused: it would become part of the document.
_EXTRA: dict[str, type | tuple[type, ...]] = {
    "alias": str,
    "emoji": str,
    "avatar": str,
    "attachments": list,
    "groupable": bool,
    "parseUrls": bool,
    "customFields": dict,
    "bot": (dict, bool),
    "file": dict,
    "files": list,
    "blocks": list,
    "location": dict,
    "t": str,
    "e2e": str,
    "content": dict,
    "e2eMentions": dict,
    "previewUrls": list,
}
_CONTENT = ("attachments", "file", "blocks", "content", "location")


def is_empty(text: str, message: Mapping[str, Any]) -> bool:
    """Whether a message of this text, with the other fields of `message`, says nothing."""
    return not text.strip() and not any(message.get(name) for name in _CONTENT)


def parse_extra(data: bytes) -> dict[str, Any]:
    """What a client adds to a message. Raises InvalidInput for an unknown name, a wrong type, and too much."""
    check_extra_size(len(data))
    try:
        extra = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput("extra is not JSON") from error
    if not isinstance(extra, dict):
        raise InvalidInput("extra is no object")
    extra = {name: value for name, value in extra.items() if value is not None}
    for name, value in extra.items():
        if name not in _EXTRA:
            raise InvalidInput(f"must NOT have additional properties: {name}")
        if not isinstance(value, _EXTRA[name]):
            raise InvalidInput(f"{name} has the wrong type")
    if extra.get("t", "e2e") != "e2e":
        raise InvalidInput("The message's type is the server's to set")
    attachments = extra.get("attachments", [])
    if len(attachments) > _MAX_ATTACHMENTS or not all(isinstance(entry, dict) for entry in attachments):
        raise InvalidInput("attachments must be objects, and not too many")
    if not all(isinstance(url, str) for url in extra.get("previewUrls", ())):
        raise InvalidInput("previewUrls must be texts")
    return extra


def check_extra_size(size: int) -> None:
    """Raises InvalidInput for more bytes than a message may have besides its text."""
    if size > _MAX_EXTRA_BYTES:
        raise InvalidInput(
            f"What is added to a message is larger than {_MAX_EXTRA_BYTES // 1024} KiB",
            code="error-message-size-exceeded",
        )


def extra_size(message: Document) -> int:
    """How many bytes of a message are not its text's, nor follow from what was written."""
    extra = {name: message[name] for name in _EXTRA if name in message}
    if attachments := extra.get("attachments"):
        extra["attachments"] = list(map(markup.plain_attachment, attachments))
    return len(orjson.dumps(extra))


def drop_quotes(message: dict[str, Any], links: Collection[str]) -> None:
    """The message no longer shows what these links lead to."""
    if attachments := message.get("attachments"):
        message["attachments"] = [each for each in attachments if str(each.get("message_link")) not in links]


def add_quotes(message: dict[str, Any], quoted: Sequence[Document]) -> None:
    """Shows these quotes, in the place of what the message has of the same links; as many as there is room for, if need
    be without the trees of their texts."""
    drop_quotes(message, {quote["message_link"] for quote in quoted})
    others = message.get("attachments", [])
    shown: list[Document] = []
    for quote in quoted:
        treeless = {name: value for name, value in quote.items() if name != "md"}
        fits = next((each for each in (quote, treeless) if _has_room(message, [*shown, each, *others])), None)
        if fits is not None:
            shown.append(fits)
            for url in message["urls"]:
                if url["url"] == quote["message_link"]:
                    url["ignoreParse"] = True
    message["attachments"] = [*shown, *others]


def _has_room(message: Document, attachments: list[Document]) -> bool:
    return extra_size({**message, "attachments": attachments}) <= _MAX_EXTRA_BYTES
