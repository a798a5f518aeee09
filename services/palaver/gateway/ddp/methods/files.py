"""Methods of files. Their bytes come by REST (`rest/uploads.py`)."""

from typing import Any

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import files


class Stored(msgspec.Struct):
    """What says which file it is. The rest that clients send of it, the server knows better."""

    id: str = msgspec.field(name="_id", default="")


@method("sendFileMessage", str, Any, Stored, files.Said | None)
async def send_file_message(call: Call, room_id: str, store: Any, file: Stored, said: files.Said | None) -> bool:
    """Sends the message of a stored file. `store`: where older clients think that its bytes are."""
    await files.send_file(call, room_id, file.id, said or files.Said())
    return True
