"""The index of searched texts in SQLite: an FTS5 table, "messages.parts", with the keys of each text (`text.py`).

It learns of new documents in batches, and of changed ones by a trigger. `text_parts` says how far it is: documents at
places in (rest, place] are in it. Later ones are put in before anybody searches (`index_some`), so nobody sees the
difference, and a commit need not pay for it. Those up to `rest` were there before the index was: they are put in some
at a time, the newest first, by whoever watches over the database, and a search finds each of them from then on.

A room's documents have one more key, their room's, so that a search looks at nothing else.

Keys are made by Python, so the trigger is the writer's own (a temporary one): a process of the release before, which
can't make any, may still write this file. It searches "messages.text", which is no longer filled; when it has run, the
migration that follows begins this index anew. That table goes with a later migration.
"""

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from orjson import loads

from palaver.database.sqlite_names import json_path, quote
from palaver.database.text import has_parts, keys_of

# How many new documents, and how many older ones, are put in at once: tens of milliseconds of the writer's time.
_MAX_NEW = 2000
_MAX_OLDER = 500
_MANY = 2000
# Parts of so many bytes are in few texts.
_SELECTIVE = 4

PROGRESS = (
    "CREATE TABLE IF NOT EXISTS text_indexed (collection TEXT PRIMARY KEY, place INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS text_parts"
    " (collection TEXT PRIMARY KEY, place INTEGER NOT NULL, rest INTEGER NOT NULL) WITHOUT ROWID",
)


def create_index(collection: str, field: str) -> list[str]:
    """The statements that make the index of one collection's text."""
    return [
        f"CREATE VIRTUAL TABLE IF NOT EXISTS {_index(collection)} USING fts5"
        " (keys, content = '', columnsize = 0, detail = none, tokenize = 'ascii')",
        f"INSERT OR IGNORE INTO text_parts VALUES ('{collection}', 0, 0)",
        *_create_former(collection, field),
    ]


def begin_anew(connection: sqlite3.Connection, collection: str, field: str) -> None:
    """Empties the index: what is there now is put in some at a time."""
    connection.execute(f"DROP TABLE IF EXISTS {_index(collection)}")
    for statement in (*PROGRESS, *create_index(collection, field)):
        connection.execute(statement)
    connection.execute(
        "UPDATE text_parts SET (place, rest) ="
        f" (SELECT coalesce(max(place), 0), coalesce(max(place), 0) FROM {quote(collection)})"
        f" WHERE collection = '{collection}'"
    )


def prepare_writer(connection: sqlite3.Connection, collection: str, field: str) -> None:
    """Lets a connection write documents of the collection and put texts into the index."""
    connection.create_function("keys_of_text", 2, _join_keys, deterministic=True)
    index, old, new = _index(collection), _text(field, "old.doc"), _text(field, "new.doc")
    connection.execute(
        f"CREATE TEMP TRIGGER {quote(f'{collection}.parts changed')} AFTER UPDATE OF doc ON main.{quote(collection)}"
        f" WHEN {old} IS NOT {new} AND (SELECT old.place > rest AND old.place <= place FROM text_parts"
        f" WHERE collection = '{collection}') BEGIN"
        # A table without content forgets only what it is told exactly.
        f" INSERT INTO {index} ({index}, rowid, keys) VALUES ('delete', old.place, keys_of_text(old.rid, {old}));"
        f" INSERT INTO {index} (rowid, keys) VALUES (new.place, keys_of_text(new.rid, {new}));"
        " END"
    )


def index_some(connection: sqlite3.Connection, collection: str, field: str) -> None:
    """Puts new documents into the index, and some older ones. Within a transaction."""
    place, rest, last = get_progress(connection, collection)
    upper = max(place, min(last, place + _MAX_NEW))
    lower = max(0, rest - _MAX_OLDER)
    for after, until in ((place, upper), (lower, rest)):
        if after < until:
            connection.execute(
                f"INSERT INTO {_index(collection)} (rowid, keys) SELECT place, keys_of_text(rid, {_text(field, 'doc')})"
                f" FROM {quote(collection)} WHERE place > ? AND place <= ?",
                (after, until),
            )
    connection.execute("UPDATE text_parts SET place = ?, rest = ? WHERE collection = ?", (upper, lower, collection))


class Progress(NamedTuple):
    """Documents at places in (rest, place] are in the index; `last` is the last one's."""

    place: int
    rest: int
    last: int

    @property
    def is_current(self) -> bool:
        """Whether a search finds all that was written since the index began."""
        return self.place >= self.last

    @property
    def is_complete(self) -> bool:
        """Whether it finds what was there before, too."""
        return self.is_current and not self.rest


def get_progress(connection: sqlite3.Connection, collection: str) -> Progress:
    """How far the index of a collection's texts is."""
    row = connection.execute(
        f"SELECT place, rest, (SELECT coalesce(max(place), 0) FROM {quote(collection)}) FROM text_parts"
        f" WHERE collection = '{collection}'"
    )
    return Progress(*row.fetchone())


def has_many(connection: sqlite3.Connection, collection: str, expression: str) -> bool:
    """Whether so many documents match that it is cheaper to go through them in another order, until enough match."""
    sql = f"SELECT count(*) FROM ({matching(collection)} LIMIT {_MANY})"
    return bool(connection.execute(sql, (expression,)).fetchone()[0] == _MANY)


def matching(collection: str) -> str:
    """The statement for the places of documents that match; its parameter is `expression`."""
    return f"SELECT rowid FROM {_index(collection)} WHERE {_index(collection)} MATCH ?"


def expression(parts: Sequence[str], room_id: str | None) -> tuple[str, str]:
    """What is to be looked up, in the language of FTS5, and parts to look for in what was found: short ones, which
    nearly every text has, while there are others."""
    best = max(parts, key=lambda part: len(part.encode()))
    looked_up = [part for part in parts if part is best or len(part.encode()) >= _SELECTIVE]
    # Each part is a quoted word, so it can't be anything else of that language.
    words = [f'"{part}" *' for part in looked_up]
    if room_id is not None:
        words.append(f'"{_room_key(room_id)}"')
    return " AND ".join(words), " ".join(part for part in parts if part not in looked_up)


def having(field: str, document: str) -> str:
    """The condition that a document has parts; its parameter is these with spaces between them."""
    return f"has_parts({_text(field, document)}, ?)"


def prepare_reader(connection: sqlite3.Connection) -> None:
    """Lets a connection look for parts in texts."""
    connection.create_function("has_parts", 2, _has_parts, deterministic=True)


def _has_parts(text: str, parts: str) -> bool:
    found = loads(text)[0]
    return isinstance(found, str) and has_parts(found, parts.split(" "))


def _join_keys(room_id: Any, text: str) -> str:
    """The function of SQL that the index is filled by; `text` as `_text` has it."""
    found = loads(text)[0]
    keys = keys_of(found) if isinstance(found, str) else []
    if keys and isinstance(room_id, str):
        keys.append(_room_key(room_id))
    return " ".join(keys)


def _room_key(room_id: str) -> str:
    # Of letters that are tokens to FTS5 and in no word.
    return f"§{blake2b(room_id.encode(), digest_size=6).hexdigest()}"


def _index(collection: str) -> str:
    return quote(f"{collection}.parts")


def _text(field: str, document: str) -> str:
    """The text within a JSON array: by itself, SQLite ends it at a NUL."""
    return f"json_extract({document}, {json_path(field)}, '$.\"\\\"')"


def _create_former(collection: str, field: str) -> list[str]:
    """What the release before searches, and fills."""
    text, path = quote(f"{collection}.text"), json_path(field)
    old, new = (
        f"CASE json_type({document}, {path}) WHEN 'text' THEN json_extract({document}, {path}) END"
        for document in ("old.doc", "new.doc")
    )
    return [
        f"CREATE VIRTUAL TABLE IF NOT EXISTS {text} USING fts5 (text, content = '', columnsize = 0,"
        " tokenize = 'unicode61 remove_diacritics 2')",
        f"INSERT OR IGNORE INTO text_indexed VALUES ('{collection}', 0)",
        f"CREATE TRIGGER IF NOT EXISTS {quote(f'{collection}.text changed')} AFTER UPDATE OF doc ON"
        f" {quote(collection)} WHEN old.place <= (SELECT place FROM text_indexed WHERE collection = '{collection}')"
        f" AND {old} IS NOT {new} BEGIN"
        f" INSERT INTO {text} ({text}, rowid, text) SELECT 'delete', old.place, {old} WHERE {old} <> '';"
        f" INSERT INTO {text} (rowid, text) SELECT new.place, {new} WHERE {new} <> '';"
        f" END",
    ]
