"""Letters that somebody asks for, and the links in them. Shared by both modules `letters.py`."""

from collections.abc import Sequence

from palaver import mail
from palaver.gateway.call import Call
from palaver.gateway.ddp.login import Digest
from palaver.v1.auth_pb2 import (
    LoginReply,
    ResetPasswordRequest,
    SendInvitationsRequest,
    SendLetterRequest,
    VerifyEmailRequest,
)


async def send_password_link(call: Call, email: str) -> None:
    """To whoever has the address; nobody learns whether anybody does."""
    await call.services.auth.send_password_link(SendLetterRequest(email=email))


async def reset_password(call: Call, token: str, password: str | Digest) -> LoginReply:
    """By the link's token. Raises LoginFailed for one that doesn't count any more."""
    call.admission.check_login()
    request = ResetPasswordRequest(
        token=token, address=call.address, user_agent=call.user_agent, instance_id=call.config.node_id
    )
    if isinstance(password, str):
        request.plain = password
    else:
        request.sha256 = password.digest
    return await call.services.auth.reset_password(request)


async def send_confirmation(call: Call, email: str) -> None:
    await call.services.auth.send_confirmation(SendLetterRequest(actor=call.actor, email=email))


async def verify_email(call: Call, token: str) -> LoginReply:
    """By the link's token. Raises LoginFailed for one that doesn't count any more."""
    call.admission.check_login()
    return await call.services.auth.verify_email(
        VerifyEmailRequest(
            token=token, address=call.address, user_agent=call.user_agent, instance_id=call.config.node_id
        )
    )


async def send_welcome(call: Call, email: str) -> None:
    await call.services.auth.send_welcome(SendLetterRequest(actor=call.actor, email=email))


async def send_invitations(call: Call, emails: Sequence[str]) -> None:
    """To people who are no users yet. Raises NotAllowed, MailNotConfigured, InvalidInput."""
    await call.services.auth.send_invitations(SendInvitationsRequest(actor=call.actor, emails=emails))


async def send_test(call: Call) -> str:
    """To the caller's own address, which it returns."""
    return (await call.services.auth.send_test_letter(SendLetterRequest(actor=call.actor))).email


def is_mail_configured(call: Call) -> bool:
    return mail.is_configured(call.setting)


def check_mail_configured(call: Call) -> None:
    """Raises MailNotConfigured."""
    if not is_mail_configured(call):
        raise mail.MailNotConfigured
