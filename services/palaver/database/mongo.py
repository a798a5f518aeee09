"""The database of a cluster: MongoDB, by motor.

It uses no transactions, so a single server will do. All writes are acknowledged by a majority and journaled, and only
what a majority has is read (`mongo_connection.py`): after a failover nobody has acted on what is then gone.

Every call has one deadline for all that it does: waiting for a primary, what the driver tries again after a failover
(single writes and reads, where the server knows sessions), and the answer. Past it, the caller hears Unavailable.

How a commit is written is `mongo_commit.py`; what lies where, `mongo_schema.py` and `mongo_values.py`; filters,
`mongo_filter.py`. Chosen by `node.py` when a MongoDB is configured.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from pymongo import WriteConcern
from pymongo.errors import DuplicateKeyError

from palaver.database import (
    STREAM_COLLECTIONS,
    Document,
    Filter,
    Group,
    Put,
    Sort,
    Stream,
    document_stream,
    mongo_events,
    mongo_records,
    mongo_text,
    stream_document_id,
)
from palaver.database.migrations import MIGRATIONS, Migration
from palaver.database.mongo_commit import Writing, applied_in
from palaver.database.mongo_connection import MotorDatabase, connect, within
from palaver.database.mongo_events import now
from palaver.database.mongo_filter import get_collection, translate, translate_groups, translate_sort
from palaver.database.mongo_migrate import migrate
from palaver.database.mongo_schema import CLAIMS, EVENTS, event_id, event_range
from palaver.database.mongo_values import WORDS, decode_document
from palaver.database.timing import WRITTEN, timed
from palaver.errors import Unavailable
from palaver.v1.event_pb2 import Event

P = ParamSpec("P")
T = TypeVar("T")
Method = Callable[P, Coroutine[Any, Any, T]]

OPERATION_SECONDS = 5.0
# For what the sweeper looks for after a broker was away for long: nobody waits for it.
_LONG_SECONDS = 15.0
_COUNT_SECONDS = 600.0

_MAX_IDS = 1000
_CLOCKS_APART = 5 * 60_000  # milliseconds, at most


def _within(seconds: float | None) -> Callable[[Method[P, T]], Method[P, T]]:
    """Gives a method so long (None: it sees to that itself), measures it, and raises Unavailable for the driver."""

    def decorate(method: Method[P, T]) -> Method[P, T]:
        return timed(within(seconds)(method))

    return decorate


def _available(method: Method[P, T]) -> Method[P, T]:
    """Gives a method the time that a caller waits."""
    return _within(OPERATION_SECONDS)(method)


class MongoDatabase:
    """One database of a MongoDB server, replica set or sharded cluster."""

    def __init__(self, url: str, name: str, *, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        """`url`: mongodb://…; `name` of the database."""
        self._url = url
        self._name = name
        self._migrations = migrations
        self._opened: tuple[MotorDatabase, Writing] | None = None
        self.documents_written = 0

    @_within(None)
    async def open(self) -> None:
        """Connects, and migrates the schema to this version. Raises ConfigError, NewerSchema, or Unavailable."""
        database = await connect(self._url, self._name)
        try:
            await migrate(database, self._migrations)
        except BaseException:
            database.client.close()
            raise
        self._opened = database, Writing(database, self._count_written)

    async def close(self) -> None:
        """Disconnects."""
        if self._opened is not None:
            self._opened[0].client.close()
        self._opened = None

    async def watch(self) -> None:
        """Completes the index of texts, where it was begun anew. A server that is away may come back: nothing is
        final here."""
        await mongo_text.complete(self._database)
        await asyncio.Event().wait()

    @property
    def _database(self) -> MotorDatabase:
        if self._opened is None:
            raise Unavailable("the database is not open")
        return self._opened[0]

    @property
    def _writing(self) -> Writing:
        if self._opened is None:
            raise Unavailable("the database is not open")
        return self._opened[1]

    # -- writing -----------------------------------------------------------------------------------------------------

    @_available
    async def commit(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> None:
        """Appends and projects. Raises StreamConflict, also when events before the first are not applied yet."""
        await self._writing.commit(stream, events, puts)

    @_available
    async def apply(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> bool:
        """Projects what is appended. False when the first is not the next to apply (any more)."""
        return await self._writing.apply(stream, events, puts)

    def _count_written(self, documents: int) -> None:
        self.documents_written += documents
        WRITTEN.inc(documents)

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
                await asyncio.sleep(0.02)  # just released, or not with the majority yet

    @_available
    async def find_claim(self, key: str) -> str | None:
        """The owner of a unique name, or None."""
        found = await self._database[CLAIMS].find_one({"_id": key})
        return None if found is None else str(found["owner"])

    @_available
    async def release(self, key: str, owner: str) -> None:
        """Frees a name, if this owner holds it."""
        await self._database[CLAIMS].delete_one({"_id": key, "owner": owner})

    # -- records -----------------------------------------------------------------------------------------------------

    @_available
    async def put_record(self, kind: str, id: str, record: Document) -> None:
        """Sets one record, whole."""
        await mongo_records.put(self._database, kind, id, record)

    @_available
    async def replace_record(self, kind: str, id: str, record: Document) -> bool:
        """Sets one record, if there is one."""
        return await mongo_records.replace(self._database, kind, id, record)

    @_available
    async def find_record(self, kind: str, id: str) -> Document | None:
        """One record, or None."""
        return await mongo_records.find(self._database, kind, id)

    @_available
    async def list_records(
        self, kind: str, prefix: str = "", *, after: str = "", limit: int = 100
    ) -> list[tuple[str, Document]]:
        """Ids and records, by id."""
        return await mongo_records.list_from(self._database, kind, prefix, after, limit)

    @_available
    async def delete_record(self, kind: str, id: str) -> bool:
        """Whether there was one."""
        return await mongo_records.delete(self._database, kind, id)

    # -- the log as stored -------------------------------------------------------------------------------------------

    @_available
    async def mark_published(self, events: Sequence[Event]) -> None:
        """Marks them. One that a failover forgets is published again, so one server's word is enough."""
        target = self._database[EVENTS].with_options(write_concern=WriteConcern(1))
        ids = [event_id(Stream(event.stream_kind, event.stream_id), event.seq) for event in events]
        for some in _chunks(ids):
            await target.update_many({"_id": {"$in": some}}, {"$set": {"published": now()}})

    async def mark_unpublished(self, since: int) -> int:
        """A thousand at a time: they may be three days' events. Those, too, that a clock ahead of ours has marked."""
        until = now() + _CLOCKS_APART
        count = some = await self._mark_some_unpublished(since, until)
        while some == mongo_events.MARKED_AT_ONCE:
            some = await self._mark_some_unpublished(since, until)
            count += some
        return count

    @_available
    async def _mark_some_unpublished(self, since: int, until: int) -> int:
        return await mongo_events.mark_some_unpublished(self._database[EVENTS], since, until)

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
                    heads[of_kind[found["_id"]]] = applied_in(found)
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

    @_within(_LONG_SECONDS)
    async def list_unpublished(self, older_than: int, limit: int = 1000, *, fresh_since: int = 0) -> list[Event]:
        """Events appended before `older_than` (epoch ms) that are not marked published, by stream and seq."""
        where: dict[str, Any] = {"published": False, "at": {"$lt": older_than}}
        if fresh_since:
            where = {"published": False, "at": {"$gte": fresh_since, "$lt": older_than}, "retold": {"$ne": True}}
        order = [("stream_kind", 1), ("stream_id", 1), ("seq", 1)]
        cursor = self._database[EVENTS].find(where, {"body": 1, "retold": 1}).sort(order).limit(limit)
        return mongo_events.decode_all(await cursor.to_list(None))

    @_available
    async def list_unpublished_before(self, seqs: Mapping[Stream, int], limit: int = 1000) -> list[Event]:
        """The same of these streams, below a seq of each: a hundred streams a query."""
        return await mongo_events.list_unpublished_before(self._database[EVENTS], seqs, limit)

    @_within(_LONG_SECONDS)
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
                applied = {found["_id"]: applied_in(found) for found in await cursor.to_list(None)}
                unapplied += [of_kind[id] for id in ids if applied.get(id, 0) < heads[of_kind[id]]]
        return unapplied[:limit]

    @_within(_LONG_SECONDS)
    async def list_streams(self, kind: str, *, after: str = "", limit: int = 1000) -> list[tuple[Stream, int]]:
        """Streams of a kind with what is projected of each, by id."""
        where = {"_id": {"$gt": after}, "applied_seq": {"$gt": 0}}
        cursor = self._database[STREAM_COLLECTIONS[kind]].find(where, {"applied_seq": 1}).sort("_id", 1).limit(limit)
        return [(document_stream(kind, found["_id"]), applied_in(found)) for found in await cursor.to_list(None)]

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
    async def list_values(self, collection: str, name: str, where: Filter) -> list[Any]:
        """One declared text field of each document that matches."""
        declared = get_collection(collection)
        if declared.fields.get(name) != "text":
            raise ValueError(f"{name!r} is no text field of {collection}")
        cursor = self._database[collection].find(translate(declared, where), {"_id": 0, name: 1})
        return [_at(found, name) for found in await cursor.to_list(None)]

    @_available
    async def list_groups(
        self, collection: str, where: Filter, by: str, at: str, ascending: bool = False, skip: int = 0, limit: int = 0
    ) -> tuple[list[Group], int]:
        """Matching documents by one field's value, by the newest of each."""
        pipeline, ends = translate_groups(get_collection(collection), where, by, at)
        order = {"$sort": dict.fromkeys(("at", "_id"), 1 if ascending else -1)}
        page: list[dict[str, Any]] = [order, {"$skip": skip}, *([{"$limit": limit}] if limit else [])]
        documents = self._database[collection]
        found = await documents.aggregate([*pipeline, *page], allowDiskUse=True).to_list(None)
        counted = await documents.aggregate([*pipeline, ends], allowDiskUse=True).to_list(None)
        return [Group(one["_id"], one["size"], one["newest"]) for one in found], sum(one["total"] for one in counted)

    @_available
    async def count(self, collection: str, where: Filter) -> int:
        """How many documents match."""
        return int(await self._database[collection].count_documents(translate(get_collection(collection), where)))

    @_within(_COUNT_SECONDS)
    async def count_all(self, collection: str) -> int:
        """How many documents there are: looks at each of them."""
        get_collection(collection)
        return int(await self._database[collection].count_documents({}))


_WITHOUT_WORDS = {WORDS: 0}


def _at(document: Document, name: str) -> Any:
    found: Any = document
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _chunks(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + _MAX_IDS] for start in range(0, len(ids), _MAX_IDS)]
