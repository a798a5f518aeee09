"""Filters and sorts as parameterised SQL: names come from `schema.py`, everything of a caller is a parameter."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from palaver.database import Filter, Sort
from palaver.database.schema import FieldType
from palaver.database.sqlite_schema import MAX_INTEGER, Table, quote

_ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_WORD = re.compile(r"[^\W_]+")
# The most parameters of an IN (…); more are given as one JSON array.
_MAX_LISTED = 1024
# What LIKE takes as a pattern, with room to spare.
_MAX_LIKE = 1000


class Query(NamedTuple):
    """A statement and its parameters. `is_search`: it looks through texts, so it must not run on the event loop."""

    sql: str
    parameters: list[Any]
    is_search: bool


def find(table: Table, where: Filter, sort: Sort, skip: int, limit: int) -> Query:
    """The statement that reads matching documents. Raises ValueError for what is not declared."""
    page = [limit or -1, skip] if skip else [limit] if limit else []
    rest = _order(table, sort) + ("", " LIMIT ?", " LIMIT ? OFFSET ?")[len(page)]
    query = _select(table, table.selected, where, rest)
    query.parameters.extend(page)
    return query


def count(table: Table, where: Filter) -> Query:
    """The statement that counts matching documents. Raises ValueError for what is not declared."""
    return _select(table, "count(*)", where, "")


def placeholders(values: list[Any]) -> str:
    """`(?, ?, …)` for the values. It grows the list to the next power of two, so that few statements serve all."""
    size = 1 << (len(values) - 1).bit_length()
    values += values[-1:] * (size - len(values))
    return f"({', '.join('?' * size)})"


def _select(table: Table, what: str, where: Filter, rest: str) -> Query:
    parameters: list[Any] = []
    searches: list[bool] = []
    condition = _all(table, where, parameters, searches)
    sql = f"SELECT {what} FROM {quote(table.name)}{' WHERE ' if condition else ''}{condition}{rest}"
    return Query(sql, parameters, bool(searches))


def _order(table: Table, sort: Sort) -> str:
    parts = []
    for name, direction in sort:
        if table.types.get(name, "list") == "list" or direction not in (1, -1):
            raise ValueError(f"{table.name} can't be sorted by {name!r}, {direction!r}")
        parts.append(f"{quote(name)}{' DESC' if direction < 0 else ''}")
    return f" ORDER BY {', '.join(parts)}" if parts else ""


def _all(table: Table, where: Filter, parameters: list[Any], searches: list[bool]) -> str:
    parts = []
    for name, condition in where.items():
        if name in ("$and", "$or"):
            if not isinstance(condition, (list, tuple)) or not condition:
                raise ValueError(f"{name} needs filters")
            inner = [_all(table, one, parameters, searches) or "1" for one in condition]
            parts.append(f"({(' AND ' if name == '$and' else ' OR ').join(inner)})")
        elif name == "$text":
            parts.append(_text(table, condition, parameters))
            searches.append(True)
        else:
            type = table.types.get(name)
            if type is None:
                raise ValueError(f"{table.name} can't be filtered by {name!r}")
            if isinstance(condition, Mapping) and "$date" not in condition:
                if not condition:
                    raise ValueError(f"an empty condition on {name!r}")
                for operator, operand in condition.items():
                    parts.append(_condition(table, name, type, operator, operand, parameters, searches))
            else:
                parts.append(_condition(table, name, type, "$in", [condition], parameters, searches))
    return " AND ".join(parts)


def _condition(
    table: Table,
    name: str,
    type: FieldType,
    operator: str,
    operand: Any,
    parameters: list[Any],
    searches: list[bool],
) -> str:
    if type == "list":
        return _list_condition(table, name, operator, operand, parameters)
    column = quote(name)
    if operator in ("$in", "$nin"):
        if not isinstance(operand, (list, tuple, set, frozenset)):
            raise ValueError(f"{operator} needs a list")
        return _in(column, type, operator == "$in", list(operand), parameters)
    if operator == "$ne":
        return _in(column, type, False, [operand], parameters)
    if operator == "$exists":
        if not isinstance(operand, bool):
            raise ValueError("$exists needs a boolean")
        return f"{column} IS {'NOT ' if operand else ''}NULL"
    if operator == "$contains":
        if type != "text" or not isinstance(operand, str):
            raise ValueError("$contains needs a field and a part that are text")
        searches.append(True)
        return _contains(column, operand, parameters)
    if operator in _ORDER:
        parameters.append(scalar(type, operand))
        return f"{column} {_ORDER[operator]} ?"
    raise ValueError(f"no such operator: {operator!r}")


def _in(column: str, type: FieldType, wanted: bool, values: list[Any], parameters: list[Any]) -> str:
    """Whether the column is one of the values, or none of them; None stands for an absent one."""
    present = [scalar(type, value) for value in values if value is not None]
    absent = len(present) < len(values)
    if not present:
        return f"{column} IS {'' if wanted else 'NOT '}NULL" if absent else ("0" if wanted else "1")
    if len(present) == 1:
        condition = f"{column} {'=' if wanted else '<>'} ?"
        parameters += present
    else:
        condition = f"{column} {'' if wanted else 'NOT '}IN {_list(present, parameters)}"
    if absent is wanted:
        return f"({condition} OR {column} IS NULL)"
    return condition


def _list(values: list[Any], parameters: list[Any]) -> str:
    if len(values) > _MAX_LISTED:
        parameters.append(orjson.dumps(values).decode())
        return "(SELECT value FROM json_each(?))"
    listed = placeholders(values)
    parameters += values
    return listed


def _list_condition(table: Table, name: str, operator: str, operand: Any, parameters: list[Any]) -> str:
    values = [operand] if operator == "$ne" else operand
    if operator not in ("$in", "$nin", "$ne") or not isinstance(values, (list, tuple, set, frozenset)):
        raise ValueError(f"a list can't be filtered by {operator!r}")
    present = [scalar("text", value) for value in values]
    wanted = operator == "$in"
    if not present:
        return "0" if wanted else "1"
    holds = f"SELECT place FROM {quote(f'{table.name}.{name}')} WHERE value IN {_list(present, parameters)}"
    return f"place {'' if wanted else 'NOT '}IN ({holds})"


def scalar(type: FieldType, value: Any) -> str | int | float:
    """The value as the column holds it. Raises ValueError for another type's."""
    if type == "text":
        if isinstance(value, str):
            return value
    elif type == "date":
        if isinstance(value, Mapping) and len(value) == 1:
            value = value.get("$date")
            if isinstance(value, int) and not isinstance(value, bool):
                return max(-MAX_INTEGER, min(value, MAX_INTEGER))
    elif type == "boolean":
        if isinstance(value, bool):
            return int(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if isinstance(value, float) or abs(value) <= MAX_INTEGER else float(value)
    raise ValueError(f"not a {type}: {value!r}")


def _contains(column: str, part: str, parameters: list[Any]) -> str:
    if part.isascii() and "\0" not in part and len(part) < _MAX_LIKE:
        escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        parameters.append(f"%{escaped}%")
        return f"{column} LIKE ? ESCAPE '\\'"
    parameters.append(part.casefold())
    return f"contains({column}, ?)"


def _text(table: Table, text: Any, parameters: list[Any]) -> str:
    if not table.text:
        raise ValueError(f"{table.name} has no text to search")
    if not isinstance(text, str):
        raise ValueError("$text needs a string")
    words = _WORD.findall(unicodedata.normalize("NFC", text))
    if not words:
        return "0"
    # Each word is a quoted phrase of FTS5's language, so it can't be anything else in it.
    parameters.append(" ".join(f'"{word}" *' for word in dict.fromkeys(words)))
    return f"place IN (SELECT rowid FROM {quote(table.text)} WHERE {quote(table.text)} MATCH ?)"
