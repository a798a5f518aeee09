"""What is played: a day, a stampede after an outage, and metrics that flap; each returns what was seen.

Every ROUND_SECONDS the roles' sizes are decided by `scaling.decide` itself, as the operator does it.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from palaver_operator.resource import parse
from palaver_operator.roles import ROLES
from palaver_operator.scaling import (
    ROUND_SECONDS,
    TARGETS,
    Decision,
    History,
    PodLoad,
    RoleLimits,
    RoleLoad,
    Signal,
    decide,
)
from palaver_operator.simulate.world import CAPACITY, START_SECONDS, World

BUCKETS = 288
"""Points of the picture, and lines of what a run remembers."""

# Which part of the users is connected at which hour; between these it changes evenly.
DAY = (
    (0.0, 0.16),
    (3.0, 0.13),
    (5.0, 0.14),
    (6.0, 0.20),
    (7.0, 0.42),
    (8.0, 0.76),
    (8.9, 0.86),
    (9.0, 0.96),
    (10.0, 1.0),
    (12.0, 0.94),
    (12.5, 0.86),
    (13.5, 0.95),
    (15.0, 0.99),
    (16.0, 0.95),
    (17.0, 0.75),
    (18.0, 0.50),
    (19.0, 0.38),
    (22.0, 0.25),
    (24.0, 0.16),
)

Distort = Callable[[str, Sequence[PodLoad]], list[PodLoad]]
"""What the operator is told instead of what is so."""


@dataclass(frozen=True, slots=True)
class Change:
    """A size that was changed, at a second of the run."""

    at: int
    role: str
    before: int
    decision: Decision


@dataclass(slots=True)
class Bucket:
    """Some seconds of a run."""

    at: int
    online: float = 0.0
    connected: float = 0.0
    pods: Mapping[str, int] = field(default_factory=dict)
    refused: float = 0.0
    unreachable: float = 0.0
    delay: float = 0.0
    """The worst second's average, in seconds."""
    worst_delay: float = 0.0
    fullest: float = 0.0


@dataclass(slots=True)
class Run:
    """What happened."""

    name: str
    title: str
    seconds: int
    buckets: list[Bucket] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    refused: float = 0.0
    unreachable: float = 0.0
    longest_delay: float = 0.0
    socket_seconds: float = 0.0
    gateway_seconds: float = 0.0
    message_seconds: float = 0.0
    """Delay added up over connected people and seconds."""
    all_back_after: int | None = None
    """Seconds from the end of the outage until 99.9 % were connected."""

    @property
    def utilization(self) -> float:
        """Sockets there were, of those that all gateways together could hold, whatever they were doing."""
        return self.socket_seconds / (self.gateway_seconds * CAPACITY)

    @property
    def mean_delay(self) -> float:
        """Seconds until a message is heard."""
        return self.message_seconds / self.socket_seconds if self.socket_seconds else 0.0

    def sizes(self, role: str) -> list[int]:
        """What the role was asked to have, each time that it changed."""
        return [change.decision.size for change in self.changes if change.role == role]


class Player:
    """Lets a world live, and `decide` act on it."""

    def __init__(
        self,
        name: str,
        title: str,
        seconds: int,
        world: World,
        limits: Mapping[str, RoleLimits],
        distort: Distort = lambda role, pods: list(pods),
    ) -> None:
        self.world = world
        self.run = Run(name, title, seconds)
        self._limits = limits
        self._distort = distort
        self._histories = {role: History() for role in limits}
        self._bucket_seconds = max(1, seconds // BUCKETS)

    def second(self, online: float, activity: float) -> None:
        """One second of the world, and of what is remembered of it; when it is time, of the operator."""
        world, run = self.world, self.run
        seen = world.step(online, activity)
        gateways = world.pods["gateway"]
        run.socket_seconds += seen.connected
        run.gateway_seconds += len(gateways)
        run.message_seconds += seen.delay * seen.connected
        run.refused += seen.refused
        run.unreachable += seen.unreachable
        run.longest_delay = max(run.longest_delay, seen.worst_delay)
        if not run.buckets or world.now >= run.buckets[-1].at + self._bucket_seconds:
            run.buckets.append(Bucket(world.now))
        bucket = run.buckets[-1]
        bucket.online, bucket.connected = seen.online, seen.connected
        bucket.pods = {role: len(pods) for role, pods in world.pods.items()}
        bucket.refused += seen.refused
        bucket.unreachable += seen.unreachable
        bucket.delay = max(bucket.delay, seen.delay)
        bucket.worst_delay = max(bucket.worst_delay, seen.worst_delay)
        bucket.fullest = max(bucket.fullest, *(pod.connections for pod in gateways), 0.0)
        if world.now % int(ROUND_SECONDS) == 0:
            self._decide()

    def _decide(self) -> None:
        for role, limits in self._limits.items():
            load = self.world.load(role, ROUND_SECONDS)
            load = RoleLoad(load.size, load.moving, self._distort(role, load.pods))
            decision = decide(limits, self._histories[role], load, float(self.world.now))
            self._histories[role] = decision.history
            if decision.size != load.size:
                self.run.changes.append(Change(self.world.now, role, load.size, decision))
                self.world.resize(role, decision.size)


def default_limits(users: int) -> dict[str, RoleLimits]:
    """Those of a resource that says nothing but how many users are expected."""
    spec = {"version": "0", "hostname": "localhost", "expectedUsers": users, "mongodb": {"trial": {}}}
    workspace = parse({"metadata": {"name": "simulated"}, "spec": spec})
    return {role: workspace.limits(role) for role in ROLES}


def full_pods(users: int) -> dict[str, int]:
    """The pods of each role where every gateway has what it is to have at most."""
    return dict.fromkeys(ROLES, 2) | {"gateway": math.ceil(users / TARGETS["gateway"][Signal.CONNECTIONS])}


def level(hour: float) -> float:
    """Which part of the users is connected at this hour of the day."""
    for (start, low), (end, high) in pairwise(DAY):
        if hour < end:
            return low + (high - low) * (hour - start) / (end - start)
    return DAY[-1][1]


def play_day(users: int, limits: Mapping[str, RoleLimits], start_seconds: int = START_SECONDS) -> Run:
    """A day from midnight to midnight, the night's pods at its beginning."""
    world = World(dict.fromkeys(ROLES, 2), start_seconds)
    player = Player("day", f"a day of {users:,} users", 86_400, world, limits)
    warm_up(player.world, users * level(0))
    for second in range(player.run.seconds):
        part = level(second / 3600)
        player.second(users * part, part)
    return player.run


def play_stampede(
    users: int, limits: Mapping[str, RoleLimits], start_seconds: int = START_SECONDS, outage_seconds: int = 900
) -> Run:
    """A busy hour; after ten minutes nobody reaches a gateway any more, and then everybody at the same moment."""
    started, total = 600, 600 + outage_seconds + 2700
    pods = full_pods(users)
    player = Player("stampede", f"{users:,} users come back at once", total, World(pods, start_seconds), limits)
    warm_up(player.world, users)
    for second in range(total):
        if second == started:
            player.world.is_cut_off = True
        if second == started + outage_seconds:
            player.world.is_cut_off = False
            player.world.let_all_come()
        player.second(users, 1.0)
        is_back = player.run.buckets[-1].connected >= 0.999 * users
        if second >= started + outage_seconds and is_back and player.run.all_back_after is None:
            player.run.all_back_after = second - started - outage_seconds + 1
    return player.run


def play_flapping(
    users: int, limits: Mapping[str, RoleLimits], start_seconds: int = START_SECONDS, seed: int = 1
) -> Run:
    """Two hours of the same load, and metrics that have lost their mind: connections half more or a third at every
    other look, a lag that isn't there, CPU nothing or four times what it is, and one pod in five silent."""
    chance = random.Random(seed)
    looks = dict.fromkeys(ROLES, 0)

    def distort(role: str, pods: Sequence[PodLoad]) -> list[PodLoad]:
        looks[role] += 1
        look = looks[role]
        told = []
        for pod in pods:
            values = dict(pod.values)
            if Signal.CONNECTIONS in values:
                values[Signal.CONNECTIONS] *= (0.3, 1.5)[look % 2]
            values[Signal.CPU] = (0.0, 1.0, 4.0)[look % 3] * values[Signal.CPU]
            values[Signal.LOOP_LAG] = (0.0, values[Signal.LOOP_LAG], 150.0)[look // 2 % 3]
            told.append(PodLoad(pod.name, values if chance.random() > 0.2 else {}))
        return told

    pods = full_pods(users)
    world = World(pods, start_seconds)
    player = Player("flapping", f"{users:,} users and metrics that flap", 7200, world, limits, distort)
    warm_up(player.world, users)
    for _ in range(player.run.seconds):
        player.second(users, 1.0)
    return player.run


def warm_up(world: World, online: float) -> None:
    """Who is connected at the beginning has come before it."""
    gateways = world.pods["gateway"]
    for pod in gateways:
        pod.connections = online / len(gateways)
