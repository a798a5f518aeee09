"""How the embedded database is read: on the event loop what is short, in a few threads everything else.

A statement is tried on the loop where its plan promises that its limit is a limit of its time. A plan can't know how
many rows a condition passes over that no index has, so SQLite itself ends what runs for too long there, and it is read
again in a thread: no query holds the loop up for more than about a millisecond. Called by `sqlite.py` alone.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import Counter

from palaver.database.sqlite_filters import Query
from palaver.database.sqlite_schema import connect
from palaver.database.sqlite_writer import translate

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_READERS = 4
_MAX_PLANS = 1000
# Of SQLite's machine: it asks after so many whether to go on, and a page of 100 documents takes a tenth of them.
_INSTRUCTIONS = 20_000

MOVED = Counter("palaver_database_reads_moved_total", "Reads that took too long on the event loop: done in a thread")


class _TookTooLong(Exception):
    """It did not end on the event loop."""


class Reading:
    """The connections that read. One event loop makes, uses and closes it."""

    def __init__(self, path: Path, *, busy_timeout: float) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._plans: dict[str, bool] = {}
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(_READERS, "palaver sqlite reader")
        self._on_loop = self._connect()
        self._connections = [self._on_loop]
        # How often SQLite may still ask whether to go on. Once is no sign: it counts across statements.
        self._patience: int | None = None
        self._on_loop.set_progress_handler(self._is_over, _INSTRUCTIONS)

    async def close(self) -> None:
        """Waits for what is being read."""
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._connections:
            connection.close()

    def first(self, sql: str, parameters: Sequence[Any]) -> Any:
        """The first row of what is found by its key."""
        try:
            return self._on_loop.execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            raise translate(error) from error

    def on_loop(self, work: Work[T]) -> T:
        """Runs `work` here and now: it is known to be short."""
        try:
            return work(self._on_loop)
        except sqlite3.Error as error:
            raise translate(error) from error

    async def in_thread(self, work: Work[T]) -> T:
        """Runs `work` beside the event loop."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, work)
        except sqlite3.Error as error:
            raise translate(error) from error

    async def run(self, query: Query, work: Work[T]) -> T:
        """Runs `work`, which reads the query's rows: on the event loop as far as that is short."""
        if not query.looks_through and self._is_quick(query):
            try:
                return self._try_on_loop(work)
            except _TookTooLong:
                MOVED.inc()
        return await self.in_thread(work)

    def _try_on_loop(self, work: Work[T]) -> T:
        self._patience = 1
        try:
            return work(self._on_loop)
        except sqlite3.Error as error:
            if self._patience < 0:
                raise _TookTooLong from error
            raise translate(error) from error
        finally:
            self._patience = None

    def _is_over(self) -> bool:
        if self._patience is None:
            return False
        self._patience -= 1
        return self._patience < 0

    def _is_quick(self, query: Query) -> bool:
        """Whether the statement finds its rows by an index, and in order, so that its limit is a limit of its time."""
        quick = self._plans.get(query.sql)
        if quick is None:
            if len(self._plans) > _MAX_PLANS:
                self._plans.clear()
            explain = f"EXPLAIN QUERY PLAN {query.sql}"
            plan = self.on_loop(lambda c: [row[3] for row in c.execute(explain, query.parameters)])
            filters = " WHERE " in query.sql
            quick = not any("TEMP B-TREE" in step or (filters and _goes_through_all(step)) for step in plan)
            self._plans[query.sql] = quick
        return quick

    def _run(self, work: Work[T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            self._connections.append(connection)
        return work(connection)

    def _connect(self) -> sqlite3.Connection:
        return connect(self._path, busy_timeout=self._busy_timeout, read_only=True)


def _goes_through_all(step: str) -> bool:
    """In an index's order it ends with the page."""
    return step.startswith("SCAN") and " INDEX " not in step
