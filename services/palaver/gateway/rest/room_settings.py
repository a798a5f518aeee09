"""What of a room of any type is set: `rooms.saveRoomSettings` and its like. Their DDP twins are in
`ddp/methods/room_settings.py`."""

from typing import Any, Literal

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.operations import room_settings, rooms, users
from palaver.gateway.rest.endpoint import Answer, LooseParams, Params, endpoint
from palaver.gateway.rest.errors import check_one_given


class ArchivationBody(LooseParams):
    rid: str
    action: str = ""


class Favorite(LooseParams, rename="camel"):
    """Whether who enters the room by default has it among their favourites."""

    default_value: bool = False
    favorite: bool = False


class SettingsBody(LooseParams, rename="camel"):
    """What of a room may be changed at once."""

    rid: str
    room_name: str | None = None
    room_topic: str | None = None
    room_announcement: str | None = None
    room_description: str | None = None
    room_avatar: str | None = None
    room_type: Literal["c", "p"] | None = None
    room_custom_fields: dict[str, Any] | None = None
    read_only: bool | None = None
    react_when_read_only: bool | None = None
    system_messages: list[str] | bool | None = None
    default: bool | None = None
    featured: bool | None = None
    join_code: str | None = None
    encrypted: bool | None = None
    archived: bool | None = None
    favorite: Favorite | None = None
    sidepanel: dict[str, Any] | None = None
    retention_enabled: bool | None = None
    retention_max_age: int | None = None
    retention_exclude_pinned: bool | None = None
    retention_files_only: bool | None = None
    retention_ignore_threads: bool | None = None
    retention_override_global: bool | None = None


class MuteBody(Params, rename="camel", kw_only=True):
    room_id: str
    user_id: str | None = None
    username: str | None = None


@endpoint("POST", "rooms.saveRoomSettings", body=SettingsBody)
async def save_settings(call: Call, body: SettingsBody) -> Answer:
    settings = msgspec.to_builtins(body)
    await room_settings.save_settings(call, settings.pop("rid"), settings)
    return {"rid": body.rid}


@endpoint("POST", "rooms.changeArchivationState", body=ArchivationBody)
async def change_archivation(call: Call, body: ArchivationBody) -> Answer:
    """Archives with the action `archive`, else the contrary."""
    await rooms.update_room(call, body.rid, archived=body.action == "archive")
    return {}


@endpoint("POST", "rooms.muteUser", body=MuteBody)
async def mute(call: Call, body: MuteBody) -> Answer:
    return await _mute(call, body, "mute")


@endpoint("POST", "rooms.unmuteUser", body=MuteBody)
async def unmute(call: Call, body: MuteBody) -> Answer:
    return await _mute(call, body, "unmute")


async def _mute(call: Call, body: MuteBody, what: Literal["mute", "unmute"]) -> Answer:
    check_one_given(userId=body.user_id, username=body.username)
    user = await users.get_user(call, body.user_id, body.username)
    await rooms.update_room(call, body.room_id, **{what: user.username})
    return {}
