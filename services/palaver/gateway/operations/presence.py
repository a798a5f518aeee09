"""Who is online, and what users choose to show. Shared by `rest/presence.py` and `ddp/methods/presence.py`."""

from collections.abc import Iterable, Sequence
from typing import Any

from palaver.gateway.call import Call
from palaver.v1.presence_pb2 import (
    GetPresenceRequest,
    ListGatewaysRequest,
    SetStatusRequest,
    Status,
    UserPresence,
)


def status_name(status: Status.ValueType) -> str:
    """ONLINE → "online"."""
    return Status.Name(status).lower()


async def list_presence(call: Call, user_ids: Sequence[str]) -> list[UserPresence]:
    """Presence of these users. Unknown ones are left out; no ids mean everybody who is not offline."""
    await call.presence.settle(user_ids)
    reply = await call.services.presence.get_presence(GetPresenceRequest(user_ids=user_ids))
    return list(reply.users)


async def find_presence(call: Call, user_id: str) -> UserPresence:
    """Presence of one user; offline when nothing is known."""
    found = await list_presence(call, [user_id])
    return found[0] if found else UserPresence(user_id=user_id)


async def join_status(call: Call, users: Iterable[dict[str, Any]]) -> None:
    """Puts the status of now into users' documents: `status`, and `statusConnection` where the reader may see it."""
    by_id = {user["_id"]: user for user in users}
    if not by_id:
        return
    known = {presence.user_id: presence for presence in await list_presence(call, list(by_id))}
    for user_id, user in by_id.items():
        presence = known.get(user_id, UserPresence())
        user["status"] = status_name(presence.status)
        if "statusConnection" in user or (call.user is not None and user_id == call.user.id):
            user["statusConnection"] = status_name(presence.connection_status)


def shown_presence(presence: UserPresence) -> dict[str, Any]:
    """One entry of `users.presence`."""
    shown: dict[str, Any] = {
        "_id": presence.user_id,
        "username": presence.username,
        "status": status_name(presence.status),
        "statusText": presence.status_text,
        "utcOffset": presence.utc_offset,
    }
    if presence.name:
        shown["name"] = presence.name
    if presence.avatar_etag:
        shown["avatarETag"] = presence.avatar_etag
    return shown


async def set_status(call: Call, user_id: str = "", *, status: str | None = None, text: str | None = None) -> None:
    """The user's own choice and text; somebody else's, with the permission."""
    request = SetStatusRequest(actor=call.actor, user_id=user_id)
    if status is not None:
        request.status = status
    if text is not None:
        request.status_text = text
    await call.presence.settle([user_id or call.me.id])
    await call.services.presence.set_status(request)


async def count_connections(call: Call) -> int:
    """How many sockets clients have open, on all gateways. Raises NotAllowed."""
    reply = await call.services.presence.list_gateways(ListGatewaysRequest(actor=call.actor))
    return sum(node.connections for node in reply.nodes)


def set_connection_status(call: Call, status: Status.ValueType) -> None:
    """The client saw its user go idle or come back. Nothing happens without a connection."""
    connection = call.connection
    if connection is not None and connection.session is not None:
        connection.status = status
        call.presence.on_connections_changed(connection.session)
