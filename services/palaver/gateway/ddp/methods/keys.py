"""Methods of keys for encryption from end to end. Their REST twins are in `rest/keys.py`."""

from typing import Any

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import keys


class Pair(msgspec.Struct):
    """What `e2e.setUserPublicAndPrivateKeys` takes."""

    public_key: str
    private_key: str
    force: bool = False


@method("e2e.fetchMyKeys")
async def fetch_own(call: Call) -> dict[str, Any]:
    return await keys.fetch_own(call)


@method("e2e.setUserPublicAndPrivateKeys", Pair)
async def set_own(call: Call, pair: Pair) -> None:
    await keys.set_own(call, pair.public_key, pair.private_key, force=pair.force)


@method("e2e.setRoomKeyID", str, str)
async def set_room_key(call: Call, room_id: str, key_id: str) -> None:
    await keys.set_room_key(call, room_id, key_id)


@method("e2e.updateGroupKey", str, str, str)
async def update_group_key(call: Call, room_id: str, user_id: str, key: str) -> None:
    await keys.suggest(call, room_id, [(user_id, key)])


@method("e2e.getUsersOfRoomWithoutKey", str)
async def list_without_key(call: Call, room_id: str) -> dict[str, Any]:
    found = (await keys.list_keyless(call, [room_id])).get(room_id, [])
    return {"users": [{"_id": user_id, "e2e": {"public_key": key}} for user_id, key in found]}


@method("e2e.requestSubscriptionKeys")
async def request_keys(call: Call) -> bool:
    await keys.request_missing(call)
    return True


@method("e2e.resetOwnE2EKey", second_factor=True)
async def reset_own(call: Call) -> bool:
    await keys.reset(call, call.me.id)
    return True
