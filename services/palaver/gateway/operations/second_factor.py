"""The caller's second factor. Shared by both modules `second_factor.py`."""

from palaver.gateway.call import Call
from palaver.v1.auth_pb2 import (
    AuthenticatorRequest,
    BeginAuthenticatorReply,
    SendLetterRequest,
    SetEmailSecondFactorRequest,
)


async def begin_authenticator(call: Call) -> BeginAuthenticatorReply:
    """A secret for an app, which counts when `enable_authenticator` has seen a code of it."""
    return await call.services.auth.begin_authenticator(_request(call))


async def enable_authenticator(call: Call, code: str) -> list[str]:
    """Returns the backup codes, told only now."""
    return list((await call.services.auth.enable_authenticator(_request(call, code))).codes)


async def disable_authenticator(call: Call, code: str) -> bool:
    """False: that was no code."""
    return (await call.services.auth.disable_authenticator(_request(call, code))).disabled


async def renew_backup_codes(call: Call, code: str) -> list[str]:
    return list((await call.services.auth.renew_backup_codes(_request(call, code))).codes)


async def count_backup_codes(call: Call) -> int:
    return (await call.services.auth.count_backup_codes(_request(call))).remaining


async def reset_authenticator(call: Call, user_id: str) -> None:
    """Takes a user's app away without a code of it: their own, or with the permission anybody's."""
    request = _request(call)
    request.user_id = user_id
    await call.services.auth.reset_authenticator(request)


async def set_email(call: Call, enabled: bool) -> None:
    """Whether the caller is sent codes."""
    await call.services.auth.set_email_second_factor(
        SetEmailSecondFactorRequest(actor=call.actor, enabled=enabled, hashed_token=call.hashed_token)
    )


async def send_code(call: Call, name_or_email: str) -> None:
    """To whoever is logging in with it; nobody learns whether there is such a user."""
    await call.services.auth.send_second_factor_code(SendLetterRequest(email=name_or_email))


def _request(call: Call, code: str = "") -> AuthenticatorRequest:
    return AuthenticatorRequest(actor=call.actor, code=code, hashed_token=call.hashed_token)
