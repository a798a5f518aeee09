"""Gateways and presence processes that come and go in any order, with calls lost, late and repeated, against a model.

Whatever happened: when it is over, every process sees what the sockets say, and that is what was told last.
Bounded in `make test`; it runs for a time with STATE_MACHINE_SECONDS=600.
"""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from palaver.access import Access
from palaver.errors import Unavailable
from palaver.live import Live, OnGap, OnMessage, Subscription
from palaver.presence import rules
from palaver.presence.gateways import LEASE_SECONDS
from palaver.presence.picture import ENDED_SECONDS
from palaver.presence.role import REPEAT_SECONDS, PresenceService
from palaver.v1.auth_pb2 import Empty, GetUsersRequest
from palaver.v1.presence_pb2 import AWAY, OFFLINE, ONLINE, ReportStatusesRequest, Status
from tests.commit.stepping import VirtualLoop
from tests.presence.harness import World
from tests.presence.harness import world as make_world

SECONDS = float(os.environ.get("STATE_MACHINE_SECONDS", "0"))
USERS = st.sampled_from(["Alice", "Bob"])
GATEWAYS = ["first", "second"]
REPLICAS = ["presence 1", "presence 2", "presence 3"]
CHOICES = st.sampled_from(["online", "away", "busy", "offline"])


class Port:
    """One presence process's way to the live port: slow, and deaf or broken when a rule says so."""

    def __init__(self, live: Live, choice: random.Random) -> None:
        self._live = live
        self._choice = choice
        self._on_gap: list[OnGap] = []
        self._publishing = asyncio.Lock()
        self.is_deaf = False
        self.works_for: int | None = None  # how many calls more

    async def _step(self) -> None:
        for _ in range(self._choice.choice((0, 0, 1, 3, 10))):
            await asyncio.sleep(0)
        if self.works_for is not None:
            self.works_for -= 1
            if self.works_for < 0:
                raise Unavailable

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._live, name)

        async def call(*arguments: Any) -> Any:
            await self._step()
            found = await method(*arguments)
            await self._step()
            return found

        return call

    async def publish(self, subject: str, message: bytes) -> None:
        """What one process publishes is not overtaken by what it publishes later."""
        async with self._publishing:
            await self._step()
            await self._live.publish(subject, message)
        await self._step()

    async def subscribe(self, subject: str, on_message: OnMessage) -> Subscription:
        def hear(message: bytes) -> None:
            if not self.is_deaf:
                on_message(message)

        return await self._live.subscribe(subject, hear)

    def on_gap(self, callback: OnGap) -> None:
        self._on_gap.append(callback)

    def is_broken(self) -> bool:
        return self.is_deaf or self.works_for is not None

    def mend(self) -> None:
        """The connection is back."""
        was_away = self.is_broken()
        self.is_deaf, self.works_for = False, None
        if was_away:
            for callback in self._on_gap:
                callback()


class Cluster(World):
    """The same world, whose processes are slow and can be reached in odd ways."""

    def __init__(self, choice: random.Random) -> None:
        super().__init__()
        self._choice = choice
        self.ports: dict[str, Port] = {}
        self.calls: dict[asyncio.Task[Empty], PresenceService] = {}
        self.way = "answered"
        self.late: list[ReportStatusesRequest] = []

    async def start(self, name: str = REPLICAS[0]) -> None:
        port = self.ports[name] = Port(self.live, self._choice)
        node = self.make_node(name)
        node.live = cast(Live, port)
        node.services.auth = cast(Any, SlowAuth(self))
        node.access = Access(node.services.auth, self.log, self.live)
        await node.access.reload()
        presence = PresenceService(node, self.clock)
        await presence.open()
        self.nodes[name], self.replicas[name] = node, presence

    async def crash(self, name: str = REPLICAS[0]) -> None:
        presence = self.replicas[name]
        for call, callee in list(self.calls.items()):
            if callee is presence:
                call.cancel()
        port = self.ports.pop(name)
        port.is_deaf, port.works_for = True, 0
        node = self.nodes.pop(name)
        del self.replicas[name]
        for task in list(node._tasks):
            task.cancel()

    async def report_statuses(self, request: ReportStatusesRequest) -> Empty:
        """One call of a gateway: to any process, and its answer may not come."""
        way = self.way
        if way == "lost" or not self.replicas:
            raise Unavailable
        copy = ReportStatusesRequest.FromString(request.SerializeToString())
        if way == "late":
            self.late.append(copy)
            raise Unavailable
        answer = await self.call(copy)
        if way == "unanswered":
            raise Unavailable
        return answer

    async def call(self, request: ReportStatusesRequest) -> Empty:
        presence = self._choice.choice(list(self.replicas.values()))
        call = asyncio.create_task(presence.report_statuses(request))
        self.calls[call] = presence
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError as error:
            raise Unavailable from error
        finally:
            self.calls.pop(call, None)


class SlowAuth:
    """Others have their turn before it answers, and before the answer arrives."""

    def __init__(self, world: Cluster) -> None:
        self._world = world

    async def get_users(self, request: GetUsersRequest) -> Any:
        for _ in range(self._world._choice.choice((0, 1, 5))):
            await asyncio.sleep(0)
        reply = await self._world.auth.get_users(request)
        for _ in range(self._world._choice.choice((0, 1, 5))):
            await asyncio.sleep(0)
        return reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.auth, name)


class Processes(RuleBasedStateMachine):
    """Rules begin something and let the loop turn; what has begun goes on under the rules that follow."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.changes = 0
        # While NATS has forgotten the users of a gateway, it or the processes that know them may die, not all of them.
        self.spared = ""
        self.has_dead = False  # whether a gateway was killed, and nobody had the time to notice

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def begin(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        async def work() -> None:
            self.tasks.add(asyncio.create_task(_survive(make())))
            await asyncio.sleep(0)

        self.run(work())

    @initialize(seed=st.integers(0, 2**16), replicas=st.integers(1, 3))
    def open(self, seed: int, replicas: int) -> None:
        self.cluster = Cluster(random.Random(seed))

        async def work() -> None:
            self.entered = make_world(replicas, self.cluster)
            await self.entered.__aenter__()
            for name in GATEWAYS:
                self.cluster.gateway(name)

        self.run(work())

    def teardown(self) -> None:
        try:
            if hasattr(self, "entered"):
                try:
                    self.run(self.recover())
                finally:
                    self.run(self.entered.__aexit__(None, None, None))
        finally:
            self.runner.close()

    # -- people ------------------------------------------------------------------------------------------------------

    @rule(
        user=USERS,
        gateway=st.sampled_from(GATEWAYS),
        socket=st.sampled_from(["a", "b"]),
        status=st.sampled_from([ONLINE, AWAY]),
    )
    def come(self, user: str, gateway: str, socket: str, status: "Status.ValueType") -> None:
        found = self.cluster.gateway(gateway)
        if (user, socket) in found.sockets:
            found.say(user, socket, status)
        else:
            found.connect(user, socket)

    @rule(user=USERS, gateway=st.sampled_from(GATEWAYS))
    def go(self, user: str, gateway: str) -> None:
        found = self.cluster.gateway(gateway)
        for who, socket in list(found.sockets):
            if who == user:
                found.disconnect(who, socket)

    @rule(user=USERS, turns=st.sampled_from([0, 1, 3, 10]))
    def move(self, user: str, turns: int) -> None:
        """From one gateway to the other, which say so at the same moment, to whichever process."""
        here, there = self.cluster.gateways.values()
        if not here.status(user):
            here, there = there, here
        if here.status(user):
            self.go(user, here.name)
            self.cluster.way = "answered"
            self.begin(here.reports._send)
            self.turn(turns)
            self.come(user, there.name, "a", ONLINE)
            self.begin(there.reports._send)

    @precondition(lambda self: any(not port.is_deaf for port in self.cluster.ports.values()))
    @rule(user=USERS, choice=CHOICES)
    def choose(self, user: str, choice: str) -> None:
        self.changes += 1
        at = {"$date": self.changes}
        self.begin(lambda: self.cluster.auth.change(user, statusDefault=choice, _updatedAt=at))

    # -- calls -------------------------------------------------------------------------------------------------------

    @rule(
        gateway=st.sampled_from(GATEWAYS),
        way=st.sampled_from(["answered", "answered", "answered", "unanswered", "lost", "late"]),
        turns=st.sampled_from([0, 1, 5, 100]),
    )
    def report(self, gateway: str, way: str, turns: int) -> None:
        found = self.cluster.gateway(gateway)
        self.cluster.way = way
        self.begin(found.reports._send)
        self.turn(turns)

    @precondition(lambda self: self.cluster.late and self.cluster.replicas)
    @rule(data=st.data())
    def arrive_late(self, data: st.DataObject) -> None:
        request = self.cluster.late.pop(data.draw(st.integers(0, len(self.cluster.late) - 1)))
        self.begin(lambda: self.cluster.call(request))

    @rule(turns=st.sampled_from([1, 3, 10, 50]))
    def turn(self, turns: int) -> None:
        async def work() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(work())

    # -- processes ---------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(REPLICAS))
    def start_or_crash(self, name: str) -> None:
        if name not in self.cluster.replicas:
            self.run(self.cluster.start(name))
        elif self.spared != "replicas":
            self.run(self.cluster.crash(name))

    @rule(name=st.sampled_from(REPLICAS), calls=st.integers(0, 6))
    def break_off(self, name: str, calls: int) -> None:
        """The process loses its connection to NATS after so many calls."""
        if (port := self.cluster.ports.get(name)) is not None:
            port.works_for = calls
            port.is_deaf = calls == 0

    @rule(name=st.sampled_from(REPLICAS))
    def mend(self, name: str) -> None:
        if (port := self.cluster.ports.get(name)) is not None:
            port.mend()

    @precondition(lambda self: self.spared != "gateways")
    @rule(gateway=st.sampled_from(GATEWAYS))
    def kill_gateway(self, gateway: str) -> None:
        """Another one of the same name follows it."""
        self.has_dead = True
        del self.cluster.gateways[gateway]
        self.cluster.gateway(gateway)

    @precondition(lambda self: not self.spared and self.cluster.replicas)
    @rule(spared=st.sampled_from(["gateways", "replicas"]))
    def lose_memory(self, spared: str) -> None:
        """nats-server is started again."""
        self.spared = "replicas" if self.has_dead else spared

        async def work() -> None:
            for key in await self.cluster.live.list(""):
                await self.cluster.live.delete(key)

        self.run(work())
        for port in self.cluster.ports.values():
            port.is_deaf = True
            port.mend()

    @rule(seconds=st.sampled_from([1, 5, 20, 60]), living=st.sampled_from([GATEWAYS, GATEWAYS, GATEWAYS[:1], []]))
    def pass_time(self, seconds: int, living: list[str]) -> None:
        self.cluster.way = "answered"
        self.cluster.late.clear()  # nothing is on its way for so long
        self.run(self.cluster.pass_time(seconds, living=living))
        if living == GATEWAYS and self.cluster.replicas and not any(p.is_broken() for p in self.cluster.ports.values()):
            self.has_dead = self.has_dead and seconds < 60
            self.spared = self.spared if self.has_dead else ""

    # -- the end -----------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        cluster = self.cluster
        cluster.way = "answered"
        if not cluster.replicas:
            await cluster.start()
        for port in cluster.ports.values():
            port.mend()
        await asyncio.gather(*self.tasks)
        await cluster.pass_time(4 * LEASE_SECONDS + REPEAT_SECONDS + 20)
        await cluster.settle()
        told = {user.user_id: user.status for user in cluster.told}
        for user in ("Alice", "Bob"):
            connected = rules.best(gateway.status(user) for gateway in cluster.gateways.values())
            expected = rules.visible(connected, rules.chosen(cluster.auth.users[user]["statusDefault"]))
            assert told.get(user, OFFLINE) == expected, f"{user} was told as {told.get(user, OFFLINE)}"
            for name in cluster.replicas:
                seen = (await cluster.see(user, replica=name))[user]
                assert (seen.connection_status, seen.status) == (connected, expected), f"{user} as {name} sees them"
        for node in cluster.nodes.values():
            assert node.failure is None
        await cluster.pass_time(3 * ENDED_SECONDS)
        for presence in cluster.replicas.values():
            assert set(presence._picture.people) == {
                user for gateway in cluster.gateways.values() for user, _ in gateway.sockets
            }


async def _survive(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(Unavailable):
        await work


def test_whatever_happens_ends_in_what_the_sockets_say() -> None:
    machine = settings(
        max_examples=60,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )
    until = time.monotonic() + SECONDS
    while True:
        run_state_machine_as_test(Processes, settings=machine)
        if time.monotonic() >= until:
            break
