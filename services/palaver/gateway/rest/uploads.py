"""Files sent into rooms: in one request, or stored first and sent as a message later."""

from typing import Any

from palaver.gateway.call import Call
from palaver.gateway.ejson import loads
from palaver.gateway.operations import files
from palaver.gateway.rest.dispatch import convert
from palaver.gateway.rest.endpoint import Answer, LooseParams, endpoint
from palaver.gateway.uploads import Incoming, receive


class ConfirmBody(files.Said, LooseParams, rename="camel"):
    pass


@endpoint("POST", "rooms.media/:rid", form=("file",))
async def media(call: Call, incoming: Incoming, rid: str) -> Answer:
    """Stores a file; it is gone after a day unless it is confirmed."""
    upload, _ = await receive(call, incoming, rid)
    return {"file": {"_id": upload["_id"], "url": upload["url"]}}


@endpoint("POST", "rooms.mediaConfirm/:rid/:fileId", body=ConfirmBody)
async def confirm(call: Call, body: ConfirmBody, rid: str, fileId: str) -> Answer:
    """Sends the message of a stored file."""
    return {"message": await files.send_file(call, rid, fileId, body)}


@endpoint("POST", "rooms.upload/:rid", form=("file", *ConfirmBody.__struct_encode_fields__))
async def upload(call: Call, incoming: Incoming, rid: str) -> Answer:
    """Stores a file and sends its message. What is said with it are fields of the same form, before or after it."""
    stored, fields = await receive(call, incoming, rid)
    said: dict[str, Any] = {**fields}
    if "customFields" in said:
        said["customFields"] = loads(said["customFields"].encode())
    return {"message": await files.send_file(call, rid, stored["_id"], convert(said, ConfirmBody, strict=False))}
