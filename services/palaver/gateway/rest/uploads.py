"""Files sent into rooms: in one request, or stored first and sent as a message later."""

from typing import Any

import msgspec

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, encode, loads
from palaver.gateway.rest.dispatch import convert
from palaver.gateway.rest.endpoint import Answer, LooseParams, endpoint
from palaver.gateway.uploads import Incoming, receive
from palaver.ids import new_id
from palaver.v1.messaging_pb2 import SendMessageRequest


class ConfirmBody(LooseParams, rename="camel"):
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


@endpoint("POST", "rooms.media/:rid", streamed=True)
async def media(call: Call, incoming: Incoming, rid: str) -> Answer:
    """Stores a file; it is gone after a day unless it is confirmed."""
    upload, _ = await receive(call, incoming, rid)
    return {"file": {"_id": upload["_id"], "url": upload["url"]}}


@endpoint("POST", "rooms.mediaConfirm/:rid/:fileId", body=ConfirmBody)
async def confirm(call: Call, body: ConfirmBody, rid: str, fileId: str) -> Answer:
    """Sends the message of a stored file."""
    return {"message": await _send(call, rid, fileId, body)}


@endpoint("POST", "rooms.upload/:rid", streamed=True)
async def upload(call: Call, incoming: Incoming, rid: str) -> Answer:
    """Stores a file and sends its message. What is said with it are fields of the same form, before or after it."""
    stored, fields = await receive(call, incoming, rid)
    said: dict[str, Any] = {**fields}
    if "customFields" in said:
        said["customFields"] = loads(said["customFields"].encode())
    return {"message": await _send(call, rid, stored["_id"], convert(said, ConfirmBody, strict=False))}


async def _send(call: Call, room_id: str, upload_id: str, said: ConfirmBody) -> Fragment:
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
