"""A cluster as far as planning sees it: what was applied, and whether its pods are ready."""

import copy
from datetime import UTC, datetime
from typing import Any

from palaver_operator.health import Failures
from palaver_operator.kinds import Key
from palaver_operator.objects import Surroundings, build
from palaver_operator.objects.certificates import build_certificates
from palaver_operator.objects.secrets import Values, values_of
from palaver_operator.planning import (
    WORKLOADS,
    Plan,
    component_of,
    make_plan,
)
from palaver_operator.resource import Workspace
from palaver_operator.rollout import Phase
from tests.palaver_operator.workspaces import workspace

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
