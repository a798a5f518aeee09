"""The deprecated `query`, `fields` and `sort` of list endpoints, and their paging: from text to a small allow-list.

Nothing that a client sends reaches a database as it is: `parse_query` builds a filter of the few operators below over
the fields that the endpoint names, in the language of `palaver/database`. A regular expression is never run: the
forms that clients send are translated (`abc`: contains, in either case; `^abc`: begins with, in this case;
`^abc$`: is), others are refused.
"""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.ejson import parse_iso
from palaver.gateway.rest.endpoint import Page

Filter = dict[str, Any]

_LARGEST = 2**31 - 1  # of the internal contract's numbers
_MAX_TEXT = 50_000
_MAX_DEPTH = 6
_MAX_CONDITIONS = 100
_MAX_VALUES = 1_000

_COMPARISONS = ("$ne", "$gt", "$gte", "$lt", "$lte")
_LISTS = ("$in", "$nin")
_SPECIAL = frozenset(".*+?()[]{}|^$\\")


class InvalidQuery(InvalidInput):
    code = "error-invalid-query"


class InvalidSort(InvalidInput):
    code = "error-invalid-sort"


class InvalidFields(InvalidInput):
    code = "error-invalid-fields"


def page(call: Call, params: Page) -> tuple[int, int]:
    """Offset and count of a list, within the workspace's limits. A count of 0 means everything."""
    default = max(1, int(call.setting("API_Default_Count")))
    most = max(1, int(call.setting("API_Upper_Count_Limit")))
    count = default if params.count is None or params.count < 0 else params.count
    if count == 0 and not call.setting("API_Allow_Infinite_Count"):
        count = default
    return min(max(0, params.offset), _LARGEST), min(count, most)


def parse_sort(text: str, allowed: Collection[str]) -> list[tuple[str, int]]:
    """`{"name": 1, "ts": -1}` as pairs. Fields that can't be sorted by are left out. Raises InvalidSort."""
    sort = _object(text, InvalidSort, "sort")
    for name, direction in sort.items():
        if isinstance(direction, bool) or direction not in (1, -1) or not name or "$" in name or "\0" in name:
            raise InvalidSort(f'Invalid sort parameter provided: "{text[:200]}"')
    return [(name, int(direction)) for name, direction in sort.items() if name in allowed]


def is_ascending(text: str) -> bool:
    """Whether a `sort` wants the oldest first of what is always sorted by its time. Raises InvalidSort."""
    return any(direction > 0 for _, direction in parse_sort(text, ("ts",)))


def sorted_by(documents: Sequence[dict[str, Any]], sort: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """Documents in memory in a parsed order. What has no such field comes first."""
    found = list(documents)
    for name, direction in reversed(sort):
        found.sort(key=lambda document: str(document.get(name, "")), reverse=direction < 0)
    return found


def parse_fields(text: str) -> dict[str, bool]:
    """`{"name": 1}` (only these) or `{"name": 0}` (all but these). For `select`. Raises InvalidFields."""
    fields = _object(text, InvalidFields, "fields")
    for name, wanted in fields.items():
        if wanted not in (0, 1) or name.startswith("$"):
            raise InvalidFields(f'Invalid fields parameter provided: "{text[:200]}"')
    return {name: bool(wanted) for name, wanted in fields.items()}


def select(document: Mapping[str, Any], fields: Mapping[str, bool]) -> dict[str, Any]:
    """The chosen fields of a document that the client may see anyway; `_id` always. Dots name the outer field."""
    if any(fields.values()):
        wanted = {name.partition(".")[0] for name, is_wanted in fields.items() if is_wanted} | {"_id"}
        return {name: value for name, value in document.items() if name in wanted}
    return {name: value for name, value in document.items() if fields.get(name, True) or name == "_id"}


def parse_query(text: str, allowed: Collection[str]) -> Filter:
    """A client's filter as the internal one, over allowed fields only. Raises InvalidQuery."""
    return _Parser(allowed).conditions(_object(text, InvalidQuery, "query"), 0)


def matches(document: Mapping[str, Any], where: Filter) -> bool:
    """Whether a document in memory is what a parsed filter asks for."""
    for name, wanted in where.items():
        if name == "$or":
            fits = any(matches(document, part) for part in wanted)
        elif name == "$and":
            fits = all(matches(document, part) for part in wanted)
        else:
            fits = _fits(document.get(name), wanted)
        if not fits:
            return False
    return True


def _fits(value: Any, wanted: Any) -> bool:
    if not isinstance(wanted, dict) or "$date" in wanted:
        return bool(value == wanted or (isinstance(value, list) and wanted in value))
    return all(_TESTS[operator](value, operand) for operator, operand in wanted.items())


def _compared(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """A comparison of two values of one kind; a date is compared by its milliseconds."""

    def compare(value: Any, operand: Any) -> bool:
        if isinstance(value, dict) and isinstance(operand, dict):
            value, operand = value.get("$date"), operand.get("$date")
        try:
            return test(value, operand)
        except TypeError:
            return False

    return compare


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$in": lambda value, operand: any(_fits(value, one) for one in operand),
    "$nin": lambda value, operand: not any(_fits(value, one) for one in operand),
    "$ne": lambda value, operand: not _fits(value, operand),
    "$gt": _compared(operator.gt),
    "$gte": _compared(operator.ge),
    "$lt": _compared(operator.lt),
    "$lte": _compared(operator.le),
    "$exists": lambda value, operand: (value is not None) == operand,
    "$contains": lambda value, operand: isinstance(value, str) and operand.casefold() in value.casefold(),
}


def _object(text: str, error: type[InvalidInput], name: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = orjson.loads(text) if len(text) <= _MAX_TEXT else None
    except (orjson.JSONDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise error(f'Invalid {name} parameter provided: "{text[:200]}"')
    return value


class _Parser:
    """One filter at work: counts conditions, so that a small text can't make a large query."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = allowed
        self._left = _MAX_CONDITIONS

    def conditions(self, query: dict[str, Any], depth: int) -> Filter:
        """`{"a": 1, "$or": [{…}, {…}]}`."""
        if depth > _MAX_DEPTH:
            raise InvalidQuery("The query is nested too deeply")
        found: Filter = {}
        for name, value in query.items():
            self._left -= 1
            if self._left < 0:
                raise InvalidQuery("The query has too many conditions")
            if name in ("$or", "$and"):
                found[name] = self._alternatives(name, value, depth)
            elif name.startswith("$"):
                raise InvalidQuery(f"Invalid operation: {name[:50]}")
            elif name not in self._allowed:
                raise InvalidQuery(f"Invalid attribute: {name[:50]}")
            else:
                found[name] = _condition(value)
        return found

    def _alternatives(self, name: str, value: Any, depth: int) -> list[Filter]:
        if not isinstance(value, list) or not value or not all(isinstance(part, dict) for part in value):
            raise InvalidQuery(f"{name} needs a list of conditions")
        return [self.conditions(part, depth + 1) for part in value]


def _condition(value: Any) -> Any:
    """What one field is compared with: a plain value, or an object of operators."""
    if not isinstance(value, dict) or "$date" in value:
        return _plain(value)
    operators: Filter = {}
    for name, operand in value.items():
        if name in _COMPARISONS:
            operators[name] = _plain(operand)
        elif name == "$eq":
            operators["$in"] = [_plain(operand)]
        elif name in _LISTS:
            if not isinstance(operand, list) or len(operand) > _MAX_VALUES:
                raise InvalidQuery(f"{name} needs a list of at most {_MAX_VALUES} values")
            operators[name] = [_plain(item) for item in operand]
        elif name == "$exists":
            if not isinstance(operand, bool):
                raise InvalidQuery("$exists needs true or false")
            operators[name] = operand
        elif name == "$regex":
            operators.update(_translate(operand, value.get("$options", "")))
        elif name != "$options" or "$regex" not in value:
            raise InvalidQuery(f"Invalid operation: {name[:50]}")
    if not operators:
        raise InvalidQuery("An empty condition")
    return operators


def _plain(value: Any) -> Any:
    """A value without operators inside. Dates keep the inside form."""
    if value is None or isinstance(value, str | int | float):
        if isinstance(value, int) and abs(value) > 2**53:
            raise InvalidQuery("A number out of range")
        return value
    if isinstance(value, dict) and len(value) == 1 and "$date" in value:
        date = value["$date"]
        if isinstance(date, str):
            return {"$date": parse_iso(date)}
        if isinstance(date, int) and not isinstance(date, bool) and abs(date) < 2**53:
            return {"$date": date}
    raise InvalidQuery(f"Invalid value: {msgspec.json.encode(value)[:50].decode(errors='replace')}")


def _translate(pattern: Any, options: Any) -> Filter:
    """A regular expression of the few known forms, as comparisons."""
    if not isinstance(pattern, str) or options not in ("", "i"):
        raise InvalidQuery("Invalid operation: $regex")
    begins, ends = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith("\\$")
    body = pattern[begins : len(pattern) - ends]
    if begins and not ends and body.endswith(".*"):
        body = body[:-2]
    text = _literal(body)
    if text and not begins and not ends:
        return {"$contains": text}
    if text and begins and options == "":
        return {"$in": [text]} if ends else {"$gte": text, "$lt": text + "\U0010ffff"}
    raise InvalidQuery(
        f'$regex is not supported for "{pattern[:50]}": only a part of the text ("abc") or, in the same case, '
        'its beginning ("^abc") can be asked for'
    )


def _literal(pattern: str) -> str:
    """The text that a pattern without special characters stands for; nothing for any other one."""
    found: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            character = next(characters, "")
            if not character or character.isalnum():
                return ""
        elif character in _SPECIAL:
            return ""
        found.append(character)
    return "".join(found)
