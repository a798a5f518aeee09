"""The database of a cluster: MongoDB, by motor.

A commit is three waits: the events; the documents they change, one bulk a collection and all collections at once; and
the stream's own document, whose compare-and-set on `applied_seq` says that everything before it stands. There are no
transactions, so it works on a single server, too. All writes are acknowledged by a majority and journaled, and where
there are replicas only what a majority has is read: after a failover nobody has acted on what is then gone.

Where something dies between two of these writes, `apply` by whoever comes next finishes it; two at once do no harm:
every write can be repeated, and a late one meets its guard.
"""

import asyncio
import functools
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

# Motor runs each operation in a thread; its default would let ten wait for the server at once.
os.environ.setdefault("MOTOR_MAX_WORKERS", "64")

from bson.codec_options import CodecOptions, DatetimeConversion
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern

from palaver import failpoints
from palaver.database import (
    STREAM_COLLECTIONS,
    Document,
    Filter,
    Put,
    Sort,
    Stream,
    StreamConflict,
    stream_document_id,
)
from palaver.database.mongo_filter import get_collection, translate, translate_sort
from palaver.database.mongo_puts import Projection, Stored
from palaver.database.mongo_schema import CLAIMS, EVENTS, MotorDatabase, event_id, event_range, migrate
from palaver.database.mongo_values import WORDS, decode_document
from palaver.errors import Unavailable
from palaver.v1.event_pb2 import Event

P = ParamSpec("P")
T = TypeVar("T")
logger = logging.getLogger(__name__)

SELECT_SECONDS = 5.0
OPERATION_SECONDS = 15.0

_DUPLICATE = 11000
_MAX_IDS = 1000
_MAX_REMEMBERED = 8192


def _available(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Turns what the driver raises into Unavailable."""

    @functools.wraps(method)
    async def wrapped(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return await method(*arguments, **named)
        except ConnectionFailure as error:
            raise Unavailable(f"MongoDB is away: {error}") from error
        except PyMongoError as error:
            logger.exception("MongoDB refuses")
            raise Unavailable(f"MongoDB refuses: {error}") from error

    return wrapped


class MongoDatabase:
    """One database of a MongoDB server, replica set or sharded cluster."""

    def __init__(self, url: str, name: str) -> None:
        """`url`: mongodb://…; `name` of the database."""
        self._url = url
        self._name = name
        self._client: AsyncIOMotorClient[dict[str, Any]] | None = None
        self._opened: MotorDatabase | None = None
        self.documents_written = 0
        # What `applied_seq` of a stream is at least. It never falls, so what was true stays true.
        self._applied: OrderedDict[Stream, int] = OrderedDict()

    @_available
    async def open(self) -> None:
        """Connects, and migrates the schema to this version. Raises NewerSchema, or Unavailable."""
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
            self._url,
            appname="palaver",
            serverSelectionTimeoutMS=int(SELECT_SECONDS * 1000),
            connectTimeoutMS=int(SELECT_SECONDS * 1000),
            waitQueueTimeoutMS=int(SELECT_SECONDS * 1000),
            socketTimeoutMS=int(OPERATION_SECONDS * 1000),
        )
        try:
            await client.admin.command("ping")
            topology = client.delegate.topology_description.topology_type_name
            replicated = topology not in ("Single", "Unknown")
            self._opened = client.get_database(
                self._name,
                codec_options=CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS),
                write_concern=WriteConcern("majority", j=True, wtimeout=int(OPERATION_SECONDS * 1000)),
                read_concern=ReadConcern("majority") if replicated else ReadConcern(),
            )
            await migrate(self._opened)
        except BaseException:
            self._opened = None
            client.close()
            raise
        self._client = client

    async def close(self) -> None:
        """Disconnects."""
        if self._client is not None:
            self._client.close()
        self._client = self._opened = None
        self._applied.clear()

    @property
    def _database(self) -> MotorDatabase:
        if self._opened is None:
            raise Unavailable("the database is not open")
        return self._opened

    # -- writing -----------------------------------------------------------------------------------------------------

    @_available
    async def commit(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> None:
        """Appends and projects. Raises StreamConflict, also when events before the first are not applied yet."""
        projection = Projection(stream, events, puts)
        stored = [_store_event(stream, event) for event in events]
        # Projecting beyond a gap would make guards refuse what belongs into it.
        before = projection.first - 1
        if self._applied.get(stream, 0) < before and await self._read_applied(stream) < before:
            raise StreamConflict
        failpoints.reach("commit.before_append")
        await self._append(stored)
        self.documents_written += len(stored)
        failpoints.reach("commit.after_append")
        while not await self._project(projection):
            # Somebody else is applying our events. Whatever is left of them is ours.
            done = await self._read_applied(stream) - events[0].seq + 1
            if done >= len(events):
                return
            projection = Projection(stream, events[max(0, done) :], puts[max(0, done) :])

    async def _append(self, stored: Sequence[Stored]) -> None:
        try:
            if len(stored) == 1:
                await self._database[EVENTS].insert_one(stored[0])
            else:
                await self._database[EVENTS].insert_many(stored, ordered=True)
        except DuplicateKeyError:
            raise StreamConflict from None
        except BulkWriteError as error:
            refused = _refused(error)
            if not refused or refused[0]["code"] != _DUPLICATE:
                raise
            committed = int(refused[0]["index"])
            self.documents_written += committed
            raise StreamConflict(committed) from None

    @_available
    async def apply(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> bool:
        """Projects what is appended. False when the first is not the next to apply (any more)."""
        projection = Projection(stream, events, puts)
        if await self._read_applied(stream) != projection.first - 1:
            return False
        return await self._project(projection)

    async def _project(self, projection: Projection) -> bool:
        """Writes the documents, then advances; False when somebody else has advanced meanwhile."""
        collections = dict.fromkeys((*projection.inserts, *projection.updates))
        writing: list[asyncio.Task[int]] = []
        try:
            for collection in collections:
                if writing:
                    await asyncio.sleep(0)  # the one before is on its way
                    failpoints.reach("commit.between_projections")
                inserts = list(projection.inserts.get(collection, {}).values())
                updates = projection.updates.get(collection, [])
                writing.append(asyncio.create_task(self._write(collection, inserts, updates)))
        finally:
            if writing:
                await asyncio.wait(writing)
        self.documents_written += sum(task.result() for task in writing)
        failpoints.reach("commit.before_advance")
        advanced = await self._advance(projection)
        if advanced:
            self.documents_written += 1
            self._remember_applied(projection.stream, projection.last)
        failpoints.reach("commit.after_advance")
        return advanced

    async def _write(self, collection: str, inserts: Sequence[Stored], updates: Sequence[UpdateOne]) -> int:
        """Births first: an update of one event may follow the birth by an earlier one. How many documents changed."""
        target = self._database[collection]
        written = 0
        try:
            if len(inserts) == 1:
                await target.insert_one(inserts[0])
                written = 1
            elif inserts:
                written = len((await target.insert_many(inserts, ordered=False)).inserted_ids)
        except DuplicateKeyError:
            pass
        except BulkWriteError as error:
            refused = _refused(error)
            if not refused or any(one["code"] != _DUPLICATE for one in refused):
                raise
            written = len(inserts) - len(refused)
        if updates:
            result = await target.bulk_write(updates, ordered=True)
            written += result.matched_count
        return written

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
        found = await own.find_one({"_id": stream_document_id(stream)}, {"applied_seq": 1})
        applied = _applied_in(found)
        self._remember_applied(stream, applied)
        return applied

    def _remember_applied(self, stream: Stream, applied: int) -> None:
        self._applied[stream] = max(applied, self._applied.get(stream, 0))
        self._applied.move_to_end(stream)
        if len(self._applied) > _MAX_REMEMBERED:
            self._applied.popitem(last=False)

    # -- names -------------------------------------------------------------------------------------------------------

    @_available
    async def claim(self, key: str, owner: str) -> bool:
        """Makes `owner` the only holder of a unique name; True if it is, again or newly."""
        while True:
            try:
                await self._database[CLAIMS].insert_one({"_id": key, "owner": owner})
                return True
            except DuplicateKeyError:
                found = await self._database[CLAIMS].find_one({"_id": key})
                if found is not None:
                    return bool(found["owner"] == owner)

    @_available
    async def find_claim(self, key: str) -> str | None:
        """The owner of a unique name, or None."""
        found = await self._database[CLAIMS].find_one({"_id": key})
        return None if found is None else str(found["owner"])

    @_available
    async def release(self, key: str, owner: str) -> None:
        """Frees a name, if this owner holds it."""
        await self._database[CLAIMS].delete_one({"_id": key, "owner": owner})

    # -- the log as stored -------------------------------------------------------------------------------------------

    @_available
    async def mark_published(self, events: Sequence[Event]) -> None:
        """Marks them. One that a failover forgets is published again, so one server's word is enough."""
        target = self._database[EVENTS].with_options(write_concern=WriteConcern(1))
        ids = [event_id(Stream(event.stream_kind, event.stream_id), event.seq) for event in events]
        for some in _chunks(ids):
            await target.update_many({"_id": {"$in": some}}, {"$set": {"published": True}})

    @_available
    async def get_head(self, stream: Stream) -> int:
        """The last `seq` of the stream; 0 when it has none."""
        found = await self._database[EVENTS].find_one(event_range(stream), {"seq": 1}, sort=[("_id", -1)])
        return 0 if found is None else int(found["seq"])

    @_available
    async def get_heads(self, streams: Sequence[Stream]) -> list[int]:
        """The last `seq` of each: what is applied, in one query a kind, and the few with more than that one by one."""
        heads = dict.fromkeys(streams, 0)
        for kind, collection in STREAM_COLLECTIONS.items():
            of_kind = {stream_document_id(stream): stream for stream in heads if stream.kind == kind}
            for ids in _chunks(list(of_kind)):
                cursor = self._database[collection].find({"_id": {"$in": ids}}, {"applied_seq": 1})
                for found in await cursor.to_list(None):
                    heads[of_kind[found["_id"]]] = _applied_in(found)
        following = {event_id(stream, head + 1): stream for stream, head in heads.items()}
        for ids in _chunks(list(following)):
            cursor = self._database[EVENTS].find({"_id": {"$in": ids}}, {"_id": 1})
            for found in await cursor.to_list(None):
                stream = following[found["_id"]]
                heads[stream] = await self.get_head(stream)
        return [heads[stream] for stream in streams]

    @_available
    async def find_event(self, stream: Stream, command_id: str) -> Event | None:
        """The event that the command has become, or None."""
        where = {"stream_kind": stream.kind, "stream_id": stream.id, "command_id": command_id}
        found = await self._database[EVENTS].find_one(where, {"body": 1})
        return None if found is None else Event.FromString(found["body"])

    @_available
    async def list_events(self, stream: Stream, after: int, limit: int = 1000) -> list[Event]:
        """Events with a `seq` above `after`, in order."""
        cursor = self._database[EVENTS].find(event_range(stream, after), {"body": 1}).sort("_id", 1).limit(limit)
        return [Event.FromString(found["body"]) for found in await cursor.to_list(None)]

    @_available
    async def list_unpublished(self, older_than: int, limit: int = 1000) -> list[Event]:
        """Events appended before `older_than` (epoch ms) that are not marked published, by stream and seq."""
        where = {"published": False, "at": {"$lt": older_than}}
        order = [("stream_kind", 1), ("stream_id", 1), ("seq", 1)]
        cursor = self._database[EVENTS].find(where, {"body": 1}).sort(order).limit(limit)
        return [Event.FromString(found["body"]) for found in await cursor.to_list(None)]

    @_available
    async def list_unapplied(self, older_than: int, limit: int = 100) -> list[Stream]:
        """Streams whose head, appended before `older_than` (epoch ms), is beyond their `applied_seq`.

        Looks at unpublished events only: nobody publishes what is not applied.
        """
        heads = {
            Stream(found["_id"]["kind"], found["_id"]["id"]): int(found["head"])
            async for found in self._database[EVENTS].aggregate(
                [
                    {"$match": {"published": False}},
                    {
                        "$group": {
                            "_id": {"kind": "$stream_kind", "id": "$stream_id"},
                            "head": {"$max": "$seq"},
                            "at": {"$max": "$at"},
                        }
                    },
                    {"$match": {"at": {"$lt": older_than}}},
                ]
            )
        }
        unapplied: list[Stream] = []
        for kind, collection in STREAM_COLLECTIONS.items():
            of_kind = {stream_document_id(stream): stream for stream in heads if stream.kind == kind}
            for ids in _chunks(list(of_kind)):
                cursor = self._database[collection].find({"_id": {"$in": ids}}, {"applied_seq": 1})
                applied = {found["_id"]: _applied_in(found) for found in await cursor.to_list(None)}
                unapplied += [of_kind[id] for id in ids if applied.get(id, 0) < heads[of_kind[id]]]
        return unapplied[:limit]

    # -- documents ---------------------------------------------------------------------------------------------------

    @_available
    async def get(self, collection: str, id: str) -> Document | None:
        """One document by its id, or None."""
        get_collection(collection)
        found = await self._database[collection].find_one({"_id": id}, _WITHOUT_WORDS)
        return None if found is None else decode_document(found)

    @_available
    async def get_many(self, collection: str, ids: Sequence[str]) -> dict[str, Document]:
        """Documents by their ids; absent ones are left out."""
        get_collection(collection)
        documents: dict[str, Document] = {}
        for some in _chunks(list(dict.fromkeys(ids))):
            cursor = self._database[collection].find({"_id": {"$in": some}}, _WITHOUT_WORDS)
            for found in await cursor.to_list(None):
                documents[found["_id"]] = decode_document(found)
        return documents

    @_available
    async def find_one(self, collection: str, where: Filter) -> Document | None:
        """A document that matches, or None. Raises ValueError for a filter that `schema.py` does not allow."""
        found = await self._database[collection].find_one(translate(get_collection(collection), where), _WITHOUT_WORDS)
        return None if found is None else decode_document(found)

    @_available
    async def find(
        self, collection: str, where: Filter, *, sort: Sort = (), skip: int = 0, limit: int = 0
    ) -> list[Document]:
        """Documents that match; `limit` 0 is all of them. Raises ValueError for what `schema.py` does not allow."""
        declared = get_collection(collection)
        order = translate_sort(declared, sort)
        cursor = self._database[collection].find(translate(declared, where), _WITHOUT_WORDS, skip=skip, limit=limit)
        if order:
            cursor = cursor.sort(order)
        return [decode_document(found) for found in await cursor.to_list(None)]

    @_available
    async def count(self, collection: str, where: Filter) -> int:
        """How many documents match."""
        return int(await self._database[collection].count_documents(translate(get_collection(collection), where)))


_WITHOUT_WORDS = {WORDS: 0}


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


def _applied_in(found: Mapping[str, Any] | None) -> int:
    return 0 if found is None else int(found.get("applied_seq") or 0)


def _refused(error: BulkWriteError) -> list[dict[str, Any]]:
    """The documents that were not written, unless there is more that went wrong."""
    details = error.details or {}
    return [] if details.get("writeConcernErrors") else list(details.get("writeErrors", ()))


def _chunks(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + _MAX_IDS] for start in range(0, len(ids), _MAX_IDS)]
