"""The embedded database, which remembers each kind of query that the server asks it, and from where."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import palaver
from palaver.database import Document, Filter, Group, Sort, sqlite_filters
from palaver.database.sqlite import SqliteDatabase
from palaver.database.sqlite_filters import Query
from palaver.database.sqlite_schema import get_table

SOURCES = Path(palaver.__file__).parent


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as it was asked the first time. `caller`: the line of the server's own code, "auth/store.py:26";
    `function`: the one that it is in."""

    operation: str
    collection: str
    where: Filter
    sort: Sort
    skip: int
    limit: int
    statement: Query
    caller: str
    function: str


class RecordingDatabase(SqliteDatabase):
    """Remembers of each line of the server every statement that it makes."""

    asked: dict[tuple[str, str], Asked]

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked = {}

    async def find(
        self, collection: str, where: Filter, *, sort: Sort = (), skip: int = 0, limit: int = 0
    ) -> list[Document]:
        statement = sqlite_filters.find(get_table(collection), where, sort, skip, limit)
        self._note("find", collection, where, sort, skip, limit, statement)
        return await super().find(collection, where, sort=sort, skip=skip, limit=limit)

    async def list_values(self, collection: str, name: str, where: Filter) -> list[Any]:
        self._note(
            "list_values", collection, where, (), 0, 0, sqlite_filters.values(get_table(collection), name, where)
        )
        return await super().list_values(collection, name, where)

    async def list_groups(
        self, collection: str, where: Filter, by: str, at: str, ascending: bool = False, skip: int = 0, limit: int = 0
    ) -> tuple[list[Group], int]:
        page, total = sqlite_filters.groups(get_table(collection), where, by, at, ascending, skip, limit)
        self._note("list_groups", collection, where, (), skip, limit, page)
        self._note("list_groups", collection, where, (), 0, 0, total)
        return await super().list_groups(collection, where, by, at, ascending, skip, limit)

    async def count(self, collection: str, where: Filter) -> int:
        self._note("count", collection, where, (), 0, 0, sqlite_filters.count(get_table(collection), where))
        return await super().count(collection, where)

    def _note(
        self, operation: str, collection: str, where: Filter, sort: Sort, skip: int, limit: int, statement: Query
    ) -> None:
        caller, function = _caller(sys._getframe(2))
        if caller:
            asked = Asked(operation, collection, where, sort, skip, limit, statement, caller, function)
            self.asked.setdefault((caller, statement.sql), asked)


def _caller(frame: FrameType | None) -> tuple[str, str]:
    """The line of the server that asks, and its function; nothing for a test."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(SOURCES):
            name = path.relative_to(SOURCES)
            if name.parts[0] != "database":
                return f"{name}:{frame.f_lineno}", frame.f_code.co_name
        frame = frame.f_back
    return "", ""
