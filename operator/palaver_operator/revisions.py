"""What a workload's pods are made from, kept with the workload itself.

A revision is kept as it was first applied, in an annotation. So a new operator, whose builders may make other pods,
restarts nothing: its templates are used when the resource says something else about these pods. And a roll-back is
exact. Called by reconcile.py.
"""

import hashlib
from typing import Any

import msgspec

from palaver_operator.objects.naming import Object
from palaver_operator.resource import Workspace
from palaver_operator.roles import FETCHERS, SINGLE
from palaver_operator.spec import ManagedNats, Pods, Resources, RoleSpec, TrialMongodb

REVISION = "palaver.chat/revision"
STABLE = "palaver.chat/stable"
INPUTS = "palaver.chat/inputs"  # on each pod: the revision it is of
SECRETS = "palaver.chat/secrets"


class Revision(msgspec.Struct, frozen=True):
    """`inputs` names it."""

    inputs: str
    template: dict[str, Any]
    since: float = 0.0  # unix seconds: when it was given to the workload
    usual: float | None = None  # unexpected failures a second that a pod had before it came; None: nobody knows


def wanted_revision(workspace: Workspace, component: str, built: Object, now: float) -> Revision:
    """The revision that a built workload has."""
    template: Object = built["spec"]["template"]
    inputs = _digest(_inputs(workspace, component, template["metadata"]["annotations"].get(SECRETS, "")))
    annotations = template["metadata"]["annotations"] | {INPUTS: inputs}
    return Revision(inputs, template | {"metadata": template["metadata"] | {"annotations": annotations}}, now)


def find_revision(workload: Object | None, annotation: str) -> Revision | None:
    """What a live workload remembers: `REVISION` or `STABLE`."""
    text = ((workload or {}).get("metadata", {}).get("annotations") or {}).get(annotation)
    try:
        return msgspec.json.decode(text, type=Revision) if text else None
    except msgspec.MsgspecError:
        return None


def inputs_of(pod: Object) -> str:
    """The revision that a pod is of, by its name; empty if nobody knows."""
    inputs: str = (pod["metadata"].get("annotations") or {}).get(INPUTS, "")
    return inputs


def put_revision(built: Object, revision: Revision, stable: Revision | None) -> None:
    """Has a built workload make its pods from this revision, and remember both."""
    built["spec"]["template"] = revision.template
    annotations = built["metadata"].setdefault("annotations", {})
    annotations[REVISION] = msgspec.json.encode(revision, order="sorted").decode()
    if stable is not None:
        annotations[STABLE] = msgspec.json.encode(stable, order="sorted").decode()


def _inputs(workspace: Workspace, component: str, secrets: str) -> list[object]:
    """Everything that the resource says about the pods of a component. What is at its default is not in it."""
    spec = workspace.spec
    common: list[object] = [secrets, spec.image.pull_secrets]
    if spec.pods != Pods():
        common.append(spec.pods)
    if component == "mongodb" and workspace.trial_mongodb:
        image = _named(workspace.trial_mongodb.image, TrialMongodb().image, "mongo:8")
        return [*common, image, *_given(workspace.trial_mongodb.resources)]
    if component == "nats" and workspace.managed_nats:
        image = _named(workspace.managed_nats.image, ManagedNats().image, "nats:2")
        return [*common, image, workspace.managed_nats.replicas, *_given(workspace.managed_nats.resources)]
    given = spec.resources if component == SINGLE.name else _role(workspace, component).resources
    found = [*common, spec.image, spec.version, workspace.url, spec.drain, spec.object_storage, given]
    if not workspace.is_single:
        found += [workspace.mongodb_url, workspace.nats_url, workspace.nats_replicas]
    if workspace.is_single and spec.restore is not None:
        found.append(spec.restore)
    if component in ("auth", SINGLE.name):
        found.append(workspace.admin_secret)
    if component in ("gateway", SINGLE.name) and workspace.trusted_proxies != 1:
        found.append(workspace.trusted_proxies)
    if component in FETCHERS and spec.outbound.allowed:
        found.append(spec.outbound.allowed)
    return found


def _given(resources: Resources | None) -> list[object]:
    return [] if resources is None else [resources]


def _named(image: str, usual: str, first: str) -> str:
    """An image that the resource names; else what the first operator made use of, so that another default, in a newer
    one, is another revision for nobody."""
    return image if image != usual else first


def _role(workspace: Workspace, name: str) -> RoleSpec:
    role: RoleSpec = getattr(workspace.spec.roles, name)
    return role


def _digest(found: list[object]) -> str:
    return hashlib.sha256(msgspec.json.encode(found, order="sorted")).hexdigest()[:16]
