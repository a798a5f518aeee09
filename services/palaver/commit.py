"""The commit protocol: append, project, answer, tell; and catching up with what a crash left behind.

A command is decided against the documents as they stand at its stream's head, and becomes one event at head + 1.
If somebody else got there first, the database refuses (StreamConflict) and the command is decided again, on what is
true by then.
So a decision is never made on a stale view, however many processes write; sending a room's commands to one process
only makes conflicts rare.

Commands of one stream that arrive while its last commit runs are committed together. The answer goes out when the
projection stands, before anybody else is told. Telling (the log) and marking what was told follow in the background;
the sweeper does both for whatever a crash left.

Called by the services' use cases; nobody else appends events, but for `backup/`, which appends an archive's.
"""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from prometheus_client import Counter, Gauge, Histogram

from palaver import failpoints
from palaver.database import STREAM_COLLECTIONS, Database, Put, Stream, StreamConflict, stream_document_id
from palaver.draft import Draft, StaleView, now
from palaver.errors import Unavailable
from palaver.live import Live
from palaver.log import Log
from palaver.projections import project
from palaver.sweeping import SWEEP_SECONDS, Sweeping
from palaver.telemetry import current_span, request_id, resumed_span, span
from palaver.telling import SWEPT, Telling
from palaver.v1.event_pb2 import Event

__all__ = ["Commits", "Decide", "Draft", "catch_up", "now"]

T = TypeVar("T")
logger = logging.getLogger(__name__)

COMMITTED = Counter("palaver_events_committed_total", "Events appended by this process", ["stream_kind"])
CONFLICTS = Counter("palaver_commit_conflicts_total", "Commits that had to be decided again", ["stream_kind"])
COMMIT_SECONDS = Histogram(
    "palaver_commit_seconds",
    "Time to append and project one batch",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
WAITING = Gauge("palaver_commands_waiting", "Commands in this process that have no outcome yet")
_MAX_BATCH = 256
MAX_TOLD_BYTES = 24 * 1024 * 1024
"""Of the events in one answer to somebody who missed them."""
_MAX_ATTEMPTS = 50
_MAX_WRITERS = 4096

Decide = Callable[[Draft], Awaitable[T]]


class _Command(Generic[T]):
    __slots__ = ("answer", "decide", "request_id", "span")

    def __init__(self, decide: Decide[T], answer: "asyncio.Future[T]") -> None:
        self.decide = decide
        self.answer = answer
        self.request_id = request_id.get()
        self.span = current_span.get()

    def resume(self) -> None:
        """What follows is done for whoever asked for this command."""
        request_id.set(self.request_id)
        current_span.set(self.span)

    @property
    def trace(self) -> str:
        return "" if self.span is None else self.span.trace


class Commits:
    """The writers of this process, one for each stream in use, and the telling of what they committed."""

    def __init__(
        self, database: Database, log: Log, live: Live, *, node_id: str, policy_seq: Callable[[], int] = lambda: 0
    ) -> None:
        """`policy_seq`: of the policy that this process obeys."""
        self.database = database
        self.policy_seq = policy_seq
        self._writers: OrderedDict[Stream, _Writer] = OrderedDict()
        self._waiting = 0  # commands that have no outcome yet
        self._telling = Telling(database, log)
        self._sweeping = Sweeping(database, log, live, node_id=node_id, catch_up=self.catch_up)
        self._closing = False

    async def execute(self, stream: Stream, decide: Decide[T]) -> T:
        """Decides the command on the stream's documents, commits the event that it appends, and returns its result.

        Raises what `decide` raises: nothing was appended. Or Unavailable: it is unknown whether the event was appended,
        and a retry with the same command id finds out.
        """
        if self._closing:
            raise Unavailable("This server is stopping")
        writer = self._writers.get(stream)
        if writer is None:
            writer = self._writers[stream] = _Writer(self, stream)
            if len(self._writers) > _MAX_WRITERS:
                self._evict()
        else:
            self._writers.move_to_end(stream)
        self._waiting += 1
        try:
            with span("command"):
                return await writer.submit(decide)
        finally:
            self._waiting -= 1

    def measure(self) -> None:
        """Sets the gauges of what waits here."""
        WAITING.set(self._waiting)
        self._telling.measure()

    async def catch_up(self, stream: Stream) -> int:
        """Projects what is appended to the stream but not yet projected. Returns the stream's head."""
        return await catch_up(self.database, stream)

    def tell(self, events: Sequence[Event]) -> None:
        """Hands committed events to the log, in order; returns at once."""
        self._telling.tell(events)

    async def run_telling(self) -> None:
        """The background task that publishes what was committed, and marks it. Runs until `close`."""
        await self._telling.run()

    async def run_sweeping(self, every: float = SWEEP_SECONDS) -> None:
        """The background task that finishes what other processes left, while nobody else does. Runs until `close`."""
        await self._sweeping.run(every)

    async def sweep(self, older_than: int) -> None:
        """Projects and publishes, in order, what was appended before `older_than` (epoch ms) and is not."""
        await self._sweeping.sweep(older_than)

    async def list_told(self, stream: Stream, after: int, limit: int) -> list[Event]:
        """The events after a `seq` for somebody who missed them; as with what is told, the documents show each.

        At most `limit`, and as many as fit into one answer: at least one, if there is one.
        """
        events: list[Event] = []
        size = 0
        while len(events) < limit:
            wanted = min(_MAX_BATCH, limit - len(events))
            found = await self.database.list_events(stream, events[-1].seq if events else after, limit=wanted)
            for event in found:
                size += event.ByteSize()
                if events and size > MAX_TOLD_BYTES:
                    break
                events.append(event)
            if len(found) < wanted or size > MAX_TOLD_BYTES:
                break
        if events:
            await self.catch_up(stream)
        return events

    async def close(self) -> None:
        """Refuses new commands and ends the telling after the last event; what runs is finished first."""
        self._closing = True
        self._sweeping.close()
        running = [writer.task for writer in self._writers.values() if writer.task is not None]
        if running:
            await asyncio.wait(running)
        self._telling.close()

    def _evict(self) -> None:
        for stream in list(self._writers)[: _MAX_WRITERS // 4]:
            if not self._writers[stream].busy:
                del self._writers[stream]


async def catch_up(database: Database, stream: Stream) -> int:
    """Projects what is appended to a stream but not yet projected. Returns the stream's head."""
    while True:
        head = await database.get_head(stream)
        document = await database.get(STREAM_COLLECTIONS[stream.kind], stream_document_id(stream))
        applied = 0 if document is None else int(document.get("applied_seq", 0))
        if applied >= head:
            return head
        events = await database.list_events(stream, applied, limit=_MAX_BATCH)
        if await database.apply(stream, events, [project(event) for event in events]):
            SWEPT.labels("projected").inc(len(events))


class _Writer:
    """Decides and commits the commands of one stream, a batch at a time."""

    __slots__ = ("_commits", "_draft", "_queue", "stream", "task")

    def __init__(self, commits: Commits, stream: Stream) -> None:
        self.stream = stream
        self._commits = commits
        self._queue: list[_Command[Any]] = []
        self._draft: Draft | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return self.task is not None

    async def submit(self, decide: Decide[T]) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(_Command(decide, answer))
        if self.task is None:
            self.task = asyncio.create_task(self._drain(), name=f"writer {self.stream}")
        return await answer

    async def _drain(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue[:_MAX_BATCH], self._queue[_MAX_BATCH:]
                try:
                    await self._commit_batch(batch)
                except BaseException as error:
                    self._draft = None
                    if not isinstance(error, Exception):
                        batch, self._queue = [*batch, *self._queue], []
                    for command in batch:
                        if not command.answer.done():
                            command.answer.set_exception(error)
                    if not isinstance(error, Exception):
                        raise
        finally:
            self.task = None

    async def _commit_batch(self, batch: list[_Command[Any]]) -> None:
        database = self._commits.database
        for attempt in range(_MAX_ATTEMPTS):
            cached = self._draft is not None
            if self._draft is None:
                head = await self._commits.catch_up(self.stream)
                self._draft = Draft(database, self.stream, head)
            draft = self._draft
            head = draft.head
            decided: list[tuple[_Command[Any], Any, Event | None]] = []
            refused: list[tuple[_Command[Any], Exception]] = []
            events: list[Event] = []
            puts: list[list[Put]] = []
            for command in batch:
                if command.answer.cancelled():
                    continue
                command.resume()
                try:
                    result = await command.decide(draft)
                    accepted = draft.accept()
                except StaleView:
                    self._draft = None
                    break
                except Exception as error:  # one command's failure is no other's
                    draft.appended = None
                    refused.append((command, error))
                    continue
                if accepted is not None:
                    events.append(accepted[0])
                    puts.append(accepted[1])
                decided.append((command, result, None if accepted is None else accepted[0]))
            # An answer may rest on what this process remembers. A commit proves that nobody else has written meanwhile;
            # without one, look.
            if cached and not events and await database.get_head(self.stream) != head:
                self._draft = None
            if self._draft is None:
                continue
            if events:
                try:
                    started = time.perf_counter()
                    with resumed_span("commit", "internal", (entry[0].trace for entry in decided)):
                        await database.commit(self.stream, events, puts)
                    COMMIT_SECONDS.observe(time.perf_counter() - started)
                except StreamConflict as conflict:
                    CONFLICTS.labels(self.stream.kind).inc()
                    self._draft = None
                    batch = await self._after_conflict(batch, decided, events[: conflict.committed])
                    await asyncio.sleep(random.uniform(0, 0.002 * min(attempt, 10)))
                    continue
            failpoints.reach("commit.before_answer")
            self._answer(decided, events)
            for command, refusal in refused:
                if not command.answer.done():
                    command.answer.set_exception(refusal)
            draft.trim()
            return
        raise Unavailable(f"{self.stream} is too busy")

    async def _after_conflict(
        self, batch: list[_Command[Any]], decided: list[tuple[_Command[Any], Any, Event | None]], committed: list[Event]
    ) -> list[_Command[Any]]:
        """Answers the commands that were committed before the conflict; returns those to decide again."""
        if not committed:
            return batch
        await self._commits.catch_up(self.stream)
        seqs = {event.seq for event in committed}
        done = [entry for entry in decided if entry[2] is not None and entry[2].seq in seqs]
        self._answer(done, committed)
        finished = {id(entry[0]) for entry in done}
        return [command for command in batch if id(command) not in finished]

    def _answer(self, decided: list[tuple[_Command[Any], Any, Event | None]], events: list[Event]) -> None:
        for command, result, event in decided:
            if event is not None:  # it is stored by now, without these
                if command.request_id != "-":
                    event.request_id = command.request_id
                if command.trace:
                    event.trace = command.trace
                event.policy_seq = self._commits.policy_seq()
            if not command.answer.done():
                command.answer.set_result(result)
        if events:
            COMMITTED.labels(self.stream.kind).inc(len(events))
            self._commits.tell(events)
