"""Letters that somebody asks for."""

from palaver.gateway.call import Call
from palaver.gateway.operations import letters
from palaver.gateway.rest.endpoint import Answer, LooseParams, Params, endpoint
from palaver.gateway.rest.errors import Failure


class ForgottenBody(LooseParams):
    email: str = ""


class AddressBody(Params):
    email: str


class AddressesBody(Params):
    emails: list[str]


@endpoint("POST", "users.forgotPassword", body=ForgottenBody, login="none")
async def forgot_password(call: Call, body: ForgottenBody) -> Answer:
    if not body.email:
        raise Failure("The 'email' param is required")
    await letters.send_password_link(call, body.email)
    return {}


@endpoint("POST", "users.sendConfirmationEmail", body=AddressBody)
async def send_confirmation(call: Call, body: AddressBody) -> Answer:
    await letters.send_confirmation(call, body.email)
    return {}


@endpoint("POST", "users.sendWelcomeEmail", body=AddressBody, permissions=["send-mail"])
async def send_welcome(call: Call, body: AddressBody) -> Answer:
    await letters.send_welcome(call, body.email)
    return {}


@endpoint("POST", "sendInvitationEmail", body=AddressesBody, permissions=["bulk-register-user"])
async def send_invitations(call: Call, body: AddressesBody) -> Answer:
    await letters.send_invitations(call, body.emails)
    return {}


@endpoint("GET", "smtp.check")
async def check_smtp(call: Call) -> Answer:
    return {"isSMTPConfigured": letters.is_mail_configured(call)}
