"""What pages show as logo, icons and background. Shared by `rest/assets.py` and `ddp/methods/assets.py`."""

import asyncio

from palaver.errors import InvalidInput, NotAllowed
from palaver.gateway.call import Call
from palaver.gateway.pictures import InvalidPicture
from palaver.gateway.thumbnails import look_at
from palaver.v1.auth_pb2 import SetAssetRequest

MAX_BYTES = 5 * 1024 * 1024
_EXTENSIONS = {"jpeg": "jpg"}


def check_may_manage(call: Call) -> None:
    """Raises NotAllowed. Asked before a file is read."""
    if not call.may("manage-assets"):
        raise NotAllowed("Managing assets not allowed", code="error-action-not-allowed")


async def set_asset(call: Call, name: str, data: bytes) -> None:
    """Has an asset be this file from now on. Raises NotAllowed, InvalidInput, Unavailable."""
    check_may_manage(call)
    extension = await _extension_of(call, data)
    async with call.pictures.kept(data) as file_id:
        request = SetAssetRequest(actor=call.actor, name=name, file_id=file_id, extension=extension)
        await call.services.auth.set_asset(request)


async def unset_asset(call: Call, name: str) -> None:
    """Has an asset be its default again. Raises NotAllowed, InvalidInput."""
    await call.services.auth.set_asset(SetAssetRequest(actor=call.actor, name=name))


async def _extension_of(call: Call, data: bytes) -> str:
    """By what the file is, whatever it is called. Raises InvalidInput for what is no picture."""
    if len(data) > MAX_BYTES:
        raise InvalidInput("The picture is too large", code="error-file-too-large")
    if data.startswith(b"\0\0\1\0"):
        return "ico"
    if b"<svg" in data[:1024]:
        return "svg"  # nothing in it runs: `gateway/assets.py` serves it so
    try:
        async with call.pictures.turn():
            look = await asyncio.to_thread(look_at, data, None)
    except InvalidPicture as error:
        raise InvalidInput("The file is no picture", code="error-invalid-file-type") from error
    return _EXTENSIONS.get(look.format, look.format)
