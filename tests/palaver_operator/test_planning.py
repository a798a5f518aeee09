"""The way of a new revision there and back: servers first, migrations, roles in turn; what is held, or tried again."""

from dataclasses import replace

import pytest

from palaver_operator.apply import list_leftovers
from palaver_operator.kinds import Key
from palaver_operator.objects.jobs import build_migration
from palaver_operator.objects.naming import Object, own
from palaver_operator.planning import (
    WORKLOADS,
    Plan,
    as_it_runs,
    component_of,
    find_running,
    version_of,
)
from palaver_operator.resource import Workspace
from palaver_operator.revisions import STABLE
from palaver_operator.rollout import Phase
from tests.palaver_operator.clusters import Live, become, plan, settled, templates
from tests.palaver_operator.workspaces import SINGLE, workspace


def test_a_workspace_comes_up_servers_first() -> None:
    first = plan(workspace(), {})
    assert {component_of(one) for one in first.objects if one["kind"] in WORKLOADS} == {"mongodb", "nats"}
    assert first.decision.phase is Phase.WAITING
    assert first.version == ""
    live = settled(workspace())
    assert set(templates(live)) == {"mongodb", "nats", "auth", "presence", "messaging", "gateway"}
    assert plan(workspace(), live).version == "1.4.0"
    assert all(one["metadata"]["annotations"][STABLE] for one in live.values())


def _with_job(live: Live, found: Workspace, condition: str) -> Live:
    key = Key("Job", build_migration(found)["metadata"]["name"])
    return live | {key: live[key] | {"status": {"conditions": [{"type": condition, "status": "True"}]}}}


def test_a_new_version_migrates_first_then_rolls_gateways_last() -> None:
    new = workspace(version="1.5.0")
    live = settled(workspace())
    made = plan(new, live, running="1.4.0")
    assert made.decision.phase is Phase.MIGRATING
    assert [one["metadata"]["name"] for one in made.objects if one["kind"] == "Job"] == [
        build_migration(new)["metadata"]["name"]
    ]
    live = become(made, live)
    assert {version_of(live[Key("Deployment", f"chat-{role}")]) for role in ("auth", "gateway")} == {"1.4.0"}
    live = _with_job(live, new, "Complete")
    seen = []
    for _ in range(6):
        made = plan(new, live, running="1.4.0")
        seen.append(made.decision.component)
        live = _with_job(become(made, live), new, "Complete")
    assert seen[:4] == ["auth", "presence", "messaging", "gateway"]
    assert made.version == "1.5.0"
    again = plan(new, live, running="1.5.0")
    assert not [one for one in again.objects if one["kind"] == "Job"], "what is done needs no job any more"


def test_a_failed_migration_rolls_nothing() -> None:
    new = workspace(version="1.5.0")
    live = settled(workspace())
    live = _with_job(become(plan(new, live, running="1.4.0"), live), new, "Failed")
    made = plan(new, live, running="1.4.0")
    assert made.decision.phase is Phase.ROLLED_BACK
    assert made.version == "1.4.0"
    assert templates(become(made, live)) == templates(live)


@pytest.mark.parametrize("way", ["delete the Job", "annotate"])
def test_a_failed_migration_is_tried_again(way: str) -> None:
    new = workspace(version="1.5.0")
    live = settled(workspace())
    live = _with_job(become(plan(new, live, running="1.4.0"), live), new, "Failed")
    failed = plan(new, live, running="1.4.0").decision.failed
    key = Key("Job", build_migration(new)["metadata"]["name"])
    if way == "annotate":
        new = replace(new, retry="the disk is larger now")
        again = Key("Job", build_migration(new)["metadata"]["name"])
        assert again != key
    else:
        live = {one: found for one, found in live.items() if one != key}
    made = plan(new, live, running="1.4.0", failed=failed)
    assert made.decision.phase is Phase.MIGRATING
    jobs = [one["metadata"]["name"] for one in made.objects if one["kind"] == "Job"]
    assert jobs == [build_migration(new)["metadata"]["name"]]
    live = _with_job(become(made, live), new, "Complete")
    made = plan(new, live, running="1.4.0", failed=made.decision.failed)
    assert (made.decision.phase, made.decision.component) == (Phase.ROLLING, "auth")


def test_a_revision_that_failed_is_tried_again_when_it_is_asked_for() -> None:
    before = settled(workspace())
    found = workspace(image={"tag": "was-not-in-the-registry"})
    live = become(plan(found, before, running="1.4.0"), before, ready=False)
    live[Key("Deployment", "chat-auth")]["status"]["conditions"] = [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    ]
    made = plan(found, live, running="1.4.0")
    assert made.decision.phase is Phase.ROLLED_BACK
    live = become(made, live)
    assert plan(found, live, running="1.4.0", failed=made.decision.failed).decision.phase is Phase.ROLLED_BACK
    asked = replace(found, retry="1")
    made = plan(asked, live, running="1.4.0", failed=made.decision.failed)
    assert (made.decision.phase, made.decision.component) == (Phase.ROLLING, "auth")


def test_a_revision_that_fails_is_taken_back_exactly() -> None:
    before = settled(workspace())
    bad = workspace(image={"tag": "broken"}, drain={"seconds": 3})
    live = become(plan(bad, before, running="1.4.0"), before, ready=False)
    auth = live[Key("Deployment", "chat-auth")]
    assert auth["spec"]["template"] != before[Key("Deployment", "chat-auth")]["spec"]["template"]
    auth["status"]["conditions"] = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    made = plan(bad, live, running="1.4.0")
    assert made.decision.phase is Phase.ROLLED_BACK
    live = become(made, live)
    assert templates(live) == templates(before)
    again = plan(bad, live, running="1.4.0", failed=made.decision.failed)
    assert again.decision.phase is Phase.ROLLED_BACK
    assert templates(become(again, live)) == templates(before)
    good = plan(workspace(), live, running="1.4.0", failed=made.decision.failed)
    assert good.decision.phase is Phase.COMPLETE


def test_pods_that_end_again_and_again_are_trouble_before_the_deadline() -> None:
    before = settled(workspace())
    bad = workspace(image={"tag": "broken"})
    live = become(plan(bad, before, running="1.4.0"), before, ready=False)
    template = live[Key("Deployment", "chat-auth")]["spec"]["template"]
    pod = {
        "kind": "Pod",
        "metadata": {"name": "chat-auth-x", **template["metadata"]},
        "status": {
            "containerStatuses": [
                {
                    "restartCount": 3,
                    "ready": False,
                    "state": {},
                    "lastState": {"terminated": {"message": "...\npalaver: there is no setting Site_Nam\n"}},
                }
            ]
        },
    }
    made = plan(bad, live | {Key("Pod", "chat-auth-x"): pod}, running="1.4.0")
    assert made.decision.phase is Phase.ROLLED_BACK
    assert "ended 3 times: palaver: there is no setting Site_Nam" in made.decision.message


def test_the_one_pod_of_size_single_rolls_and_goes_back_too() -> None:
    live = settled(workspace(SINGLE))
    new = workspace(SINGLE, version="1.5.0")
    made = plan(new, live, running="1.4.0", now=1000.0)
    assert made.decision.phase is Phase.ROLLING
    live = become(made, live, ready=False)
    assert plan(new, live, running="1.4.0", now=1100.0).decision.phase is Phase.ROLLING
    late = plan(new, live, running="1.4.0", now=1301.0)
    assert late.decision.phase is Phase.ROLLED_BACK
    assert version_of(become(late, live)[Key("StatefulSet", "chat-single")]) == "1.4.0"


def test_what_is_held_stays_exactly_as_it_was_last_ready() -> None:
    before = settled(workspace())
    wanted = workspace(version="1.9.0", image={"tag": "1.9.0-mirror"}, drain={"seconds": 3})
    held = as_it_runs(wanted, "1.4.0", before)
    assert held.image == "palaver:1.4.0", "the tag of what runs, not that of what is wanted"
    made = plan(held, before, running="1.4.0", is_held=True)
    assert (made.decision.phase, made.version) == (Phase.COMPLETE, "1.4.0")
    assert templates(become(made, before)) == templates(before)
    # Nor is a roll-out finished that had begun.
    begun = become(plan(workspace(drain={"seconds": 9}), before, running="1.4.0"), before)
    assert templates(begun) != templates(before)
    made = plan(held, begun, running="1.4.0", is_held=True)
    assert templates(become(made, begun)) == templates(before)


def test_a_workspace_that_lost_its_status_is_known_by_what_runs() -> None:
    live = settled(workspace())
    assert find_running(workspace(version="1.9.0"), live) == "1.4.0"
    assert find_running(workspace(), {}) == ""
    del live[Key("Deployment", "chat-auth")]
    assert find_running(workspace(), live) == ""
    single = settled(workspace(SINGLE))
    assert find_running(workspace(SINGLE), single) == "1.4.0"
    mirrored = settled(workspace(image={"repository": "localhost:5000/palaver", "tag": "1.4.0-mirror"}))
    assert as_it_runs(workspace(version="1.5.0"), "1.4.0", mirrored).image == "palaver:1.4.0-mirror"


def test_a_deadline_that_another_revision_missed_is_no_trouble_of_the_next() -> None:
    before = settled(workspace())
    live = become(plan(workspace(image={"tag": "1.4.0-bad"}), before, running="1.4.0"), before, ready=False)
    # Nobody looked when it failed; meanwhile the resource says something else.
    missed = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    good = workspace(image={"tag": "1.4.0-good"})
    live = become(plan(good, live, running="1.4.0"), live, ready=False)
    auth = live[Key("Deployment", "chat-auth")]
    auth["metadata"]["generation"] = 3
    auth["status"] |= {"observedGeneration": 2, "conditions": [missed]}
    made = plan(good, live, running="1.4.0")
    assert (made.decision.phase, made.decision.component) == (Phase.ROLLING, "auth")
    auth["status"]["observedGeneration"] = 3
    assert plan(good, live, running="1.4.0").decision.phase is Phase.ROLLED_BACK


def _applied(found: Workspace, made: Plan, live: Live, ready: bool = True) -> Live:
    """Everything, with its owner; what nothing wants any more is gone."""
    after = become(made, live, ready)
    for one in made.objects:
        key = Key(one["kind"], one["metadata"]["name"])
        after[key] = own(after[key] if key.kind in (*WORKLOADS, "Job") else one, "Palaver", found)
    gone = list_leftovers(found, made.objects, after, made.needed)
    return {key: one for key, one in after.items() if key not in gone}


def _egress(live: Live, role: str) -> list[Object]:
    found: list[Object] = live[Key("NetworkPolicy", f"chat-{role}")]["spec"]["egress"]
    return found


OTHER = {"secretName": "mine"}


@pytest.mark.parametrize(("first", "second"), [(None, OTHER), (OTHER, None)])
def test_servers_that_a_roll_back_needs_stay_until_nobody_needs_them(
    first: dict[str, str] | None, second: dict[str, str] | None
) -> None:
    before = workspace(nats=first)
    live: Live = {}
    for _ in range(4):
        live = _applied(before, plan(before, live), live)
    ways = {role: _egress(live, role) for role in ("auth", "gateway")}
    servers = {key for key in live if key.name.startswith("chat-nats") and key.kind != "Secret"}
    after = workspace(nats=second)
    made = plan(after, live, running="1.4.0")
    if second is None:
        live = _applied(after, made, live)  # NATS first
        made = plan(after, live, running="1.4.0")
    assert (made.decision.phase, made.decision.component) == (Phase.ROLLING, "auth")
    rolling = _applied(after, made, live, ready=False)
    bad = rolling[Key("Deployment", "chat-auth")]
    bad["status"]["conditions"] = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    made = plan(after, rolling, running="1.4.0")
    assert made.decision.phase is Phase.ROLLED_BACK
    back = _applied(after, made, rolling)
    assert servers <= set(back)
    for role, had in ways.items():
        assert [rule for rule in had if rule not in _egress(back, role)] == []
    # What goes well leaves nothing behind.
    for _ in range(6):
        made = plan(after, live, running="1.4.0")
        live = _applied(after, made, live)
    assert made.decision.phase is Phase.COMPLETE
    fresh: Live = {}
    for _ in range(4):
        fresh = _applied(after, plan(after, fresh), fresh)
    assert set(live) == set(fresh) | {key for key in live if key.kind == "Secret"}
    assert [_egress(live, role) for role in ways] == [_egress(fresh, role) for role in ways]


def test_the_way_to_the_world_is_closed_at_once_whatever_rolls() -> None:
    live: Live = {}
    for _ in range(4):
        live = _applied(workspace(), plan(workspace(), live), live)
    found = workspace(outbound={"enabled": False}, drain={"seconds": 3})
    made = plan(found, live, running="1.4.0")
    assert made.decision.phase is Phase.ROLLING
    blocks = [peer for rule in _egress(_applied(found, made, live), "gateway") for peer in rule.get("to", [])]
    assert blocks
    assert not [peer for peer in blocks if "ipBlock" in peer]
