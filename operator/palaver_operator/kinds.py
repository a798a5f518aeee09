"""The kinds of objects that the operator deals with: where the API server has them, and what the operator may do to
them.

The chart's roles are made from `list_rules`: nothing is granted that is not on this page.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from palaver_operator.resource import GROUP, VERSION


class Key(NamedTuple):
    """One object of a workspace."""

    kind: str
    name: str


# Of what it makes: applying is a patch, which creates, too; and what is there is known by watching it.
_ALL = ("list", "watch", "create", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Kind:
    """`verbs`: what the operator does to it. `is_owned`: there are some that bear its label, which it watches."""

    name: str
    group: str
    version: str
    plural: str
    verbs: tuple[str, ...] = _ALL
    is_owned: bool = True
    is_optional: bool = False  # a cluster may not know it

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None) -> str:
        """Where its objects are: in a namespace, or (None) everywhere."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("Deployment", "apps", "v1", "deployments"),
        Kind("StatefulSet", "apps", "v1", "statefulsets"),
        Kind("Service", "", "v1", "services"),
        Kind("Secret", "", "v1", "secrets", ("get", *_ALL)),
        Kind("ConfigMap", "", "v1", "configmaps"),
        Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets"),
        Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies"),
        Kind("Ingress", "networking.k8s.io", "v1", "ingresses"),
        Kind("HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes", is_optional=True),
        Kind("Job", "batch", "v1", "jobs"),
        Kind("ServiceMonitor", "monitoring.coreos.com", "v1", "servicemonitors", is_optional=True),
        Kind("PrometheusRule", "monitoring.coreos.com", "v1", "prometheusrules", is_optional=True),
        # Made by others: pods by their workloads (theirs is the patch of the deletion cost), autoscalers by people.
        Kind("Pod", "", "v1", "pods", ("list", "watch", "patch")),
        Kind(
            "HorizontalPodAutoscaler",
            "autoscaling",
            "v2",
            "horizontalpodautoscalers",
            ("list", "watch"),
            is_owned=False,
        ),
        Kind("Event", "events.k8s.io", "v1", "events", ("create",), is_owned=False),
        Kind("Lease", "coordination.k8s.io", "v1", "leases", ("get", "create", "update"), is_owned=False),
        Kind("Palaver", GROUP, VERSION, "palavers", ("get", "list", "watch"), is_owned=False),
        Kind("PalaverBackup", GROUP, VERSION, "palaverbackups", ("list", "watch", "create", "delete"), is_owned=False),
    )
}

# Beside the kinds themselves.
_SUBRESOURCES = (
    (GROUP, "palavers/status", ("patch",)),
    (GROUP, "palaverbackups/status", ("patch",)),
)


def list_rules() -> list[dict[str, Any]]:
    """The rules of the operator's ClusterRole, or of its Role in each namespace that it looks after."""
    found = [(kind.group, kind.plural, kind.verbs) for kind in KINDS.values()]
    return [
        {"apiGroups": [group], "resources": [plural], "verbs": list(verbs)}
        for group, plural, verbs in [*found, *_SUBRESOURCES]
    ]
