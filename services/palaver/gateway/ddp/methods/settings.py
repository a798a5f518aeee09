"""Methods of settings. Their REST twins are in `rest/settings.py`."""

from typing import Any

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import Date, method
from palaver.gateway.operations import policy


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


def _milliseconds(since: Date | None) -> int | None:
    return None if since is None else since.milliseconds


def _answer(settings: list[dict[str, Any]], since: Date | None) -> Any:
    return settings if since is None else {"update": settings, "remove": []}
