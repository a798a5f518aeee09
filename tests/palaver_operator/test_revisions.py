"""What is a new revision for whom: a field's change for exactly those whom it concerns, a new operator for nobody."""

import copy
from typing import Any

import pytest

from palaver_operator.planning import (
    WORKLOADS,
    component_of,
)
from palaver_operator.resource import Workspace
from palaver_operator.revisions import REVISION, STABLE, find_revision
from palaver_operator.rollout import Phase
from tests.palaver_operator.clusters import become, plan, settled, templates
from tests.palaver_operator.workspaces import SINGLE, workspace

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


def test_an_image_with_another_tag_is_another_revision() -> None:
    live = settled(workspace())
    made = plan(workspace(image={"tag": "hotfix"}), live, running="1.4.0")
    assert (made.decision.phase, made.decision.component) == (Phase.ROLLING, "auth")


@pytest.mark.parametrize(("found", "names"), NAMES, ids=["cluster", "given", "single"])
def test_revisions_are_called_what_every_operator_before_called_them(found: Workspace, names: dict[str, str]) -> None:
    """An operator that calls them something else restarts every pod of every workspace: these names never change."""
    revisions = {component_of(one): find_revision(one, REVISION) for one in settled(found).values()}
    assert {name: revision.inputs for name, revision in revisions.items() if revision is not None} == names
