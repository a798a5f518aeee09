"""Methods of users' pictures. Their REST twins are in `rest/avatars.py`."""

import base64
import binascii
from typing import Any

from palaver.access import User
from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import avatars
from palaver.gateway.operations.users import get_user
from palaver.gateway.pictures import InvalidPicture


@method("setAvatarFromService", Any, str | None, str | None, str | None)
async def set_avatar(
    call: Call, picture: Any, content_type: str | None, service: str | None, user_id: str | None
) -> None:
    """The picture is `data:image/…`, an address for the service `url`, or bytes ({"$binary": …})."""
    user = await _whose(call, user_id)
    avatars.check_may_change(call, user)
    if isinstance(picture, dict) and isinstance(picture.get("$binary"), str):
        try:
            data = base64.b64decode(picture["$binary"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidPicture from error
    elif not isinstance(picture, str):
        raise InvalidPicture
    elif service == "url":
        data = await call.pictures.fetch(picture)
    else:
        data = avatars.decode_data_uri(picture)
    await avatars.set_avatar(call, user, data, service or "upload")


@method("resetAvatar", str | None)
async def reset_avatar(call: Call, user_id: str | None) -> None:
    await avatars.reset_avatar(call, await _whose(call, user_id))


@method("getAvatarSuggestion")
async def get_avatar_suggestion(call: Call) -> dict[str, Any]:
    return avatars.suggest(call)


async def _whose(call: Call, user_id: str | None) -> User:
    return call.me if not user_id or user_id == call.me.id else await get_user(call, user_id, None)
