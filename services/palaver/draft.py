"""What a command sees while it is decided: the documents at its stream's head, with what its batch has done so far."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from palaver.database import STREAM_COLLECTIONS, Database, Document, Put, Stream, stream_document_id
from palaver.ids import new_id
from palaver.projections import project
from palaver.v1.event_pb2 import Actor, Event

_MAX_CACHED_DOCUMENTS = 4096
# Documents that are read again for every command of a room, and are written by no other kind of stream where it
# matters.
_CACHED_COLLECTIONS = frozenset({"rooms", "subscriptions", "users", "workspace"})

_Key = tuple[str, str]  # collection and id


class Draft:
    """What a command sees while it is decided: the documents at the stream's head, and what it wants to append.

    `get` and `find_one` see the events of earlier commands of the same batch. A decision appends at most one event.
    Only fields that this kind of stream writes are sure to be current; others may lag behind.
    """

    __slots__ = (
        "_changed",
        "_commands",
        "_database",
        "_documents",
        "_lookups",
        "_passing",
        "_unread",
        "appended",
        "head",
        "stream",
    )

    def __init__(self, database: Database, stream: Stream, head: int) -> None:
        self.stream = stream
        self.head = head
        self.appended: Event | None = None
        self._database = database
        self._documents: dict[_Key, Document | None] = {}
        self._lookups: dict[str, _Lookups] = {}
        # Of this batch, until it is committed: its events, the ids of the documents that it has changed, what it has
        # done to documents that nobody has read, and documents that need not be kept after it.
        self._commands: dict[str, Event] = {}
        self._changed: dict[str, set[str]] = {}
        self._unread: dict[_Key, list[Put]] = {}
        self._passing: set[_Key] = set()

    async def get(self, collection: str, id: str) -> Document | None:
        """The document as it stands, or None. The caller must not change it."""
        key = (collection, id)
        if key in self._documents and key not in self._unread:
            return self._documents[key]
        return self._take(key, await self._database.get(collection, id))

    async def get_many(self, collection: str, ids: Sequence[str]) -> list[Document]:
        """Documents as they stand, in the order asked for; absent ones are left out. One read for all of them."""
        keys = [(collection, id) for id in dict.fromkeys(ids)]
        unknown = [key for key in keys if key not in self._documents or key in self._unread]
        if unknown:
            found = await self._database.get_many(collection, [id for _, id in unknown])
            for key in unknown:
                self._take(key, found.get(key[1]))
        return [document for key in keys if (document := self._documents[key]) is not None]

    async def get_own(self) -> Document | None:
        """The stream's own document: the room, the user or the workspace."""
        return await self.get(STREAM_COLLECTIONS[self.stream.kind], stream_document_id(self.stream))

    async def find_one(self, collection: str, **equal: Any) -> Document | None:
        """The document whose fields equal these (`__` stands for a dot), or None. For fields of this stream only."""
        where = {name.replace("__", "."): value for name, value in equal.items()}
        lookups = self._lookups.setdefault(collection, _Lookups())
        key = tuple(sorted(where.items(), key=lambda item: item[0]))
        if key in lookups.ids:
            id = lookups.ids[key]
            return None if id is None else await self.get(collection, id)
        document = await self._find_changed(collection, where) or await self._find_stored(collection, where)
        lookups.remember(key, None if document is None else document["_id"])
        return document

    async def find_command(self, command_id: str) -> Event | None:
        """The event that this command has become before, if it is a retry."""
        if (event := self._commands.get(command_id)) is not None:
            return event
        event = await self._database.find_event(self.stream, command_id)
        if event is not None and event.seq > self.head:
            raise StaleView()
        return event

    def append(self, event: Event, *, actor: Actor, command_id: str = "", at: int = 0) -> Event:
        """Completes the event (stream, seq, command id, time) and takes it as this command's outcome."""
        if self.appended is not None:
            raise RuntimeError("a command is one event")
        event.stream_kind, event.stream_id = self.stream
        event.seq = self.head + 1
        event.command_id = command_id or new_id()
        event.actor.CopyFrom(actor)
        event.at = at or now()
        self.appended = event
        return event

    def accept(self) -> tuple[Event, list[Put]] | None:
        """Takes the outcome into the view of the next command. Called by the writer only."""
        event, self.appended = self.appended, None
        if event is None:
            return None
        puts = project(event)
        self.head = event.seq
        self._commands[event.command_id] = event
        for put in puts:
            key = (put.collection, put.id)
            known = self._documents.get(key)
            if key in self._unread:
                self._unread[key].append(put)
            elif key not in self._documents:
                self._unread[key] = [put]
            if put.insert is not None or known is not None:
                self._keep(key, _after(known, put))
            self._changed.setdefault(put.collection, set()).add(put.id)
            if (lookups := self._lookups.get(put.collection)) is not None:
                lookups.forget(put)
        return event, puts

    def trim(self) -> None:
        """Forgets what the next batch is unlikely to need, and what the database has by now."""
        self._commands.clear()
        self._changed.clear()
        for key in (*self._unread, *self._passing):
            self._documents.pop(key, None)
        self._unread.clear()
        self._passing.clear()
        looked_up = max((len(lookups.ids) for lookups in self._lookups.values()), default=0)
        if max(len(self._documents), looked_up) > _MAX_CACHED_DOCUMENTS:
            self._documents.clear()
            self._lookups.clear()
        for collection in self._lookups.keys() - _CACHED_COLLECTIONS:
            del self._lookups[collection]

    async def _find_changed(self, collection: str, where: dict[str, Any]) -> Document | None:
        """A document that matches because of this batch: the database doesn't know yet that it does."""
        fields = _top_level(where)
        for id in self._changed.get(collection, ()):
            document = self._documents.get((collection, id))
            if (puts := self._unread.get((collection, id))) and any(_concerns(put, fields) for put in puts):
                document = await self.get(collection, id)
            if document is not None and _matches(document, where):
                return document
        return None

    async def _find_stored(self, collection: str, where: dict[str, Any]) -> Document | None:
        """A document that matches in the database, unless this batch has changed that."""
        document = await self._database.find_one(collection, where)
        if document is None:
            return None
        current = self._take_found(collection, document)
        if current is not None and _matches(current, where):
            return current
        for other in await self._database.find(collection, where):
            current = self._take_found(collection, other)
            if current is not None and _matches(current, where):
                return current
        return None

    def _take_found(self, collection: str, document: Document) -> Document | None:
        key = (collection, document["_id"])
        if key in self._documents and key not in self._unread:
            return self._documents[key]
        return self._take(key, document)

    def _take(self, key: _Key, document: Document | None) -> Document | None:
        """Remembers a document as it was read, and what this batch has done to it already."""
        for put in self._unread.pop(key, ()):
            document = _after(document, put)
        self._keep(key, document)
        return document

    def _keep(self, key: _Key, document: Document | None) -> None:
        self._documents[key] = document
        if key[0] not in _CACHED_COLLECTIONS:
            self._passing.add(key)


class _Lookups:
    """What was looked up in one collection: the id that was found, or None."""

    __slots__ = ("_fields", "ids")

    def __init__(self) -> None:
        self.ids: dict[tuple[tuple[str, Any], ...], str | None] = {}
        self._fields: set[str] = set()

    def remember(self, key: tuple[tuple[str, Any], ...], id: str | None) -> None:
        self.ids[key] = id
        self._fields |= _top_level(name for name, _ in key)

    def forget(self, put: Put) -> None:
        """Forgets what the put may have changed; nearly none touches a field that anybody looks for."""
        if _concerns(put, self._fields):
            self.ids.clear()


class StaleView(Exception):
    """A command has seen that somebody else has written to its stream."""


def _top_level(names: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def _concerns(put: Put, fields: set[str]) -> bool:
    """Whether the put may change which documents are found by these fields."""
    return put.insert is not None or not fields.isdisjoint(put.set) or not fields.isdisjoint(put.unset)


def _after(document: Document | None, put: Put) -> Document | None:
    """The document after a put."""
    if document is None:
        return put.insert
    if put.insert is not None:
        return document
    document = {**document, **put.set}
    for name in put.unset:
        document.pop(name, None)
    return document


def _matches(document: Document, where: dict[str, Any]) -> bool:
    for name, value in where.items():
        found: Any = document
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found != value and not (isinstance(found, list) and value in found):
            return False
    return True


def now() -> int:
    """The time as epoch milliseconds."""
    return time.time_ns() // 1_000_000
