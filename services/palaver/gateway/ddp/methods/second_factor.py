"""Methods of the second factor: an authenticator app is set up by these alone."""

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import second_factor


@method("2fa:enable", second_factor=True)
async def enable(call: Call) -> dict[str, str]:
    reply = await second_factor.begin_authenticator(call)
    return {"secret": reply.secret, "url": reply.url}


@method("2fa:validateTempToken", str)
async def validate_temp_token(call: Call, code: str) -> dict[str, list[str]]:
    return {"codes": await second_factor.enable_authenticator(call, code)}


@method("2fa:disable", str)
async def disable(call: Call, code: str) -> bool:
    return await second_factor.disable_authenticator(call, code)


@method("2fa:regenerateCodes", str)
async def regenerate_codes(call: Call, code: str) -> dict[str, list[str]]:
    return {"codes": await second_factor.renew_backup_codes(call, code)}


@method("2fa:checkCodesRemaining")
async def check_codes_remaining(call: Call) -> dict[str, int]:
    return {"remaining": await second_factor.count_backup_codes(call)}
