"""Filters and sorts as parameterised SQL: names come from `schema.py`, everything of a caller is a parameter."""

import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from orjson import dumps

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
    """A statement and its parameters. `looks_through`: it tests texts one by one, so it must not run on the event
    loop; `needs_text`: what was written must be indexed first."""

    sql: str
    parameters: list[Any]
    looks_through: bool
    needs_text: bool


def find(table: Table, where: Filter, sort: Sort, skip: int, limit: int) -> Query:
    """The statement that reads matching documents. Raises ValueError for what is not declared."""
    page = [limit or -1, skip] if skip else [limit] if limit else []
    rest = _order(table, sort) + ("", " LIMIT ?", " LIMIT ? OFFSET ?")[len(page)]
    query = _select(table, table.selected, where, rest)
    query.parameters.extend(page)
    return query


def values(table: Table, name: str, where: Filter) -> Query:
    """The statement that reads one field of matching documents. Raises ValueError for what is not declared."""
    if table.types.get(name) != "text":
        raise ValueError(f"{name!r} is no text field of {table.name}")
    return _select(table, quote(name), where, "")


def count(table: Table, where: Filter) -> Query:
    """The statement that counts matching documents. Raises ValueError for what is not declared."""
    return _select(table, "count(*)", where, "")


def get_many(table: Table, ids: list[str]) -> Query:
    """The statement that reads documents by their ids."""
    return Query(
        f"SELECT {table.selected} FROM {quote(table.name)} WHERE _id IN {_placeholders(ids)}", ids, False, False
    )


def _placeholders(values: list[Any]) -> str:
    """`(?, ?, …)` for the values. It grows the list to the next power of two, so that few statements serve all."""
    size = 1 << (len(values) - 1).bit_length()
    values += values[-1:] * (size - len(values))
    return f"({', '.join('?' * size)})"


def _select(table: Table, what: str, where: Filter, rest: str) -> Query:
    conditions = _Conditions(table)
    condition = conditions.all(where)
    sql = f"SELECT {what} FROM {quote(table.name)}{' WHERE ' if condition else ''}{condition}{rest}"
    return Query(sql, conditions.parameters, conditions.looks_through, conditions.needs_text)


def _order(table: Table, sort: Sort) -> str:
    parts = []
    for name, direction in sort:
        if table.types.get(name, "list") == "list" or direction not in (1, -1):
            raise ValueError(f"{table.name} can't be sorted by {name!r}, {direction!r}")
        parts.append(f"{quote(name)}{' DESC' if direction < 0 else ''}")
    return f" ORDER BY {', '.join(parts)}" if parts else ""


class _Conditions:
    """Builds one statement's condition: each method returns a piece of SQL and adds its parameters, in that order."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.parameters: list[Any] = []
        self.looks_through = False
        self.needs_text = False

    def all(self, where: Filter) -> str:
        """All of the filter's conditions; "" if it has none."""
        parts = []
        for name, condition in where.items():
            if name in ("$and", "$or"):
                if not isinstance(condition, (list, tuple)) or not condition:
                    raise ValueError(f"{name} needs filters")
                inner = [self.all(one) or "1" for one in condition]
                parts.append(f"({(' AND ' if name == '$and' else ' OR ').join(inner)})")
            elif name == "$text":
                parts.append(self._text(condition))
            elif name not in self.table.types:
                raise ValueError(f"{self.table.name} can't be filtered by {name!r}")
            elif isinstance(condition, Mapping) and "$date" not in condition:
                if not condition:
                    raise ValueError(f"an empty condition on {name!r}")
                parts += [self._one(name, operator, operand) for operator, operand in condition.items()]
            else:
                parts.append(self._one(name, "$in", [condition]))
        return " AND ".join(parts)

    def _one(self, name: str, operator: str, operand: Any) -> str:
        column, type = quote(name), self.table.types[name]
        if operator == "$ne":
            operator, operand = "$nin", [operand]
        if operator in ("$in", "$nin"):
            if not isinstance(operand, (list, tuple, set, frozenset)):
                raise ValueError(f"{operator} needs a list")
            if type == "list":
                return self._holds(name, operator == "$in", operand)
            return self._in(column, type, operator == "$in", operand)
        if type == "list":
            raise ValueError(f"a list can't be filtered by {operator!r}")
        if operator == "$exists":
            if not isinstance(operand, bool):
                raise ValueError("$exists needs a boolean")
            return f"{column} IS {'NOT ' if operand else ''}NULL"
        if operator == "$contains":
            if type != "text" or not isinstance(operand, str):
                raise ValueError("$contains needs a field and a part that are text")
            return self._contains(column, operand)
        if operator in _ORDER:
            self.parameters.append(_scalar(type, operand))
            return f"{column} {_ORDER[operator]} ?"
        raise ValueError(f"no such operator: {operator!r}")

    def _in(self, column: str, type: FieldType, wanted: bool, values: Collection[Any]) -> str:
        """Whether the column is one of the values, or none of them; None stands for an absent one."""
        present = [_scalar(type, value) for value in values if value is not None]
        absent = len(present) < len(values)
        if not present:
            return f"{column} IS {'' if wanted else 'NOT '}NULL" if absent else ("0" if wanted else "1")
        if len(present) == 1:
            condition = f"{column} {'=' if wanted else '<>'} ?"
            self.parameters += present
        else:
            condition = f"{column} {'' if wanted else 'NOT '}IN {self._list(present)}"
        return f"({condition} OR {column} IS NULL)" if absent is wanted else condition

    def _holds(self, name: str, wanted: bool, values: Collection[Any]) -> str:
        """Whether the list holds one of the values, or none of them."""
        present = [_scalar("text", value) for value in values]
        if not present:
            return "0" if wanted else "1"
        holders = f"SELECT place FROM {quote(f'{self.table.name}.{name}')} WHERE value IN {self._list(present)}"
        return f"place {'' if wanted else 'NOT '}IN ({holders})"

    def _list(self, values: list[Any]) -> str:
        if len(values) > _MAX_LISTED:
            self.parameters.append(dumps(values).decode())
            return "(SELECT value FROM json_each(?))"
        listed = _placeholders(values)
        self.parameters += values
        return listed

    def _contains(self, column: str, part: str) -> str:
        self.looks_through = True
        if part.isascii() and "\0" not in part and len(part) < _MAX_LIKE:
            escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            self.parameters.append(f"%{escaped}%")
            return f"{column} LIKE ? ESCAPE '\\'"
        self.parameters.append(part.casefold())
        return f"contains({column}, ?)"

    def _text(self, text: Any) -> str:
        name = quote(self.table.text)
        if not self.table.text:
            raise ValueError(f"{self.table.name} has no text to search")
        if not isinstance(text, str):
            raise ValueError("$text needs a string")
        words = _WORD.findall(unicodedata.normalize("NFC", text))
        if not words:
            return "0"
        self.looks_through = self.needs_text = True
        # Each word is a quoted phrase of FTS5's language, so it can't be anything else in it.
        self.parameters.append(" ".join(f'"{word}" *' for word in dict.fromkeys(words)))
        return f"place IN (SELECT rowid FROM {name} WHERE {name} MATCH ?)"


def _scalar(type: FieldType, value: Any) -> str | int | float:
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
