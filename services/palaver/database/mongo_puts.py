"""From events and their puts to MongoDB's writes: checked, encoded, and each document's in the order of its events.

A projection has three parts. *Inserts* and *updates* go to documents that other streams may write, too: an insert is
left out where the document exists, an update carries its event's seq as a guard, so any of them may be repeated or be
late. The stream's *own* document is written once for all events, by the compare-and-set that advances `applied_seq`.
"""

import re
from collections.abc import Sequence
from typing import Any

from palaver.database import STREAM_COLLECTIONS, Document, Put, Stream, stream_document_id
from palaver.database.mongo_filter import get_collection
from palaver.database.mongo_values import GUARDS, WORDS, add_words, encode
from palaver.database.schema import COLLECTIONS
from palaver.database.text import keys_of
from palaver.v1.event_pb2 import Event

_IMPOSSIBLE_NAME = re.compile(r'\A\Z|\A\$|[."\\\x00-\x1f\x7f-\x9f]')
_RESERVED = frozenset({"_id", "applied_seq", *GUARDS.values()})

Stored = dict[str, Any]
Update = tuple[Stored, Stored]
"""Which document (only if the guard allows), and what changes in it."""


class Projection:
    """What events of one stream do to documents."""

    def __init__(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> None:
        """Raises ValueError for events that don't follow each other and puts that can't be."""
        if not events or len(events) != len(puts):
            raise ValueError("events and their puts go together")
        self.stream = stream
        self.first = events[0].seq
        self.last = events[-1].seq
        self.own_collection = STREAM_COLLECTIONS[stream.kind]
        self.own_id = stream_document_id(stream)
        # By collection and document: the document as it is born. Only the first insert of a document can count.
        self.inserts: dict[str, dict[str, Stored]] = {}
        self.updates: dict[str, list[Update]] = {}
        # The own document: what changes if it exists before the first of these events …
        self.own_changes: dict[str, Any] = {}
        self.own_gone: set[str] = set()
        # … and what it is otherwise.
        self.own_born: Stored = {"_id": self.own_id}
        self.creates_own = False
        for seq, (event, event_puts) in enumerate(zip(events, puts, strict=True), self.first):
            if event.seq != seq:
                raise ValueError("the events are not consecutive")
            self._add_event(seq, event_puts)

    def _add_event(self, seq: int, puts: Sequence[Put]) -> None:
        writes: dict[tuple[str, str], _Write] = {}
        for put in puts:
            key = (put.collection, put.id)
            if key not in writes:
                get_collection(put.collection)
                writes[key] = _Write()
            writes[key].add(put)
        guard = GUARDS[self.stream.kind]
        for (collection, id), write in writes.items():
            if (collection, id) == (self.own_collection, self.own_id):
                self._add_own(write)
                continue
            if write.born is not None:
                write.born[guard] = seq
                add_words(collection, write.born)
                self.inserts.setdefault(collection, {}).setdefault(id, write.born)
            if write.changes or write.gone:
                where = {"_id": id, guard: {"$not": {"$gte": seq}}}
                update = make_update(collection, {**write.changes, guard: seq}, write.gone)
                self.updates.setdefault(collection, []).append((where, update))

    def _add_own(self, write: "_Write") -> None:
        if write.born is not None and not self.creates_own:
            self.creates_own = True
            self.own_born = write.born
        elif self.creates_own:
            self.own_born.update(write.changes)
            for name in write.gone:
                self.own_born.pop(name, None)
        self.own_changes.update(write.changes)
        self.own_gone.difference_update(write.changes)
        for name in write.gone:
            self.own_changes.pop(name, None)
        self.own_gone.update(write.gone)

    @property
    def advance(self) -> Stored:
        """The update of the own document, `applied_seq` included."""
        return make_update(self.own_collection, {**self.own_changes, "applied_seq": self.last}, self.own_gone)

    @property
    def born(self) -> Stored:
        """The own document where there is none yet."""
        born = {**self.own_born, "applied_seq": self.last}
        add_words(self.own_collection, born)
        return born


class _Write:
    """All puts of one event to one document."""

    __slots__ = ("born", "changes", "gone")

    def __init__(self) -> None:
        self.born: Stored | None = None
        self.changes: dict[str, Any] = {}
        self.gone: set[str] = set()

    def add(self, put: Put) -> None:
        if put.insert is not None:
            if self.born is None:
                self.born = _encode_born(put.id, put.insert)
            return
        for name in (*put.set, *put.unset):
            _check_name(name)
        changes = {name: encode(value) for name, value in put.set.items()}
        self.changes.update(changes)
        self.gone.difference_update(changes)
        for name in put.unset:
            self.changes.pop(name, None)
            self.gone.add(name)
        if self.born is not None:
            self.born.update(changes)
            for name in put.unset:
                self.born.pop(name, None)


def make_update(collection: str, changes: dict[str, Any], gone: set[str]) -> Stored:
    """An update that sets and removes these fields, and keeps the words of a searched text in step."""
    name = COLLECTIONS[collection].text
    if name and (name in changes or name in gone):
        text = changes.get(name)
        if isinstance(text, str) and (words := keys_of(text)):
            changes = {**changes, WORDS: words}
        else:
            gone = {*gone, WORDS}
    update: Stored = {"$set": changes}
    if gone:
        update["$unset"] = dict.fromkeys(gone, "")
    return update


def _encode_born(id: str, document: Document) -> Stored:
    if document.get("_id") != id:
        raise ValueError(f"{id!r} can't be made of a document of another id")
    born: Stored = {"_id": id}
    for name, value in document.items():
        if name != "_id":
            _check_name(name)
            born[name] = encode(value)
    return born


def _check_name(name: str) -> None:
    if name in _RESERVED or _IMPOSSIBLE_NAME.search(name):
        raise ValueError(f"not a name of a field: {name!r}")
