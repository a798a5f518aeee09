"""Revisions: what changes the pods of whom, what a new operator leaves alone, and the way there and back."""

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from palaver_operator.health import Failures
from palaver_operator.kinds import Key
from palaver_operator.objects import Surroundings, build
from palaver_operator.objects.certificates import build_certificates
from palaver_operator.objects.jobs import build_migration
from palaver_operator.objects.secrets import Values, values_of
from palaver_operator.planning import (
    WORKLOADS,
    Plan,
    as_it_runs,
    component_of,
    find_running,
    make_plan,
    version_of,
)
from palaver_operator.resource import Workspace
from palaver_operator.revisions import REVISION, STABLE, find_revision
from palaver_operator.rollout import Phase
from tests.palaver_operator.workspaces import SINGLE, workspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Live = dict[Key, dict[str, Any]]
SECRETS: dict[str, Values] = {
    "chat-nats": {"user": "u", "password": "p", "url": "nats://n"},
    "chat-mongodb": {"username": "u", "password": "p", "url": "mongodb://m"},
    "chat-admin": {"username": "a", "password": "p", "email": "e", "name": "n"},
    "mine": {"url": "mongodb://other", "accessKey": "a", "secretKey": "s"},
}
SECRETS |= {one["metadata"]["name"]: values_of(one) for one in build_certificates(workspace(), {}, NOW)}


def plan(
    found: Workspace,
    live: Live,
    running: str = "",
    failed: str = "",
    now: float = 0.0,
    failures: dict[str, Failures] | None = None,
    is_held: bool = False,
) -> Plan:
    built = build(found, Surroundings(secrets=SECRETS, now=NOW))
    objects = [*built.passwords, *built.others]
    return make_plan(
        found, objects, live, running=running, failed=failed, failures=failures or {}, now=now, is_held=is_held
    )


def become(made: Plan, live: Live, ready: bool = True) -> Live:
    """The cluster after everything was applied, and its pods are ready (or not)."""
    after: Live = dict(live)
    for one in made.objects:
        if one["kind"] in WORKLOADS:
            key = Key(one["kind"], one["metadata"]["name"])
            new = copy.deepcopy(one)
            new["spec"].setdefault("replicas", 2)
            was = live.get(key)
            is_same = was is not None and was["spec"]["template"] == new["spec"]["template"]
            count = new["spec"]["replicas"]
            serving = count if ready or is_same else 0
            new["status"] = {
                "observedGeneration": 1,
                "replicas": count,
                "updatedReplicas": serving,
                "readyReplicas": count,
                "availableReplicas": serving,
            }
            new["metadata"]["generation"] = 1
            after[key] = new
        if one["kind"] == "Job":
            after[Key("Job", one["metadata"]["name"])] = one
    return after


def settled(found: Workspace) -> Live:
    live: Live = {}
    for _ in range(4):
        live = become(plan(found, live), live)
    assert plan(found, live).decision.phase is Phase.COMPLETE
    return live


def templates(live: Live) -> dict[str, Any]:
    return {component_of(one): one["spec"]["template"] for key, one in live.items() if key.kind in WORKLOADS}


def test_a_workspace_comes_up_servers_first() -> None:
    first = plan(workspace(), {})
    assert {component_of(one) for one in first.objects if one["kind"] in WORKLOADS} == {"mongodb", "nats"}
    assert first.decision.phase is Phase.WAITING
    assert first.version == ""
    live = settled(workspace())
    assert set(templates(live)) == {"mongodb", "nats", "auth", "presence", "messaging", "gateway"}
    assert plan(workspace(), live).version == "1.4.0"
    assert all(one["metadata"]["annotations"][STABLE] for one in live.values())


CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    ({"version": "1.4.1"}, {"auth", "presence", "messaging", "gateway"}),
    ({"image": {"repository": "other"}}, {"auth", "presence", "messaging", "gateway"}),
    ({"hostname": "other.example.org"}, {"auth", "presence", "messaging", "gateway"}),
    ({"tls": {}}, {"auth", "presence", "messaging", "gateway"}),
    ({"tls": {"secretName": "t"}}, {"auth", "presence", "messaging", "gateway"}),
    ({"drain": {"seconds": 7}}, {"auth", "presence", "messaging", "gateway"}),
    ({"roles": {"messaging": {"resources": {"limits": {"memory": "2Gi"}}}}}, {"messaging"}),
    ({"roles": {"messaging": {"min": 3, "max": 9, "targets": {"cpuPercent": 50}}}}, set()),
    ({"admin": {"secretName": "mine"}}, {"auth"}),
    ({"mongodb": {"secretName": "mine"}}, {"auth", "presence", "messaging", "gateway"}),
    ({"mongodb": {"trial": {"image": "mongo:9"}}}, {"mongodb"}),
    ({"nats": {"managed": {"image": "nats:3"}}}, {"nats"}),
    ({"nats": {"managed": {"replicas": 1}}}, {"nats", "auth", "presence", "messaging", "gateway"}),
    ({"nats": {"secretName": "mine"}}, {"auth", "presence", "messaging", "gateway"}),
    (
        {"objectStorage": {"endpoint": "https://s", "bucket": "b", "secretName": "mine"}},
        {"auth", "presence", "messaging", "gateway"},
    ),
    ({"mongodb": {"trial": {"resources": {"limits": {"memory": "4Gi"}}}}}, {"mongodb"}),
    ({"nats": {"managed": {"resources": {"limits": {"memory": "4Gi"}}}}}, {"nats"}),
    ({"pods": {"nodeSelector": {"pool": "chat"}}}, {"mongodb", "nats", "auth", "presence", "messaging", "gateway"}),
    ({"settings": {"Site_Name": "x"}}, set()),
    ({"outbound": {"allowed": ["10.0.0.0/8"]}}, {"messaging", "gateway"}),
    ({"outbound": {"enabled": False}}, set()),
    ({"route": {"className": "nginx"}}, set()),
    ({"route": {"kind": "None"}}, {"gateway"}),
    ({"route": {"trustedProxies": 2}}, {"gateway"}),
    ({"expectedUsers": 9000}, set()),
    ({"scaling": {"enabled": False}}, set()),
    ({"monitoring": {"serviceMonitor": True}}, set()),
    ({"backup": {"to": {"volume": {"claimName": "c"}}}}, set()),
    ({"dataPolicy": "Delete"}, set()),
]


@pytest.mark.parametrize(("change", "who"), CHANGES, ids=[str(change) for change, _ in CHANGES])
def test_each_field_restarts_exactly_those_whom_it_concerns(change: dict[str, Any], who: set[str]) -> None:
    before = settled(workspace())
    changed = workspace(**change)
    live = before
    for _ in range(8):
        live = become(plan(changed, live, running=changed.spec.version), live)
    made = plan(changed, live, running=changed.spec.version)
    assert made.decision.phase is Phase.COMPLETE
    old, new = templates(before), templates(live)
    assert {name for name, template in new.items() if template != old.get(name)} == who
    # What was decided by the digests is what the builders make of it: a field that one of them forgot would differ.
    fresh = templates(settled(changed))
    for name, template in fresh.items():
        assert template == new[name], name


def test_an_image_with_another_tag_is_another_revision() -> None:
    live = settled(workspace())
    made = plan(workspace(image={"tag": "hotfix"}), live, running="1.4.0")
    assert (made.decision.phase, made.decision.component) == (Phase.ROLLING, "auth")


def test_an_operator_that_would_make_other_pods_restarts_none() -> None:
    live = settled(workspace())
    older = copy.deepcopy(live)
    for one in older.values():
        # As if an earlier operator had made them: another template, remembered under the same inputs.
        one["spec"]["template"]["metadata"]["annotations"]["made"] = "earlier"
        for annotation in (REVISION, STABLE):
            revision = find_revision(one, annotation)
            assert revision is not None
            text = one["metadata"]["annotations"][annotation]
            one["metadata"]["annotations"][annotation] = text.replace(
                '"annotations":{', '"annotations":{"made":"earlier",', 1
            )
    made = plan(workspace(), older, running="1.4.0")
    assert made.decision.phase is Phase.COMPLETE
    for one in made.objects:
        if one["kind"] in WORKLOADS:
            assert one["spec"]["template"]["metadata"]["annotations"]["made"] == "earlier"
    changed = plan(workspace(version="1.4.1", image={"tag": "x"}), older, running="1.4.1")
    auth = next(one for one in changed.objects if one["kind"] == "Deployment" and component_of(one) == "auth")
    assert "made" not in auth["spec"]["template"]["metadata"]["annotations"]


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


GIVEN = workspace(
    image={"repository": "r"},
    tls={},
    objectStorage={"endpoint": "https://s", "bucket": "b", "secretName": "mine"},
    nats={"secretName": "mine"},
    mongodb={"secretName": "mine"},
    drain={"seconds": 5},
    roles={"auth": {"resources": {"limits": {"memory": "1Gi"}}}},
    admin={"secretName": "mine"},
)
OTHERS = ("presence", "messaging", "gateway")
NAMES = [
    (
        workspace(),
        {"mongodb": "79f45ae2407988cd", "nats": "4a91585c2b5b610d", "auth": "bc6ededce6f899fe"}
        | dict.fromkeys(OTHERS, "a7524b6994fc15e2"),
    ),
    (GIVEN, {"auth": "843249960ce9eb65"} | dict.fromkeys(OTHERS, "a2cb64f0f00be9e7")),
    (workspace(SINGLE), {"single": "b5aae0d0a40ebbac"}),
]


@pytest.mark.parametrize(("found", "names"), NAMES, ids=["cluster", "given", "single"])
def test_revisions_are_called_what_every_operator_before_called_them(found: Workspace, names: dict[str, str]) -> None:
    """An operator that calls them something else restarts every pod of every workspace: these names never change."""
    revisions = {component_of(one): find_revision(one, REVISION) for one in settled(found).values()}
    assert {name: revision.inputs for name, revision in revisions.items() if revision is not None} == names
