"""The second factor, as far as it is set up by REST."""

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.operations import second_factor, users
from palaver.gateway.rest.endpoint import Answer, LooseParams, RateLimit, endpoint


class UserBody(LooseParams, rename="camel"):
    user_id: str | None = None
    username: str | None = None
    user: str | None = None


class CodeBody(LooseParams, rename="camel"):
    email_or_username: str = ""


@endpoint("POST", "users.2fa.enableEmail")
async def enable_email(call: Call) -> Answer:
    await second_factor.set_email(call, True)
    return {}


@endpoint("POST", "users.2fa.disableEmail", second_factor=True)
async def disable_email(call: Call) -> Answer:
    await second_factor.set_email(call, False)
    return {}


@endpoint("POST", "users.2fa.sendEmailCode", body=CodeBody, login="none", rate_limit=RateLimit(5, 60))
async def send_email_code(call: Call, body: CodeBody) -> Answer:
    if not body.email_or_username:
        raise InvalidInput('The "emailOrUsername" param is required', code="error-parameter-required")
    await second_factor.send_code(call, body.email_or_username)
    return {}


@endpoint("POST", "users.resetTOTP", body=UserBody, second_factor=True)
async def reset_totp(call: Call, body: UserBody) -> Answer:
    username = body.username or body.user
    user = await users.get_user(call, body.user_id, username) if body.user_id or username else call.me
    await second_factor.reset_authenticator(call, user.id)
    return {}
