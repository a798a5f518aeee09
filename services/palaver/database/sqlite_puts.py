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
from typing import Any, NamedTuple

import orjson

from palaver.database import STREAM_COLLECTIONS, Document, Put, Stream, StreamConflict, stream_document_id
from palaver.database.sqlite_schema import GUARDS, MAX_INTEGER, RESERVED, TABLES, Table, get_table, json_path, quote
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


class Change(NamedTuple):
    """What becomes of one top-level field: form, encoded value, and the values of its columns."""

    form: str
    value: Any
    columns: tuple[Any, ...]


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


def _encode(table: Table, name: str, value: Any) -> Change:
    columns = table.under.get(name)
    extracted = tuple([column.extract(value) for column in columns]) if columns is not None else ()
    kind = type(value)
    if kind is str or value is None:
        return Change(_PLAIN, value, extracted)
    if kind is int and -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        return Change(_PLAIN, value, extracted)
    if kind is dict and len(value) == 1 and type(date := value.get("$date")) is int and abs(date) <= MAX_INTEGER:
        return Change(_DATE, date, extracted)
    return Change(_JSON, orjson.dumps(value).decode(), extracted)


def prepare_event(stream: Stream, seq: int, puts: Sequence[Put]) -> dict[tuple[str, str], Write]:
    """One event's writes, each document once. Raises ValueError (or TypeError) for what can't be stored."""
    own_collection, own_id = STREAM_COLLECTIONS[stream.kind], stream_document_id(stream)
    writes: dict[tuple[str, str], Write] = {}
    copied = False
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
                write.insert = inserted
            continue
        changed = put.set
        if not _names.issuperset(changed):
            _check_names(changed)
        if "_id" in changed or "_id" in put.unset:
            raise ValueError("_id does not change")
        table, changes = write.table, write.changes
        for name, value in changed.items():
            changes[name] = _encode(table, name, value)
        for name in put.unset:
            if name not in _names:
                _check_names({name: None})
            columns = table.under.get(name)
            changes[name] = Change(_GONE, None, () if columns is None else (None,) * len(columns))
        if write.insert is not None:
            # The document as it is born has these changes, too.
            write.insert = {**write.insert, **changed}
            for name in put.unset:
                write.insert.pop(name, None)
            copied = True
    if copied or any(write.insert is not None for write in writes.values()):
        for write in writes.values():
            if (document := write.insert) is not None:
                text = orjson.dumps(document).decode()
                write.row = write.table.row(document, text, stream.kind, seq)
    return writes


# -- statements ------------------------------------------------------------------------------------------------------

_updates: dict[tuple[Any, ...], str] = {}


def update(write: Write, guard: str) -> tuple[str, list[Any]]:
    """The statement that carries out the changes, and its parameters.

    `guard`: a column that is raised to the write's `last`, if it is below its `first` (for "applied_seq": if it is
    just before it); or "" for none.
    """
    changes = write.changes
    shape = (write.table.name, guard, *[(name, change.form) for name, change in changes.items()])
    sql = _updates.get(shape)
    if sql is None:
        if len(_updates) > _MAX_SHAPES:
            _updates.clear()
        sql = _updates[shape] = _update_statement(write.table, guard, changes)
    parameters = [change.value for change in changes.values() if change.form]
    for change in changes.values():
        if change.columns:
            parameters += change.columns
    if guard:
        parameters += (write.last, write.id, write.first - 1 if guard == "applied_seq" else write.first)
    else:
        parameters.append(write.id)
    return sql, parameters


def _update_statement(table: Table, guard: str, changes: dict[str, Change]) -> str:
    document = "doc"
    kept = [(name, change.form) for name, change in changes.items() if change.form]
    gone = [name for name, change in changes.items() if not change.form]
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
        self.joined = self._join()
        written, self.texts = {(STREAM_COLLECTIONS[kind], stream_document_id(stream))}, 0
        for writes in self.by_event:
            written.update(writes)
            for write in writes.values():
                if write.row is not None and write.table.text:
                    self.texts += 1
        self.documents = len(self.rows) + len(written)

    def _join(self) -> dict[tuple[str, str], Write] | None:
        """All events' writes with each document once, the stream's own among them; None when that can't be."""
        if not self.append or self.first == 1:
            return None
        if len(self.by_event) == 1:
            joined = self.by_event[0]
        else:
            joined = {}
            for writes in self.by_event:
                for key, write in writes.items():
                    known = joined.get(key)
                    if known is None:
                        joined[key] = write
                    elif known.can_take(write):
                        joined[key] = known.joined(write)
                    else:
                        return None
        kind, id = STREAM_COLLECTIONS[self.stream.kind], stream_document_id(self.stream)
        own = joined.get((kind, id))
        advance = Write(TABLES[kind], id, self.stream, self.first, self.last, True)
        if own is not None:
            if own.row is not None:
                return None
            advance.changes = own.changes
        return {**joined, (kind, id): advance}

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
            connection.execute(table.insert, table.row({"_id": id}, orjson.dumps({"_id": id}).decode(), "", 0))
            connection.execute(advance, (self.last, id))
        return True


# -- many commits ----------------------------------------------------------------------------------------------------


class Stage:
    """Commits that can be carried out together, because together they touch no document twice."""

    __slots__ = ("_events", "_statements", "_writes")

    def __init__(self) -> None:
        self._events: list[tuple[Any, ...]] = []
        self._writes: dict[tuple[str, str], Write] = {}
        self._statements: list[tuple[str, list[Any]]] = []

    def add(self, commit: Commit) -> bool:
        """Takes the commit in, or says False: it needs a stage of its own."""
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
        steps = [(INSERT_EVENT, self._events, len(self._events))]
        steps += [(sql, rows, len(rows) if certain else -1) for (sql, certain), rows in changes.items()]
        steps += [(sql, rows, -1) for sql, rows in inserts.items()]
        return steps
