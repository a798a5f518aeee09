"""Keys for encryption from end to end, which the server keeps and hands over."""

import msgspec

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.operations import keys
from palaver.gateway.operations.users import get_user
from palaver.gateway.rest.endpoint import Answer, LooseParams, Params, endpoint

_MAX_ROOMS = 100


class PairBody(Params):
    public_key: str
    private_key: str
    force: bool = False


class RoomBody(Params):
    rid: str


class RoomKeyBody(Params):
    rid: str
    key_id: str = msgspec.field(name="keyID")


class GroupKeyBody(Params):
    uid: str
    rid: str
    key: str


class SuggestedKey(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    key: str


class ProvideBody(Params, rename="camel"):
    users_suggested_group_keys: dict[str, list[SuggestedKey]]


class RoomQuery(Params):
    rid: str


class RoomsQuery(Params, rename="camel"):
    room_ids: list[str] | str


class WhoseKeys(LooseParams, rename="camel"):
    user_id: str | None = None
    username: str | None = None
    user: str | None = None


@endpoint("GET", "e2e.fetchMyKeys")
async def fetch_own(call: Call) -> Answer:
    return await keys.fetch_own(call)


@endpoint("POST", "e2e.setUserPublicAndPrivateKeys", body=PairBody)
async def set_own(call: Call, body: PairBody) -> Answer:
    await keys.set_own(call, body.public_key, body.private_key, force=body.force)
    return {}


@endpoint("POST", "e2e.setRoomKeyID", body=RoomKeyBody)
async def set_room_key(call: Call, body: RoomKeyBody) -> Answer:
    await keys.set_room_key(call, body.rid, body.key_id)
    return {}


@endpoint("POST", "e2e.updateGroupKey", body=GroupKeyBody)
async def update_group_key(call: Call, body: GroupKeyBody) -> Answer:
    await keys.suggest(call, body.rid, [(body.uid, body.key)])
    return {}


@endpoint("POST", "e2e.provideUsersSuggestedGroupKeys", body=ProvideBody)
async def provide(call: Call, body: ProvideBody) -> Answer:
    given = body.users_suggested_group_keys
    if len(given) > _MAX_ROOMS:
        raise InvalidInput("Too many rooms at once")
    for room_id, suggested in given.items():
        await keys.suggest(call, room_id, [(one.id, one.key) for one in suggested])
    return {}


@endpoint("POST", "e2e.acceptSuggestedGroupKey", body=RoomBody)
async def accept(call: Call, body: RoomBody) -> Answer:
    await keys.answer(call, body.rid, accepted=True)
    return {}


@endpoint("POST", "e2e.rejectSuggestedGroupKey", body=RoomBody)
async def reject(call: Call, body: RoomBody) -> Answer:
    await keys.answer(call, body.rid, accepted=False)
    return {}


@endpoint("GET", "e2e.getUsersOfRoomWithoutKey", query=RoomQuery)
async def list_without_key(call: Call, query: RoomQuery) -> Answer:
    found = (await keys.list_keyless(call, [query.rid])).get(query.rid, [])
    return {"users": [{"_id": user_id, "e2e": {"public_key": key}} for user_id, key in found]}


@endpoint("GET", "e2e.fetchUsersWaitingForGroupKey", query=RoomsQuery)
async def list_waiting(call: Call, query: RoomsQuery) -> Answer:
    wanted = query.room_ids.split(",") if isinstance(query.room_ids, str) else query.room_ids
    if len(wanted) > _MAX_ROOMS:
        raise InvalidInput("Too many rooms at once")
    found = await keys.list_keyless(call, wanted)
    shown = {rid: [{"_id": id, "public_key": key} for id, key in members] for rid, members in found.items()}
    return {"usersWaitingForE2EKeys": shown}


@endpoint("POST", "users.resetE2EKey", body=WhoseKeys, second_factor=True)
async def reset(call: Call, body: WhoseKeys) -> Answer:
    """One's own where nobody is named."""
    name = body.username or body.user
    user_id = (await get_user(call, body.user_id, name)).id if body.user_id or name else call.me.id
    await keys.reset(call, user_id)
    return {}
