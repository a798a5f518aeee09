"""Whether the pods of a new revision fail more often than those before: judged role by role, and taken back."""

from datetime import UTC, datetime

import pytest

from palaver_operator.health import Failures
from palaver_operator.kinds import Key
from palaver_operator.planning import (
    component_of,
)
from palaver_operator.resource import Workspace
from palaver_operator.rollout import Phase
from tests.palaver_operator.clusters import NOW, Live, become, plan, settled, templates
from tests.palaver_operator.workspaces import workspace

BEGUN = NOW.timestamp()


def with_pods(live: Live, role: str, since: float, mark: str) -> Live:
    """Two pods of what the role's Deployment makes now, ready since so many seconds after BEGUN."""
    at = datetime.fromtimestamp(BEGUN + since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made = live[Key("Deployment", f"chat-{role}")]["spec"]["template"]["metadata"]
    status = {
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at}],
        "containerStatuses": [{"ready": True, "state": {"running": {"startedAt": at}}}],
    }
    names = [f"{role}-{mark}-{number}" for number in range(2)]
    return live | {
        Key("Pod", name): {"kind": "Pod", "metadata": {"name": name, **made}, "status": status} for name in names
    }


def without_pods(live: Live, role: str) -> Live:
    return {key: one for key, one in live.items() if key.kind != "Pod" or component_of(one) != role}


def failing(role: str, mark: str, total: float, lately: float | None) -> dict[str, Failures]:
    return {f"{role}-{mark}-{number}": Failures(total, lately) for number in range(2)}


WATCHED = {"soakSeconds": 60}


def rolled(role: str, usual: float) -> tuple[Workspace, Live, Live]:
    """A new revision that has come as far as this role, whose old pods failed so often a second, and are gone.

    Returns what is wanted, what was there before, and what is there; the pods of the role are ready since 1000 s.
    """
    before = settled(workspace())
    found = workspace(image={"tag": "new"}, rollout=WATCHED)
    live, now = before, BEGUN + 1000
    for name in ("auth", "presence", "messaging", "gateway"):
        live = with_pods(live, name, 0, "old")
        made = plan(found, live, running="1.4.0", failures=failing(name, "old", usual * 1000, usual), now=now)
        assert (made.decision.phase, made.decision.component) == (Phase.ROLLING, name)
        live = without_pods(become(made, live), name)
        if name == role:
            return found, before, with_pods(live, name, 1000, "new")
        live = with_pods(live, name, 100, "new")  # watched for long already
    raise AssertionError(role)


@pytest.mark.parametrize("role", ["auth", "gateway"])
def test_a_revision_that_fails_more_often_is_taken_back_though_it_is_ready(role: str) -> None:
    found, before, live = rolled(role, usual=0.1)
    assert not [key for key in live if "old" in key.name], "nothing is left to compare with but what was written down"
    bad = failing(role, "new", 300, 5.0)
    made = plan(found, live, running="1.4.0", failures=bad, now=BEGUN + 1040)
    assert (made.decision.phase, made.decision.component) == (Phase.ROLLED_BACK, role)
    assert "5.0 unexpected errors a second, one of those before 0.1" in made.decision.message
    assert templates(become(made, live)) == templates(before)


@pytest.mark.parametrize("role", ["auth", "gateway"])
@pytest.mark.parametrize(
    ("usual", "lately"),
    [
        (1.5, 1.4),  # a workspace that always has some
        (1.5, 4.4),  # not much worse than before
        (0.0, 0.9),  # hardly any
    ],
)
def test_a_revision_that_fails_as_often_as_the_one_before_goes_on(role: str, usual: float, lately: float) -> None:
    found, _, live = rolled(role, usual)
    failures = failing(role, "new", 100, lately)
    early = plan(found, live, running="1.4.0", failures=failures, now=BEGUN + 1059)
    assert (early.decision.phase, early.decision.component, early.version) == (Phase.WATCHING, role, "1.4.0")
    late = plan(found, live, running="1.4.0", failures=failures, now=BEGUN + 1060)
    assert late.decision.phase is (Phase.COMPLETE if role == "gateway" else Phase.ROLLING)


def test_one_that_has_not_said_enough_is_waited_for_and_one_that_says_nothing_is_not() -> None:
    found, _, live = rolled("gateway", 0.0)
    one_reading = failing("gateway", "new", 500, None)
    assert plan(found, live, running="1.4.0", failures=one_reading, now=BEGUN + 1070).decision.phase is Phase.WATCHING
    assert plan(found, live, running="1.4.0", failures={}, now=BEGUN + 1070).decision.phase is Phase.COMPLETE


def test_without_anything_to_compare_with_nobody_is_judged() -> None:
    before = with_pods(settled(workspace()), "auth", 0, "old")
    found = workspace(image={"tag": "new"}, rollout=WATCHED)
    live = become(plan(found, before, running="1.4.0", now=BEGUN + 1000), before)
    alone = with_pods(without_pods(live, "auth"), "auth", 1000, "new")
    bad = failing("auth", "new", 300, 5.0)
    assert plan(found, alone, running="1.4.0", failures=bad, now=BEGUN + 1040).decision.phase is Phase.WATCHING
    both = with_pods(live, "auth", 1000, "new")
    seen = bad | failing("auth", "old", 0, 0.0)
    assert plan(found, both, running="1.4.0", failures=seen, now=BEGUN + 1040).decision.phase is Phase.ROLLED_BACK
    same = bad | failing("auth", "old", 50, 5.0)  # whatever it is, it is not the new revision
    assert plan(found, both, running="1.4.0", failures=same, now=BEGUN + 1040).decision.phase is not Phase.ROLLED_BACK


def test_what_mends_a_bad_revision_is_compared_with_what_was_before_that() -> None:
    _, _, live = rolled("auth", usual=0.1)
    mended = workspace(image={"tag": "newer"}, rollout=WATCHED)
    seen = failing("auth", "new", 3000, None)
    made = plan(mended, live, running="1.4.0", failures=seen, now=BEGUN + 1030)
    assert made.decision.phase is Phase.ROLLING
    live = with_pods(without_pods(become(made, live), "auth"), "auth", 1050, "newer")
    bad = failing("auth", "newer", 300, 5.0)
    assert plan(mended, live, running="1.4.0", failures=bad, now=BEGUN + 1090).decision.phase is Phase.ROLLED_BACK
