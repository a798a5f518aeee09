"""Processes that execute commands on one store, as the tests of the commit protocol need them: mortal ones.

A process is a `Commits` with its telling, its own way to the database, and the log that all processes share. Killing
one stops whatever it was about to write or to publish; what had reached the database or the log stays there.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, cast

import orjson

from palaver import failpoints
from palaver.commit import Commits, Draft
from palaver.database import STREAM_COLLECTIONS, Database, Stream, stream_document_id
from palaver.errors import InvalidInput, Unavailable
from palaver.events import SYSTEM, room_stream, stream_of, user_actor
from palaver.live.embedded import EmbeddedLive
from palaver.log.embedded import EmbeddedLog
from palaver.v1.event_pb2 import Event
from tests.database.harness import Harness
from tests.log.harness import NothingCommitted

ROOM = room_stream("general")
OTHER = room_stream("other.room")
SENDERS = ("alice", "bob")
END = 1 << 62
"""Later than every event."""


class Crash(BaseException):
    """What a process dies of in a test. No handler of errors may take it for one."""


class SharedLog(EmbeddedLog):
    """The log of all processes; it remembers what it was given, and can be made unavailable."""

    def __init__(self) -> None:
        super().__init__(NothingCommitted())
        self.events: list[Event] = []
        self.available = True
        self.on_publish: Callable[[Sequence[Event]], Awaitable[None]] | None = None

    async def publish(self, events: Sequence[Event]) -> None:
        if not self.available:
            raise Unavailable
        if self.on_publish is not None:
            await self.on_publish(events)
        self.events.extend(events)
        await super().publish(events)

    def seqs(self, stream: Stream) -> list[int]:
        return [event.seq for event in self.events if stream_of(event) == stream]


class Mortal:
    """A port as one process sees it: dead processes call nothing any more."""

    def __init__(self, port: Any, process: "Process") -> None:
        self._port = port
        self._process = process

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            if self._process.dead:
                raise Crash
            return await method(*arguments, **options)

        return call


CURRENT: ContextVar["Process"] = ContextVar("process")
"""The process that a task belongs to."""


class Process:
    """One process. Use `kill` or `stop`."""

    def __init__(self, name: str, database: Database, log: SharedLog, live: EmbeddedLive) -> None:
        self.dead = False
        self._context = copy_context()
        self._context.run(CURRENT.set, self)
        self.database = cast(Database, Mortal(database, self))
        self.commits = Commits(self.database, cast(Any, Mortal(log, self)), live, node_id=name)
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order: a set's would depend on addresses
        self.telling = self._spawn(self.commits.run_telling(), "telling")

    def start(self, stream: Stream, decide: Callable[[Draft], Awaitable[Any]]) -> "asyncio.Task[Any]":
        """Begins to execute a command.

        A dead process takes none: its writers may have been cancelled before they began, and would never answer.
        """
        if self.dead:
            raise Crash
        return self._spawn(self.commits.execute(stream, decide), "command")

    async def execute(self, stream: Stream, decide: Callable[[Draft], Awaitable[Any]]) -> Any:
        return await self.start(stream, decide)

    async def sweep(self) -> None:
        """Sweeps everything, however young."""
        await self._spawn(self.commits.sweep(END), "sweep")

    async def stop(self) -> None:
        """As a process stops that is asked to."""
        await self.commits.close()
        await self.telling

    async def kill(self) -> None:
        """As a power failure would."""
        self.dead = True
        writers = [writer.task for writer in self.commits._writers.values() if writer.task is not None]
        tasks = [*writers, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work, name=name, context=self._context.copy())
        self._tasks[task] = None
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and isinstance(task.exception(), Crash):
            self.dead = True


class World:
    """A store, a log and processes."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.log = SharedLog()
        self.live = EmbeddedLive()
        self.processes: list[Process] = []
        self.database: Database

    async def start(self) -> Process:
        """Another process."""
        database = await self.harness.open()
        process = Process(f"process {len(self.processes)}", database, self.log, self.live)
        self.processes.append(process)
        return process

    async def recover(self) -> None:
        """Kills everybody; a new process finishes what they left."""
        failpoints.disarm()
        for process in self.processes:
            await process.kill()
        process = await self.start()
        await process.commits.sweep(END)


async def wait_for(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


# -- commands --------------------------------------------------------------------------------


def create_room(stream: Stream) -> Callable[[Draft], Awaitable[int]]:
    """Makes the room with its members, unless it is there."""

    async def decide(draft: Draft) -> int:
        if await draft.get_own() is None:
            fact = Event()
            fact.room_created.room = orjson.dumps({"_id": stream.id, "t": "c", "name": stream.id, "msgs": 0})
            for sender in SENDERS:
                subscription = {"_id": f"{stream.id}/{sender}", "rid": stream.id, "u": {"_id": sender}, "own": 0}
                fact.room_created.subscriptions.append(orjson.dumps(subscription))
            draft.append(fact, actor=SYSTEM, command_id="create")
        return draft.head

    return decide


def send(
    message_id: str, sender: str = "alice", *, at: int = 0, check: bool = True
) -> Callable[[Draft], Awaitable[int]]:
    """Sends a message, once. Every counter of the event depends on what stood there before. Returns its seq."""

    async def decide(draft: Draft) -> int:
        command_id = f"{sender}/{message_id}"
        if check and (known := await draft.find_command(command_id)) is not None:
            return known.seq
        room = await draft.get_own()
        subscription = await draft.find_one("subscriptions", rid=draft.stream.id, u___id=sender)
        assert room is not None
        assert subscription is not None
        event = Event()
        fact = event.message_sent
        fact.message_id = message_id
        fact.messages = fact.counted = room["msgs"] + 1
        fact.counts = True
        fact.sender_subscription_id = subscription["_id"]
        fact.sender_own = subscription["own"] + 1
        message = {"_id": message_id, "rid": draft.stream.id, "u": {"_id": sender}, "ts": {"$date": 1}, "msg": ""}
        fact.message = orjson.dumps(message)
        return draft.append(event, actor=user_actor(sender), command_id=command_id, at=at).seq

    return decide


def expect(messages: int) -> Callable[[Draft], Awaitable[int]]:
    """Refuses unless the room has so many messages; returns how many there are, and appends nothing."""

    async def decide(draft: Draft) -> int:
        room = await draft.get_own()
        found: int = 0 if room is None else room["msgs"]
        if found < messages:
            raise InvalidInput(f"only {found}")
        return found

    return decide


# -- what must hold --------------------------------------------------------------------------------


async def read_log(database: Database, stream: Stream) -> list[Event]:
    """All events of the stream."""
    events: list[Event] = []
    while more := await database.list_events(stream, len(events), 100):
        events += more
    return events


async def get_applied(database: Database, stream: Stream) -> int:
    document = await database.get(STREAM_COLLECTIONS[stream.kind], stream_document_id(stream))
    return 0 if document is None else int(document["applied_seq"])


async def check_stream(database: Database, stream: Stream) -> dict[str, int]:
    """The stream is gapless, each event was decided on what the one before left, and the documents follow from it.

    Returns the seq of each command.
    """
    events = await read_log(database, stream)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    commands = {event.command_id: event.seq for event in events}
    assert len(commands) == len(events)
    assert await get_applied(database, stream) == len(events)
    sent = [event for event in events if event.WhichOneof("fact") == "message_sent"]
    own = dict.fromkeys(SENDERS, 0)
    for number, event in enumerate(sent, 1):
        own[event.actor.id] += 1
        fact = event.message_sent
        assert (fact.messages, fact.sender_own) == (number, own[event.actor.id])
        assert await database.get("messages", fact.message_id) is not None
    if events:
        room = await database.get("rooms", stream.id)
        assert room is not None
        assert room["msgs"] == len(sent)
        for sender in SENDERS:
            subscription = await database.get("subscriptions", f"{stream.id}/{sender}")
            assert subscription is not None
            assert subscription["own"] == own[sender]
    return commands


@contextmanager
def crash_at(process: Process, name: str, nth: int = 1) -> Iterator[None]:
    """The process dies when it comes to the failpoint for the nth time; it must be the only one that comes there."""
    left = nth

    def action() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            process.dead = True
            raise Crash

    failpoints.arm(name, action)
    try:
        yield
    finally:
        failpoints.disarm()
