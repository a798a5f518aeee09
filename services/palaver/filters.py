"""Filters and orders that a service is given by its callers, checked before they reach the database.

The gateway has parsed what a client sent already (`gateway/rest/query.py`). A service trusts no caller with its
queries, so it checks once more: only these fields, only values of their types, only the operators of
`database/__init__.py`, and no more of it than a list needs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from palaver.database import Filter, Sort
from palaver.database.schema import FieldType
from palaver.errors import InvalidInput

_MAX_CONDITIONS = 100
_MAX_DEPTH = 6
_MAX_VALUES = 1000
_MAX_TEXT = 1000
_MAX_SEARCHED = 256

Translate = Callable[[list[str]], Filter]
"""The conditions that stand for a field, which is not stored under this name, being one of these."""


def read_filter(
    data: bytes, fields: Mapping[str, FieldType], translated: Mapping[str, Translate] | None = None
) -> Filter:
    """A filter over these fields from its JSON form; nothing is no condition. Raises InvalidInput.

    `translated`: further names, which can only be a text or one of several ("$in").
    """
    try:
        found = msgspec.json.decode(data, type=dict[str, Any]) if data else {}
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _invalid("The filter is no JSON object") from error
    return _Reader(fields, translated or {}).conditions(found, 0)


def read_sort(data: bytes, fields: Mapping[str, FieldType]) -> list[tuple[str, int]]:
    """An order by these fields from its JSON form, `[["name", 1]]`; nothing is no order. Raises InvalidInput."""
    try:
        pairs = msgspec.json.decode(data, type=list[tuple[str, int]]) if data else []
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidInput("Invalid sort parameter provided", code="error-invalid-sort") from error
    for name, direction in pairs:
        if name not in fields or fields[name] in ("list", "short list") or direction not in (1, -1):
            raise InvalidInput(f"Invalid sort parameter provided: {name[:50]}", code="error-invalid-sort")
    return list(dict(pairs).items())


def check_text(text: str) -> str:
    """The text, to look for. Raises InvalidInput for a long one: no name holds it, and each word of it is looked up."""
    if len(text) > _MAX_SEARCHED:
        raise InvalidInput(f"Search for no more than {_MAX_SEARCHED} characters", code="error-search-text-too-long")
    return text


def with_id(sort: Sort) -> Sort:
    """The order with `_id` at its end, so that pages never overlap: the same way round, as the indexes have it."""
    return sort if any(name == "_id" for name, _ in sort) else [*sort, ("_id", sort[-1][1] if sort else 1)]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 2**53


def _is_date(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"$date"} and type(value["$date"]) is int


_FITS: dict[FieldType, Callable[[Any], bool]] = {
    "text": _is_text,
    "list": _is_text,  # asks whether the list holds it
    "short list": _is_text,
    "boolean": _is_boolean,
    "number": _is_number,
    "date": _is_date,
}
_ONE_VALUE = ("$ne", "$gt", "$gte", "$lt", "$lte")


class _Reader:
    """One filter at work: counts its conditions."""

    def __init__(self, fields: Mapping[str, FieldType], translated: Mapping[str, Translate]) -> None:
        self._fields = fields
        self._translated = translated
        self._left = _MAX_CONDITIONS

    def conditions(self, found: dict[str, Any], depth: int) -> dict[str, Any]:
        if depth > _MAX_DEPTH:
            raise _invalid("The query is nested too deeply")
        checked: dict[str, Any] = {}
        for name, value in found.items():
            self._left -= 1
            if self._left < 0:
                raise _invalid("The query has too many conditions")
            if name in ("$or", "$and"):
                if not isinstance(value, list) or not value or not all(isinstance(part, dict) for part in value):
                    raise _invalid(f"{name} needs a list of conditions")
                checked[name] = [self.conditions(part, depth + 1) for part in value]
            elif name in self._translated:
                texts = value["$in"] if isinstance(value, dict) and value.keys() == {"$in"} else [value]
                if not isinstance(texts, list) or len(texts) > _MAX_VALUES or not all(map(_is_text, texts)):
                    raise _invalid(f"{name} can only be compared with a text")
                checked.update(self._translated[name](texts))
            elif name in self._fields:
                checked[name] = _condition(value, _FITS[self._fields[name]])
            else:
                raise _invalid(f"Invalid attribute: {name[:50]}")
        return checked


def _condition(value: Any, fits: Callable[[Any], bool]) -> Any:
    if value is None or fits(value):
        return value
    if not isinstance(value, dict) or not value:
        raise _invalid("Invalid value")
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
            raise _invalid(f"Invalid operation: {operator[:50]}")
    return value


def _invalid(reason: str) -> InvalidInput:
    return InvalidInput(reason, code="error-invalid-query")
