"""Files of rooms. Shared by `rest/room_files.py`, the faces of rooms, `rest/uploads.py` and `ddp/methods/files.py`."""

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, encode
from palaver.ids import new_id
from palaver.v1.auth_pb2 import DocumentsReply
from palaver.v1.messaging_pb2 import ListUploadsRequest, SendMessageRequest

QUERY_FIELDS = ("_id", "name", "type", "typeGroup", "userId", "uploadedAt")
SORT_FIELDS = QUERY_FIELDS


async def list_files(
    call: Call,
    room_id: str,
    *,
    where: Sequence[dict[str, Any]] = (),
    sort: Sequence[tuple[str, int]] = (),
    offset: int = 0,
    count: int = 0,
    starting_from_id: str = "",
) -> DocumentsReply:
    """A page of the files that messages of the room are of, and how many there are.

    Raises RoomNotFound, NotAllowed, InvalidInput.
    """
    conditions = [one for one in where if one]
    request = ListUploadsRequest(
        actor=call.actor, room_id=room_id, offset=offset, count=count, starting_from_id=starting_from_id
    )
    if conditions:
        request.filter = orjson.dumps({"$and": conditions})
    if sort:
        request.sort = orjson.dumps(sort)
    return await call.services.messaging.list_uploads(request)


class Said(msgspec.Struct, rename="camel"):
    """What is said with a file."""

    msg: str | None = None
    description: str | None = None
    tmid: str | None = None
    alias: str | None = None
    avatar: str | None = None
    emoji: str | None = None
    groupable: bool | None = None
    custom_fields: dict[str, Any] | None = None
    t: str | None = None
    content: dict[str, Any] | None = None


async def send_file(call: Call, room_id: str, upload_id: str, said: Said) -> Fragment:
    """The message of a stored file. Raises InvalidInput, RoomNotFound, NotAllowed."""
    if not upload_id:
        raise InvalidInput("", code="invalid-file")
    request = SendMessageRequest(
        actor=call.actor,
        room_id=room_id,
        message_id=new_id(),
        upload_id=upload_id,
        text=said.msg or "",
        description=said.description or "",
        thread_id=said.tmid or "",
    )
    extra = msgspec.to_builtins(said)
    for name in ("msg", "description", "tmid"):
        extra.pop(name, None)
    extra = {name: value for name, value in extra.items() if value is not None}
    if extra:
        request.extra = encode(extra)
    return Fragment((await call.services.messaging.send_message(request)).message)
