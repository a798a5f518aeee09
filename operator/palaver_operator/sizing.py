"""How many pods each role of a workspace has: reads what they say, and asks scaling.py. Called by each reconcile.

It remembers, by workspace, what was read and decided last; after a restart it begins anew, which only makes shrinking
later.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

from palaver_operator.health import Failures, count_desired, is_moving, is_pod_ready
from palaver_operator.kinds import Key
from palaver_operator.load import MetricsReader, Pod, WorkspaceLoad
from palaver_operator.objects.naming import COMPONENT, Object, component_name
from palaver_operator.resource import RolePlan, Workspace
from palaver_operator.roles import ROLES, SINGLE
from palaver_operator.scaling import (
    ROUND_SECONDS,
    Decision,
    History,
    PodLoad,
    Reason,
    RoleLimits,
    RoleLoad,
    Signal,
    choose_leaving,
    decide,
)


@dataclass(slots=True)
class Sizes:
    """What the last round has brought. A role that is not in `decisions` has no size of our making."""

    decisions: dict[str, Decision] = field(default_factory=dict)
    loads: dict[str, list[PodLoad]] = field(default_factory=dict)
    failures: dict[str, Failures] = field(default_factory=dict)  # by pod
    refused_settings: dict[str, str] = field(default_factory=dict)  # by pod: what is wrong with its settings file

    @property
    def connections(self) -> int | None:
        """Open websockets; None while not every gateway says how many it has."""
        pods = [load for role in ("gateway", SINGLE.name) for load in self.loads.get(role, ())]
        counts = [load.values.get(Signal.CONNECTIONS) for load in pods]
        if not pods or None in counts:
            return None
        return int(sum(count or 0.0 for count in counts))

    def choose_leaving(self, role: str, count: int) -> list[str]:
        """The names of the pods that are to go."""
        return choose_leaving(self.loads.get(role, ()))[:count]


@dataclass(slots=True)
class _Remembered:
    load: WorkspaceLoad
    histories: dict[str, History] = field(default_factory=dict)
    sizes: Sizes = field(default_factory=Sizes)
    due_at: float = float("-inf")


class Sizing:
    """`clock`: monotonic seconds."""

    def __init__(self, reader: MetricsReader, clock: Callable[[], float] = monotonic) -> None:
        self._reader = reader
        self._clock = clock
        self._remembered: dict[str, _Remembered] = {}

    async def look(
        self, workspace: Workspace, live: Mapping[Key, Object], autoscaled: Sequence[str], time: float
    ) -> Sizes:
        """The sizes from now on: decided anew each round, else as before, within what the resource says now.

        `autoscaled`: roles that others size; `time`: unix seconds.
        """
        known = self._remembered.setdefault(workspace.uid, _Remembered(WorkspaceLoad(self._reader)))
        now = self._clock()
        if now < known.due_at:
            # Kept, too: what a bound has made more goes by the rules once that is lifted, not back to what was.
            kept = known.sizes.decisions
            kept |= {role: _bounded(decision, workspace.limits(role)) for role, decision in kept.items()}
            return known.sizes
        known.due_at = now + ROUND_SECONDS - 0.5  # a round that begins a little early is this round
        pods = [one for key, one in live.items() if key.kind == "Pod"]
        ready = [_pod(one) for one in pods if is_pod_ready(one) and (one.get("status") or {}).get("podIP")]
        cores = {name: _cores(workspace.role(name)) for name in workspace.components}
        loads = await known.load.read([pod for pod in ready if pod.role in cores], cores)
        sizes = Sizes(loads=loads, failures=known.load.failures, refused_settings=known.load.refused_settings)
        if workspace.spec.scaling.enabled and not workspace.is_single:
            for role in ROLES:
                deployment = live.get(Key("Deployment", component_name(workspace, role)))
                if deployment is None or role in autoscaled:
                    known.histories.pop(role, None)
                    continue
                moving = sum(is_moving(one, time) for one in pods if one["metadata"]["labels"].get(COMPONENT) == role)
                load = RoleLoad(count_desired(deployment), moving, loads.get(role, []))
                decision = decide(workspace.limits(role), known.histories.get(role, History()), load, self._clock())
                known.histories[role] = decision.history
                sizes.decisions[role] = decision
        known.sizes = sizes
        return sizes

    def forget(self, uid: str) -> None:
        """A workspace that is gone."""
        self._remembered.pop(uid, None)


def _bounded(decision: Decision, limits: RoleLimits) -> Decision:
    """A decision that may be older than the bounds."""
    size = min(max(decision.size, limits.min), limits.max)
    if size == decision.size:
        return decision
    sentence = f"between {limits.min} and {limits.max}, as the resource says"
    return replace(decision, size=size, reason=Reason.LIMITS, sentence=sentence)


def _pod(found: Object) -> Pod:
    metadata = found["metadata"]
    role = metadata["labels"].get(COMPONENT, "")
    address: str = found["status"]["podIP"]
    return Pod(metadata["uid"], metadata["name"], role, f"[{address}]" if ":" in address else address)


def _cores(plan: RolePlan) -> float:
    """How much CPU a pod may use: a process computes on one core, or on less where it is limited."""
    text = str(plan.resources.get("limits", {}).get("cpu", "1"))
    if text.endswith("m"):
        return min(1.0, float(text[:-1]) / 1000) or 1.0
    # Every other unit that a quantity may have is of a thousand or more.
    return 1.0 if text[-1].isalpha() else min(1.0, float(text)) or 1.0
