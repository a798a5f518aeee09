"""A database in memory that writes one document at a time, and lets others in between any two writes.

It does what the MongoDB adapter does: no write reaches more than one document. Which of the waiting goes next is chosen
by a seeded generator, so that an order of events that once went wrong goes wrong again. The real adapters pass the
same state machine; this one stands in all the places where it can.
"""

import asyncio
import random
import selectors
from collections.abc import Mapping, Sequence
from typing import Any

from palaver import failpoints
from palaver.database import STREAM_COLLECTIONS, Document, Put, Stream, StreamConflict, stream_document_id
from palaver.v1.event_pb2 import Event
from tests.database.contract.reference import matches

Key = tuple[str, str]


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only when there is nothing else to do, and then at once."""

    def __init__(self) -> None:
        self._virtual = 0.0
        super().__init__(_Impatient(self))

    def time(self) -> float:
        return self._virtual

    def pass_time(self, seconds: float) -> None:
        self._virtual += seconds


class _Impatient(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            assert timeout is not None, "everybody waits for somebody else"
            self._loop.pass_time(timeout)
        return found


class Store:
    """What survives every process."""

    def __init__(self) -> None:
        self.events: dict[Stream, list[Event]] = {}
        self.published: set[tuple[Stream, int]] = set()
        self.documents: dict[Key, Document] = {}
        # The last event of each kind of stream that a document has seen.
        self.seen: dict[tuple[Key, str], int] = {}


class SteppingDatabase:
    """One process's way to the store. What the commit protocol doesn't use is not there."""

    def __init__(self, store: Store, choice: random.Random) -> None:
        self._store = store
        self._choice = choice

    async def _step(self, often: int = 1) -> None:
        for _ in range(often * self._choice.choice((0, 0, 1, 1, 2, 15))):
            await asyncio.sleep(0)

    # -- writing -------------------------------------------------------------------------------------------------------

    async def commit(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> None:
        failpoints.reach("commit.before_append")
        log = self._store.events.setdefault(stream, [])
        for index, event in enumerate(events):
            await self._step(often=6 if index else 1)
            if event.seq <= len(log) or any(event.command_id == known.command_id for known in log):
                raise StreamConflict(index)
            assert event.seq == len(log) + 1, "a gap"
            log.append(Event.FromString(event.SerializeToString()))
        failpoints.reach("commit.after_append")
        await self._step()
        if not await self._project(stream, events, puts):
            raise StreamConflict(len(events))

    async def apply(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> bool:
        await self._step()
        if self.applied(stream) != events[0].seq - 1:
            return False
        return await self._project(stream, events, puts)

    async def _project(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> bool:
        """False when an earlier event is not applied."""
        own = (STREAM_COLLECTIONS[stream.kind], stream_document_id(stream))
        for event, event_puts in zip(events, puts, strict=True):
            if self.applied(stream) < event.seq - 1:
                return False
            by_document: dict[Key, list[Put]] = {own: []}
            for put in event_puts:
                by_document.setdefault((put.collection, put.id), []).append(put)
            own_puts = by_document.pop(own)
            for key, document_puts in by_document.items():
                failpoints.reach("commit.between_projections")
                await self._step()
                if self._store.seen.get((key, stream.kind), 0) < event.seq:
                    self._write(key, document_puts)
                    if key in self._store.documents:
                        self._store.seen[key, stream.kind] = event.seq
            failpoints.reach("commit.before_advance")
            await self._step()
            if self.applied(stream) == event.seq - 1:
                self._write(own, own_puts)
                self._store.documents.setdefault(own, {"_id": own[1]})["applied_seq"] = event.seq
            failpoints.reach("commit.after_advance")
            await self._step()
        return True

    def _write(self, key: Key, puts: Sequence[Put]) -> None:
        documents = self._store.documents
        for put in puts:
            if put.insert is not None:
                documents.setdefault(key, {**put.insert})
            elif key in documents:
                documents[key].update(put.set)
                for name in put.unset:
                    documents[key].pop(name, None)

    def applied(self, stream: Stream) -> int:
        """The last applied event, at this very moment."""
        own = self._store.documents.get((STREAM_COLLECTIONS[stream.kind], stream_document_id(stream)), {})
        return int(own.get("applied_seq", 0))

    async def mark_published(self, events: Sequence[Event]) -> None:
        for event in events:
            await self._step()
            self._store.published.add((Stream(event.stream_kind, event.stream_id), event.seq))

    # -- reading -------------------------------------------------------------------------------------------------------

    async def get_head(self, stream: Stream) -> int:
        await self._step()
        return len(self._store.events.get(stream, ()))

    async def find_event(self, stream: Stream, command_id: str) -> Event | None:
        await self._step()
        return next((event for event in self._store.events.get(stream, ()) if event.command_id == command_id), None)

    async def list_events(self, stream: Stream, after: int, limit: int = 1000) -> list[Event]:
        await self._step()
        return self._store.events.get(stream, [])[after : after + limit]

    async def list_unpublished_before(self, seqs: Mapping[Stream, int], limit: int = 1000) -> list[Event]:
        await self._step()
        left = [
            event
            for stream, before in sorted(seqs.items())
            for event in self._store.events.get(stream, ())[: before - 1]
            if (stream, event.seq) not in self._store.published
        ]
        return left[:limit]

    async def list_unpublished(self, older_than: int, limit: int = 1000, *, fresh_since: int = 0) -> list[Event]:
        await self._step()
        left = [
            event
            for stream, log in sorted(self._store.events.items())
            for event in log
            if fresh_since <= event.at < older_than and (stream, event.seq) not in self._store.published
        ]
        return left[:limit]

    async def list_unapplied(self, older_than: int, limit: int = 100) -> list[Stream]:
        await self._step()
        behind = [
            stream
            for stream, log in self._store.events.items()
            if log and log[-1].at < older_than and self.applied(stream) < len(log)
        ]
        return behind[:limit]

    async def get(self, collection: str, id: str) -> Document | None:
        await self._step()
        document = self._store.documents.get((collection, id))
        return None if document is None else {**document}

    async def find(self, collection: str, where: dict[str, Any]) -> list[Document]:
        await self._step()
        documents = self._store.documents.items()
        return [{**document} for (name, _), document in documents if name == collection and matches(where, document)]

    async def find_one(self, collection: str, where: dict[str, Any]) -> Document | None:
        found = await self.find(collection, where)
        return found[0] if found else None
