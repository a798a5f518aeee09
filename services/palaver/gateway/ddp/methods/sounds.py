"""Methods of the workspace's own sounds. What lists them over REST is in `rest/sounds.py`."""

from typing import Any

import msgspec

from palaver.errors import NotFound
from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import media
from palaver.v1.auth_pb2 import SOUND


class SoundData(msgspec.Struct):
    """What clients say of a sound."""

    id: str = msgspec.field(name="_id", default="")
    name: str | None = None
    extension: str | None = None


@method("listCustomSounds")
async def list_sounds(call: Call) -> list[dict[str, Any]]:
    return (await media.list_media(call, SOUND))[0]


@method("insertOrUpdateSound", SoundData)
async def save_sound(call: Call, data: SoundData) -> Any:
    """Answers its id. Its bytes come by `uploadCustomSound`."""
    return (await media.save(call, SOUND, data.id, {"name": data.name, "extension": data.extension}))["_id"]


@method("uploadCustomSound", str, str, SoundData)
async def upload_sound(call: Call, content: str, content_type: str, data: SoundData) -> None:
    """The bytes of a sound that is known by its id."""
    media.check_may_manage(call, SOUND)
    if not data.id:
        raise NotFound("There is no such sound", code="Custom_Sound_Error_Invalid_Sound")
    await media.save(call, SOUND, data.id, {}, media.binary(content))


@method("deleteCustomSound", str)
async def delete_sound(call: Call, sound_id: str) -> bool:
    await media.delete(call, SOUND, sound_id)
    return True
