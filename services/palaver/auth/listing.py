"""Pure rules of lists of users: which fields a caller may filter and sort by.

The gateway has parsed what a client sent already; here it is checked once more, because a service trusts no caller
with its queries.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from palaver.auth.rules import fold
from palaver.database import Filter, Sort
from palaver.errors import InvalidInput

_MAX_CONDITIONS = 100
_MAX_DEPTH = 6
_MAX_VALUES = 1000
_MAX_TEXT = 1000


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_date(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"$date"} and type(value["$date"]) is int


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "_id": _is_text,
    "username": _is_text,
    "name": _is_text,
    "type": _is_text,
    "roles": _is_text,
    "active": _is_boolean,
    "createdAt": _is_date,
}
_SORTED = ("_id", "username", "name", "type", "active", "createdAt")
_ONE_VALUE = ("$ne", "$gt", "$gte", "$lt", "$lte")


def checked_filter(data: bytes, *, may_see_emails: bool) -> Filter:
    """A filter over the fields above from its JSON form. Raises InvalidInput (error-invalid-query)."""
    try:
        found = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _invalid_query("The filter is no JSON object") from error
    return _Checker(may_see_emails).conditions(found, 0)


def checked_sort(data: bytes) -> Sort:
    """The order from its JSON form, `[["username", 1]]`; always with `_id` at the end. Raises InvalidInput."""
    try:
        pairs = msgspec.json.decode(data, type=list[tuple[str, int]]) if data else []
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidInput("Invalid sort parameter provided", code="error-invalid-sort") from error
    for name, direction in pairs:
        if name not in _SORTED or direction not in (1, -1):
            raise InvalidInput(f"Invalid sort parameter provided: {name[:50]}", code="error-invalid-sort")
    pairs = list(dict(pairs).items()) or [("username", 1)]
    return pairs if any(name == "_id" for name, _ in pairs) else [*pairs, ("_id", 1)]


class _Checker:
    def __init__(self, may_see_emails: bool) -> None:
        self._may_see_emails = may_see_emails
        self._left = _MAX_CONDITIONS

    def conditions(self, found: dict[str, Any], depth: int) -> dict[str, Any]:
        if depth > _MAX_DEPTH:
            raise _invalid_query("The query is nested too deeply")
        checked: dict[str, Any] = {}
        for name, value in found.items():
            self._left -= 1
            if self._left < 0:
                raise _invalid_query("The query has too many conditions")
            if name in ("$or", "$and"):
                if not isinstance(value, list) or not value or not all(isinstance(part, dict) for part in value):
                    raise _invalid_query(f"{name} needs a list of conditions")
                checked[name] = [self.conditions(part, depth + 1) for part in value]
            elif name == "emails.address" and self._may_see_emails:
                if not _is_text(value):
                    raise _invalid_query("An e-mail address can only be compared with a text")
                checked["emails_lower"] = fold(value)
            elif name in _FIELDS:
                checked[name] = _condition(value, _FIELDS[name])
            else:
                raise _invalid_query(f"Invalid attribute: {name[:50]}")
        return checked


def _condition(value: Any, fits: Callable[[Any], bool]) -> Any:
    if value is None or fits(value):
        return value
    if not isinstance(value, dict) or not value:
        raise _invalid_query("Invalid value")
    for operator, operand in value.items():
        if operator in _ONE_VALUE:
            right = fits(operand) or (operand is None and operator == "$ne")
        elif operator in ("$in", "$nin"):
            right = isinstance(operand, list) and len(operand) <= _MAX_VALUES and all(map(fits, operand))
        elif operator == "$exists":
            right = isinstance(operand, bool)
        elif operator == "$contains":
            right = _is_text(operand)
        else:
            right = False
        if not right:
            raise _invalid_query(f"Invalid operation: {operator[:50]}")
    return value


def _invalid_query(reason: str) -> InvalidInput:
    return InvalidInput(reason, code="error-invalid-query")
