"""Pure rules of settings: which value a setting of which type may have."""

import math
from collections.abc import Callable
from typing import Any

import orjson

from palaver.auth.rules import compile_name_pattern
from palaver.database import Document
from palaver.errors import InvalidInput

_MAX_VALUE_BYTES = 512 * 1024
_MAX_INTEGER = 2**53
_PATTERNS = ("UTF8_User_Names_Validation", "UTF8_Channel_Names_Validation")


def check_value(setting: Document, value: Any) -> Any:
    """The value as it is stored. Raises InvalidInput when it doesn't fit the setting's type."""
    check = _CHECKS.get(setting["type"])
    found: Any = _WRONG if check is None else check(setting, value)
    if found is _WRONG:
        raise _invalid(setting, f"Invalid value for setting {setting['_id']}: expected {_expected(setting)}")
    if len(orjson.dumps(found)) > _MAX_VALUE_BYTES:
        raise _invalid(setting, f"The value for setting {setting['_id']} is too large")
    if setting["_id"] in _PATTERNS and compile_name_pattern(found) is None:
        raise _invalid(
            setting, f"{setting['_id']} must be a sequence of characters and classes with at most three quantifiers"
        )
    if setting["_id"] == "Accounts_CustomFields" and found.strip():
        try:
            declared = orjson.loads(found)
        except orjson.JSONDecodeError:
            declared = None
        if not isinstance(declared, dict):
            raise _invalid(setting, "Accounts_CustomFields must be empty or a JSON object")
    return found


_WRONG = object()


def _boolean(_: Document, value: Any) -> Any:
    return value if isinstance(value, bool) else _WRONG


def _integer(_: Document, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _WRONG
    if isinstance(value, float) and (not math.isfinite(value) or not value.is_integer()):
        return _WRONG
    return int(value) if abs(value) <= _MAX_INTEGER else _WRONG


def _text(_: Document, value: Any) -> Any:
    return value if isinstance(value, str) else _WRONG


def _select(setting: Document, value: Any) -> Any:
    if not isinstance(value, str):
        return _WRONG
    choices = _choices(setting)
    return value if choices is None or value in choices or value == setting["packageValue"] else _WRONG


def _multi_select(setting: Document, value: Any) -> Any:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return _WRONG
    choices = _choices(setting)
    return value if choices is None or all(item in choices for item in value) else _WRONG


def _date(_: Document, value: Any) -> Any:
    if value is None:
        return value
    if isinstance(value, dict) and value.keys() == {"$date"} and type(value["$date"]) is int:
        return value
    return _WRONG


def _rooms(_: Document, value: Any) -> Any:
    if isinstance(value, str):
        return value
    fits = isinstance(value, list) and all(
        isinstance(room, dict) and all(isinstance(part, str) for part in room.values()) for room in value
    )
    return value if fits else _WRONG


def _asset(_: Document, value: Any) -> Any:
    fits = (
        isinstance(value, dict)
        and value.keys() <= {"url", "defaultUrl"}
        and all(isinstance(part, str) for part in value.values())
    )
    return value if fits else _WRONG


_CHECKS: dict[str, Callable[[Document, Any], Any]] = {
    "boolean": _boolean,
    "int": _integer,
    "timespan": _integer,
    "string": _text,
    "code": _text,
    "password": _text,
    "relativeUrl": _text,
    "color": _text,
    "language": _text,
    "timezone": _text,
    "lookup": _text,
    "select": _select,
    "multiSelect": _multi_select,
    "date": _date,
    "roomPick": _rooms,
    "asset": _asset,
}


def _choices(setting: Document) -> set[str] | None:
    values = setting.get("values")
    return None if values is None else {choice["key"] for choice in values}


def _expected(setting: Document) -> str:
    choices = _choices(setting)
    if choices is not None and len(choices) <= 20:
        return f"{setting['type']} of {', '.join(sorted(choices))}"
    return str(setting["type"])


def _invalid(setting: Document, reason: str) -> InvalidInput:
    return InvalidInput(reason, code="error-invalid-setting-value", details={"setting": setting["_id"]})
