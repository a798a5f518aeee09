"""How a collection lies in SQLite: one table with the document as JSON and a real column for each declared field.

    place       the row's number, in the order of insertion
    _id         the document's id
    "u._id" …   the declared fields, NULL when the document has none (or one of another type); a "short list" as JSON
    "… folded"  the same of texts that are asked for a part of them, without regard to case
    …_seq       the last event of each kind of stream that the document has seen; `applied_seq` for a stream's own
    doc         the document as JSON text, last because it is long

A "list" field is a table of its own, "users.roles" (value, place), kept by triggers. A text that can be searched has an
index of its own (`sqlite_text.py`).
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from palaver.database import STREAM_COLLECTIONS, Document, sqlite_records, sqlite_text
from palaver.database.schema import COLLECTIONS, Collection, FieldType, Index
from palaver.database.sqlite_names import json_path, quote

# The column in which a document remembers the last event of a kind of stream.
GUARDS = {kind: f"{kind}_seq" for kind in STREAM_COLLECTIONS}
RESERVED = frozenset({"_id", "applied_seq", *GUARDS.values()})

MAX_INTEGER = 2**63 - 1

# About 16 MiB of log before it is moved into the database: hot pages are moved once for many commits.
_CHECKPOINT_PAGES = 4000


class Column(NamedTuple):
    """A column of a declared field, and how its value is found within the value of the top-level field."""

    name: str
    field: str
    type: FieldType
    extract: Callable[[Any], str | int | float | None]


def _extractor(type: FieldType, path: Sequence[str]) -> Callable[[Any], Any]:
    """A function from the value at a path's start to what the column holds: None for another type's."""
    if path:
        first, inner = path[0], _extractor(type, path[1:])
        return lambda value: inner(value.get(first)) if isinstance(value, dict) else None
    if type == "text":
        return lambda value: value if isinstance(value, str) else None
    if type == "date":
        return _extract_date
    if type == "boolean":
        return lambda value: value if isinstance(value, bool) else None
    if type == "short list":
        return _extract_list
    return _extract_number


def _folding(extract: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if (text := extract(value)) is None else text.casefold()


def folded(field: str) -> str:
    """The name of the column that has a text without regard to case."""
    return f"{field} folded"


def _extract_date(value: Any) -> int | None:
    date = value.get("$date") if isinstance(value, dict) else None
    return date if isinstance(date, int) else None


def _extract_list(value: Any) -> str | None:
    held = [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
    return orjson.dumps(held).decode() if held else None


def _extract_number(value: Any) -> int | float | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -MAX_INTEGER <= value <= MAX_INTEGER else float(value)
    return value if isinstance(value, float) else None


class Table:
    """What is known about one collection's table, worked out once."""

    def __init__(self, name: str, collection: Collection) -> None:
        self.name = name
        self.collection = collection
        self.has_stream = name in STREAM_COLLECTIONS.values()
        self.types: dict[str, FieldType] = {"_id": "text", **collection.fields}
        columns = [
            Column(field, field, type, _extractor(type, field.split(".")[1:]))
            for field, type in collection.fields.items()
            if type != "list"
        ]
        self.folded = frozenset(field for index in collection.indexes for field in index.parts)
        self.columns = (
            *columns,
            *(c._replace(name=folded(c.name), extract=_folding(c.extract)) for c in columns if c.name in self.folded),
        )
        # The columns under each top-level field, and each one's place in a row (the id is before them).
        self.under: dict[str, tuple[Column, ...]] = {}
        self._places: dict[str, list[tuple[int, Column]]] = {}
        for place, column in enumerate(self.columns, 1):
            top = column.field.split(".")[0]
            self.under[top] = (*self.under.get(top, ()), column)
            self._places.setdefault(top, []).append((place, column))
        self.lists = tuple(field for field, type in collection.fields.items() if type == "list")
        guards = [*GUARDS.values(), *(["applied_seq"] if self.has_stream else [])]
        names = ["_id", *(column.name for column in self.columns), *guards, "doc"]
        self._empty_row: list[Any] = [None] * (1 + len(self.columns)) + [0] * len(guards) + [None]
        self._guards = {kind: names.index(guard) for kind, guard in GUARDS.items()}
        self.insert = (
            f"INSERT INTO {quote(name)} ({', '.join(map(quote, names))}) VALUES ({', '.join('?' * len(names))})"
            " ON CONFLICT (_id) DO NOTHING"
        )
        self.selected = "doc, applied_seq" if self.has_stream else "doc"
        self.get = f"SELECT {self.selected} FROM {quote(name)} WHERE _id = ?"

    def row(self, document: Document, text: str, kind: str, seq: int) -> tuple[Any, ...]:
        """The parameters of `insert`: for a document made by this event of a stream of this kind."""
        values = self._empty_row.copy()
        values[0], values[-1], values[self._guards[kind]] = document["_id"], text, seq
        places = self._places
        for name, value in document.items():
            if name in places:
                for place, column in places[name]:
                    values[place] = column.extract(value)
        return tuple(values)


TABLES: dict[str, Table] = {name: Table(name, collection) for name, collection in COLLECTIONS.items()}

SEARCHED = {table.name: table.collection.text for table in TABLES.values() if table.collection.text}


def get_table(collection: str) -> Table:
    """The collection's table. Raises ValueError for an undeclared one."""
    try:
        return TABLES[collection]
    except KeyError:
        raise ValueError(f"no such collection: {collection}") from None


# -- connecting ------------------------------------------------------------------------------------------------------


def connect(path: Path, *, busy_timeout: float, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode: transactions are begun and ended by hand."""
    connection = sqlite3.connect(
        path, timeout=busy_timeout, isolation_level=None, check_same_thread=False, cached_statements=512
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA cache_size = -8000")
        connection.execute("PRAGMA temp_store = MEMORY")
        # Overwrites what is deleted wherever that costs no further page.
        connection.execute("PRAGMA secure_delete = FAST")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        connection.create_function("contains", 2, _contains, deterministic=True)
        connection.create_function("casefold", 1, str.casefold, deterministic=True)
        sqlite_text.prepare_reader(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _contains(value: object, part: str) -> bool:
    # For parts beyond ASCII; SQLite's own LIKE knows no other letters' cases.
    return isinstance(value, str) and part in value.casefold()


# -- creating --------------------------------------------------------------------------------------------------------

_TYPES: dict[FieldType, str] = {
    "text": "TEXT",
    "number": "NUMERIC",
    "date": "INTEGER",
    "boolean": "INTEGER",
    "short list": "TEXT",
}

_JSON_TYPES: dict[FieldType, tuple[str, ...]] = {
    "text": ("text",),
    "number": ("integer", "real"),
    "date": ("integer",),
    "boolean": ("true", "false"),
    "short list": ("array",),
}

_LOG = (
    "CREATE TABLE IF NOT EXISTS events (stream_kind TEXT NOT NULL, stream_id TEXT NOT NULL, seq INTEGER NOT NULL,"
    # `published`: when it was (epoch ms), or 0. `retold`: it was once, and is to be again.
    " command_id TEXT NOT NULL, at INTEGER NOT NULL, published INTEGER NOT NULL DEFAULT 0,"
    " retold INTEGER NOT NULL DEFAULT 0, blob BLOB NOT NULL,"
    " PRIMARY KEY (stream_kind, stream_id, seq), UNIQUE (stream_kind, stream_id, command_id))",
    "CREATE INDEX IF NOT EXISTS events_unpublished ON events (stream_kind, stream_id, seq) WHERE published = 0",
    "CREATE TABLE IF NOT EXISTS claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID",
    sqlite_records.TABLE,
    *sqlite_text.PROGRESS,
)


def create_everything(connection: sqlite3.Connection) -> None:
    """All tables, columns, indexes and triggers that are not there yet. New columns are empty: see `fill_column`."""
    for statement in _LOG:
        connection.execute(statement)
    for table in TABLES.values():
        known = {row[1] for row in connection.execute(f"PRAGMA table_info ({quote(table.name)})")}
        for column in table.columns if known else ():
            if column.name not in known:
                added = f"{quote(column.name)} {_TYPES[column.type]}"
                connection.execute(f"ALTER TABLE {quote(table.name)} ADD COLUMN {added}")
        for statement in create_table(table):
            connection.execute(statement)


def fill_column(connection: sqlite3.Connection, collection: str, name: str) -> None:
    """Extracts a declared field of a collection's documents, where its column is empty: for one that was added."""
    table = get_table(collection)
    type = table.types[name]
    path = json_path(f"{name}.$date" if type == "date" else name)
    kinds = ", ".join(f"'{kind}'" for kind in _JSON_TYPES[type])
    value = f"json_extract(doc, {path})"
    if type == "short list":
        held = f"SELECT json_group_array(value) FROM json_each(doc, {path}) WHERE type = 'text'"
        value = f"nullif(({held}), '[]')"
    connection.execute(
        f"UPDATE {quote(collection)} SET {quote(name)} = {value}"
        f" WHERE {quote(name)} IS NULL AND json_type(doc, {path}) IN ({kinds})"
    )
    if name in table.folded:
        # Whatever is there: the release before changes the one and not the other.
        connection.execute(
            f"UPDATE {quote(collection)} SET {quote(folded(name))} = casefold({quote(name)})"
            f" WHERE {quote(name)} IS NOT NULL"
        )


def fill_columns(connection: sqlite3.Connection, collection: str) -> None:
    """The same of every declared field of the collection that has a column."""
    table = get_table(collection)
    for name in table.collection.fields:
        if name not in table.lists:
            fill_column(connection, collection, name)


def create_table(table: Table) -> list[str]:
    """The statements that make one collection's table and what belongs to it."""
    columns = [f"{quote(column.name)} {_TYPES[column.type]}" for column in table.columns]
    columns += [f"{guard} INTEGER NOT NULL DEFAULT 0" for guard in GUARDS.values()]
    if table.has_stream:
        columns.append("applied_seq INTEGER NOT NULL DEFAULT 0")
    statements = [
        f"CREATE TABLE IF NOT EXISTS {quote(table.name)} (place INTEGER PRIMARY KEY, _id TEXT NOT NULL UNIQUE,"
        f" {', '.join(columns)}, doc TEXT NOT NULL)"
    ]
    statements += [create_index(table.name, index) for index in table.collection.indexes]
    for field in table.lists:
        statements += _create_list(table.name, field)
    if table.collection.text:
        statements += sqlite_text.create_index(table.name, table.collection.text)
    return statements


def index_name(collection: str, index: Index) -> str:
    """The name of a declared index."""
    parts = f", parts of {', '.join(index.parts)}" if index.parts else ""
    return f"{collection}: {', '.join(index.fields)}{parts}"


def create_index(collection: str, index: Index) -> str:
    """The statement that makes a declared index."""
    # With the absent field in it, the index has all that a count asks for.
    columns = (*index.fields, *map(folded, index.parts), *([index.absent] if index.absent else []))
    fields = ", ".join(map(quote, columns))
    unique = "UNIQUE " if index.unique else ""
    conditions = [f"{quote(index.where)} IS NOT NULL"] if index.where else []
    conditions += [f"{quote(index.absent)} IS NULL"] if index.absent else []
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    name = quote(index_name(collection, index))
    return f"CREATE {unique}INDEX IF NOT EXISTS {name} ON {quote(collection)} ({fields}){where}"


def _create_list(collection: str, field: str) -> list[str]:
    name, table, path = f"{collection}.{field}", quote(collection), json_path(field)
    fill = (
        f"INSERT OR IGNORE INTO {quote(name)} SELECT value, new.place FROM json_each(new.doc, {path})"
        " WHERE type = 'text';"
    )
    return [
        f"CREATE TABLE IF NOT EXISTS {quote(name)} (value TEXT NOT NULL, place INTEGER NOT NULL,"
        " PRIMARY KEY (value, place)) WITHOUT ROWID",
        f"CREATE INDEX IF NOT EXISTS {quote(name + ' of')} ON {quote(name)} (place)",
        f"CREATE TRIGGER IF NOT EXISTS {quote(name + ' inserted')} AFTER INSERT ON {table} BEGIN {fill} END",
        f"CREATE TRIGGER IF NOT EXISTS {quote(name + ' changed')} AFTER UPDATE OF doc ON {table}"
        f" WHEN json_extract(old.doc, {path}) IS NOT json_extract(new.doc, {path})"
        f" BEGIN DELETE FROM {quote(name)} WHERE place = old.place; {fill} END",
    ]
