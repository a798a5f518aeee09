"""Appending and projecting in MongoDB: the writes of one commit, their order, and what a late or dead writer leaves.

A commit is three waits: the events; the documents they change, one bulk a collection and all collections at once; and
the stream's own document, whose compare-and-set on `applied_seq` says that everything before it stands.

Where something dies between two of these writes, `apply` by whoever comes next finishes it; two at once do no harm:
every write can be repeated, and a late one meets its guard.

An answer may be lost, and then nobody knows what was written. So a commit whose connection broke is done once more, and
an event that is there already with our very bytes is ours. What the primary refuses to write twice counts only when a
majority has it: a failover could still undo it, and what follows from it would stay.

Called by `mongo.py`, which sets the time that all of it may take and translates the driver's errors.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError

from palaver import failpoints
from palaver.database import STREAM_COLLECTIONS, Put, Stream, StreamConflict, stream_document_id
from palaver.database.mongo_connection import MotorDatabase
from palaver.database.mongo_puts import Projection, Stored, Update
from palaver.database.mongo_schema import EVENTS, event_id
from palaver.v1.event_pb2 import Event

_DUPLICATE = 11000
_MAX_REMEMBERED = 8192
_LOOK_AGAIN_SECONDS = 0.02


class Writing:
    """Everything that writes events and what follows from them."""

    def __init__(self, database: MotorDatabase, on_written: Callable[[int], None]) -> None:
        """`on_written` is told of each number of events and documents."""
        self._database = database
        self._on_written = on_written
        # What `applied_seq` of a stream is at least. It never falls, so what was true stays true.
        self._applied: OrderedDict[Stream, int] = OrderedDict()

    async def commit(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> None:
        """Appends and projects. Raises StreamConflict, also when events before the first are not applied yet."""
        try:
            await self._commit(stream, events, puts)
        except AutoReconnect:
            await self._commit(stream, events, puts)

    async def _commit(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> None:
        projection = Projection(stream, events, puts)
        stored = [_store_event(stream, event) for event in events]
        # Projecting beyond a gap would make guards refuse what belongs into it.
        before = projection.first - 1
        if self._applied.get(stream, 0) < before and await self._read_applied(stream) < before:
            raise StreamConflict
        failpoints.reach("commit.before_append")
        await self._append(stored)
        failpoints.reach("commit.after_append")
        while not await self._project(projection):
            # Somebody else is applying our events. Whatever is left of them is ours.
            done = await self._read_applied(stream) - before
            if done >= len(events):
                return
            projection = Projection(stream, events[max(0, done) :], puts[max(0, done) :])

    async def apply(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> bool:
        """Projects what is appended. False when the first is not the next to apply (any more)."""
        projection = Projection(stream, events, puts)
        if await self._read_applied(stream) != projection.first - 1:
            return False
        return await self._project(projection)

    # -- the events --------------------------------------------------------------------------------------------------

    async def _append(self, stored: Sequence[Stored]) -> None:
        appended = 0
        while appended < len(stored):
            inserted = await self._insert(EVENTS, stored[appended:])
            self._on_written(inserted)
            appended += inserted
            if appended < len(stored):
                if not await self._is_ours(stored[appended]):
                    raise StreamConflict(appended)
                appended += 1

    async def _is_ours(self, event: Stored) -> bool:
        """Whether an event that was refused stands in our own bytes, of which we have not been told."""
        same_command = {name: event[name] for name in ("stream_kind", "stream_id", "command_id")}
        where = {"$or": [{"_id": event["_id"]}, same_command]}
        return any(one["body"] == event["body"] for one in await self._find_refused(EVENTS, where, 1))

    async def _insert(self, collection: str, documents: Sequence[Stored]) -> int:
        """Inserts documents in order, up to the first that is refused as a duplicate; returns how many."""
        try:
            if len(documents) == 1:
                await self._database[collection].insert_one(documents[0])
            else:
                await self._database[collection].insert_many(documents, ordered=True)
        except DuplicateKeyError:
            return 0
        except BulkWriteError as error:
            refused = _refused(error)
            if not refused or refused[0]["code"] != _DUPLICATE:
                raise
            return int(refused[0]["index"])
        return len(documents)

    async def _find_refused(self, collection: str, where: Stored, least: int) -> list[Stored]:
        """What the primary has refused to write again, as soon as a majority has so much of it.

        The deadline of the call ends the waiting.
        """
        while True:
            found = await self._database[collection].find(where, {"body": 1}).to_list(None)
            if len(found) >= least:
                return found
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    # -- what follows from them ----------------------------------------------------------------------------------------

    async def _project(self, projection: Projection) -> bool:
        """Writes the documents, then advances; False when somebody else has advanced meanwhile."""
        writing: list[asyncio.Task[None]] = []
        outcomes: Sequence[BaseException | None] = ()
        try:
            for collection in dict.fromkeys((*projection.inserts, *projection.updates)):
                if writing:
                    await asyncio.sleep(0)  # the one before is on its way
                    failpoints.reach("commit.between_projections")
                inserts = list(projection.inserts.get(collection, {}).values())
                updates = projection.updates.get(collection, [])
                writing.append(asyncio.create_task(self._write(collection, inserts, updates)))
        finally:
            outcomes = await asyncio.gather(*writing, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        failpoints.reach("commit.before_advance")
        advanced = await self._advance(projection)
        if advanced:
            self._on_written(1)
            self._remember_applied(projection.stream, projection.last)
        failpoints.reach("commit.after_advance")
        return advanced

    async def _write(self, collection: str, inserts: Sequence[Stored], updates: Sequence[Update]) -> None:
        """Births first: an update of one event may follow the birth by an earlier one."""
        target = self._database[collection]
        there: list[str] = []
        try:
            if len(inserts) == 1:
                await target.insert_one(inserts[0])
            elif inserts:
                await target.insert_many(inserts, ordered=False)
        except DuplicateKeyError:
            there = [inserts[0]["_id"]]
        except BulkWriteError as error:
            refused = _refused(error)
            if not refused or any(one["code"] != _DUPLICATE for one in refused):
                raise
            there = [inserts[one["index"]]["_id"] for one in refused]
        written = len(inserts) - len(there)
        if there:
            await self._find_refused(collection, {"_id": {"$in": there}}, len(there))
        if len(updates) == 1:
            written += (await target.update_one(*updates[0])).matched_count
        elif updates:
            result = await target.bulk_write([UpdateOne(*update) for update in updates], ordered=True)
            written += result.matched_count
        self._on_written(written)

    async def _advance(self, projection: Projection) -> bool:
        """The own document's changes and its `applied_seq`, from just before the first event to the last."""
        own = self._database[projection.own_collection]
        if projection.first > 1:
            where = {"_id": projection.own_id, "applied_seq": projection.first - 1}
            return bool((await own.update_one(where, projection.advance)).matched_count)
        where = {"_id": projection.own_id, "applied_seq": None}
        if not projection.creates_own and (await own.update_one(where, projection.advance)).matched_count:
            return True
        try:
            await own.insert_one(projection.born)
        except DuplicateKeyError:
            return bool((await own.update_one(where, projection.advance)).matched_count)
        return True

    async def _read_applied(self, stream: Stream) -> int:
        own = self._database[STREAM_COLLECTIONS[stream.kind]]
        applied = applied_in(await own.find_one({"_id": stream_document_id(stream)}, {"applied_seq": 1}))
        self._remember_applied(stream, applied)
        return applied

    def _remember_applied(self, stream: Stream, applied: int) -> None:
        self._applied[stream] = max(applied, self._applied.get(stream, 0))
        self._applied.move_to_end(stream)
        if len(self._applied) > _MAX_REMEMBERED:
            self._applied.popitem(last=False)


def applied_in(found: Mapping[str, Any] | None) -> int:
    """The `applied_seq` of a stream's own document as it was found, or was not."""
    return 0 if found is None else int(found.get("applied_seq") or 0)


def _store_event(stream: Stream, event: Event) -> Stored:
    return {
        "_id": event_id(stream, event.seq),
        "stream_kind": stream.kind,
        "stream_id": stream.id,
        "seq": event.seq,
        "command_id": event.command_id,
        "at": event.at,
        "published": False,
        "body": event.SerializeToString(),
    }


def _refused(error: BulkWriteError) -> list[dict[str, Any]]:
    """The documents that were not written, unless there is more that went wrong."""
    details = error.details or {}
    return [] if details.get("writeConcernErrors") else list(details.get("writeErrors", ()))
