"""Methods of settings. Their REST twins are in `rest/settings.py`."""

from typing import Any

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import Date, method
from palaver.gateway.operations import policy, users
from palaver.gateway.operations.info import describe_server


class Change(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    value: Any = None


@method("public-settings/get", Date | None, anonymous=True)
async def get_public_settings(call: Call, since: Date | None) -> Any:
    return _answer(policy.list_settings(call, public_only=True, since=_milliseconds(since)), since)


@method("private-settings/get", Date | None, anonymous=True)
async def get_private_settings(call: Call, since: Date | None) -> Any:
    """All settings, for those who may see them; nothing for anybody else."""
    if not policy.may_view_settings(call):
        return []
    return _answer(policy.list_settings(call, public_only=False, since=_milliseconds(since)), since)


@method("loadLocale", str, anonymous=True)
async def load_locale(call: Call, locale: str) -> None:
    """Texts of dates for a language: clients have them, and use their own when nothing comes."""


@method("saveSetting", str, Any, second_factor=True)
async def save_setting(call: Call, setting_id: str, value: Any) -> bool:
    await policy.update_setting(call, setting_id, value)
    return True


@method("saveSettings", list[Change], second_factor=True)
async def save_settings(call: Call, changes: list[Change]) -> bool:
    for change in changes:
        await policy.update_setting(call, change.id, change.value)
    return True


@method("getServerInfo", anonymous=True)
async def get_server_info(call: Call) -> dict[str, Any]:
    return describe_server(call)


@method("getSetupWizardParameters")
async def get_setup_wizard_parameters(call: Call) -> dict[str, Any]:
    """What the set-up asks of an organization. A server here is never registered with anybody."""
    return {"settings": policy.list_organization_settings(call), "serverAlreadyRegistered": False}


@method("checkRegistrationSecretURL", str, anonymous=True)
async def check_registration_secret_url(call: Call, secret: str) -> bool:
    """Whether the end of a secret link lets somebody register."""
    return await users.is_registration_secret(call, secret)


def _milliseconds(since: Date | None) -> int | None:
    return None if since is None else since.milliseconds


def _answer(settings: list[dict[str, Any]], since: Date | None) -> Any:
    return settings if since is None else {"update": settings, "remove": []}
