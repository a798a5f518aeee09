"""A cluster on paper, second by second: clients who come and go, gateways that take them, and the pods of every role.

It has what the product has (doors, draining, what work costs) and nothing of what decides about sizes: that is
`scaling.decide`, which `scenarios.py` lets act on it. All numbers are means, so that a run is the same every time.
What a thing costs is measured: docs/performance.md.
"""

from collections import deque
from dataclasses import dataclass, field

from palaver_operator.scaling import PodLoad, RoleLoad, Signal, choose_leaving

CAPACITY = 10_000
"""Sockets that a gateway is known to hold. The model refuses more, so a size that needs more is seen."""
DOOR_PER_SECOND = 1000.0
"""PALAVER_HANDSHAKES_PER_SECOND and PALAVER_LOGINS_PER_SECOND: who comes back needs one of each."""
NOTICE_SECONDS, DRAIN_SECONDS = 10, 30
CLOSING_SECONDS = 0.6 * DRAIN_SECONDS
"""The part of the drain over which a gateway closes its sockets."""
START_SECONDS = 20
"""From a decision until the new pod is ready and known to the load balancer; the image is on its node."""
RETRY_SECONDS = (2, 2, 4, 8, 16, 32)
"""Who was turned away comes back within so many seconds, longer with each time."""
SESSION_SECONDS = 2700.0
"""A socket's life on average: laptops sleep, phones change networks."""

# Seconds of CPU.
RETURN_COST = 1_130e-6  # a websocket, a login and a room list, with the gateway's part and everybody else's
LOGIN_COST = 212e-6  # auth's part of it, as if all of it were auth's
LIST_COST = 277e-6  # messaging's
DELIVERY_COST = 10.4e-6  # a frame to a socket where little can be joined
MESSAGE_COST = 1_054e-6  # messaging's part, as if all of it were messaging's
REPORT_COST, HEARD_COST = 54e-6, 7e-6  # presence: the process that takes a change, and every other one
KEEPALIVE_COST = 2e-6  # a socket's pings and answers, each second
IDLE_COST = 0.01
FLUSH_COST = 5e-3  # the longest piece of a gateway's usual work: a message in a room of 500
ROUND_TRIP_SECONDS = 0.012  # how late a message is when nobody waits

AUDIENCE = 150
"""Connected people who hear a message, on average."""
MESSAGES_PER_USER = 1 / 170
"""Each second, of each connected user at the busiest time: 300 a second for 50,000."""
MOODS_PER_USER = 1 / 600
"""Times a second that a connected user goes idle or comes back to the keyboard."""


@dataclass(slots=True)
class Pod:
    """One pod; `connections` of gateways only."""

    name: str
    role: str
    ready_at: int
    leaving_at: int | None = None
    connections: float = 0.0
    closing_each_second: float = 0.0
    waiting: float = 0.0
    """Seconds of CPU that stand in line: how late its event loop is."""
    busy: float = 0.0
    """The part of the last second that it computed."""
    cpu: float = 0.0
    refused: float = 0.0
    reports: float = 0.0

    def late(self, piece: float) -> float:
        """How long something waits for its turn, in seconds, where work comes in pieces of so many at any moment."""
        return self.waiting + piece * self.busy / (2 * (1 - min(self.busy, 0.99)))


@dataclass(slots=True)
class Second:
    """What a second was like."""

    online: float
    connected: float
    refused: float
    unreachable: float
    delay: float
    """Of a message on average, in seconds."""
    worst_delay: float


@dataclass(slots=True)
class _Counters:
    cpu: float = 0.0
    refused: float = 0.0
    reports: float = 0.0


@dataclass
class World:
    """The cluster. `sizes`: the pods it has at the beginning, ready, by role."""

    sizes: dict[str, int]
    start_seconds: int = START_SECONDS
    now: int = 0
    is_cut_off: bool = False
    """Nobody reaches a gateway: what is before them is broken."""
    pods: dict[str, list[Pod]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._made = 0
        self._seen: dict[str, _Counters] = {}
        self._coming: deque[list[float]] = deque([0.0] * len(RETRY_SECONDS) for _ in range(max(RETRY_SECONDS) + 1))
        for role, size in self.sizes.items():
            self.pods[role] = [self._make(role, ready_at=0) for _ in range(size)]

    # -- what a Deployment does ----------------------------------------------------------------------------------------

    def resize(self, role: str, size: int) -> None:
        """Makes pods, or lets those go whom `choose_leaving` names first."""
        staying = [pod for pod in self.pods[role] if pod.leaving_at is None]
        self.sizes[role] = size
        for _ in range(size - len(staying)):
            self.pods[role].append(self._make(role, ready_at=self.now + self.start_seconds))
        if size < len(staying):
            order = choose_leaving([PodLoad(pod.name, {Signal.CONNECTIONS: pod.connections}) for pod in staying])
            leaving = set(order[: len(staying) - size])
            for pod in staying:
                if pod.name in leaving:
                    pod.leaving_at = self.now

    def lose(self, pod: Pod) -> None:
        """The pod is gone at once, and its Deployment makes another one."""
        self.pods[pod.role].remove(pod)
        self._come(pod.connections, 0, 2)
        self.resize(pod.role, self.sizes[pod.role])

    def load(self, role: str, seconds: float) -> RoleLoad:
        """What the pods of a role say of themselves; rates since the last look, `seconds` ago."""
        pods = self.pods[role]
        loads = [self._pod_load(pod, seconds) for pod in pods if pod.leaving_at is None and pod.ready_at <= self.now]
        return RoleLoad(self.sizes[role], len(pods) - len(loads), loads)

    def _make(self, role: str, ready_at: int) -> Pod:
        self._made += 1
        return Pod(f"{role}-{self._made}", role, ready_at)

    def _pod_load(self, pod: Pod, seconds: float) -> PodLoad:
        seen = self._seen.setdefault(pod.name, _Counters())
        lag = pod.late(FLUSH_COST if pod.role == "gateway" else MESSAGE_COST)
        values = {
            Signal.CPU: 100 * (pod.cpu - seen.cpu) / seconds,
            Signal.LOOP_LAG: 1000 * lag,
            Signal.QUEUE: lag,
            Signal.FOLLOWER: lag,
            Signal.REPORTS: (pod.reports - seen.reports) / seconds,
        }
        if pod.role == "gateway":
            values[Signal.CONNECTIONS] = pod.connections
            values[Signal.REFUSED] = (pod.refused - seen.refused) / seconds
        self._seen[pod.name] = _Counters(pod.cpu, pod.refused, pod.reports)
        return PodLoad(pod.name, values)

    # -- a second ------------------------------------------------------------------------------------------------------

    def step(self, online: float, activity: float) -> Second:
        """One second in which `online` people want to be connected and write `activity` (0 to 1) of what they do at
        the busiest time."""
        self.now += 1
        gateways = self.pods["gateway"]
        left = self._leave(gateways, online)
        arrived, refused, unreachable = self._arrive()
        connected = sum(pod.connections for pod in gateways)

        messages = connected * MESSAGES_PER_USER * activity
        heard_by_each = min(AUDIENCE, connected) * messages / connected if connected else 0.0
        for pod in gateways:
            if pod.ready_at <= self.now:
                by_sockets = pod.connections * (heard_by_each * DELIVERY_COST + KEEPALIVE_COST)
                self._work(pod, by_sockets + arrived.get(pod.name, 0.0) * RETURN_COST)
        arrivals = sum(arrived.values())
        changes = arrivals + left + connected * MOODS_PER_USER
        self._share("messaging", messages * MESSAGE_COST + arrivals * LIST_COST)
        self._share("auth", arrivals * LOGIN_COST)
        self._share("presence", changes * REPORT_COST, changes, changes * HEARD_COST)

        self._remove()
        lags = [(pod.connections, pod.late(FLUSH_COST)) for pod in gateways]
        commit = max((pod.late(MESSAGE_COST) for pod in self.pods["messaging"]), default=0.0)
        lag = sum(count * wait for count, wait in lags) / connected if connected else 0.0
        worst = max((wait for count, wait in lags if count), default=0.0)
        delay = ROUND_TRIP_SECONDS + commit
        return Second(online, connected, refused, unreachable, delay + lag, delay + worst)

    def _leave(self, gateways: list[Pod], online: float) -> float:
        """Sockets that end: of people who go, whose session is over, or whose gateway is leaving. Returns how many."""
        connected = sum(pod.connections for pod in gateways)
        if self.is_cut_off:
            for pod in gateways:
                pod.connections = 0.0
            self._come(connected, 0, 2)
            return connected
        outside = sum(sum(attempts) for attempts in self._coming)
        gone = max(0.0, connected + outside - online)
        if online > connected + outside:
            self._coming[0][0] += online - connected - outside
        part = min(1.0, gone / connected) if connected else 0.0
        ended = 0.0
        for pod in gateways:
            pod.connections *= 1 - part
            back = pod.connections / SESSION_SECONDS
            if pod.leaving_at is not None and self.now >= pod.leaving_at + NOTICE_SECONDS:
                pod.closing_each_second = pod.closing_each_second or pod.connections / CLOSING_SECONDS
                back = min(pod.connections, max(back, pod.closing_each_second))
            pod.connections -= back
            ended += back
        self._come(ended, 0, 2)
        return part * connected + ended

    def _arrive(self) -> tuple[dict[str, float], float, float]:
        """Whoever comes in this second knocks at the gateways in turn. Returns the admitted by pod, how many were
        turned away, and how many reached nobody."""
        attempts = self._coming.popleft()
        self._coming.append([0.0] * len(RETRY_SECONDS))
        doors = [p for p in self.pods["gateway"] if p.leaving_at is None and p.ready_at <= self.now]
        total = sum(attempts)
        if self.is_cut_off or not doors:
            self._retry(attempts, 1.0)
            return {}, 0.0, total
        admitted: dict[str, float] = {}
        for pod in doors:
            enters = min(total / len(doors), DOOR_PER_SECOND, max(0.0, CAPACITY - pod.connections))
            pod.connections += enters
            pod.refused += total / len(doors) - enters
            admitted[pod.name] = enters
        refused = max(0.0, total - sum(admitted.values()))
        # What is left of adding up fractions is nobody.
        refused = refused if refused > 1e-6 else 0.0
        if refused:
            self._retry(attempts, refused / total)
        return admitted, refused, 0.0

    def _retry(self, attempts: list[float], part: float) -> None:
        for attempt, count in enumerate(attempts):
            if count:
                later = min(attempt + 1, len(RETRY_SECONDS) - 1)
                self._come(count * part, later, RETRY_SECONDS[attempt])

    def _come(self, count: float, attempt: int, within: int) -> None:
        """So many people knock, evenly spread over the next seconds."""
        for second in range(within):
            self._coming[second][attempt] += count / within

    def let_all_come(self) -> None:
        """Whoever waits to try again does so within two seconds."""
        waiting = sum(sum(attempts) for attempts in self._coming)
        for attempts in self._coming:
            attempts[:] = [0.0] * len(RETRY_SECONDS)
        self._come(waiting, 0, 2)

    def _share(self, role: str, cost: float, reports: float = 0.0, cost_of_each_other: float = 0.0) -> None:
        ready = [pod for pod in self.pods[role] if pod.leaving_at is None and pod.ready_at <= self.now]
        for pod in ready:
            pod.reports += reports / len(ready)
            self._work(pod, cost / len(ready) + cost_of_each_other * (len(ready) - 1) / len(ready))

    def _work(self, pod: Pod, cost: float) -> None:
        """One core, one second of it."""
        pod.waiting += cost + IDLE_COST
        done = min(1.0, pod.waiting)
        pod.waiting -= done
        pod.busy = done
        pod.cpu += done

    def _remove(self) -> None:
        life = NOTICE_SECONDS + DRAIN_SECONDS
        for pods in self.pods.values():
            gone = [p for p in pods if p.leaving_at is not None and self.now >= p.leaving_at + life]
            for pod in gone:
                pods.remove(pod)
                self._seen.pop(pod.name, None)
                self._come(pod.connections, 0, 2)
