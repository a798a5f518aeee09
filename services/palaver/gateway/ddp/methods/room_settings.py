"""Methods that change a room. Their REST twins are in `rest/room_settings.py`, `pruning.py` and `room_changing.py`."""

from typing import Any

import msgspec

from palaver.errors import InvalidInput, NotAllowed
from palaver.gateway.call import Call
from palaver.gateway.ddp.method import Count, Date, method
from palaver.gateway.ddp.methods.rooms import RoomAndUser
from palaver.gateway.operations import room_settings, rooms
from palaver.v1.messaging_pb2 import PruneMessagesRequest

Document = dict[str, Any]


@method("saveRoomSettings", str, Document | str, Any)
async def save_settings(call: Call, room_id: str, settings: Document | str, value: Any) -> Document:
    """Several settings at once, or one by its name and value."""
    changes = {settings: value} if isinstance(settings, str) else settings
    if not changes:
        raise InvalidInput("Invalid settings provided", code="error-invalid-settings")
    await room_settings.save_settings(call, room_id, changes)
    return {"result": True, "rid": room_id}


class Pruned(msgspec.Struct, rename="camel"):
    """What `cleanRoomHistory` takes."""

    room_id: str
    latest: Date
    oldest: Date
    inclusive: bool | None = True
    limit: Count | None = None
    exclude_pinned: bool | None = False
    ignore_discussion: bool | None = True
    files_only: bool | None = False
    from_users: list[str] | None = None
    ignore_threads: bool | None = None


@method("cleanRoomHistory", Pruned)
async def prune(call: Call, wanted: Pruned) -> int:
    """How many messages are gone."""
    request = PruneMessagesRequest(
        room_id=wanted.room_id,
        oldest=wanted.oldest.milliseconds,
        latest=wanted.latest.milliseconds,
        inclusive=bool(wanted.inclusive),
        limit=wanted.limit or 0,
        usernames=wanted.from_users or (),
        exclude_pinned=bool(wanted.exclude_pinned),
        files_only=bool(wanted.files_only),
        ignore_threads=bool(wanted.ignore_threads),
        ignore_discussions=bool(wanted.ignore_discussion),
    )
    return await rooms.prune(call, request)


@method("archiveRoom", str)
async def archive_room(call: Call, room_id: str) -> None:
    await rooms.update_room(call, room_id, archived=True)


@method("unarchiveRoom", str)
async def unarchive_room(call: Call, room_id: str) -> None:
    await rooms.update_room(call, room_id, archived=False)


@method("eraseRoom", str)
async def erase_room(call: Call, room_id: str) -> bool:
    await rooms.delete_room(call, room_id)
    return True


@method("muteUserInRoom", RoomAndUser)
async def mute_user(call: Call, muted: RoomAndUser) -> bool:
    await rooms.update_room(call, muted.rid, mute=muted.username)
    return True


@method("unmuteUserInRoom", RoomAndUser)
async def unmute_user(call: Call, muted: RoomAndUser) -> bool:
    await rooms.update_room(call, muted.rid, unmute=muted.username)
    return True


@method("getRoomJoinCode", str)
async def get_join_code(call: Call, room_id: str) -> str | None:
    """For those who may view it; None where the room asks for none."""
    reply = await rooms.get_room(call, room_id=room_id)
    if not reply.HasField("join_code"):
        raise NotAllowed("Not authorized", code="error-not-authorized")
    return reply.join_code or None


class Blocked(msgspec.Struct):
    """A direct room, and the id of the other one in it."""

    rid: str
    blocked: str


@method("blockUser", Blocked)
async def block_user(call: Call, wanted: Blocked) -> bool:
    """Neither writes in their direct room any more."""
    await rooms.update_room(call, wanted.rid, block=wanted.blocked)
    return True


@method("unblockUser", Blocked)
async def unblock_user(call: Call, wanted: Blocked) -> bool:
    await rooms.update_room(call, wanted.rid, unblock=wanted.blocked)
    return True
