"""The Deployments of the roles, the StatefulSet of `size: single`, and a PodDisruptionBudget for each."""

from palaver_operator.objects.claims import claim
from palaver_operator.objects.naming import Object, component_name, make, selector
from palaver_operator.objects.pods import template
from palaver_operator.objects.restore import add_restore
from palaver_operator.resource import Workspace
from palaver_operator.roles import SINGLE

# A new pod that is not ready by then has failed: the rollout is undone.
PROGRESS_SECONDS = 300


def build_workloads(workspace: Workspace, secrets_digest: str) -> list[Object]:
    """What plays the roles. Deployments are without `replicas`: reconcile.py says how many."""
    if workspace.is_single:
        return [_single(workspace, secrets_digest), disruption_budget(workspace, SINGLE.name)]
    found = []
    for role in workspace.components:
        found += [_deployment(workspace, role, secrets_digest), disruption_budget(workspace, role)]
    return found


def _deployment(workspace: Workspace, role: str, secrets_digest: str) -> Object:
    return make(
        workspace,
        "Deployment",
        component_name(workspace, role),
        role,
        api="apps/v1",
        spec={
            "selector": {"matchLabels": selector(workspace, role)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "minReadySeconds": 2,
            "progressDeadlineSeconds": PROGRESS_SECONDS,
            "revisionHistoryLimit": 3,
            "template": template(workspace, role, secrets_digest),
        },
    )


def _single(workspace: Workspace, secrets_digest: str) -> Object:
    storage = workspace.spec.storage
    return stateful_set(
        workspace,
        SINGLE.name,
        replicas=1,
        service=f"{workspace.name}-gateway",
        template=add_restore(workspace, template(workspace, SINGLE.name, secrets_digest)),
        claim=claim("data", storage.size, storage.storage_class_name),
        keep=workspace.spec.data_policy == "Retain",
    )


def stateful_set(
    workspace: Workspace, component: str, *, replicas: int, service: str, template: Object, claim: Object, keep: bool
) -> Object:
    """A StatefulSet with one volume a pod. `keep`: the volumes outlive it.

    Its pods are made side by side: so one that never gets ready does not keep a better template from its place.
    """
    return make(
        workspace,
        "StatefulSet",
        component_name(workspace, component),
        component,
        api="apps/v1",
        spec={
            "replicas": replicas,
            "serviceName": service,
            "selector": {"matchLabels": selector(workspace, component)},
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "revisionHistoryLimit": 3,
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": "Retain" if keep else "Delete",
                "whenScaled": "Retain",
            },
            "template": template,
            "volumeClaimTemplates": [claim],
        },
    )


def disruption_budget(workspace: Workspace, component: str) -> Object:
    """One pod of a component at a time may be moved; one that is not ready anyway is in nobody's way."""
    return make(
        workspace,
        "PodDisruptionBudget",
        component_name(workspace, component),
        component,
        api="policy/v1",
        spec={
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(workspace, component)},
        },
    )
