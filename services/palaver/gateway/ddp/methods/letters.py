"""Methods of letters and their links. What has a REST twin has it in `rest/letters.py`."""

from typing import Any

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ddp.login import Digest
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import letters
from palaver.v1.auth_pb2 import LoginReply


class Forgotten(msgspec.Struct):
    """What `forgotPassword` takes."""

    email: str


@method("forgotPassword", Forgotten, anonymous=True)
async def forgot_password(call: Call, options: Forgotten) -> None:
    await letters.send_password_link(call, options.email)


@method("sendForgotPasswordEmail", str, anonymous=True)
async def send_forgot_password_email(call: Call, email: str) -> bool:
    await letters.send_password_link(call, email)
    return True


@method("resetPassword", str, Digest | str, anonymous=True)
async def reset_password(call: Call, token: str, password: Digest | str) -> dict[str, Any]:
    return _login_result(await letters.reset_password(call, token, password))


@method("sendConfirmationEmail", str)
async def send_confirmation_email(call: Call, email: str) -> bool:
    await letters.send_confirmation(call, email)
    return True


@method("verifyEmail", str, anonymous=True)
async def verify_email(call: Call, token: str) -> dict[str, Any]:
    return _login_result(await letters.verify_email(call, token))


@method("sendSMTPTestEmail")
async def send_test(call: Call) -> dict[str, Any]:
    return {"message": "Your_mail_was_sent_to_s", "params": [await letters.send_test(call)]}


def _login_result(reply: LoginReply) -> dict[str, Any]:
    return {
        "id": reply.user_id,
        "token": reply.token,
        "tokenExpires": {"$date": reply.expires_at},
        "type": reply.type,
    }
