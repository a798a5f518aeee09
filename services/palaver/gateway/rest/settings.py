"""Settings, and what clients need to know of the ways to log in."""

from typing import Any

import msgspec

from palaver.errors import InvalidInput, NotBuilt
from palaver.gateway.call import Call
from palaver.gateway.operations import policy
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, endpoint
from palaver.gateway.rest.errors import Failure, Forbidden
from palaver.gateway.rest.query import matches, page, parse_fields, parse_query, parse_sort, select, sorted_by

_FIELDS = ("_id", "type", "group", "section", "public", "enterprise", "value", "i18nLabel")


class SettingsQuery(Page, rename="camel"):
    id: str = msgspec.field(name="_id", default="")


class SettingBody(LooseParams):
    value: Any = msgspec.UNSET
    execute: bool = False
    editor: str = ""


@endpoint("GET", "settings.public", query=SettingsQuery, login="none", lists="settings")
async def list_public(call: Call, query: SettingsQuery) -> Answer:
    return _list(call, query, public_only=True)


@endpoint("GET", "settings", query=SettingsQuery, lists="settings")
async def list_all(call: Call, query: SettingsQuery) -> Answer:
    return _list(call, query, public_only=not call.may("view-privileged-setting"))


def _list(call: Call, query: SettingsQuery, *, public_only: bool) -> Answer:
    """One page of what the filter leaves, and how much that is: clients go on until they have `total`."""
    offset, count = page(call, query)
    where = parse_query(query.query, _FIELDS)
    fields = parse_fields(query.fields)
    found = [setting for setting in policy.list_settings(call, public_only=public_only) if matches(setting, where)]
    if query.id:
        wanted = {id.strip() for id in query.id.split(",")}
        found = [setting for setting in found if setting["_id"] in wanted]
    found = sorted_by(found, parse_sort(query.sort, _FIELDS) or [("_id", 1)])
    shown = [_shown(setting, fields) for setting in found[offset : offset + count if count else None]]
    return {"settings": shown, "count": len(shown), "offset": offset, "total": len(found)}


def _shown(setting: dict[str, Any], fields: dict[str, bool]) -> dict[str, Any]:
    """The usual fields, and those that are asked for besides."""
    shown = policy.shown_setting(setting)
    return {**shown, **select(setting, fields)} if any(fields.values()) else select(shown, fields)


@endpoint("GET", "settings/:_id")
async def get(call: Call, _id: str) -> Answer:
    if not call.may("view-privileged-setting"):
        raise Forbidden
    setting = policy.find_setting(call, _id)
    if setting is None:
        raise Failure
    return {"_id": _id, "value": setting["value"]}


@endpoint("POST", "settings/:_id", body=SettingBody, second_factor=True)
async def update(call: Call, body: SettingBody, _id: str) -> Answer:
    if not call.may("edit-privileged-setting"):
        raise Forbidden
    if body.execute:
        raise NotBuilt("There is nothing that this setting does")
    if body.editor not in ("", "color"):
        raise InvalidInput("Colors are set as #rrggbb alone", code="error-invalid-setting-editor")
    if body.value is msgspec.UNSET or policy.find_setting(call, _id) is None:
        raise Failure
    await policy.update_setting(call, _id, body.value)
    return {}


@endpoint("GET", "settings.oauth", login="none")
async def list_oauth_services(call: Call) -> Answer:
    """The OAuth providers to log in with: none yet."""
    return {"services": []}


@endpoint("GET", "service.configurations", login="none")
async def list_service_configurations(call: Call) -> Answer:
    """The same, in the form that the web client reads."""
    return {"configurations": []}
