"""Links that let people into rooms: made, listed, removed, used."""

from typing import Annotated

import msgspec
import orjson
from starlette.responses import Response

from palaver.gateway.call import Call
from palaver.gateway.ejson import rest_dumps
from palaver.gateway.operations import invites
from palaver.gateway.rest.endpoint import Answer, Params, endpoint

Limit = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class InviteBody(Params, rename="camel"):
    rid: str
    days: Limit
    max_uses: Limit


class TokenBody(Params):
    token: str


@endpoint("POST", "findOrCreateInvite", body=InviteBody)
async def find_or_create(call: Call, body: InviteBody) -> Answer:
    return await invites.find_or_create_invite(call, body.rid, days=body.days, max_uses=body.max_uses)


@endpoint("GET", "listInvites", answer="list")
async def list_all(call: Call) -> Answer:
    """The one list that is an array and nothing around it."""
    return Response(rest_dumps(await invites.list_invites(call)), media_type="application/json")


@endpoint("DELETE", "removeInvite/:_id")
async def remove(call: Call, _id: str) -> Answer:
    await invites.remove_invite(call, _id)
    return {}


@endpoint("POST", "useInviteToken", body=TokenBody)
async def use(call: Call, body: TokenBody) -> Answer:
    room = orjson.loads((await invites.use_invite(call, body.token)).room)
    shown = {name: room[name] for name in ("prid", "fname", "name", "t") if name in room}
    return {"room": {"rid": room["_id"], **shown}}


@endpoint("POST", "validateInviteToken", body=TokenBody, login="none")
async def validate(call: Call, body: TokenBody) -> Answer:
    return {"valid": await invites.is_valid(call, body.token)}
