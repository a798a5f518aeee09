"""The workspace's own emoji and sounds. Shared by `rest/emoji.py`, `rest/sounds.py` and their DDP twins."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import orjson

from palaver.access import MEDIA_CHANGED
from palaver.errors import InvalidInput, NotAllowed
from palaver.gateway.call import Call
from palaver.gateway.ejson import encode
from palaver.gateway.pictures import InvalidPicture
from palaver.gateway.thumbnails import look_at
from palaver.v1.auth_pb2 import (
    EMOJI,
    SOUND,
    ListMediaRequest,
    MediumKind,
    MediumRequest,
    SaveMediumRequest,
)

Document = dict[str, Any]
Kind: TypeAlias = MediumKind.ValueType

MAX_EMOJI_BYTES = 1024 * 1024
MAX_SOUND_BYTES = 5 * 1024 * 1024
FIELDS = {
    EMOJI: ("_id", "name", "aliases", "extension", "_updatedAt"),
    SOUND: ("_id", "name", "extension", "_updatedAt"),
}
EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "audio/mp4": "m4a",
}
_EMOJI_SIDE = 128
# What everybody hears: the stream, its events, and the name of their argument.
_TOLD = {
    EMOJI: ("stream-notify-logged", "updateEmojiCustom", "deleteEmojiCustom", "emojiData"),
    SOUND: ("stream-notify-all", "updateCustomSound", "deleteCustomSound", "soundData"),
}
_PERMISSIONS = {EMOJI: "manage-emoji", SOUND: "manage-sounds"}


def check_may_manage(call: Call, kind: Kind) -> None:
    """Raises NotAllowed. Asked before a file is read."""
    if not call.may(_PERMISSIONS[kind]):
        raise NotAllowed("Not authorized", code="not_authorized")


async def save(call: Call, kind: Kind, medium_id: str, changes: Document, file: bytes | None = None) -> Document:
    """Makes one (without an id) or changes one; what is None stays as it is.

    Raises NotAllowed, InvalidInput, NotFound, Conflict (of a name).
    """
    check_may_manage(call, kind)
    given = {name: value for name, value in changes.items() if value is not None}
    async with AsyncExitStack() as stack:
        if file is not None:
            data, type = await _make_emoji(call, file) if kind == EMOJI else (file, _type_of_sound(file))
            file_id = await stack.enter_async_context(call.pictures.kept(data))
            given |= {"file": {"_id": file_id, "type": type}, "extension": EXTENSIONS[type]}
        request = SaveMediumRequest(actor=call.actor, kind=kind, medium_id=medium_id, set=encode(given))
        reply = await call.services.auth.save_medium(request)
    stream, event, _, argument = _TOLD[kind]
    return await _tell(call, stream, event, argument, orjson.loads(reply.medium))


async def delete(call: Call, kind: Kind, medium_id: str) -> None:
    """Raises NotAllowed, NotFound."""
    request = MediumRequest(actor=call.actor, kind=kind, medium_id=medium_id)
    reply = await call.services.auth.delete_medium(request)
    stream, _, event, argument = _TOLD[kind]
    await _tell(call, stream, event, argument, orjson.loads(reply.medium))


async def list_media(
    call: Call,
    kind: Kind,
    *,
    where: Document | None = None,
    sort: Sequence[tuple[str, int]] = (),
    offset: int = 0,
    count: int = 0,
) -> tuple[list[Document], int]:
    """A page of them, and how many there are in all. A count of 0 is all of them."""
    request = ListMediaRequest(actor=call.actor, kind=kind, offset=offset, count=count)
    if where:
        request.filter = orjson.dumps(where)
    if sort:
        request.sort = orjson.dumps(sort)
    reply = await call.services.auth.list_media(request)
    return [orjson.loads(document) for document in reply.documents], reply.total


async def list_removed(call: Call, kind: Kind, since: int) -> list[Document]:
    """The ids of those that are no more since then (epoch milliseconds)."""
    reply = await call.services.auth.list_media(ListMediaRequest(actor=call.actor, kind=kind, removed_since=since))
    return [orjson.loads(document) for document in reply.documents]


async def _make_emoji(call: Call, data: bytes) -> tuple[bytes, str]:
    """A small picture, and its type; one that moves stays as it is. Raises InvalidInput, Unavailable."""
    if len(data) > MAX_EMOJI_BYTES:
        raise InvalidInput("The picture is too large", code="error-file-too-large")
    try:
        async with call.pictures.turn():
            look = await asyncio.to_thread(look_at, data, (_EMOJI_SIDE, _EMOJI_SIDE))
    except InvalidPicture as error:
        raise InvalidInput("", code="emoji-is-not-image") from error
    if (small := look.thumbnail) is not None:
        return small.data, small.type
    return data, f"image/{look.format}"


def _type_of_sound(data: bytes) -> str:
    """By what it begins with, whatever it is called. Raises InvalidInput."""
    if len(data) > MAX_SOUND_BYTES:
        raise InvalidInput("The sound is too large", code="error-file-too-large")
    if data.startswith(b"ID3") or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0):
        return "audio/mpeg"
    if data.startswith(b"OggS"):
        return "audio/ogg"
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return "audio/wav"
    if data[4:8] == b"ftyp":
        return "audio/mp4"
    raise InvalidInput("This is no sound that browsers play", code="error-invalid-file-type")


def binary(text: str) -> bytes:
    """What a client has read as a binary string: a character for each byte. Raises InvalidInput."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise InvalidInput("The content is no binary string", code="error-invalid-file") from error


async def _tell(call: Call, stream: str, event: str, argument: str, medium: Document) -> Document:
    """Has every client show the change. Who misses it reads them anew at the next login."""
    await call.show(MEDIA_CHANGED, orjson.dumps([stream, event, {argument: medium}]))
    return medium
