"""From events and their puts to SQL statements, with as little work as possible: every message comes through here.

`prepare` runs in the caller's task: it checks, encodes each value once, and joins the puts of one event to one
document (a Write). A Commit is carried out in one of two ways:

- `Stage`: many commits at once, no document twice, each statement for many rows. It is only hopeful: a row count that
  is not the expected one, or an error, and the writer rolls everything back and takes
- `Commit.run`: this commit alone, event by event, in a savepoint. Always right, and says what the conflict is.

Values are set by `json_set` on what is stored; nothing is read first.
"""

import re
import sqlite3
from collections.abc import Sequence
from typing import Any

from orjson import dumps

from palaver.database import STREAM_COLLECTIONS, Document, Put, Stream, StreamConflict, stream_document_id
from palaver.database.sqlite_names import json_path, quote
from palaver.database.sqlite_schema import (
    GUARDS,
    MAX_INTEGER,
    RESERVED,
    SEARCHED,
    TABLES,
    Table,
    get_table,
)
from palaver.v1.event_pb2 import Event

INSERT_EVENT = "INSERT INTO events (stream_kind, stream_id, seq, command_id, at, blob) VALUES (?, ?, ?, ?, ?, ?)"

# How a value is written into the document. The form is part of the statement; the value is a parameter of it.
_PLAIN = "?"
_JSON = "json(?)"
_DATE = "json_object('$date', ?)"
_GONE = ""

_IMPOSSIBLE_NAME = re.compile(r'\A\Z|\A\$|[."\\\x00-\x1f\x7f]')
# Field names that have been looked at. The code names fields, not its users, so they are few.
_names = {"_id"}
_MAX_NAMES = 10_000
_MAX_SHAPES = 2_000


# What becomes of one top-level field: form, encoded value, and the values of its columns. A bare tuple, for speed.
Change = tuple[str, Any, tuple[Any, ...]]


class Write:
    """What one event (or several of one stream, `first` to `last`) does to one document."""

    __slots__ = ("changes", "first", "id", "insert", "last", "own", "row", "stream", "table")

    def __init__(self, table: Table, id: str, stream: Stream, first: int, last: int, own: bool) -> None:
        self.table = table
        self.id = id
        self.stream = stream
        self.first = first
        self.last = last
        self.own = own  # the stream's own document, guarded by applied_seq
        self.changes: dict[str, Change] = {}
        self.insert: Document | None = None
        self.row: tuple[Any, ...] | None = None

    def can_take(self, later: "Write") -> bool:
        """Whether the later write can be joined to this one, both being changes by one stream."""
        return self.row is None and later.row is None and self.stream == later.stream

    def joined(self, later: "Write") -> "Write":
        """Both as one; the later value of a field wins."""
        write = Write(self.table, self.id, self.stream, self.first, later.last, self.own)
        write.changes = self.changes | later.changes
        return write


# -- preparing -------------------------------------------------------------------------------------------------------


def _check_names(document: Document) -> None:
    for name in document:
        if name not in _names:
            if _IMPOSSIBLE_NAME.search(name) or name in RESERVED:
                raise ValueError(f"not a name of a field: {name!r}")
            if len(_names) > _MAX_NAMES:
                _names.clear()
                _names.add("_id")
            _names.add(name)


def prepare_event(stream: Stream, seq: int, puts: Sequence[Put]) -> dict[tuple[str, str], Write]:
    """One event's writes, each document once. Raises ValueError (or TypeError) for what can't be stored."""
    kind = stream.kind
    own_collection, own_id = STREAM_COLLECTIONS[kind], stream_document_id(stream)
    writes: dict[tuple[str, str], Write] = {}
    # A room's `lastMessage` is the very message that is inserted: it is encoded once.
    encoded: Document | None = None
    text = ""
    for put in puts:
        collection, id, inserted = put.collection, put.id, put.insert
        write = writes.get((collection, id))
        if write is None:
            own = id == own_id and collection == own_collection
            write = writes[collection, id] = Write(get_table(collection), id, stream, seq, seq, own)
        if inserted is not None:
            if not _names.issuperset(inserted):
                _check_names(inserted)
            if inserted.get("_id") != id:
                raise ValueError(f"{collection}/{id} can't be made of a document of another id")
            if write.insert is None:
                write.insert, encoded, text = inserted, inserted, dumps(inserted).decode()
                write.row = write.table.row(inserted, text, kind, seq)
            continue
        changed = put.set
        if not _names.issuperset(changed):
            _check_names(changed)
        if "_id" in changed or "_id" in put.unset:
            raise ValueError("_id does not change")
        changes, under = write.changes, write.table.under
        for name, value in changed.items():
            type_ = type(value)
            if type_ is str or value is None or (type_ is int and -MAX_INTEGER <= value <= MAX_INTEGER):
                form, stored = _PLAIN, value
            elif value is encoded:
                form, stored = _JSON, text
            elif type_ is dict and len(value) == 1 and type(date := value.get("$date")) is int:
                form, stored = _DATE, date
            else:
                form, stored = _JSON, dumps(value).decode()
            columns = under.get(name)
            changes[name] = (form, stored, () if columns is None else tuple([c.extract(value) for c in columns]))
        for name in put.unset:
            if name not in _names:
                _check_names({name: None})
            changes[name] = (_GONE, None, (None,) * len(under.get(name, ())))
        if write.insert is not None:
            # The document as it is born has these changes, too.
            write.insert = {**write.insert, **changed}
            for name in put.unset:
                write.insert.pop(name, None)
            write.row = write.table.row(write.insert, dumps(write.insert).decode(), kind, seq)
    return writes


# -- statements ------------------------------------------------------------------------------------------------------

_updates: dict[tuple[Any, ...], str] = {}


def update(write: Write, guard: str) -> tuple[str, list[Any]]:
    """The statement that carries out the changes, and its parameters.

    `guard`: a column that is raised to the write's `last`, if it is below its `first` (for "applied_seq": if it is
    just before it); or "" for none.
    """
    changes = write.changes
    shape = (write.table.name, guard, *changes, *[change[0] for change in changes.values()])
    sql = _updates.get(shape)
    if sql is None:
        if len(_updates) > _MAX_SHAPES:
            _updates.clear()
        sql = _updates[shape] = _update_statement(write.table, guard, changes)
    parameters = [value for form, value, _ in changes.values() if form]
    for _, _, columns in changes.values():
        if columns:
            parameters += columns
    if guard:
        parameters += (write.last, write.id, write.first - 1 if guard == "applied_seq" else write.first)
    else:
        parameters.append(write.id)
    return sql, parameters


def _update_statement(table: Table, guard: str, changes: dict[str, Change]) -> str:
    document = "doc"
    kept = [(name, form) for name, (form, _, _) in changes.items() if form]
    gone = [name for name, (form, _, _) in changes.items() if not form]
    for start in range(0, len(kept), 50):  # a function has at most 127 arguments
        document += "".join(f", {json_path(name)}, {form}" for name, form in kept[start : start + 50])
        document = f"json_set({document})"
    for start in range(0, len(gone), 50):
        document += "".join(f", {json_path(name)}" for name in gone[start : start + 50])
        document = f"json_remove({document})"
    assigned = [f"doc = {document}"] if changes else []
    assigned += [f"{quote(column.name)} = ?" for name in changes for column in table.under.get(name, ())]
    where = "_id = ?"
    if guard:
        assigned.append(f"{guard} = ?")
        where += f" AND {guard} {'=' if guard == 'applied_seq' else '<'} ?"
    return f"UPDATE {quote(table.name)} SET {', '.join(assigned)} WHERE {where}"


# -- one commit ------------------------------------------------------------------------------------------------------


class Commit:
    """A call of `commit` (or, with `append` False, of `apply`), prepared."""

    __slots__ = ("append", "by_event", "documents", "first", "joined", "last", "rows", "stream", "texts")

    def __init__(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]], append: bool) -> None:
        if not events or len(events) != len(puts):
            raise ValueError("events and their puts go together")
        self.stream = stream
        self.append = append
        self.first = events[0].seq
        self.last = events[-1].seq
        kind, id = stream
        self.by_event = [
            prepare_event(stream, event.seq, event_puts) for event, event_puts in zip(events, puts, strict=True)
        ]
        self.rows: list[tuple[Any, ...]] = []
        if append:
            for seq, event in enumerate(events, self.first):
                if event.seq != seq:
                    raise ValueError("the events are not consecutive")
                self.rows.append((kind, id, seq, event.command_id, event.at, event.SerializeToString()))
        own = (STREAM_COLLECTIONS[kind], stream_document_id(stream))
        self.joined = self._join(own)
        written = {own}.union(*self.by_event)
        self.documents = len(self.rows) + len(written)
        self.texts = sum(collection in SEARCHED for collection, _ in written)

    def _join(self, own: tuple[str, str]) -> dict[tuple[str, str], Write] | None:
        """All events' writes with each document once, the stream's own among them; None when that can't be."""
        if not self.append or self.first == 1:
            return None
        joined = self.by_event[0]
        if len(self.by_event) > 1:
            joined = {**joined}
            for writes in self.by_event[1:]:
                for key, write in writes.items():
                    known = joined.get(key)
                    if known is None:
                        joined[key] = write
                    elif known.can_take(write):
                        joined[key] = known.joined(write)
                    else:
                        return None
        advance = joined.get(own)
        if advance is None or advance.first != self.first or advance.last != self.last:
            changes = {} if advance is None else advance.changes
            advance = Write(TABLES[own[0]], own[1], self.stream, self.first, self.last, True)
            advance.changes = changes
            joined = {**joined, own: advance}
        return joined

    def run(self, connection: sqlite3.Connection) -> bool:
        """Carries it out within a savepoint. Raises StreamConflict, or says False for a stale `apply`."""
        table, id = TABLES[STREAM_COLLECTIONS[self.stream.kind]], stream_document_id(self.stream)
        advance = f"UPDATE {quote(table.name)} SET applied_seq = ? WHERE _id = ?"
        advanced = connection.execute(f"{advance} AND applied_seq = ?", (self.last, id, self.first - 1)).rowcount
        if not advanced and (self.first > 1 or connection.execute(table.get, (id,)).fetchone() is not None):
            if self.append:
                raise StreamConflict
            return False
        try:
            connection.executemany(INSERT_EVENT, self.rows)
        except sqlite3.IntegrityError:
            raise StreamConflict from None
        guard = GUARDS[self.stream.kind]
        for writes in self.by_event:
            for write in writes.values():
                # The change first: the document as it is born has it already.
                if write.changes:
                    connection.execute(*update(write, "" if write.own else guard))
                if write.row is not None:
                    connection.execute(write.table.insert, write.row)
        if not advanced and not connection.execute(advance, (self.last, id)).rowcount:
            connection.execute(table.insert, table.row({"_id": id}, dumps({"_id": id}).decode(), self.stream.kind, 0))
            connection.execute(advance, (self.last, id))
        return True


# -- many commits ----------------------------------------------------------------------------------------------------


class Stage:
    """Commits that can be carried out together, because together they touch no document twice."""

    __slots__ = ("_events", "_writes")

    def __init__(self) -> None:
        self._events: list[tuple[Any, ...]] = []
        self._writes: dict[tuple[str, str], Write] = {}

    def add(self, commit: Commit) -> bool:
        """Takes the commit in, or says False: it needs another stage, or can be in none."""
        joined, writes = commit.joined, self._writes
        if joined is None:
            return False
        if not writes.keys().isdisjoint(joined):
            for key, write in joined.items():
                known = writes.get(key)
                if known is not None and not (
                    known.can_take(write) and (not write.own or write.first == known.last + 1)
                ):
                    return False
            for key, write in joined.items():
                known = writes.get(key)
                writes[key] = write if known is None else known.joined(write)
        else:
            writes.update(joined)
        self._events += commit.rows
        return True

    def steps(self) -> list[tuple[str, list[Any], int]]:
        """Statement, rows of parameters, and how many documents it must change (-1: any number)."""
        changes: dict[tuple[str, bool], list[Any]] = {}
        inserts: dict[str, list[Any]] = {}
        for write in self._writes.values():
            if write.own:
                sql, parameters = update(write, "applied_seq")
                changes.setdefault((sql, True), []).append(parameters)
            elif write.changes:
                sql, parameters = update(write, GUARDS[write.stream.kind])
                # Several events' changes in one are right only if the document has seen none of them.
                changes.setdefault((sql, write.first != write.last), []).append(parameters)
            if write.row is not None:
                inserts.setdefault(write.table.insert, []).append(write.row)
        steps = [(INSERT_EVENT, self._events, len(self._events))] if self._events else []
        steps += [(sql, rows, len(rows) if certain else -1) for (sql, certain), rows in changes.items()]
        steps += [(sql, rows, -1) for sql, rows in inserts.items()]
        return steps
