"""Which revision each workload gets now: what was built and what is there, brought before rollout.py. Pure."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from palaver_operator.health import (
    Failures,
    find_strain,
    find_trouble,
    find_usual_failures,
    is_ready,
    is_watched,
    job_outcome,
)
from palaver_operator.kinds import Key
from palaver_operator.objects.jobs import build_migration
from palaver_operator.objects.naming import COMPONENT, VERSION, Object, component_name
from palaver_operator.objects.restore import build_restore
from palaver_operator.resource import Workspace
from palaver_operator.revisions import (
    REVISION,
    STABLE,
    Revision,
    find_revision,
    inputs_of,
    put_revision,
    wanted_revision,
)
from palaver_operator.rollout import Component, Decision, Migration, Phase, Turn, decide

WORKLOADS = ("Deployment", "StatefulSet")
BACKING = ("mongodb", "nats")


@dataclass(frozen=True, slots=True)
class Plan:
    """`objects`: what to apply now, with the revisions that were decided; `version`: that all roles play, or empty.

    `needed`: servers that pods of an earlier revision may work with, whatever the resource says now.
    """

    objects: list[Object]
    decision: Decision
    version: str
    needed: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Workload:
    built: Object
    live: Object | None
    component: Component
    wanted: Revision
    current: Revision | None
    stable: Revision | None


def component_of(found: Object) -> str:
    """The component that an object belongs to."""
    component: str = found["metadata"]["labels"][COMPONENT]
    return component


def make_plan(
    workspace: Workspace,
    built: Sequence[Object],
    live: Mapping[Key, Object],
    *,
    running: str,
    failed: str,
    failures: Mapping[str, Failures],
    now: float,
    is_held: bool = False,
) -> Plan:
    """`running`: the version that all roles played last; `failed`: the target that is not to be tried again.

    `failures`: of those pods that said how often they fail, by name. `now`: unix seconds.
    `is_held`: every pod stays of the revision with which all was ready last, whatever the resource says of them.
    """
    workloads = [_look(workspace, one, live, failures, now, is_held) for one in built if one["kind"] in WORKLOADS]
    order = {name: place for place, name in enumerate((*BACKING, *workspace.components))}
    workloads.sort(key=lambda one: order[one.component.name])
    restore = None if running else build_restore(workspace)
    job = restore or build_migration(workspace)
    outcome = job_outcome(live.get(Key("Job", job["metadata"]["name"])))
    migration = _migrate(workspace, outcome, running) if restore is None else _RESTORE[outcome]
    decision = decide([one.component for one in workloads], failed, migration, workspace.retry)
    for one in workloads:
        if turn := decision.turns.get(one.component.name):
            _give(one, turn, decision.phase, now)
    later = {id(one.built) for one in workloads if one.component.name not in decision.turns}
    objects = [one for one in built if id(one) not in later]
    # Once it works it goes on: what it writes to may be slow to say that it is ready.
    can_restore = restore is not None and (
        Key("Job", job["metadata"]["name"]) in live
        or all(one.component.is_ready for one in workloads if one.component.is_backing)
    )
    if can_restore or (restore is None and migration is not Migration.NOT_NEEDED):
        objects.append(job)
    is_complete = decision.phase is Phase.COMPLETE and not is_held
    if not is_complete:
        objects = [_with_ways(one, live) if one["kind"] == "NetworkPolicy" else one for one in objects]
    version = workspace.spec.version if decision.phase is Phase.COMPLETE else running
    return Plan(objects, decision, version, needed=() if is_complete else BACKING)


def list_pods(live: Mapping[Key, Object], component: str) -> list[Object]:
    """The pods of a component, ready or not."""
    return [one for key, one in live.items() if key.kind == "Pod" and component_of(one) == component]


def version_of(workload: Object | None) -> str:
    """The version that a workload's pods are of, or are becoming."""
    if workload is None:
        return ""
    version: str = workload["spec"]["template"]["metadata"]["labels"].get(VERSION, "")
    return version


def find_running(workspace: Workspace, live: Mapping[Key, Object]) -> str:
    """The version that all roles played last, by what their workloads remember; empty if they never did together."""
    versions = {_stable_label(workspace, component, live) for component in workspace.components}
    return versions.pop() if len(versions) == 1 else ""


def as_it_runs(workspace: Workspace, running: str, live: Mapping[Key, Object]) -> Workspace:
    """The workspace with the version that runs, and with the tag of its image, where the resource wants another."""
    if running == workspace.spec.version:
        return workspace
    revision = _stable_of(workspace, workspace.components[0], live)
    image = revision.template["spec"]["containers"][0]["image"] if revision is not None else ""
    tag = image.rpartition(":")[2] if ":" in image.rpartition("/")[2] else running
    spec = workspace.spec
    spec = msgspec.structs.replace(spec, version=running, image=msgspec.structs.replace(spec.image, tag=tag))
    return dataclasses.replace(workspace, spec=spec)


def _with_ways(policy: Object, live: Mapping[Key, Object]) -> Object:
    """The policy with the ways to servers that it had before: pods of an earlier revision may need them, and come back.

    The ways to the world, which users decide about, are closed at once.
    """
    there = live.get(Key("NetworkPolicy", policy["metadata"]["name"]))
    wanted: list[Object] = policy["spec"].get("egress") or []
    had: list[Object] = (there["spec"].get("egress") or []) if there is not None else []
    kept = [rule for rule in had if rule not in wanted and not any("ipBlock" in peer for peer in rule.get("to") or [])]
    return policy | {"spec": policy["spec"] | {"egress": [*wanted, *kept]}} if kept else policy


def _stable_of(workspace: Workspace, component: str, live: Mapping[Key, Object]) -> Revision | None:
    name = component_name(workspace, component)
    return next((found for kind in WORKLOADS if (found := find_revision(live.get(Key(kind, name)), STABLE))), None)


def _stable_label(workspace: Workspace, component: str, live: Mapping[Key, Object]) -> str:
    revision = _stable_of(workspace, component, live)
    return revision.template["metadata"]["labels"].get(VERSION, "") if revision is not None else ""


def _look(
    workspace: Workspace,
    built: Object,
    live: Mapping[Key, Object],
    failures: Mapping[str, Failures],
    now: float,
    is_held: bool,
) -> _Workload:
    name = component_of(built)
    there = live.get(Key(built["kind"], built["metadata"]["name"]))
    wanted = wanted_revision(workspace, name, built, now)
    current, stable = find_revision(there, REVISION), find_revision(there, STABLE)
    if is_held:
        wanted = stable or current or wanted
    pods = list_pods(live, name)
    trouble, watched = find_trouble(there, pods, current, now), True
    if current is not None and stable is not None and current.inputs != stable.inputs:
        new = [pod for pod in pods if inputs_of(pod) == current.inputs]
        old = [pod for pod in pods if inputs_of(pod) != current.inputs]
        trouble = trouble or find_strain(_lately(new, failures), _lately(old, failures), current.usual)
        seconds = workspace.spec.rollout.soak_seconds
        watched = not seconds or is_watched(new, failures, seconds, now)
        usual = current.usual  # what was there before either of them
    else:
        usual = find_usual_failures(pods, failures, now)
    component = Component(
        name,
        wanted=wanted.inputs,
        current=current.inputs if current else None,
        stable=stable.inputs if stable else None,
        is_ready=is_ready(there),
        trouble=trouble,
        is_watched=watched,
        is_backing=name in BACKING,
    )
    return _Workload(built, there, component, msgspec.structs.replace(wanted, usual=usual), current, stable)


def _lately(pods: Iterable[Object], failures: Mapping[str, Failures]) -> list[float]:
    """Failures a second, of those of which enough is known."""
    found = [failures.get(pod["metadata"]["name"]) for pod in pods]
    return [one.lately for one in found if one is not None and one.lately is not None]


def _give(one: _Workload, turn: Turn, phase: Phase, now: float) -> None:
    """Puts the revision of its turn into a built workload: as it was first applied, if it was."""
    chosen = {Turn.WANTED: one.wanted, Turn.CURRENT: one.current, Turn.STABLE: one.stable}[turn] or one.wanted
    if one.current is not None and one.current.inputs == chosen.inputs:
        chosen = one.current
    elif one.stable is not None and one.stable.inputs == chosen.inputs:
        chosen = msgspec.structs.replace(one.stable, since=now)
    put_revision(one.built, chosen, chosen if phase is Phase.COMPLETE else one.stable)
    if one.built["kind"] == "StatefulSet" and one.live is not None:
        # Can't be changed once it is there.
        one.built["spec"]["volumeClaimTemplates"] = [
            {name: value for name, value in claim.items() if name != "status"}
            for claim in one.live["spec"]["volumeClaimTemplates"]
        ]


_RESTORE = {True: Migration.NOT_NEEDED, False: Migration.NOT_RESTORED, None: Migration.RESTORING}


def _migrate(workspace: Workspace, outcome: bool | None, running: str) -> Migration:
    """A workspace's first version brings its database along by itself; so does one that has it in its volume."""
    if not running or running == workspace.spec.version or workspace.is_single:
        return Migration.NOT_NEEDED
    return {True: Migration.DONE, False: Migration.FAILED, None: Migration.RUNNING}[outcome]
