"""From the port's filters to MongoDB's, and nothing passes that `schema.py` does not declare.

Strict on purpose: a field that is not declared, an operator that does not fit or a value of another type is a
ValueError, so what a user sends can't become an operator of the server.
"""

import re
from collections.abc import Sequence
from typing import Any

from bson.datetime_ms import DatetimeMS

from palaver.database import Filter, Sort
from palaver.database.mongo_values import WORDS
from palaver.database.schema import COLLECTIONS, Collection, FieldType
from palaver.database.text import parts_of

_ORDERED: frozenset[FieldType] = frozenset({"text", "number", "date"})
_NOTHING: dict[str, Any] = {"_id": {"$in": []}}


def get_collection(name: str) -> Collection:
    """What is declared of it. Raises ValueError for an unknown one."""
    try:
        return COLLECTIONS[name]
    except KeyError:
        raise ValueError(f"no such collection: {name}") from None


def translate(collection: Collection, where: Filter) -> dict[str, Any]:
    """The filter in MongoDB's words. Raises ValueError."""
    parts: list[dict[str, Any]] = []
    for name, condition in where.items():
        if name in ("$and", "$or"):
            if not isinstance(condition, Sequence) or isinstance(condition, str) or not condition:
                raise ValueError(f"{name} joins a list of filters")
            if name == "$or" and any("$text" in part for part in condition):
                raise ValueError("$text is no alternative")
            parts.append({name: [translate(collection, part) for part in condition]})
        elif name == "$text":
            parts.append(_translate_text(collection, condition))
        else:
            parts.append({name: _translate_condition(name, _type_of(collection, name), condition)})
    if len(parts) == 1:
        return parts[0]
    return {"$and": parts} if parts else {}


def translate_sort(collection: Collection, sort: Sort) -> list[tuple[str, int]]:
    """The order, checked. Raises ValueError."""
    for name, direction in sort:
        if _type_of(collection, name) in ("list", "short list") or direction not in (1, -1):
            raise ValueError(f"can't sort by {name} {direction}")
    return list(sort)


def translate_groups(
    collection: Collection, where: Filter, by: str, at: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The steps that group matching documents, and the last one that counts the groups. Raises ValueError."""
    if _type_of(collection, by) != "text" or _type_of(collection, at) != "date":
        raise ValueError(f"can't group by {by} and sort by {at}")
    steps = [
        {"$match": translate(collection, {"$and": [where, {by: {"$exists": True}}]})},
        {"$sort": {at: 1, "_id": 1}},
        {"$group": {"_id": f"${by}", "size": {"$sum": 1}, "newest": {"$last": "$_id"}, "at": {"$last": f"${at}"}}},
    ]
    return steps, {"$count": "total"}


def _type_of(collection: Collection, name: str) -> FieldType:
    if name == "_id":
        return "text"
    try:
        return collection.fields[name]
    except KeyError:
        raise ValueError(f"the field {name!r} is not declared") from None


def _translate_text(collection: Collection, query: Any) -> dict[str, Any]:
    if not collection.text or not isinstance(query, str):
        raise ValueError("no such text search")
    parts = parts_of(query)
    # Anchored, so that the index of the keys finds the beginning.
    return {"$and": [{WORDS: {"$regex": f"^{part}"}} for part in parts]} if parts else _NOTHING


def _translate_condition(name: str, type: FieldType, condition: Any) -> Any:
    if not isinstance(condition, dict) or "$date" in condition:
        return {"$eq": _value(name, type, condition)}
    if not condition:
        raise ValueError(f"{name}: an empty condition")
    translated: dict[str, Any] = {}
    for operator, operand in condition.items():
        translated |= _translate_operator(name, type, operator, operand)
    return translated


def _translate_operator(name: str, type: FieldType, operator: str, operand: Any) -> dict[str, Any]:
    if operator in ("$in", "$nin"):
        if not isinstance(operand, Sequence) or isinstance(operand, str):
            raise ValueError(f"{name}: {operator} takes a list")
        return {operator: [_value(name, type, one) for one in operand]}
    if operator == "$ne":
        return {"$ne": _value(name, type, operand)}
    if operator == "$exists" and isinstance(operand, bool) and type == "short list":
        # An empty one counts as absent, too.
        return {"$gte": ""} if operand else {"$not": {"$gte": ""}}
    if operator == "$exists" and isinstance(operand, bool):
        # A field that is null counts as absent.
        return {"$nin": [None]} if operand else {"$in": [None]}
    if operator == "$contains" and type == "text" and isinstance(operand, str):
        return {"$regex": _containing(operand)}
    if operator in ("$gt", "$gte", "$lt", "$lte") and type in _ORDERED and operand is not None:
        return {operator: _value(name, type, operand)}
    raise ValueError(f"{name}: not a condition for it: {operator}")


def _value(name: str, type: FieldType, value: Any) -> Any:
    """The operand, checked and as it is stored."""
    if value is None:
        return None
    if type == "date":
        date = value.get("$date") if isinstance(value, dict) and len(value) == 1 else None
        if isinstance(date, int) and not isinstance(date, bool):
            return DatetimeMS(date)
    elif type == "boolean":
        if isinstance(value, bool):
            return value
    elif type == "number":
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
    elif isinstance(value, str):
        return value
    raise ValueError(f"{name}: not a {type}: {value!r}")


def _containing(part: str) -> str:
    """A pattern for the part in any case. The cases are spelt out: not every server folds letters beyond ASCII."""
    pattern = []
    for character in part:
        cases = dict.fromkeys(
            form
            for form in (character, character.lower(), character.upper(), character.casefold())
            if len(form) == 1  # "ß" and its likes change their length
        )
        pattern.append("(?:" + "|".join(map(re.escape, cases)) + ")" if len(cases) > 1 else re.escape(character))
    return "".join(pattern)
