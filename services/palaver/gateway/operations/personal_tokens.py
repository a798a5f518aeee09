"""Personal access tokens, and logins for others. Shared by both modules `personal_tokens.py`."""

from typing import Any

import orjson

from palaver.errors import LoginFailed, NotAllowed
from palaver.gateway.call import Call
from palaver.v1.auth_pb2 import (
    CreateTokenRequest,
    IssuePersonalTokenRequest,
    ListPersonalTokensRequest,
    RemovePersonalTokenRequest,
)


async def issue_token(call: Call, name: str, *, bypass_second_factor: bool = False, replace: bool = False) -> str:
    """A new token of the caller's; with `replace` in the place of the one of that name. Told only now."""
    request = IssuePersonalTokenRequest(
        actor=call.actor,
        name=name,
        bypass_second_factor=bypass_second_factor,
        replace=replace,
        hashed_token=call.hashed_token,
    )
    return (await call.services.auth.issue_personal_token(request)).token


async def remove_token(call: Call, name: str) -> None:
    await call.services.auth.remove_personal_token(
        RemovePersonalTokenRequest(actor=call.actor, name=name, hashed_token=call.hashed_token)
    )


async def list_tokens(call: Call) -> list[dict[str, Any]]:
    reply = await call.services.auth.list_personal_tokens(ListPersonalTokensRequest(actor=call.actor))
    return [orjson.loads(token) for token in reply.documents]


async def create_token(call: Call, user_id: str) -> dict[str, str]:
    """A login of this user's, for a caller who may act as anybody. Raises NotAllowed for one who may not log in."""
    request = CreateTokenRequest(
        actor=call.actor,
        user_id=user_id,
        address=call.address,
        user_agent=call.user_agent,
        instance_id=call.config.node_id,
    )
    try:
        reply = await call.services.auth.create_token(request)
    except LoginFailed as error:  # the caller's own login stands, and so it must not look as if that had ended
        raise NotAllowed(error.error_reason, code=error.error_code) from error
    return {"userId": reply.user_id, "authToken": reply.token}
