"""Methods of presence. Their REST twins are in `rest/presence.py`."""

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import presence
from palaver.v1.presence_pb2 import AWAY, ONLINE


@method("UserPresence:online")
async def online(call: Call) -> None:
    presence.set_connection_status(call, ONLINE)


@method("UserPresence:away")
async def away(call: Call) -> None:
    presence.set_connection_status(call, AWAY)


@method("UserPresence:setDefaultStatus", str)
async def set_default_status(call: Call, status: str) -> None:
    await presence.set_status(call, status=status)


@method("setUserStatus", str | None, str | None)
async def set_user_status(call: Call, status: str | None, text: str | None) -> None:
    await presence.set_status(call, status=status or None, text=text)


@method("getUserStatusText", str)
async def get_user_status_text(call: Call, user_id: str) -> str:
    return (await presence.find_presence(call, user_id)).status_text
