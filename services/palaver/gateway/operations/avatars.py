"""Pictures of users and rooms: set and reset. Shared by `rest/avatars.py`, `rest/rooms.py` and their DDP twins."""

import base64
import binascii
from typing import Any

import orjson

from palaver.access import AVATAR_CHANGED, User
from palaver.errors import InvalidInput, NotAllowed, Unavailable
from palaver.gateway.call import Call
from palaver.gateway.ejson import encode
from palaver.gateway.pictures import MAX_BYTES, InvalidPicture
from palaver.v1.auth_pb2 import UpdateUserRequest
from palaver.v1.messaging_pb2 import UpdateRoomRequest

_EDIT_OTHERS = "edit-other-user-avatar"
_FULL_SIDE = 1024


def check_may_change(call: Call, user: User) -> None:
    """Raises NotAllowed unless the caller may change the user's picture. Asked before a picture is read."""
    if call.may(_EDIT_OTHERS):
        return
    if user.id != call.me.id:
        raise NotAllowed()
    if not call.setting("Accounts_AllowUserAvatarChange"):
        raise NotAllowed("Change avatar is not allowed")


async def set_avatar(call: Call, user: User, data: bytes, origin: str) -> None:
    """Gives a user this picture. `origin`: where it came from (upload, rest, url). Raises InvalidInput, NotAllowed."""
    check_may_change(call, user)
    picture_id = await call.pictures.add(data, _side(call))
    try:
        await _update(call, user, {"avatarETag": picture_id, "avatarOrigin": origin})
    except Unavailable:
        raise  # it may be theirs
    except BaseException:
        await call.pictures.discard(picture_id)
        raise
    await _tell(call, {"username": user.username, "etag": picture_id})


async def reset_avatar(call: Call, user: User) -> None:
    """Takes a user's picture away: their initials are shown again. Moderators may, too."""
    if not call.may("manage-moderation-actions"):
        check_may_change(call, user)
    await _update(call, user, {"avatarETag": None, "avatarOrigin": None})
    await _tell(call, {"username": user.username})


async def set_room_avatar(call: Call, room_id: str, data_uri: str) -> None:
    """Gives a room this picture (`data:image/…;base64,…`), or takes it away for an empty text."""
    picture_id = await call.pictures.add(decode_data_uri(data_uri), _side(call)) if data_uri else ""
    request = UpdateRoomRequest(actor=call.actor, room_id=room_id, set=encode({"avatarETag": picture_id}))
    try:
        await call.services.messaging.update_room(request)
    except Unavailable:
        raise
    except BaseException:
        if picture_id:
            await call.pictures.discard(picture_id)
        raise
    await _tell(call, {"rid": room_id, **({"etag": picture_id} if picture_id else {})})


def decode_data_uri(text: str) -> bytes:
    """The bytes of `data:image/…;base64,…`. Raises InvalidPicture."""
    header, comma, encoded = text.partition(",")
    if not header.startswith("data:image/") or not header.endswith(";base64") or not comma:
        raise InvalidPicture
    if len(encoded) > MAX_BYTES * 4 // 3 + 4:
        raise InvalidInput("The picture is too large", code="error-file-too-large")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidPicture from error


def suggest(call: Call) -> dict[str, Any]:
    """Pictures of the caller by the service that they log in with. There is no such service here yet."""
    return {}


async def _update(call: Call, user: User, changes: dict[str, str | None]) -> None:
    own = user.id == call.me.id and bool(call.setting("Accounts_AllowUserAvatarChange"))
    await call.services.auth.update_user(
        UpdateUserRequest(
            actor=call.actor, user_id=user.id, set=encode(changes), own=own, hashed_token=call.hashed_token
        )
    )


def _side(call: Call) -> int:
    return int(call.setting("Accounts_AvatarSize")) if call.setting("Accounts_AvatarResize") else _FULL_SIDE


async def _tell(call: Call, changed: dict[str, str]) -> None:
    """Has every client fetch the picture again. Who misses it sees the old one until they look anew."""
    await call.show(AVATAR_CHANGED, orjson.dumps(changed))
