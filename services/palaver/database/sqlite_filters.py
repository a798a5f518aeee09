"""Filters and sorts as parameterised SQL: names come from `schema.py`, everything of a caller is a parameter."""

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from orjson import dumps

from palaver.database import Filter, Sort, sqlite_text
from palaver.database.schema import FieldType
from palaver.database.sqlite_names import quote
from palaver.database.sqlite_schema import MAX_INTEGER, Table, folded
from palaver.database.text import parts_of

_ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
# The most parameters of an IN (…); more are given as one JSON array.
_MAX_LISTED = 1024
# So many documents are looked at before a text is looked up: a few milliseconds.
_FIRST = 200
# What LIKE takes as a pattern, with room to spare.
_MAX_LIKE = 1000


class Query(NamedTuple):
    """A statement and its parameters. `looks_through`: it tests texts one by one, so it must not run on the event
    loop; `text`: it searches for this (`sqlite_text.expression`), and what was written must be indexed first."""

    sql: str
    parameters: list[Any]
    looks_through: bool = False
    text: str = ""
    collection: str = ""

    @property
    def by_text(self) -> str:
        """The same, looking up those that have the text, and no others: for a text that few have. Else they are gone
        through in the order asked for."""
        name = quote(self.collection)
        return self.sql.replace(f" FROM {name} WHERE ", f" FROM {name} NOT INDEXED WHERE ", 1)

    def rows(self, connection: sqlite3.Connection) -> list[Any]:
        """What it finds."""
        few = self.text and not sqlite_text.has_many(connection, self.collection, self.text)
        return connection.execute(self.by_text if few else self.sql, self.parameters).fetchall()


def find(table: Table, where: Filter, sort: Sort, skip: int, limit: int) -> Query:
    """The statement that reads matching documents. Raises ValueError for what is not declared."""
    page = [limit or -1, skip] if skip else [limit] if limit else []
    rest = _order(table, sort, _aside(table, where)) + ("", " LIMIT ?", " LIMIT ? OFFSET ?")[len(page)]
    query = _select(table, table.selected, where, rest, is_ordered=_has_order(table, sort))
    query.parameters.extend(page)
    return query


def find_among_first(table: Table, where: Filter, sort: Sort, skip: int, limit: int) -> Query:
    """The statement that looks for a text among the first documents only, one by one: what most texts have is there,
    and an index of it would take long. Raises ValueError as above."""
    conditions = _Conditions(table, look_up=False)
    condition = conditions.all(where)
    first = f"SELECT {table.selected} FROM {quote(table.name)} WHERE {condition}{_order(table, sort)} LIMIT {_FIRST}"
    having = sqlite_text.having(table.collection.text, "doc")
    sql = f"SELECT {table.selected} FROM ({first}) WHERE {having} LIMIT ? OFFSET ?"
    return Query(sql, [*conditions.parameters, " ".join(conditions.parts), limit, skip], True)


def values(table: Table, name: str, where: Filter) -> Query:
    """The statement that reads one field of matching documents. Raises ValueError for what is not declared."""
    if table.types.get(name) != "text":
        raise ValueError(f"{name!r} is no text field of {table.name}")
    return _select(table, quote(name), where, "")


def groups(
    table: Table, where: Filter, by: str, at: str, ascending: bool, skip: int, limit: int
) -> tuple[Query, Query]:
    """The statements that group matching documents, and count the groups. Raises ValueError as above."""
    if table.types.get(by) != "text" or table.types.get(at) != "date":
        raise ValueError(f"{table.name} can't be grouped by {by!r} and sorted by {at!r}")
    order = "" if ascending else " DESC"
    # Columns beside max() are those of the row that has it.
    page = _select(
        table,
        f"{quote(by)}, count(*), _id, max({quote(at)}) AS newest",
        {"$and": [where, {by: {"$exists": True}}]},
        f" GROUP BY {quote(by)} ORDER BY newest{order}, {quote(by)}{order} LIMIT ? OFFSET ?",
    )
    page.parameters.extend([limit or -1, skip])
    return page, _select(table, f"count(DISTINCT {quote(by)})", where, "")


def count(table: Table, where: Filter) -> Query:
    """The statement that counts matching documents. Raises ValueError for what is not declared."""
    return _select(table, "count(*)", where, "")


def get_many(table: Table, ids: list[str]) -> Query:
    """The statement that reads documents by their ids."""
    return Query(f"SELECT {table.selected} FROM {quote(table.name)} WHERE _id IN {_placeholders(ids)}", ids)


def _placeholders(values: list[Any]) -> str:
    """`(?, ?, …)` for the values. It grows the list to the next power of two, so that few statements serve all."""
    size = 1 << (len(values) - 1).bit_length()
    values += values[-1:] * (size - len(values))
    return f"({', '.join('?' * size)})"


def _select(table: Table, what: str, where: Filter, rest: str, *, is_ordered: bool = False) -> Query:
    conditions = _Conditions(table, _aside(table, where), is_ordered)
    condition = conditions.all(where)
    sql = f"SELECT {what} FROM {quote(table.name)}{' WHERE ' if condition else ''}{condition}{rest}"
    return Query(sql, conditions.parameters, conditions.looks_through, conditions.text, table.name)


def _aside(table: Table, where: Filter) -> str:
    """What stands before every other column where a filter says which documents it is about, by their ids or by what a
    list holds: "+" keeps SQLite, which knows nothing of how many there are, from finding others by another index."""
    return "+" if _is_about_few(table, where) else ""


def _is_about_few(table: Table, where: Filter) -> bool:
    for name, condition in where.items():
        if name in ("$and", "$or") and isinstance(condition, (list, tuple)):
            few = [_is_about_few(table, one) for one in condition]
            if few and (any(few) if name == "$and" else all(few)):
                return True
        elif (name == "_id" or table.types.get(name) == "list") and (
            not isinstance(condition, Mapping) or "$in" in condition
        ):
            return True
    return False


def _has_order(table: Table, sort: Sort) -> bool:
    """Whether an index has the whole table in this order."""
    return bool(sort) and any(index.fields[0] == sort[0][0] for index in table.collection.indexes)


def _order(table: Table, sort: Sort, aside: str = "") -> str:
    parts = []
    for name, direction in sort:
        if table.types.get(name, "list") in ("list", "short list") or direction not in (1, -1):
            raise ValueError(f"{table.name} can't be sorted by {name!r}, {direction!r}")
        parts.append(f"{aside}{quote(name)}{' DESC' if direction < 0 else ''}")
    return f" ORDER BY {', '.join(parts)}" if parts else ""


class _Conditions:
    """Builds one statement's condition: each method returns a piece of SQL and adds its parameters, in that order."""

    def __init__(self, table: Table, aside: str = "", is_ordered: bool = False, *, look_up: bool = True) -> None:
        self.table = table
        self.aside = aside
        self.is_ordered = is_ordered
        self.look_up = look_up  # texts are looked up; else `parts` are to be looked for
        self.parts: list[str] = []
        self.parameters: list[Any] = []
        self.looks_through = False
        self.text = ""

    def all(self, where: Filter) -> str:
        """All of the filter's conditions; "" if it has none."""
        parts = []
        for name, condition in where.items():
            if name in ("$and", "$or"):
                if not isinstance(condition, (list, tuple)) or not condition:
                    raise ValueError(f"{name} needs filters")
                if name == "$or" and any("$text" in one for one in condition):
                    raise ValueError("$text is no alternative")
                self.is_ordered = self.is_ordered and name == "$and"
                inner = [self.all(one) or "1" for one in condition]
                parts.append(f"({(' AND ' if name == '$and' else ' OR ').join(inner)})")
            elif name == "$text":
                parts.append(self._text(condition, where.get("rid")))
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
        column, type = f"{'' if name == '_id' else self.aside}{quote(name)}", self.table.types[name]
        if operator == "$ne":
            operator, operand = "$nin", [operand]
        if operator in ("$in", "$nin"):
            if not isinstance(operand, (list, tuple, set, frozenset)):
                raise ValueError(f"{operator} needs a list")
            if type == "list":
                return self._holds(name, operator == "$in", operand)
            if type == "short list":
                return self._holds_in_place(column, operator == "$in", operand)
            if self.is_ordered and len(operand) > 1 and name != "_id":
                # SQLite would find those of each value, and sort them all for one page.
                column = f"+{quote(name)}"
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
            return self._contains(name, column, operand)
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

    def _holds_in_place(self, column: str, wanted: bool, values: Collection[Any]) -> str:
        """The same for a list that is a column: it says so itself that it holds something, for an index of such."""
        present = [_scalar("text", value) for value in values]
        if not present:
            return "0" if wanted else "1"
        holds = f"EXISTS (SELECT 1 FROM json_each({column}) WHERE value IN {self._list(present)})"
        return f"({column} IS NOT NULL AND {holds})" if wanted else f"NOT {holds}"

    def _list(self, values: list[Any]) -> str:
        if len(values) > _MAX_LISTED:
            self.parameters.append(dumps(values).decode())
            return "(SELECT value FROM json_each(?))"
        listed = _placeholders(values)
        self.parameters += values
        return listed

    def _contains(self, name: str, column: str, part: str) -> str:
        self.looks_through = True
        if name in self.table.folded:
            self.parameters.append(part.casefold())
            return f"instr({self.aside}{quote(folded(name))}, ?)"
        if part.isascii() and "\0" not in part and len(part) < _MAX_LIKE:
            escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            self.parameters.append(f"%{escaped}%")
            return f"{column} LIKE ? ESCAPE '\\'"
        self.parameters.append(part.casefold())
        return f"contains({column}, ?)"

    def _text(self, text: Any, room_id: Any) -> str:
        if not self.table.collection.text:
            raise ValueError(f"{self.table.name} has no text to search")
        if not isinstance(text, str):
            raise ValueError("$text needs a string")
        self.parts = parts_of(text)
        if not self.parts:
            return "0"
        if not self.look_up:
            return "1"
        self.looks_through = True
        self.text, rest = sqlite_text.expression(self.parts, room_id if isinstance(room_id, str) else None)
        self.parameters.append(self.text)
        found = f"place IN ({sqlite_text.matching(self.table.name)})"
        if not rest:
            return found
        self.parameters.append(rest)
        return f"{found} AND {sqlite_text.having(self.table.collection.text, 'doc')}"


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
