"""Writers, appliers and readers in any order, stopping anywhere: the log and its documents stay what they must be.

Bounded in `make test`. It runs long with HYPOTHESIS_PROFILE=long, or for a time with STATE_MACHINE_SECONDS=600.
"""

import asyncio
import os
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from palaver import failpoints
from palaver.database import Database, Document, Put, Stream, StreamConflict
from palaver.v1.event_pb2 import Event
from tests.database.harness import Crash, make_harness
from tests.database.model import OTHER_ROOM, ROOM, USER, catch_up, fold, get_applied, make_event, project, read_log

T = TypeVar("T")

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SECONDS = float(os.environ.get("STATE_MACHINE_SECONDS", "0"))
EXAMPLES = {"sqlite": 60, "mongo": 40}  # a few seconds each
SETTINGS = settings(
    stateful_step_count=60 if LONG or SECONDS else 25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

STREAMS = [ROOM, OTHER_ROOM, USER]
WRITERS = 3
streams = st.sampled_from(STREAMS)
writers = st.integers(0, WRITERS - 1)
commands = st.integers(0, 12).map("command {}".format)
owners = st.sampled_from(["alice", "bob", "carol"])


def decide(stream: Stream, seq: int, command_id: str) -> Event:
    """A command's event at this place: a document of its own, its stream's, and one that all streams share."""
    number = int(command_id.split()[1])
    own = {"room": "rooms", "user": "users"}[stream.kind]
    mine = f"{stream} {seq}"
    message = {"_id": mine, "rid": stream.id, "ts": {"$date": seq}, "msg": command_id, "n": [seq, None]}
    puts = [
        Put(own, stream.id, insert={"_id": stream.id, "count": 0}),
        Put("messages", mine, insert=message),
        Put("messages", f"{stream} {seq - 1}", set={"next": seq}, unset=("n",)),
        Put("subscriptions", f"sub {stream}", insert={"_id": f"sub {stream}", "first": seq}),
        Put("subscriptions", f"sub {stream}", set={"own": seq, f"by {number % 3}": command_id}),
        Put(own, stream.id, set={"count": seq, "last": message}, unset=(f"mark {(number + 1) % 4}",)),
        Put(own, stream.id, set={f"mark {number % 4}": {"seq": seq}}),
    ]
    if stream != OTHER_ROOM:
        puts.append(Put("subscriptions", "shared", set={stream.kind: seq}))
    return make_event(stream, seq, puts, command_id=command_id)


class Writers(RuleBasedStateMachine):
    """Three processes, as it were, on one store."""

    adapter = "sqlite"
    server_url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.databases: list[Database] = []
        # What each writer believes to be the head, often wrongly.
        self.believed: list[dict[Stream, int]] = [{} for _ in range(WRITERS)]
        self.acknowledged: dict[tuple[Stream, str], int] = {}
        self.kept: list[tuple[Stream, list[Event]]] = []
        self.owner: dict[str, str] = {}
        self.run(self.open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def open(self) -> None:
        self.harness = await self.stack.enter_async_context(make_harness(self.adapter, self.server_url))
        self.databases = [await self.harness.open() for _ in range(WRITERS)]
        shared = Stream("workspace", "")
        put = Put("subscriptions", "shared", insert={"_id": "shared"})
        await self.databases[0].commit(shared, [make_event(shared, 1, [put])], [[put]])

    def teardown(self) -> None:
        try:
            self.run(self.check_everything())
        finally:
            self.run(self.stack.aclose())
            self.runner.close()

    # -- what writers do -------------------------------------------------------------------------------------------

    async def send(self, writer: int, stream: Stream, command_ids: list[str]) -> None:
        """Commits commands as one batch, starting from what this writer believes; retries until they are there."""
        database, believed = self.databases[writer], self.believed[writer]
        wanted = list(dict.fromkeys(command_ids))
        for attempt in range(200):
            head = believed.pop(stream, None) if attempt == 0 else None
            if head is None:
                head = await catch_up(database, stream)
            events: list[Event] = []
            for command_id in wanted:
                known = await database.find_event(stream, command_id) if attempt else None
                if known is not None:
                    if known.seq <= await get_applied(database, stream):
                        self.acknowledge(known)
                    else:
                        events.clear()
                        break
                else:
                    events.append(decide(stream, head + 1 + len(events), command_id))
            else:
                if not events:
                    return
                try:
                    await database.commit(stream, events, [project(event) for event in events])
                except StreamConflict:
                    continue
                believed[stream] = events[-1].seq
                for event in events:
                    self.acknowledge(event)
                return
        raise AssertionError("never free")

    def acknowledge(self, event: Event) -> None:
        key = (Stream(event.stream_kind, event.stream_id), event.command_id)
        assert self.acknowledged.setdefault(key, event.seq) == event.seq

    async def survive(self, *works: Coroutine[Any, Any, object]) -> None:
        """Runs all of it at once; whoever meets the armed failpoint just stops."""
        for outcome in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, Crash):
                raise outcome
        failpoints.disarm()

    def arm(self, place: int, nth: int) -> None:
        """Stops the call that is the nth to come there; 0 stops nobody."""
        left = nth

        def action() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Crash

        names = self.harness.failpoints
        failpoints.arm(names[place % len(names)], action)

    plans = st.lists(st.tuples(writers, streams, st.lists(commands, min_size=1, max_size=3)), min_size=1, max_size=5)

    @rule(plan=plans)
    def write(self, plan: list[tuple[int, Stream, list[str]]]) -> None:
        self.run(self.survive(*(self.send(*part) for part in plan)))

    @rule(plan=plans, place=st.integers(0, 4), nth=st.integers(1, 6))
    def write_and_stop(self, plan: list[tuple[int, Stream, list[str]]], place: int, nth: int) -> None:
        self.arm(place, nth)
        self.run(self.survive(*(self.send(*part) for part in plan)))

    @rule(writer=writers, stream=streams, command_id=commands, behind=st.integers(1, 3))
    def write_from_a_stale_view(self, writer: int, stream: Stream, command_id: str, behind: int) -> None:
        async def work() -> None:
            head = await self.databases[writer].get_head(stream)
            if head >= behind:
                self.believed[writer][stream] = head - behind
            await self.send(writer, stream, [command_id])

        self.run(work())

    @rule(stream=streams, command_id=commands)
    def leave_unapplied(self, stream: Stream, command_id: str) -> None:
        async def work() -> None:
            database = self.databases[0]
            if await database.find_event(stream, command_id) is None:
                head = await catch_up(database, stream)
                await self.harness.append_only(stream, [decide(stream, head + 1, command_id)])

        self.run(work())

    @rule(writer=writers, stream=streams, limit=st.integers(1, 3))
    def apply(self, writer: int, stream: Stream, limit: int) -> None:
        self.run(catch_up(self.databases[writer], stream, limit))

    @rule(plan=st.lists(st.tuples(writers, streams), min_size=2, max_size=4), place=st.integers(0, 4))
    def apply_at_once_and_stop(self, plan: list[tuple[int, Stream]], place: int) -> None:
        self.arm(place, 1)
        self.run(self.survive(*(catch_up(self.databases[writer], stream, 2) for writer, stream in plan)))

    @rule(stream=streams, back=st.integers(0, 3))
    def keep(self, stream: Stream, back: int) -> None:
        """An applier has read what to apply, and now sleeps for long."""

        async def work() -> None:
            after = max(0, await get_applied(self.databases[0], stream) - back)
            events = await self.databases[0].list_events(stream, after, 3)
            if events:
                self.kept.append((stream, events))

        self.run(work())

    @rule(place=st.integers(0, 5), writer=writers)
    def apply_what_was_kept(self, place: int, writer: int) -> None:
        # What is kept depends on which of several writers was first: no choice may be drawn from it.
        async def work() -> None:
            stream, events = self.kept.pop(place % len(self.kept))
            applied = await get_applied(self.databases[writer], stream)
            done = await self.databases[writer].apply(stream, events, [project(event) for event in events])
            assert done == (applied == events[0].seq - 1)

        if self.kept:
            self.run(work())

    @rule(plan=st.lists(st.tuples(writers, owners), min_size=1, max_size=4), name=st.sampled_from(["x", "y"]))
    def claim(self, plan: list[tuple[int, str]], name: str) -> None:
        async def work() -> None:
            won = await asyncio.gather(*(self.databases[writer].claim(name, owner) for writer, owner in plan))
            holders = {owner for (_, owner), success in zip(plan, won, strict=True) if success}
            assert len(holders) <= 1
            if name in self.owner:
                assert holders <= {self.owner[name]}
            else:
                assert holders
            self.owner.setdefault(name, *holders)
            assert all(success == (owner == self.owner[name]) for (_, owner), success in zip(plan, won, strict=True))

        self.run(work())

    @rule(writer=writers, owner=owners, name=st.sampled_from(["x", "y"]))
    def release(self, writer: int, owner: str, name: str) -> None:
        self.run(self.databases[writer].release(name, owner))
        if self.owner.get(name) == owner:
            del self.owner[name]

    # -- what must be true -----------------------------------------------------------------------------------------

    @invariant()
    def claims_stand(self) -> None:
        for name in ("x", "y"):
            assert self.run(self.databases[1].find_claim(name)) == self.owner.get(name)

    @invariant()
    def logs_are_whole(self) -> None:
        self.run(self.check_logs())

    async def check_logs(self) -> dict[Stream, list[Event]]:
        logs = {stream: await read_log(self.databases[2], stream) for stream in STREAMS}
        for stream, log in logs.items():
            assert [event.seq for event in log] == list(range(1, len(log) + 1))
            places = {event.command_id: event.seq for event in log}
            assert len(places) == len(log)
            for (where, command_id), seq in self.acknowledged.items():
                assert where != stream or places.get(command_id) == seq
            assert await get_applied(self.databases[2], stream) <= len(log)
        return logs

    async def check_everything(self) -> None:
        failpoints.disarm()
        logs = await self.check_logs()
        expected: dict[tuple[str, str], Document] = {}
        for stream, log in logs.items():
            assert await catch_up(self.databases[0], stream) == len(log)
            documents = fold(log)
            expected |= documents
        expected["subscriptions", "shared"] = {
            "_id": "shared",
            **{stream.kind: len(log) for stream, log in logs.items() if log and stream != OTHER_ROOM},
        }
        for (collection, id), document in expected.items():
            for database in self.databases:
                assert await database.get(collection, id) == document, (collection, id)
        assert await self.databases[1].count("messages", {}) == sum(map(len, logs.values()))
        assert await self.databases[1].list_unapplied(10**15) == []


def test_any_order_of_writers_appliers_and_crashes(adapter: str, server_url: str) -> None:
    machine = type("Machine", (Writers,), {"adapter": adapter, "server_url": server_url})
    bounds = settings(SETTINGS, max_examples=2000 if LONG else EXAMPLES[adapter])
    deadline = time.monotonic() + SECONDS
    while True:
        run_state_machine_as_test(machine, settings=bounds)
        if time.monotonic() >= deadline:
            return
