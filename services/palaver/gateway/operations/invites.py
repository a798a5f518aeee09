"""Links that let people into rooms. Shared by `rest/invites.py` and the registration of users."""

from typing import Any

import orjson

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.v1.messaging_pb2 import FindOrCreateInviteRequest, InviteRequest, ListInvitesRequest, RoomReply

Document = dict[str, Any]


async def find_or_create_invite(call: Call, room_id: str, *, days: int, max_uses: int) -> Document:
    """The caller's invite to a room, with these limits (0 for none)."""
    reply = await call.services.messaging.find_or_create_invite(
        FindOrCreateInviteRequest(actor=call.actor, room_id=room_id, days=days, max_uses=max_uses)
    )
    return _with_address(call, orjson.loads(reply.invite))


async def list_invites(call: Call) -> list[Document]:
    """The newest invites of the workspace."""
    reply = await call.services.messaging.list_invites(ListInvitesRequest(actor=call.actor))
    return [_with_address(call, orjson.loads(invite)) for invite in reply.documents]


async def remove_invite(call: Call, invite_id: str) -> None:
    await call.services.messaging.remove_invite(InviteRequest(actor=call.actor, invite_id=invite_id))


async def use_invite(call: Call, invite_id: str) -> RoomReply:
    """The caller enters the invite's room."""
    return await call.services.messaging.use_invite(InviteRequest(actor=call.actor, invite_id=invite_id))


async def is_valid(call: Call, invite_id: str) -> bool:
    """Whether an invite lets anybody in, whoever asks."""
    try:
        await call.services.messaging.check_invite(InviteRequest(invite_id=invite_id))
    except InvalidInput:
        return False
    return True


def _with_address(call: Call, invite: Document) -> Document:
    """The invite with the link to hand out, which leads to this server: no other one is told who was invited."""
    site = str(call.setting("Site_Url")).rstrip("/")
    return {**invite, "url": f"{site}/invite/{invite['_id']}"}
