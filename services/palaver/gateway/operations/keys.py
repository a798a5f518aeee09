"""Keys for encryption from end to end. Shared by `rest/keys.py` and `ddp/methods/keys.py`."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from palaver.access import KEYS_REQUESTED
from palaver.gateway.call import Call
from palaver.v1.auth_pb2 import KeysRequest, ResetKeysRequest, SetKeysRequest
from palaver.v1.messaging_pb2 import (
    ActorRequest,
    AnswerKeyRequest,
    KeylessRequest,
    ResetMemberKeysRequest,
    SetRoomKeyRequest,
    SuggestKeysRequest,
)

Document = dict[str, Any]


async def fetch_own(call: Call) -> Document:
    """The caller's own pair; nothing where they have none."""
    reply = await call.services.auth.get_keys(KeysRequest(actor=call.actor))
    return {"public_key": reply.public_key, "private_key": reply.private_key} if reply.public_key else {}


async def set_own(call: Call, public_key: str, private_key: str, *, force: bool) -> None:
    request = SetKeysRequest(actor=call.actor, public_key=public_key, private_key=private_key, force=force)
    await call.services.auth.set_keys(request)


async def reset(call: Call, user_id: str) -> None:
    """Takes a user's keys away, those of rooms first, and ends their logins. Raises NotAllowed, UserNotFound."""
    await call.services.messaging.reset_member_keys(ResetMemberKeysRequest(actor=call.actor, user_id=user_id))
    await call.services.auth.reset_keys(ResetKeysRequest(actor=call.actor, user_id=user_id))


async def set_room_key(call: Call, room_id: str, key_id: str) -> None:
    await call.services.messaging.set_room_key(SetRoomKeyRequest(actor=call.actor, room_id=room_id, key_id=key_id))


async def suggest(call: Call, room_id: str, keys: Iterable[tuple[str, str]]) -> None:
    """Keys for members by user id; for the caller, their own."""
    request = SuggestKeysRequest(actor=call.actor, room_id=room_id)
    for user_id, key in keys:
        request.keys.add(user_id=user_id, key=key)
    await call.services.messaging.suggest_keys(request)


async def answer(call: Call, room_id: str, *, accepted: bool) -> None:
    request = AnswerKeyRequest(actor=call.actor, room_id=room_id, accepted=accepted)
    await call.services.messaging.answer_key(request)


async def list_keyless(call: Call, room_ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Who of these rooms waits for the key, with their public keys, by room."""
    reply = await call.services.messaging.list_keyless(KeylessRequest(actor=call.actor, room_ids=room_ids))
    found: dict[str, list[tuple[str, str]]] = {}
    for member in reply.members:
        found.setdefault(member.room_id, []).append((member.user_id, member.public_key))
    return found


async def request_missing(call: Call) -> None:
    """Asks the members of the caller's rooms for the keys that the caller has not got."""
    reply = await call.services.messaging.list_missing_keys(ActorRequest(actor=call.actor))
    for room in reply.rooms:
        await call.live.publish(KEYS_REQUESTED, orjson.dumps([room.room_id, room.key_id]))
