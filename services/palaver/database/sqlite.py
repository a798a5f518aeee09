"""The embedded database: one SQLite file in WAL mode, one thread that writes it in groups (`sqlite_writer.py`).

A commit is one savepoint: its event, its documents and `applied_seq` stand together or not at all. Short reads run
on the event loop, where they take microseconds; whatever may look at many rows runs in a few threads with
connections of their own. Every read sees what an awaited write wrote.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from orjson import loads

from palaver import failpoints
from palaver.database import (
    Document,
    Filter,
    Group,
    Put,
    Sort,
    Stream,
    document_stream,
    sqlite_events,
    sqlite_filters,
    sqlite_records,
)
from palaver.database.migrations import MIGRATIONS, Migration
from palaver.database.sqlite_filters import Query
from palaver.database.sqlite_indexing import Indexing
from palaver.database.sqlite_migrate import migrate
from palaver.database.sqlite_names import quote
from palaver.database.sqlite_puts import Commit
from palaver.database.sqlite_reading import Reading
from palaver.database.sqlite_schema import Table, connect, get_table
from palaver.database.sqlite_writer import Writer, translate
from palaver.database.timing import WRITTEN, timed
from palaver.errors import Unavailable
from palaver.v1.event_pb2 import Event

T = TypeVar("T")

# Up to here a read is short enough for the event loop: documents, events or heads.
_SHORT = 100
_HEADS_AT_ONCE = 128

_CLAIM = "INSERT INTO claims (key, owner) VALUES (?, ?) ON CONFLICT (key) DO NOTHING"
_OWNER = "SELECT owner FROM claims WHERE key = ?"
_RELEASE = "DELETE FROM claims WHERE key = ? AND owner = ?"


class SqliteDatabase:
    """The port's SQLite adapter. One event loop opens, uses and closes it."""

    def __init__(self, path: Path, *, migrations: Sequence[Migration] = MIGRATIONS, busy_timeout: float = 5.0) -> None:
        self.documents_written = 0
        self._path = path
        self._migrations = migrations
        self._busy_timeout = busy_timeout
        self._indexing = Indexing(self._submit, lambda work: self._reading.on_loop(work))
        self._reading: Reading
        self._writer: Writer

    async def open(self) -> None:
        """Makes or migrates the file, and starts the writer."""
        try:
            await asyncio.to_thread(self._prepare)
            self._reading = Reading(self._path, busy_timeout=self._busy_timeout)
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise Unavailable(f"{self._path} is not a database of Palaver, or it is damaged") from error
            raise translate(error) from error
        except OSError as error:
            raise Unavailable(f"{self._path} can't be opened: {error.strerror}") from error
        self._writer = Writer(self._path, busy_timeout=self._busy_timeout)

    async def watch(self) -> None:
        """Completes the index of texts, where it was begun anew. Raises when the writer's thread has died."""
        indexing = asyncio.ensure_future(self._indexing.complete())
        try:
            await asyncio.wait({indexing, self._writer.failed}, return_when=asyncio.FIRST_COMPLETED)
            await indexing
            await asyncio.shield(self._writer.failed)
        finally:
            indexing.cancel()

    async def close(self) -> None:
        """Finishes what is queued."""
        if hasattr(self, "_writer"):
            await self._writer.close()
        if hasattr(self, "_reading"):
            await self._reading.close()

    def _prepare(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # It holds password hashes: nobody else's to read. SQLite gives its other files the same mode.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = connect(self._path, busy_timeout=self._busy_timeout)
        try:
            migrate(connection, self._migrations)
        finally:
            connection.close()

    # -- writing ---------------------------------------------------------------------------------------------------

    @timed
    async def commit(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> None:
        """One savepoint within the next group: all of it, or StreamConflict and nothing."""
        failpoints.reach("commit.before_append")
        commit = Commit(stream, events, puts, append=True)
        await self._writer.submit(commit)
        self._count(commit)
        failpoints.reach("commit.after_advance")

    @timed
    async def apply(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> bool:
        """The same for events that somebody else has appended."""
        commit = Commit(stream, events, puts, append=False)
        if not await self._writer.submit(commit):
            return False
        self._count(commit)
        failpoints.reach("commit.after_advance")
        return True

    def _count(self, commit: Commit) -> None:
        self._count_written(commit.documents)
        if commit.texts:
            self._indexing.count(commit.texts)

    def _count_written(self, documents: int) -> None:
        self.documents_written += documents
        WRITTEN.inc(documents)

    def _submit(self, function: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self._writer.submit(None, function)
        return future

    @timed
    async def claim(self, key: str, owner: str) -> bool:
        """Whoever comes first."""

        def work(connection: sqlite3.Connection) -> tuple[bool, bool]:
            is_new = connection.execute(_CLAIM, (key, owner)).rowcount == 1
            return is_new, is_new or connection.execute(_OWNER, (key,)).fetchone()[0] == owner

        is_new, is_owner = await self._submit(work)
        self._count_written(is_new)
        return is_owner

    async def find_claim(self, key: str) -> str | None:
        """The owner of a unique name, or None."""
        row = self._reading.first(_OWNER, (key,))
        return None if row is None else str(row[0])

    @timed
    async def release(self, key: str, owner: str) -> None:
        """Frees a name, if this owner holds it."""
        self._count_written(await self._submit(lambda c: c.execute(_RELEASE, (key, owner)).rowcount))

    @timed
    async def mark_published(self, events: Sequence[Event]) -> None:
        """Takes the events out of `list_unpublished`."""
        if events:
            now = time.time_ns() // 1_000_000
            rows = [(now, event.stream_kind, event.stream_id, event.seq) for event in events]
            await self._submit(lambda connection: connection.executemany(sqlite_events.MARK, rows))
            self._count_written(len(rows))

    async def mark_unpublished(self, since: int) -> int:
        """Looks at every event: there is no index for what happens when a NATS beside this database is replaced."""
        return await self._submit(lambda connection: connection.execute(sqlite_events.UNMARK, (since,)).rowcount)

    # -- records ---------------------------------------------------------------------------------------------------

    async def put_record(self, kind: str, id: str, record: Document) -> None:
        """Sets one record, whole."""
        await self._submit(lambda connection: sqlite_records.put(connection, kind, id, record))

    async def replace_record(self, kind: str, id: str, record: Document) -> bool:
        """Sets one record, if there is one."""
        return await self._submit(lambda connection: sqlite_records.replace(connection, kind, id, record))

    async def find_record(self, kind: str, id: str) -> Document | None:
        """One record, or None."""
        row = self._reading.first(sqlite_records.GET, (kind, id))
        return None if row is None else loads(row[0])

    async def list_records(
        self, kind: str, prefix: str = "", *, after: str = "", limit: int = 100
    ) -> list[tuple[str, Document]]:
        """Ids and records, by id."""
        return self._reading.on_loop(lambda c: sqlite_records.list_from(c, kind, prefix, after, limit))

    async def delete_record(self, kind: str, id: str) -> bool:
        """Whether there was one."""
        return await self._submit(lambda connection: sqlite_records.delete(connection, kind, id))

    # -- the log as stored -----------------------------------------------------------------------------------------

    async def get_head(self, stream: Stream) -> int:
        """The last `seq` of the stream; 0 when it has none."""
        row = self._reading.first(sqlite_events.HEAD, stream)
        return 0 if row is None or row[0] is None else int(row[0])

    @timed
    async def get_heads(self, streams: Sequence[Stream]) -> list[int]:
        """The heads in the order asked for."""
        # About 2 µs each, so on the event loop, but not thousands of them in one go.
        heads: list[int] = []
        for start in range(0, len(streams), _HEADS_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            heads += self._reading.on_loop(
                partial(sqlite_events.read_heads, streams=streams[start : start + _HEADS_AT_ONCE])
            )
        return heads

    async def find_event(self, stream: Stream, command_id: str) -> Event | None:
        """The event that the command has become."""
        row = self._reading.first(sqlite_events.EVENT, (*stream, command_id))
        return None if row is None else Event.FromString(row[0])

    @timed
    async def list_events(self, stream: Stream, after: int, limit: int = 1000) -> list[Event]:
        """Events with a `seq` above `after`, in order."""
        return await self._list_events(sqlite_events.EVENTS, (*stream, after, limit), limit <= _SHORT)

    @timed
    async def list_unpublished(self, older_than: int, limit: int = 1000, *, fresh_since: int = 0) -> list[Event]:
        """Events that nobody has marked, by stream and seq."""
        return await self._reading.in_thread(
            lambda c: sqlite_events.list_unpublished(c, older_than, limit, fresh_since)
        )

    async def list_unpublished_before(self, seqs: Mapping[Stream, int], limit: int = 1000) -> list[Event]:
        """The same of these streams, below a seq of each."""
        return self._reading.on_loop(lambda c: sqlite_events.list_unpublished_before(c, seqs, limit))

    async def list_committed(self, kind: str, after: int, limit: int = 500) -> tuple[list[tuple[int, Event]], int]:
        """Events of one kind of stream, in the order in which everything was committed."""
        return await self._reading.in_thread(lambda c: sqlite_events.list_committed(c, kind, after, limit))

    async def list_unapplied(self, older_than: int, limit: int = 100) -> list[Stream]:
        """Streams whose document lags behind their head. There are none, unless events came in from outside."""
        rows = await self._reading.in_thread(
            lambda c: c.execute(sqlite_events.UNAPPLIED, (older_than, limit)).fetchall()
        )
        return [Stream(*row) for row in rows]

    async def list_streams(self, kind: str, *, after: str = "", limit: int = 1000) -> list[tuple[Stream, int]]:
        """Streams of a kind with what is projected of each, by id."""
        sql = sqlite_events.STREAMS[kind]
        rows = await self._reading.in_thread(lambda c: c.execute(sql, (after, limit)).fetchall())
        return [(document_stream(kind, id), applied) for id, applied in rows]

    async def _list_events(self, sql: str, parameters: tuple[Any, ...], is_short: bool) -> list[Event]:
        def work(connection: sqlite3.Connection) -> list[Event]:
            parse = Event.FromString
            return [parse(row[0]) for row in connection.execute(sql, parameters).fetchall()]

        return self._reading.on_loop(work) if is_short else await self._reading.in_thread(work)

    # -- documents -------------------------------------------------------------------------------------------------

    async def get(self, collection: str, id: str) -> Document | None:
        """One document by its id, or None."""
        table = get_table(collection)
        row = self._reading.first(table.get, (id,))
        return None if row is None else _decode(table, row)

    @timed
    async def get_many(self, collection: str, ids: Sequence[str]) -> dict[str, Document]:
        """Documents by their ids; absent ones are left out."""
        table = get_table(collection)
        found: dict[str, Document] = {}
        for start in range(0, len(ids), _SHORT):
            query = sqlite_filters.get_many(table, list(ids[start : start + _SHORT]))
            documents = await self._query(table, query, is_short=len(ids) <= _SHORT)
            found.update((document["_id"], document) for document in documents)
        return found

    async def find_one(self, collection: str, where: Filter) -> Document | None:
        """Any document that matches, or None."""
        found = await self.find(collection, where, limit=1)
        return found[0] if found else None

    @timed
    async def find(
        self, collection: str, where: Filter, *, sort: Sort = (), skip: int = 0, limit: int = 0
    ) -> list[Document]:
        """Documents that match."""
        table = get_table(collection)
        query = sqlite_filters.find(table, where, sort, skip, limit)
        if query.text and sort and limit:
            first = sqlite_filters.find_among_first(table, where, sort, skip, limit)
            found = await self._query(table, first, is_short=False)
            if len(found) == limit:
                return found
        return await self._query(table, query, is_short=0 < limit <= _SHORT and skip <= _SHORT)

    @timed
    async def list_values(self, collection: str, name: str, where: Filter) -> list[Any]:
        """One declared text field of each document that matches."""
        query = sqlite_filters.values(get_table(collection), name, where)
        return [row[0] for row in await self._reading.run(query, query.rows)]

    @timed
    async def list_groups(
        self, collection: str, where: Filter, by: str, at: str, ascending: bool = False, skip: int = 0, limit: int = 0
    ) -> tuple[list[Group], int]:
        """Matching documents by one field's value, by the newest of each."""
        page, total = sqlite_filters.groups(get_table(collection), where, by, at, ascending, skip, limit)
        rows, counted = await self._reading.in_thread(page.rows), await self._reading.in_thread(total.rows)
        return [Group(*row[:3]) for row in rows], counted[0][0]

    @timed
    async def count(self, collection: str, where: Filter) -> int:
        """How many documents match."""
        table = get_table(collection)
        query = sqlite_filters.count(table, where)
        if query.text:
            await self._indexing.before_search(table.name)
        return int(await self._reading.run(query, lambda c: c.execute(query.sql, query.parameters).fetchone()[0]))

    async def count_all(self, collection: str) -> int:
        """How many documents there are."""
        sql = f"SELECT count(*) FROM {quote(get_table(collection).name)}"
        return int(await self._reading.in_thread(lambda c: c.execute(sql).fetchone()[0]))

    # -- reading ---------------------------------------------------------------------------------------------------

    async def _query(self, table: Table, query: Query, *, is_short: bool) -> list[Document]:
        def work(connection: sqlite3.Connection) -> list[Document]:
            rows = query.rows(connection)
            if table.has_stream:
                return [_decode(table, row) for row in rows]
            return [loads(row[0]) for row in rows]

        if query.text:
            await self._indexing.before_search(table.name)
        return await (self._reading.run(query, work) if is_short else self._reading.in_thread(work))


def _decode(table: Table, row: Any) -> Document:
    document: Document = loads(row[0])
    if table.has_stream:
        document["applied_seq"] = row[1]
    return document
