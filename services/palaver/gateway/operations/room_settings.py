"""What of a room may be set at once. Shared by `rest/room_settings.py` and `ddp/methods/room_settings.py`."""

from typing import Any

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.operations.avatars import set_room_avatar
from palaver.gateway.operations.rooms import update_room

Document = dict[str, Any]

# What `saveRoomSettings` calls the fields of a room.
_SETTINGS = {
    "roomName": "name",
    "roomTopic": "topic",
    "roomAnnouncement": "announcement",
    "roomDescription": "description",
    "roomCustomFields": "customFields",
    "roomType": "t",
    "readOnly": "ro",
    "reactWhenReadOnly": "reactWhenReadOnly",
    "systemMessages": "sysMes",
    "default": "default",
    "featured": "featured",
    "joinCode": "joinCode",
    "encrypted": "encrypted",
    "archived": "archived",
    "sidepanel": "sidepanel",
}
# The same for what is a part of `retention`.
_RETENTION = {
    "retentionEnabled": "enabled",
    "retentionMaxAge": "maxAge",
    "retentionExcludePinned": "excludePinned",
    "retentionFilesOnly": "filesOnly",
    "retentionIgnoreThreads": "ignoreThreads",
    "retentionOverrideGlobal": "overrideGlobal",
}


async def save_settings(call: Call, room_id: str, settings: Document) -> None:
    """Changes what `saveRoomSettings` may. Raises InvalidInput for what it does not know."""
    changes: Document = {}
    retention: Document = {}
    picture: str | None = None
    for name, value in settings.items():
        if name in _SETTINGS:
            changes[_SETTINGS[name]] = value
        elif name in _RETENTION:
            retention[_RETENTION[name]] = value
        elif name == "favorite" and isinstance(value, dict):
            changes["favorite"] = value.get("favorite") is True and value.get("defaultValue") is True
        elif name == "roomAvatar" and (value is None or isinstance(value, str)):
            picture = value or ""
        else:
            raise InvalidInput("Invalid settings provided", code="error-invalid-settings", details={"setting": name})
    if retention:
        changes["retention"] = retention
    if changes or picture is None:
        await update_room(call, room_id, **changes)
    if picture is not None:
        await set_room_avatar(call, room_id, picture)
