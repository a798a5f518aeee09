"""What is told of a workspace, and how little of it is written."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver_operator.conditions import SENTENCES, Finding, Reason
from palaver_operator.health import is_lacking
from palaver_operator.rollout import Decision, Phase
from palaver_operator.status import Observed, RoleState, find_change, make_idle_status, make_status
from tests.palaver_operator.workspaces import workspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READY = RoleState(desired=2, ready=2, version="1.4.0", min=2, max=4)


def status(before: dict[str, Any] | None = None, now: datetime = NOW, **changed: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "version": "1.4.0",
        "roles": {"auth": READY, "gateway": READY},
        "decision": Decision({}, Phase.COMPLETE),
        "problems": [],
        "is_new": False,
        **changed,
    }
    found, _ = make_status(workspace(), Observed(**fields), before or {}, now)
    return found


def conditions(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in found["conditions"]}


def test_all_is_well() -> None:
    found = status(connections=7)
    assert (found["state"], found["ready"], found["connections"]) == ("Ready", "2/2", 7)
    assert found["observedGeneration"] == 1
    assert conditions(found) == {
        "Available": ("True", "AllRolesReady"),
        "Progressing": ("False", "Complete"),
        "Degraded": ("False", "AsExpected"),
    }


@pytest.mark.parametrize(
    ("changed", "state", "degraded"),
    [
        ({"is_new": True, "decision": Decision({}, Phase.WAITING, "nats")}, "Creating", "False"),
        ({"decision": Decision({}, Phase.ROLLING, "auth")}, "RollingOut", "False"),
        ({"decision": Decision({}, Phase.WATCHING, "auth")}, "Watching", "False"),
        ({"decision": Decision({}, Phase.MIGRATING)}, "Migrating", "False"),
        ({"decision": Decision({}, Phase.ROLLED_BACK, "auth", "it fell", "x")}, "RolledBack", "True"),
        ({"waiting": Finding(Reason.OPERATOR_OLDER, "v")}, "OperatorOlder", "False"),
        ({"decision": Decision({}, Phase.WAITING, "nats", "it fell")}, "ComponentFailing", "True"),
        ({"problems": [Finding(Reason.SECRET_MISSING, "m")]}, "SecretMissing", "True"),
        ({"roles": {"auth": RoleState(2, 1, "1.4.0", 2, 4, is_lacking=True)}}, "RoleBelowFloor", "True"),
        ({"roles": {"auth": RoleState(2, 1, "1.4.0", 2, 4)}}, "Ready", "False"),
        ({"roles": {"auth": RoleState(2, 0, "1.4.0", 2, 4)}, "is_new": True}, "RoleUnavailable", "False"),
    ],
)
def test_what_is_wrong_has_a_name(changed: dict[str, Any], state: str, degraded: str) -> None:
    found = status(**changed)
    assert found["state"] == state
    assert conditions(found)["Degraded"][0] == degraded
    assert all(entry["message"].endswith(".") for entry in found["conditions"])


def test_every_reason_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Reason)


def test_a_transition_has_its_time_and_nothing_else_changes_it() -> None:
    first = status()
    later = status(first, NOW + timedelta(hours=1))
    assert later == first
    lost = status(first, NOW + timedelta(hours=1), roles={"auth": RoleState(2, 0, "1.4.0", 2, 4)})
    times = {entry["type"]: entry["lastTransitionTime"] for entry in lost["conditions"]}
    assert times["Available"] == "2026-01-01T01:00:00Z"
    assert times["Progressing"] == "2026-01-01T00:00:00Z"


def test_what_is_left_alone_keeps_what_was_known_of_it() -> None:
    before = status(connections=3)
    paused, _ = make_idle_status(workspace(), Finding(Reason.PAUSED), before, NOW)
    assert (paused["state"], paused["connections"], paused["version"]) == ("Paused", 3, "1.4.0")
    assert conditions(paused)["Available"] == ("True", "AllRolesReady")
    again, _ = make_idle_status(workspace(), Finding(Reason.PAUSED), paused, NOW + timedelta(hours=1))
    assert again == paused
    invalid, _ = make_idle_status(workspace(), Finding(Reason.SPEC_INVALID, "spec.x"), {}, NOW)
    assert conditions(invalid)["Degraded"] == ("True", "SpecInvalid")
    assert conditions(invalid)["Available"][0] == "Unknown"


def test_too_few_pods_are_a_problem_only_after_a_while() -> None:
    condition = {"type": "Available", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    workload = {"status": {"conditions": [condition]}}
    assert not is_lacking(workload, NOW.timestamp() + 59)
    assert is_lacking(workload, NOW.timestamp() + 61)
    assert not is_lacking({"status": {"conditions": [condition | {"status": "True"}]}}, NOW.timestamp() + 61)
    assert not is_lacking(None, NOW.timestamp())


_json = st.recursive(
    st.sampled_from([None, True, 0, 1, "", "x", [], [1]]),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
_objects = st.dictionaries(st.sampled_from("abc"), _json, max_size=3)


def _without_nothing(value: Any) -> Any:
    """A field that is null is a field that is not there."""
    if isinstance(value, dict):
        return {name: _without_nothing(part) for name, part in value.items() if part is not None}
    return value


def _merge(before: Any, change: Any) -> Any:
    """RFC 7396, as the API server does it."""
    if not isinstance(change, dict):
        return change
    merged = dict(before) if isinstance(before, dict) else {}
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


@given(_objects, _objects)
def test_the_patch_makes_one_of_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    before, after = _without_nothing(before), _without_nothing(after)
    change = find_change(before, after)
    if change is None:
        assert before == after
    else:
        assert _merge(before, change) == after
