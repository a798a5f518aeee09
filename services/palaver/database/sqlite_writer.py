"""The one thread that writes, and its group commit.

What is submitted during one turn of the event loop, and while the last group is being written, becomes one group: one
transaction, one sync to disk, one call back to the loop. The loop prepares a group completely, so that the thread only
executes statements: each of them hands the interpreter lock over, and a busy loop makes that dear.

A group is tried as a whole first. If anything in it is not as expected, it is rolled back and each of its works is
done by itself within a savepoint; so one work's failure is never another's.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import Gauge, Histogram

from palaver.database.sqlite_puts import Commit, Stage
from palaver.database.sqlite_schema import SEARCHED, connect
from palaver.database.sqlite_text import prepare_writer
from palaver.errors import Unavailable

logger = logging.getLogger(__name__)

GROUP_WORKS = Histogram(
    "palaver_sqlite_group_works",
    "Commits and other writes in one transaction of SQLite",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
WAITING = Gauge("palaver_sqlite_works_waiting", "Writes that are with SQLite's writer, or wait for it")

_MAX_GROUP = 512


class Work:
    """Something to be written: a Commit, or a function that gets the connection within a savepoint."""

    __slots__ = ("commit", "function", "future")

    def __init__(
        self,
        future: "asyncio.Future[Any]",
        commit: Commit | None = None,
        function: Callable[[sqlite3.Connection], Any] | None = None,
    ) -> None:
        self.future = future
        self.commit = commit
        self.function = function

    def run(self, connection: sqlite3.Connection) -> Any:
        if self.commit is not None:
            return self.commit.run(connection)
        assert self.function is not None
        return self.function(connection)


class _Group:
    """Works that were submitted together, and how to do them at once: stages of commits, then all other works."""

    __slots__ = ("plan", "works")

    def __init__(self, works: list[Work]) -> None:
        self.works = works
        # Each part is the steps of a stage, or the place of a work that is done by itself.
        self.plan: list[list[tuple[str, list[Any], int]] | int] = []
        stage = Stage()
        for place, work in enumerate(works):
            if work.commit is None or stage.add(work.commit):
                continue
            self.plan.append(stage.steps())
            stage = Stage()
            if not stage.add(work.commit):
                self.plan.append(place)
        self.plan.append(stage.steps())
        # Nobody has been answered yet, so any order is as good as the one of submission.
        self.plan += [place for place, work in enumerate(works) if work.commit is None]


class _Unexpected(Exception):
    """Some row of a stage was not as it should be: somebody has a conflict."""


def translate(error: Exception) -> Exception:
    """What a caller is told of an error of SQLite: Unavailable, unless the statement itself is wrong."""
    if isinstance(error, (sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.DataError)) or not isinstance(
        error, sqlite3.Error
    ):
        return error
    return Unavailable(f"The database does not answer: {error}")


class Writer:
    """Owned by SqliteDatabase. Everything but `_run` and what it calls happens on the event loop."""

    def __init__(self, path: Path, *, busy_timeout: float) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._loop = asyncio.get_running_loop()
        # Done with an exception when the thread has died: nothing will ever be written again.
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._pending: list[Work] = []
        self._is_busy = False  # a group is with the thread, or about to be handed over
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_closed = False
        self._groups: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="palaver sqlite writer", daemon=True)
        self._thread.start()

    def submit(self, commit: Commit | None, function: Callable[[sqlite3.Connection], Any] | None = None) -> Any:
        """Queues a work; the returned future has its result once it is durable."""
        if self._is_closed or self.failed.done():
            raise Unavailable("The database is closed")
        work = Work(self._loop.create_future(), commit, function)
        self._pending.append(work)
        if not self._is_busy:
            self._is_busy = True
            self._idle.clear()
            self._loop.call_soon(self._hand_over)
        return work.future

    async def close(self) -> None:
        """Finishes what is queued, and ends the thread."""
        self._is_closed = True
        if not self.failed.done():
            await self._idle.wait()
        self._groups.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        works = self._pending
        WAITING.set(len(works))
        if not works:
            self._is_busy = False
            self._idle.set()
            return
        if len(works) > _MAX_GROUP:
            works, self._pending = works[:_MAX_GROUP], works[_MAX_GROUP:]
        else:
            self._pending = []
        GROUP_WORKS.observe(len(works))
        self._groups.put(_Group(works))

    def _on_written(self, group: _Group, outcomes: Sequence[Any] | None) -> None:
        if outcomes is None:
            for work in group.works:
                if not work.future.done():  # cancelled meanwhile
                    work.future.set_result(True)
        else:
            for work, outcome in zip(group.works, outcomes, strict=True):
                if work.future.done():
                    continue
                if isinstance(outcome, Exception):
                    work.future.set_exception(outcome)
                else:
                    work.future.set_result(outcome)
        # Whoever goes on now and writes again still comes into the next group.
        self._loop.call_soon(self._hand_over)

    def _on_died(self, error: BaseException, group: _Group | None) -> None:
        works = [*([] if group is None else group.works), *self._pending]
        self._pending = []
        self._idle.set()
        for work in works:
            if not work.future.done():
                work.future.set_exception(Unavailable("The database's writer has died"))
        if not self.failed.done():
            self.failed.set_exception(error)
            self.failed.exception()  # the caller's to look at, or not

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        group: _Group | None = None
        try:
            connection = connect(self._path, busy_timeout=self._busy_timeout)
            try:
                for collection, field in SEARCHED.items():
                    prepare_writer(connection, collection, field)
                while (group := self._groups.get()) is not None:
                    outcomes = self._write(connection, group)
                    self._loop.call_soon_threadsafe(self._on_written, group, outcomes)
            finally:
                connection.close()
        except BaseException as error:
            if not self._loop.is_closed():  # else nobody is left to tell
                logger.exception("the database's writer has died")
                self._loop.call_soon_threadsafe(self._on_died, error, group)

    def _write(self, connection: sqlite3.Connection, group: _Group) -> Sequence[Any] | None:
        """The works' outcomes (a result or an exception each), or None when all are True."""
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return [translate(error)] * len(group.works)
        try:
            outcomes = self._write_together(connection, group)
            connection.execute("COMMIT")
            return outcomes
        except Exception as error:
            self._roll_back(connection)
            if not isinstance(error, (_Unexpected, sqlite3.IntegrityError)):  # those are conflicts
                logger.warning("a group of %d is written one by one: %s", len(group.works), error)
        try:
            connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._write_alone(connection, work) for work in group.works]
            connection.execute("COMMIT")
            return outcomes
        except sqlite3.Error as error:
            self._roll_back(connection)
            if len(group.works) == 1:
                return [translate(error)]
        # Not even that: a disk that is full, a page that can't be read. Some works may still be written.
        return [outcome for work in group.works for outcome in self._write(connection, _Group([work])) or [True]]

    def _write_together(self, connection: sqlite3.Connection, group: _Group) -> Sequence[Any] | None:
        outcomes: list[Any] | None = None
        for part in group.plan:
            if isinstance(part, int):
                if outcomes is None:
                    outcomes = [True] * len(group.works)
                outcomes[part] = self._write_alone(connection, group.works[part])
                continue
            for sql, rows, expected in part:
                if len(rows) == 1:
                    changed = connection.execute(sql, rows[0]).rowcount
                else:
                    changed = connection.executemany(sql, rows).rowcount
                if expected >= 0 and changed != expected:
                    raise _Unexpected
        return outcomes

    def _write_alone(self, connection: sqlite3.Connection, work: Work) -> Any:
        connection.execute("SAVEPOINT work")
        try:
            outcome = work.run(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise  # SQLite has rolled the whole transaction back: disk full, I/O error …
            connection.execute("ROLLBACK TO work")
            outcome = translate(error)
        connection.execute("RELEASE work")
        return outcome

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
