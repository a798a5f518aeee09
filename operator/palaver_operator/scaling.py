"""How many pods a role has, and which of them go first: pure functions of what the pods say of themselves.

Called by the reconcile every ROUND_SECONDS for each role, with what `load.py` has read, and by `simulate/`, which
drives these very functions. Two kinds of signals:

- a **demand** (connections, CPU, reports) adds up over the pods and is shared by them: so many are needed that none has
  more than its target;
- a **symptom** (loop lag, the age of a queue) only says that there are too few: a quarter more, then wait and see; and
  never more than twice what the demands account for.

Up at once. Down only after everything that was needed within the stabilization window would fit, with a tenth to
spare, and then by at most a tenth a minute; within six windows (an hour) to no less than three quarters. Who doesn't
answer is never taken for somebody who has nothing to do.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

ROUND_SECONDS = 10.0
"""Between two looks at the pods. With the time that reading takes, a decision comes within 15 s of the metric."""
SHRINK_SECONDS = 60.0
"""Between two steps down."""
PATIENCE_SECONDS = 60.0
"""How long new pods are given to show that they help before a symptom asks for more."""
KEPT, KEPT_WINDOWS = 0.75, 6
"""This part of what was needed stays for so many windows: people go home slowly, and all at once only when something is
broken. Then they come back all at once, too, and fit in, as a gateway's target is three quarters of what it holds."""
SPARE = 0.9
"""Fewer pods must be able to do with this part of their target, so that a load at the edge does not swing."""
CALM = 0.5
"""Below this part of its target a symptom is gone; between that and the target nothing changes."""
GAP_SECONDS = 60.0
"""After so long without hearing of all pods the stabilization window begins anew."""


class Signal(StrEnum):
    """What is looked at; the values are the names in the resource's `targets` and in `status.scaling`."""

    CONNECTIONS = "connections"
    CPU = "cpuPercent"
    REPORTS = "reportsPerSecond"
    LOOP_LAG = "loopLagMilliseconds"
    QUEUE = "queueSeconds"
    FOLLOWER = "followerSeconds"
    REFUSED = "refusedPerSecond"
    """No target: whom a gateway turned away is counted with its connections."""


DEMANDS = (Signal.CONNECTIONS, Signal.CPU, Signal.REPORTS)
SYMPTOMS = (Signal.LOOP_LAG, Signal.QUEUE, Signal.FOLLOWER)
# A queue grows old when there are too few to work it off, or when those who do wait for somebody else.
_WORK = (Signal.QUEUE, Signal.FOLLOWER)


TARGETS: Mapping[str, Mapping[Signal, float]] = {
    # A process holds 10,000 sockets; a quarter is left for those who come over from a pod that ends.
    "gateway": {Signal.CONNECTIONS: 7500, Signal.LOOP_LAG: 100, Signal.CPU: 80},
    "messaging": {Signal.CPU: 70, Signal.QUEUE: 5, Signal.FOLLOWER: 30},
    "presence": {Signal.CPU: 70, Signal.REPORTS: 5000},
    "auth": {Signal.CPU: 70},
}
"""What is looked at unless the resource says otherwise. CPU in percent of a core: a process computes on one."""


class Reason(StrEnum):
    """Why a role has the size that it has. The decision's sentence has the figures."""

    DEMAND = "Demand"
    SYMPTOM = "Symptom"
    QUIET = "Quiet"
    STEADY = "Steady"
    LIMITS = "Limits"
    AT_MAXIMUM = "AtMaximum"
    STABILIZING = "Stabilizing"
    SETTLING = "Settling"
    METRICS_MISSING = "MetricsMissing"


@dataclass(frozen=True, slots=True)
class RoleLimits:
    """What the resource says of a role. `targets` for each pod; a signal without one is not looked at."""

    min: int
    max: int
    targets: Mapping[Signal, float]
    down_stabilization_seconds: float = 600.0

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max:
            raise ValueError(f"min {self.min} and max {self.max}: at least 1, and min not above max")
        if bad := [signal for signal, target in self.targets.items() if not 0 < target < math.inf]:
            raise ValueError(f"targets above 0 are needed: {', '.join(bad)}")


@dataclass(frozen=True, slots=True)
class PodLoad:
    """What one ready pod says; what it did not say is left out. Without any values it did not answer."""

    name: str
    values: Mapping[Signal, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RoleLoad:
    """A role at this moment."""

    size: int
    """What its Deployment is asked to have."""
    moving: int
    """Pods that start or leave, and are worth waiting for: one that is stuck at it is not among them."""
    pods: Sequence[PodLoad]
    """Those that are ready and stay."""


@dataclass(frozen=True, slots=True)
class History:
    """What `decide` remembers between two rounds. A new one, after a restart, only makes shrinking later."""

    needs: tuple[tuple[float, int], ...] = ()
    """When how many pods were needed, within KEPT_WINDOWS; only what no later round exceeds."""
    since: float | None = None
    """Since when all pods have been heard of, without a gap of GAP_SECONDS."""
    heard_at: float | None = None
    grown_at: float | None = None
    shrunk_at: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """How many pods the role is to have, and why."""

    size: int
    reason: Reason
    sentence: str
    inputs: Mapping[str, float]
    """What it was decided by: sums of demands (CPU: the mean), medians of symptoms, and what is needed by them."""
    history: History


def decide(limits: RoleLimits, history: History, load: RoleLoad, now: float) -> Decision:
    """The role's size from now on. `now`: seconds of a clock that does not jump."""
    size, low, high = load.size, limits.min, limits.max
    is_settled = load.moving == 0
    has_all = bool(load.pods) and all(_has_answered(pod, limits) for pod in load.pods)
    needed, why = _needed(limits, load, 1.0)
    to_keep, _ = _needed(limits, load, SPARE)

    reason = Reason.DEMAND
    strain = {signal: _median(load, signal) / target for signal, target in _symptom_targets(limits, load)}
    if any(part > CALM for part in strain.values()):
        to_keep = max(to_keep, size)
    worst = max(strain, key=lambda signal: strain[signal], default=None)
    if worst is not None and strain[worst] > 1 and is_settled and _is_over(history.grown_at, PATIENCE_SECONDS, now):
        by_symptom = min(size + math.ceil(size / 4), 2 * max(needed, low))
        if by_symptom > max(needed, size):
            needed, reason = by_symptom, Reason.SYMPTOM
            why = f"{worst} is {_figure(_median(load, worst))} in half of the pods, target {limits.targets[worst]:g}"

    window = limits.down_stabilization_seconds
    history = _remember(history, min(max(to_keep, needed), high), has_all, now, window)
    inputs = _inputs(limits, load, needed)

    def answer(new_size: int, reason: Reason, sentence: str) -> Decision:
        after = history
        if new_size > size:
            after = replace(history, grown_at=now)
        elif new_size < size:
            after = replace(history, shrunk_at=now)
        return Decision(new_size, reason, sentence, inputs, after)

    if not low <= size <= high:
        wanted = min(max(size, needed, low), high) if size < low else high
        return answer(wanted, Reason.LIMITS, f"{size} pods are not between {low} and {high}")
    if needed > high:
        return answer(high, Reason.AT_MAXIMUM, f"{why}: {needed} pods would be needed, {high} are allowed")
    if needed > size:
        return answer(needed, reason, f"{why}: {needed} pods")

    floor = max([low, *(count if now - at <= window else int(count * KEPT) for at, count in history.needs)])
    if floor >= size:
        return answer(size, Reason.STEADY, f"{size} pods are right")
    if not has_all:
        missing = sum(not _has_answered(pod, limits) for pod in load.pods)
        return answer(size, Reason.METRICS_MISSING, f"{missing} of {len(load.pods)} ready pods did not say everything")
    if not is_settled:
        return answer(size, Reason.SETTLING, f"{load.moving} pods start or leave, {len(load.pods)} of {size} are ready")
    # A minute at the least: nobody knows when one who ran before has taken the last step.
    if not _is_over(history.since, max(window, SHRINK_SECONDS), now):
        return answer(size, Reason.STABILIZING, f"{floor} pods would do; not for long enough yet")
    if not _is_over(history.shrunk_at, SHRINK_SECONDS, now):
        return answer(size, Reason.STABILIZING, f"{floor} pods would do; one step down a minute")
    new_size = max(floor, size - max(1, size // 10))
    return answer(new_size, Reason.QUIET, f"{floor} pods would have been enough for {window:g} s: {new_size} pods")


def choose_leaving(pods: Sequence[PodLoad]) -> list[str]:
    """The pods' names in the order in which they should go: the emptiest gateway first; who did not say, last."""
    return [pod.name for pod in sorted(pods, key=lambda pod: (pod.values.get(Signal.CONNECTIONS, math.inf), pod.name))]


# -- what is needed ----------------------------------------------------------------------------------------------------


def _needed(limits: RoleLimits, load: RoleLoad, part: float) -> tuple[int, str]:
    """How many pods the demands ask for if each has `part` of its target; of whom nothing is known count as nothing."""
    needed, why = 1, "hardly anything to do"
    for signal in DEMANDS:
        target = limits.targets.get(signal)
        if target is None:
            continue
        total = _total(load, signal)
        # A little less than the quotient: a load of exactly three targets is for three pods, whatever floats say.
        count = math.ceil(total / (target * part) - 1e-9)
        if count > needed:
            needed, why = count, f"{signal} {_figure(total)} in all, target {target:g} a pod"
    return needed, why


def _total(load: RoleLoad, signal: Signal) -> float:
    total = sum(pod.values.get(signal, 0.0) for pod in load.pods)
    if signal == Signal.CONNECTIONS:
        # Each of them tries again after a second at the earliest: so many people stand at the door.
        total += sum(pod.values.get(Signal.REFUSED, 0.0) for pod in load.pods)
    return total


def _symptom_targets(limits: RoleLimits, load: RoleLoad) -> list[tuple[Signal, float]]:
    """The symptoms that count. A queue that grows old while its pods are idle waits for a database or for NATS: more
    pods would not help."""
    found = [(signal, limits.targets[signal]) for signal in SYMPTOMS if signal in limits.targets]
    cpu = limits.targets.get(Signal.CPU)
    is_idle = cpu is not None and _median(load, Signal.CPU) < cpu / 2
    return [(signal, target) for signal, target in found if not (is_idle and signal in _WORK)]


def _median(load: RoleLoad, signal: Signal) -> float:
    """At least half of the pods have as much; one that is slow for reasons of its own is not helped by others."""
    values = [pod.values[signal] for pod in load.pods if signal in pod.values]
    return statistics.median_low(values) if values else 0.0


def _has_answered(pod: PodLoad, limits: RoleLimits) -> bool:
    return all(signal in pod.values for signal in limits.targets) and bool(pod.values)


# -- what is remembered ------------------------------------------------------------------------------------------------


def _remember(history: History, needed: int, has_all: bool, now: float, window: float) -> History:
    # Earlier ones that needed no more say nothing beside this one: what is kept falls from old to new.
    kept = [(at, count) for at, count in history.needs if count > needed and now - at <= KEPT_WINDOWS * window]
    since, heard_at = history.since, history.heard_at
    if has_all:
        if heard_at is None or not 0 <= now - heard_at <= GAP_SECONDS:
            since = now
        heard_at = now
    return replace(history, needs=(*kept, (now, needed)), since=since, heard_at=heard_at)


def _is_over(since: float | None, seconds: float, now: float) -> bool:
    return since is None or now - since >= seconds


def _inputs(limits: RoleLimits, load: RoleLoad, needed: int) -> dict[str, float]:
    answered = sum(bool(pod.values) for pod in load.pods)
    inputs: dict[str, float] = {"pods": len(load.pods), "missing": len(load.pods) - answered, "needed": needed}
    for signal in limits.targets:
        if signal in SYMPTOMS:
            inputs[signal] = round(_median(load, signal), 3)
        elif signal == Signal.CPU:
            inputs[signal] = round(_total(load, signal) / max(1, answered), 1)
        else:
            inputs[signal] = round(_total(load, signal), 1)
    return inputs


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
