"""Records in SQLite: the SQL behind `put_record` and its like. Called by `sqlite.py`."""

import sqlite3

from orjson import dumps, loads

from palaver.database import Document

TABLE = (
    "CREATE TABLE IF NOT EXISTS records (kind TEXT NOT NULL, id TEXT NOT NULL, doc TEXT NOT NULL,"
    " PRIMARY KEY (kind, id)) WITHOUT ROWID"
)
GET = "SELECT doc FROM records WHERE kind = ? AND id = ?"

_PUT = "INSERT INTO records VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET doc = excluded.doc"
_REPLACE = "UPDATE records SET doc = ? WHERE kind = ? AND id = ?"
_LIST = "SELECT id, doc FROM records WHERE kind = ? AND id >= ? AND id > ? AND id < ? ORDER BY id LIMIT ?"
_DELETE = "DELETE FROM records WHERE kind = ? AND id = ?"
# Ids are printable ASCII: everything with a prefix is below the prefix and this.
_END = "\x7f"


def put(connection: sqlite3.Connection, kind: str, id: str, record: Document) -> None:
    """Sets one record. Within a transaction."""
    connection.execute(_PUT, (kind, id, dumps(record).decode()))


def replace(connection: sqlite3.Connection, kind: str, id: str, record: Document) -> bool:
    """Sets one record; False where there is none. Within a transaction."""
    return connection.execute(_REPLACE, (dumps(record).decode(), kind, id)).rowcount == 1


def list_from(
    connection: sqlite3.Connection, kind: str, prefix: str, after: str, limit: int
) -> list[tuple[str, Document]]:
    """Ids and records by id."""
    rows = connection.execute(_LIST, (kind, prefix, after, prefix + _END, limit)).fetchall()
    return [(id, loads(text)) for id, text in rows]


def delete(connection: sqlite3.Connection, kind: str, id: str) -> bool:
    """Whether there was one. Within a transaction."""
    return connection.execute(_DELETE, (kind, id)).rowcount == 1
