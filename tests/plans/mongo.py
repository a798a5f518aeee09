"""Whether one of the declared indexes serves a query on MongoDB, as its planner uses them: a pure function.

MongoDB finds documents by the fields with which an index begins: those that are compared for equality, then the order,
then one range. An order that the index does not have is made in memory, of everything that matches.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from palaver.database import Filter, Sort
from palaver.database.schema import Collection, Index

_EQUAL, _RANGE, _OTHER = "equal", "range", "other"


def serves(collection: Collection, where: Filter, sort: Sort) -> bool:
    """Whether an index finds the documents, in their order. Some that are known by ids or lists are sorted anyway."""
    if _is_about_few(collection, where):
        return True
    conditions = dict(_conditions(where))
    return any(_index_serves(index, conditions, sort) for index in (*collection.indexes, Index(("_id",))))


def _index_serves(index: Index, conditions: Mapping[str, str], sort: Sort) -> bool:
    if index.where and conditions.get(index.where, _OTHER) == _OTHER:
        return False  # it has only documents with this field
    wanted = [(name, way) for name, way in sort if conditions.get(name) != _EQUAL]
    if len({way for _, way in wanted}) > 1:
        return False
    fields = [index.absent, *index.fields] if index.absent else [*index.fields]
    equal = 0
    while equal < len(fields) and conditions.get(fields[equal]) == _EQUAL:
        equal += 1
    if wanted:
        return fields[equal : equal + len(wanted)] == [name for name, _ in wanted]
    return equal > 0 or conditions.get(fields[0]) == _RANGE


def _conditions(where: Filter) -> Iterator[tuple[str, str]]:
    for name, condition in where.items():
        if name == "$and":
            for one in condition:
                yield from _conditions(one)
        elif not name.startswith("$"):
            yield name, _kind(condition)


def _kind(condition: Any) -> str:
    if not isinstance(condition, Mapping) or "$date" in condition or "$in" in condition:
        return _EQUAL  # several values are as many ranges, merged in the order
    if condition.keys() & {"$gt", "$gte", "$lt", "$lte"} or condition.get("$exists"):
        return _RANGE
    return _OTHER


def _is_about_few(collection: Collection, where: Filter) -> bool:
    for name, condition in where.items():
        if name in ("$and", "$or"):
            few = [_is_about_few(collection, one) for one in condition]
            if any(few) if name == "$and" else all(few):
                return True
        elif (name == "_id" or collection.fields.get(name) == "list") and _kind(condition) == _EQUAL:
            return True
    return False
