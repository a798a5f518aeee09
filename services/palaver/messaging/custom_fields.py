"""Custom fields of messages: checked against the administrator's JSON schema in the setting Message_CustomFields.

Of JSON schema it knows what such fields need: the keywords below, for flat values and lists of these. A setting with
another keyword refuses every message with custom fields, and says so: nothing passes that it can't judge.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from palaver.errors import InvalidInput

_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}
_CHECKS: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda value, names: any(_TYPES[name](value) for name in ([names] if isinstance(names, str) else names)),
    "enum": lambda value, allowed: value in allowed,
    "const": lambda value, wanted: bool(value == wanted),
    "minLength": lambda value, least: not isinstance(value, str) or len(value) >= least,
    "maxLength": lambda value, most: not isinstance(value, str) or len(value) <= most,
    "minimum": lambda value, least: not _TYPES["number"](value) or value >= least,
    "maximum": lambda value, most: not _TYPES["number"](value) or value <= most,
    "minItems": lambda value, least: not isinstance(value, list) or len(value) >= least,
    "maxItems": lambda value, most: not isinstance(value, list) or len(value) <= most,
}
_WORDS = frozenset({"nullable", "title", "description", "default", "$schema", "additionalProperties", "examples"})


def check(fields: Mapping[str, Any], setting: Callable[[str], Any]) -> None:
    """Raises InvalidInput for fields that the settings do not allow."""
    if not setting("Message_CustomFields_Enabled"):
        raise InvalidInput("Custom fields not enabled", code="error-invalid-params")
    try:
        schema = orjson.loads(setting("Message_CustomFields") or "{}")
        if not isinstance(schema, dict):
            raise ValueError
        _check_value("customFields", dict(fields), {"type": "object", **schema})
    except (ValueError, TypeError, KeyError) as error:  # of a schema that is none
        raise InvalidInput("The setting Message_CustomFields is no JSON schema", code="error-invalid-params") from error


def _check_value(path: str, value: Any, schema: Mapping[str, Any]) -> None:
    if value is None and schema.get("nullable") is True:
        return
    for keyword, operand in schema.items():
        if keyword == "properties":
            _check_properties(path, value, operand)
        elif keyword == "required":
            for name in operand:
                if isinstance(value, dict) and name not in value:
                    raise _invalid(f"must have required property '{name}'")
        elif keyword == "items":
            for index, item in enumerate(value if isinstance(value, list) else ()):
                _check_value(f"{path}/{index}", item, operand)
        elif keyword in _CHECKS:
            if not _CHECKS[keyword](value, operand):
                raise _invalid(f"{path} must match {keyword}")
        elif keyword not in _WORDS:
            raise _invalid(f"The setting Message_CustomFields has an unknown keyword: {keyword}")


def _check_properties(path: str, value: Any, properties: Mapping[str, Any]) -> None:
    for name, inner in value.items() if isinstance(value, dict) else ():
        if name not in properties:
            raise _invalid("must NOT have additional properties")
        _check_value(f"{path}/{name}", inner, properties[name])


def _invalid(reason: str) -> InvalidInput:
    return InvalidInput(reason, code="error-invalid-params")
