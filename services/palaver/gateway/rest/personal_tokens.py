"""Personal access tokens, and logins for others."""

from palaver.gateway.call import Call
from palaver.gateway.operations import personal_tokens, users
from palaver.gateway.rest.endpoint import Answer, LooseParams, endpoint
from palaver.gateway.rest.errors import Failure


class TokenBody(LooseParams, rename="camel"):
    token_name: str = ""


class NewTokenBody(TokenBody, rename="camel"):
    bypass_two_factor: bool = False


class UserBody(LooseParams, rename="camel"):
    user_id: str | None = None
    username: str | None = None
    user: str | None = None


@endpoint("POST", "users.generatePersonalAccessToken", body=NewTokenBody, second_factor=True)
async def generate(call: Call, body: NewTokenBody) -> Answer:
    name = _name(body)
    return {"token": await personal_tokens.issue_token(call, name, bypass_second_factor=body.bypass_two_factor)}


@endpoint("POST", "users.regeneratePersonalAccessToken", body=TokenBody, second_factor=True)
async def regenerate(call: Call, body: TokenBody) -> Answer:
    return {"token": await personal_tokens.issue_token(call, _name(body), replace=True)}


@endpoint("POST", "users.removePersonalAccessToken", body=TokenBody, second_factor=True)
async def remove(call: Call, body: TokenBody) -> Answer:
    await personal_tokens.remove_token(call, _name(body))
    return {}


@endpoint("GET", "users.getPersonalAccessTokens")
async def list_tokens(call: Call) -> Answer:
    return {"tokens": await personal_tokens.list_tokens(call)}


@endpoint("POST", "users.createToken", body=UserBody)
async def create(call: Call, body: UserBody) -> Answer:
    user = await users.get_user(call, body.user_id, body.username or body.user)
    return {"data": await personal_tokens.create_token(call, user.id)}


def _name(body: TokenBody) -> str:
    if not body.token_name:
        raise Failure("The 'tokenName' param is required")
    return body.token_name
