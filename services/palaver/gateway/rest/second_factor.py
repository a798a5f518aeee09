"""The second factor, as far as it is set up by REST."""

from palaver.gateway.call import Call
from palaver.gateway.operations import second_factor, users
from palaver.gateway.rest.endpoint import Answer, LooseParams, endpoint


class UserBody(LooseParams, rename="camel"):
    user_id: str | None = None
    username: str | None = None
    user: str | None = None


@endpoint("POST", "users.resetTOTP", body=UserBody, second_factor=True)
async def reset_totp(call: Call, body: UserBody) -> Answer:
    username = body.username or body.user
    user = await users.get_user(call, body.user_id, username) if body.user_id or username else call.me
    await second_factor.reset_authenticator(call, user.id)
    return {}
