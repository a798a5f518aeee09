"""A Palaver's status: what is told of a workspace, and what of it has to be written. Pure; used by reconcile.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from palaver_operator.conditions import Condition, Finding, Reason, make_conditions, name_state, show_conditions
from palaver_operator.objects.naming import COMPONENT, INSTANCE, NAME
from palaver_operator.resource import Identity, Workspace
from palaver_operator.rollout import Decision, Phase

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RoleState:
    """One component that plays Palaver's roles, as it stands."""

    desired: int
    ready: int
    version: str
    min: int
    max: int
    is_autoscaled: bool = False
    is_lacking: bool = False  # it has had too few pods for longer than it takes to start some


@dataclass(frozen=True, slots=True)
class Observed:
    """What one reconcile has seen and done."""

    version: str  # that all roles play; empty before the first time
    roles: Mapping[str, RoleState]
    decision: Decision
    problems: Sequence[Finding]
    is_new: bool  # never yet complete
    waiting: Finding | None = None  # why the version that is wanted is not begun
    connections: int | None = None
    scaling: Mapping[str, Any] = field(default_factory=dict)


def make_status(
    workspace: Workspace, observed: Observed, before: Status, now: datetime
) -> tuple[Status, list[Condition]]:
    """The whole status, and the conditions in it. `now`: UTC."""
    lacking = [name for name, role in observed.roles.items() if not role.ready]
    problems = [*observed.problems, *_find_problems(observed)]
    if lacking:
        available = Finding(Reason.ROLE_UNAVAILABLE, ", ".join(lacking))
    else:
        available = Finding(Reason.ALL_ROLES_READY)
    conditions = make_conditions(available, _progress(observed), problems)
    ready = sum(1 for role in observed.roles.values() if role.ready >= max(1, min(role.min, role.desired)))
    component = "single" if workspace.is_single else "gateway"
    status: Status = {
        "observedGeneration": workspace.generation,
        "version": observed.version,
        "url": workspace.url,
        "state": name_state(conditions),
        "ready": f"{ready}/{len(observed.roles)}",
        "connections": observed.connections,
        "selector": f"{NAME}=palaver,{INSTANCE}={workspace.name},{COMPONENT}={component}",
        "conditions": show_conditions(conditions, before.get("conditions") or [], workspace.generation, _time(now)),
        "roles": {name: _show_role(role) for name, role in observed.roles.items()},
        "scaling": dict(observed.scaling),
        "rollout": _show_rollout(observed.decision, workspace.spec.version),
    }
    return status, conditions


def make_idle_status(
    workspace: Identity, finding: Finding, before: Status, now: datetime
) -> tuple[Status, list[Condition]]:
    """The status of a workspace that is left as it is: everything but the conditions stays what it was."""
    old = {entry["type"]: entry for entry in before.get("conditions") or []}
    known = old.get("Available", {})
    available = Condition("Available", {"True": True, "False": False}.get(known.get("status", "")), _as_it_was(known))
    is_wrong = finding.reason is not Reason.PAUSED
    conditions = [
        available,
        Condition("Progressing", False, finding),
        Condition("Degraded", is_wrong, finding if is_wrong else Finding(Reason.AS_EXPECTED)),
    ]
    shown = show_conditions(conditions, before.get("conditions") or [], workspace.generation, _time(now))
    state = name_state(conditions)
    return before | {"observedGeneration": workspace.generation, "conditions": shown, "state": state}, conditions


def find_change(before: Any, after: Any) -> Any:
    """The merge patch from one to the other; None when nothing differs. Lists are one value."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return None if before == after else after
    change: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before:
            if value is not None:
                change[name] = value
        elif value is None:
            change[name] = None
        elif before[name] != value:
            inner = find_change(before[name], value)
            change[name] = inner if inner is not None else value
    return change or None


def _progress(observed: Observed) -> Finding:
    decision = observed.decision
    details = f"{decision.component}: {decision.message}" if decision.message else decision.component
    if decision.phase is Phase.ROLLED_BACK:
        return Finding(Reason.ROLLED_BACK, details.strip(": "))
    if decision.phase is Phase.RESTORING:
        return Finding(Reason.RESTORING)
    if observed.waiting is not None:
        return observed.waiting
    if observed.is_new and decision.phase is not Phase.COMPLETE:
        return Finding(Reason.CREATING, f"waiting for {decision.component}" if decision.component else "")
    if decision.phase is Phase.MIGRATING:
        return Finding(Reason.MIGRATING)
    if decision.phase is Phase.ROLLING:
        return Finding(Reason.ROLLING_OUT, f"now {decision.component}")
    if decision.phase is Phase.WATCHING:
        return Finding(Reason.WATCHING, f"now {decision.component}")
    return Finding(Reason.COMPLETE)


def _find_problems(observed: Observed) -> list[Finding]:
    decision, found = observed.decision, []
    if decision.phase is Phase.ROLLED_BACK:
        found.append(Finding(Reason.ROLLED_BACK, f"{decision.component}: {decision.message}".strip(": ")))
    elif decision.message:
        found.append(Finding(Reason.COMPONENT_FAILING, f"{decision.component}: {decision.message}"))
    elif decision.phase is Phase.WAITING and not observed.is_new and decision.component not in observed.roles:
        found.append(Finding(Reason.COMPONENT_FAILING, decision.component))
    below = [
        f"{name} has {role.ready} of {role.min}"
        for name, role in observed.roles.items()
        if role.is_lacking and role.ready < min(role.min, role.desired)
    ]
    if below and not observed.is_new and not found:
        found.append(Finding(Reason.ROLE_BELOW_FLOOR, ", ".join(below)))
    return found


def _show_role(role: RoleState) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "desired": role.desired,
        "ready": role.ready,
        "version": role.version,
        "min": role.min,
        "max": role.max,
    }
    return shown | ({"sizedBy": "HorizontalPodAutoscaler"} if role.is_autoscaled else {})


def _show_rollout(decision: Decision, version: str) -> dict[str, Any]:
    shown = {"phase": decision.phase.value, "version": version}
    for name in ("component", "message", "failed"):
        if value := getattr(decision, name):
            shown[name] = value
    return shown


def _as_it_was(entry: Mapping[str, Any]) -> Finding:
    try:
        reason = Reason(entry.get("reason", ""))
    except ValueError:
        reason = Reason.ROLE_UNAVAILABLE
    # The message is the sentence with its details: taken apart again, so that it stays the same.
    _, _, details = str(entry.get("message", "")).removesuffix(".").partition(": ")
    return Finding(reason, details)


def _time(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"
