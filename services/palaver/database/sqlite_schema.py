"""How a collection lies in SQLite: one table with the document as JSON and a real column for each declared field.

    place       the row's number, in the order of insertion
    _id         the document's id
    "u._id" …   the declared fields, NULL when the document has none (or one of another type)
    …_seq       the last event of each kind of stream that the document has seen; `applied_seq` for a stream's own
    doc         the document as JSON text, last because it is long

A "list" field is a table of its own, "users.roles" (value, place), kept by triggers. A text that can be searched is
an FTS5 table, "messages.text", which learns of new documents in batches: `text_indexed` says up to which place. Whoever
searches has the rest indexed first (`index_text`), so nobody sees the difference, and a commit need not pay for it.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palaver.database import STREAM_COLLECTIONS, Document, sqlite_records
from palaver.database.schema import COLLECTIONS, Collection, FieldType, Index

# The column in which a document remembers the last event of a kind of stream.
GUARDS = {kind: f"{kind}_seq" for kind in STREAM_COLLECTIONS}
RESERVED = frozenset({"_id", "applied_seq", *GUARDS.values()})

MAX_INTEGER = 2**63 - 1

# About 16 MiB of log before it is moved into the database: hot pages are moved once for many commits.
_CHECKPOINT_PAGES = 4000


class Column(NamedTuple):
    """A declared field, and how its value is found within the value of its top-level field."""

    name: str
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
    return _extract_number


def _extract_date(value: Any) -> int | None:
    date = value.get("$date") if isinstance(value, dict) else None
    return date if isinstance(date, int) else None


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
        self.columns = tuple(
            Column(field, type, _extractor(type, field.split(".")[1:]))
            for field, type in collection.fields.items()
            if type != "list"
        )
        # The columns under each top-level field, and each one's place in a row (the id is before them).
        self.under: dict[str, tuple[Column, ...]] = {}
        self._places: dict[str, list[tuple[int, Column]]] = {}
        for place, column in enumerate(self.columns, 1):
            top = column.name.split(".")[0]
            self.under[top] = (*self.under.get(top, ()), column)
            self._places.setdefault(top, []).append((place, column))
        self.lists = tuple(field for field, type in collection.fields.items() if type == "list")
        self.text = f"{name}.text" if collection.text else ""
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


def quote(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def json_path(field: str) -> str:
    """The (dotted) field as an SQL literal of a JSON path."""
    return "'$" + "".join(f'."{part}"' for part in field.split(".")).replace("'", "''") + "'"


TABLES: dict[str, Table] = {name: Table(name, collection) for name, collection in COLLECTIONS.items()}

SEARCHED = frozenset(table.name for table in TABLES.values() if table.text)


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
    except BaseException:
        connection.close()
        raise
    return connection


def _contains(value: object, part: str) -> bool:
    # For parts beyond ASCII; SQLite's own LIKE knows no other letters' cases.
    return isinstance(value, str) and part in value.casefold()


# -- creating --------------------------------------------------------------------------------------------------------

_TYPES: dict[FieldType, str] = {"text": "TEXT", "number": "NUMERIC", "date": "INTEGER", "boolean": "INTEGER"}

_JSON_TYPES: dict[FieldType, tuple[str, ...]] = {
    "text": ("text",),
    "number": ("integer", "real"),
    "date": ("integer",),
    "boolean": ("true", "false"),
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
    "CREATE TABLE IF NOT EXISTS text_indexed (collection TEXT PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID",
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
    [column] = [column for column in get_table(collection).columns if column.name == name]
    path = json_path(f"{name}.$date" if column.type == "date" else name)
    kinds = ", ".join(f"'{kind}'" for kind in _JSON_TYPES[column.type])
    connection.execute(
        f"UPDATE {quote(collection)} SET {quote(name)} = json_extract(doc, {path})"
        f" WHERE {quote(name)} IS NULL AND json_type(doc, {path}) IN ({kinds})"
    )


def fill_columns(connection: sqlite3.Connection, collection: str) -> None:
    """The same of every declared field of the collection."""
    for column in get_table(collection).columns:
        fill_column(connection, collection, column.name)


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
    if table.text:
        statements += _create_text(table)
    return statements


def index_name(collection: str, index: Index) -> str:
    """The name of a declared index."""
    return f"{collection}: {', '.join(index.fields)}"


def create_index(collection: str, index: Index) -> str:
    """The statement that makes a declared index."""
    fields = ", ".join(map(quote, index.fields))
    unique = "UNIQUE " if index.unique else ""
    where = f" WHERE {quote(index.where)} IS NOT NULL" if index.where else ""
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


def _create_text(table: Table) -> list[str]:
    text, old, new = quote(table.text), _text(table, "old.doc"), _text(table, "new.doc")
    return [
        f"CREATE VIRTUAL TABLE IF NOT EXISTS {text} USING fts5 (text, content = '', columnsize = 0,"
        " tokenize = 'unicode61 remove_diacritics 2')",
        f"INSERT OR IGNORE INTO text_indexed VALUES ('{table.name}', 0)",
        f"CREATE TRIGGER IF NOT EXISTS {quote(table.text + ' changed')} AFTER UPDATE OF doc ON {quote(table.name)}"
        f" WHEN old.place <= (SELECT place FROM text_indexed WHERE collection = '{table.name}')"
        f" AND {old} IS NOT {new} BEGIN"
        # A table without content forgets only what it is told exactly.
        f" INSERT INTO {text} ({text}, rowid, text) SELECT 'delete', old.place, {old} WHERE {old} <> '';"
        f" INSERT INTO {text} (rowid, text) SELECT new.place, {new} WHERE {new} <> '';"
        f" END",
    ]


def _text(table: Table, document: str) -> str:
    path = json_path(table.collection.text)
    return f"CASE json_type({document}, {path}) WHEN 'text' THEN json_extract({document}, {path}) END"


def is_text_indexed(connection: sqlite3.Connection, table: Table) -> bool:
    """Whether a search would find every document."""
    statement = (
        f"SELECT place >= (SELECT coalesce(max(place), 0) FROM {quote(table.name)}) FROM text_indexed"
        f" WHERE collection = '{table.name}'"
    )
    return bool(connection.execute(statement).fetchone()[0])


def index_text(connection: sqlite3.Connection, tables: Sequence[Table]) -> None:
    """Makes all documents of these tables searchable. Within a transaction."""
    for table in tables:
        name, text = quote(table.name), _text(table, "doc")
        last = f"(SELECT place FROM text_indexed WHERE collection = '{table.name}')"
        connection.execute(
            f"INSERT INTO {quote(table.text)} (rowid, text) SELECT place, {text} FROM {name}"
            f" WHERE place > {last} AND {text} <> ''"
        )
        connection.execute(
            f"UPDATE text_indexed SET place = (SELECT coalesce(max(place), 0) FROM {name})"
            f" WHERE collection = '{table.name}'"
        )
