"""Methods of personal access tokens. Their REST twins are in `rest/personal_tokens.py`."""

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import personal_tokens, users


class Token(msgspec.Struct, rename="camel"):
    """Which token."""

    token_name: str


class NewToken(Token, rename="camel"):
    """What `personalAccessTokens:generateToken` takes."""

    bypass_two_factor: bool = False


@method("personalAccessTokens:generateToken", NewToken, second_factor=True)
async def generate_token(call: Call, token: NewToken) -> str:
    return await personal_tokens.issue_token(call, token.token_name, bypass_second_factor=token.bypass_two_factor)


@method("personalAccessTokens:regenerateToken", Token, second_factor=True)
async def regenerate_token(call: Call, token: Token) -> str:
    return await personal_tokens.issue_token(call, token.token_name, replace=True)


@method("personalAccessTokens:removeToken", Token, second_factor=True)
async def remove_token(call: Call, token: Token) -> None:
    await personal_tokens.remove_token(call, token.token_name)


@method("createToken", str)
async def create_token(call: Call, user_id: str) -> dict[str, str]:
    user = await users.get_user(call, user_id, None)
    return await personal_tokens.create_token(call, user.id)
