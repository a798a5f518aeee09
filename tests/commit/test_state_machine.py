"""Several processes that execute commands on few streams, die anywhere and are followed by others, against a model.

Bounded in `make test`; it runs for a time with STATE_MACHINE_SECONDS=600.
"""

import asyncio
import itertools
import os
import random
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from palaver import failpoints, telling
from palaver.database import Database, Stream
from palaver.errors import InvalidInput, Unavailable
from palaver.events import stream_of
from palaver.live.embedded import EmbeddedLive
from palaver.v1.event_pb2 import Event
from tests.commit.harness import (
    CURRENT,
    END,
    OTHER,
    ROOM,
    SENDERS,
    Crash,
    Process,
    SharedLog,
    check_stream,
    create_room,
    expect,
    get_applied,
    send,
)
from tests.commit.stepping import SteppingDatabase, Store, VirtualLoop
from tests.database.harness import make_harness

T = TypeVar("T")

SECONDS = float(os.environ.get("STATE_MACHINE_SECONDS", "0"))
STREAMS = (ROOM, OTHER)
PROCESSES = 3
REPEATED = 8
COMMAND = tuple[Stream, str]


class Processes(RuleBasedStateMachine):
    """Rules start commands and let the loop turn; what has begun goes on under the rules that follow."""

    adapter = "stepping"
    server_url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop if self.adapter == "stepping" else None)
        self.runner.get_loop().set_exception_handler(ignore_crashes)
        self.stack = AsyncExitStack()
        self.log = SharedLog()
        self.live = EmbeddedLive()
        self.processes: list[Process] = []
        self.databases: list[Database] = []
        self.clients: dict[asyncio.Task[None], None] = {}  # in order
        # What was answered: the seq of each command, and how many messages a stream has at least.
        self.answered: dict[COMMAND, int] = {}
        self.messages: dict[Stream, set[int]] = {stream: set() for stream in STREAMS}
        self.told: dict[tuple[object, Stream], list[int]] = {}
        self.failures: list[BaseException] = []
        self.numbers = itertools.count(1)
        self.log_failed = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        outcome = self.runner.run(work)
        if self.failures:
            raise self.failures[0]
        return outcome

    @initialize(seed=st.integers(0, 2**16))
    def open(self, seed: int) -> None:
        async def work() -> None:
            if self.adapter == "stepping":
                store, choice = Store(), random.Random(seed)
                self.databases = [cast(Database, SteppingDatabase(store, choice)) for _ in range(PROCESSES)]
            else:
                harness = await self.stack.enter_async_context(make_harness(self.adapter, self.server_url))
                self.databases = [await harness.open() for _ in range(PROCESSES)]
            self.log.on_publish = self.on_publish
            self.processes = [self.start(index) for index in range(PROCESSES)]
            for stream in STREAMS:
                await self.processes[0].execute(stream, create_room(stream))

        self.run(work())

    def start(self, index: int) -> Process:
        return Process(f"process {index}", self.databases[index], self.log, self.live)

    def teardown(self) -> None:
        try:
            if self.processes:
                self.run(self.recover())
        finally:
            failpoints.disarm()
            self.runner.run(self.end())
            self.runner.close()

    async def end(self) -> None:
        for process in self.processes:
            await process.kill()
        await self.stack.aclose()

    # -- clients -------------------------------------------------------------------------------------------------------

    async def submit(self, process: Process, stream: Stream, number: int) -> None:
        """Sends a message; some commands are never tried again, and don't look whether they were."""
        sender = SENDERS[number % 2]
        repeated = number < REPEATED
        message_id = f"{stream.id}/{number}" if repeated else f"{stream.id}/once {next(self.numbers)}"
        seq = await process.execute(stream, send(message_id, sender, check=repeated))
        assert self.answered.setdefault((stream, f"{sender}/{message_id}"), seq) == seq
        self.messages[stream].add(seq)
        database = self.databases[0]
        applied = (
            database.applied(stream) if isinstance(database, SteppingDatabase) else await get_applied(database, stream)
        )
        assert applied >= seq, "answered before the projection stands"

    async def ask(self, process: Process, stream: Stream, least: int) -> None:
        known = len(self.messages[stream])
        try:
            found = await process.execute(stream, expect(least))
        except InvalidInput:
            assert known < least, "refused on a stale view"
        else:
            assert found >= max(known, least), "answered on a stale view"

    async def survive(self, process: Process, work: Coroutine[Any, Any, None]) -> None:
        """A client's own end: it hears nothing of a process that dies."""
        try:
            await work
        except BaseException as error:
            expected = isinstance(error, (Crash, asyncio.CancelledError, Unavailable)) and process.dead
            if not expected and not (isinstance(error, Unavailable) and self.log_failed):
                self.failures.append(error)

    async def on_publish(self, events: Sequence[Event]) -> None:
        """The log's own check: only what is projected is told, and each teller tells in order."""
        task = asyncio.current_task()
        # The process itself and not its address, which the next one may get.
        teller: object = CURRENT.get() if task is not None and task.get_name() == "telling" else task
        for event in events:
            stream = stream_of(event)
            told = self.told.setdefault((teller, stream), [])
            try:
                assert await get_applied(self.databases[0], stream) >= event.seq, "told before the projection stands"
                assert not told or told[-1] < event.seq, "told out of order"
            except AssertionError as error:
                self.failures.append(error)
            told.append(event.seq)

    # -- rules ---------------------------------------------------------------------------------------------------------

    processes_ = st.integers(0, PROCESSES - 1)
    streams = st.sampled_from(STREAMS)

    @rule(
        plan=st.lists(st.tuples(processes_, streams, st.integers(0, 2 * REPEATED)), min_size=1, max_size=8),
        turns=st.integers(0, 30),
    )
    def submit_some(self, plan: list[tuple[int, Stream, int]], turns: int) -> None:
        """Commands; the same number again is a retry."""

        async def work() -> None:
            for index, stream, number in plan:
                process = self.processes[index]
                self.begin(process, self.submit(process, stream, number))
            await self.turn(turns)

        self.run(work())

    @rule(index=processes_, stream=streams, least=st.integers(0, 10), turns=st.integers(0, 10))
    def ask_one(self, index: int, stream: Stream, least: int, turns: int) -> None:
        async def work() -> None:
            process = self.processes[index]
            self.begin(process, self.ask(process, stream, least))
            await self.turn(turns)

        self.run(work())

    @rule(seconds=st.sampled_from([0.0, 0.15]))
    def let_time_pass(self, seconds: float) -> None:
        """Long enough for whatever runs; the longer one also for the marking."""
        self.run(asyncio.sleep(seconds if self.adapter == "stepping" else seconds / 5))

    @rule(turns=st.integers(1, 100))
    def wait(self, turns: int) -> None:
        self.run(self.turn(turns))

    @rule(
        name=st.sampled_from([name for name in failpoints.NAMES if name.startswith(("commit.", "tell."))]),
        nth=st.integers(1, 6),
    )
    def arm(self, name: str, nth: int) -> None:
        """Whoever comes there as the nth dies."""
        left = nth

        def action() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                process = CURRENT.get()
                process.dead = True
                raise Crash

        failpoints.arm(name, action)

    @rule(index=processes_)
    def kill(self, index: int) -> None:
        async def work() -> None:
            self.processes[index].dead = True
            await self.turn(1)

        self.run(work())

    @rule(index=processes_)
    def stop(self, index: int) -> None:
        """An orderly end: afterwards nothing of this process is left to do."""

        async def work() -> None:
            process = self.processes[index]
            try:
                await process.stop()
            except Crash:
                assert process.dead
            process.dead = True
            await self.turn(0)

        self.run(work())

    @rule(index=processes_, turns=st.integers(0, 40))
    def sweep(self, index: int, turns: int) -> None:
        async def work() -> None:
            process = self.processes[index]
            self.begin(process, process.sweep())
            await self.turn(turns)

        self.run(work())

    @rule(available=st.booleans())
    def let_the_log_fail(self, available: bool) -> None:
        self.log.available = available
        self.log_failed |= not available

    def begin(self, process: Process, work: Coroutine[Any, Any, None]) -> None:
        client = asyncio.create_task(self.survive(process, work))
        self.clients[client] = None
        client.add_done_callback(self.clients.pop)

    async def turn(self, turns: int) -> None:
        """Lets the loop turn, and follows every dead process by a new one."""
        for _ in range(turns):
            await asyncio.sleep(0 if self.adapter == "stepping" else 0.0005)
        for index, process in enumerate(self.processes):
            if process.dead:
                await process.kill()
                self.processes[index] = self.start(index)

    # -- the end -------------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Everybody dies; one process finishes what is left, and exactly that."""
        failpoints.disarm()
        self.log.available = True
        for process in self.processes:
            await process.kill()
        await asyncio.gather(*self.clients)
        if self.adapter != "stepping":  # what the dead had sent to the database may still arrive there
            for index, database in enumerate(self.databases):
                await database.claim(f"after all of {index}", "test")
        database = self.databases[0]
        last = Process("last", database, self.log, self.live)
        self.processes.append(last)
        left = [(stream_of(event), event.seq) for event in await database.list_unpublished(END)]
        already = len(self.log.events)
        await last.commits.sweep(END)
        swept = [(stream_of(event), event.seq) for event in self.log.events[already:]]
        assert swept == left or (self.adapter == "mongo" and set(swept) >= set(left))
        assert await database.list_unpublished(END) == []
        assert await database.list_unapplied(END) == []
        for stream in STREAMS:
            commands = await check_stream(database, stream)
            for (where, command_id), seq in self.answered.items():
                assert where != stream or commands[command_id] == seq
            assert set(self.log.seqs(stream)) == set(commands.values())


def ignore_crashes(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), Crash):
        loop.default_exception_handler(context)


CASES = [
    pytest.param("stepping", 250, id="stepping"),
    pytest.param("sqlite", 8, id="sqlite"),
    pytest.param("mongo", 8, id="mongo", marks=pytest.mark.needs_servers),
]


@pytest.mark.parametrize(("adapter", "examples"), CASES)
def test_processes_that_come_and_go(
    adapter: str, examples: int, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if adapter == "stepping":
        # The telling looks at the clock: at the loop's, so that the same choices are always the same run.
        clock = SimpleNamespace(**vars(time) | {"monotonic": lambda: asyncio.get_running_loop().time()})
        monkeypatch.setattr(telling, "time", clock)
    machine = type("Machine", (Processes,), {"adapter": adapter, "server_url": server_url})
    bounds = settings(
        max_examples=examples,
        stateful_step_count=60 if SECONDS else 30,
        deadline=None,
        # A real database has a clock of its own: what failed there once can't be made smaller. And it takes longer
        # than a run of all tests has time for.
        phases=[phase for phase in Phase if phase is not Phase.shrink or (SECONDS and adapter == "stepping")],
        suppress_health_check=list(HealthCheck),
    )
    deadline = time.monotonic() + SECONDS
    while True:
        run_state_machine_as_test(machine, settings=bounds)
        if time.monotonic() >= deadline:
            return
