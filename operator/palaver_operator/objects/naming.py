"""What everything that belongs to a workspace is called and labelled.

Used by every other builder, and by who looks for these objects.
"""

from typing import Any

from palaver_operator.resource import API_VERSION, Identity, Workspace

Object = dict[str, Any]

MANAGER = "palaver-operator"
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
VERSION = "app.kubernetes.io/version"
MANAGED_BY = "app.kubernetes.io/managed-by"
PART_OF = "app.kubernetes.io/part-of"

# Everything that the operator made, in a query.
OWNED = f"{MANAGED_BY}={MANAGER}"

PUBLIC_PORT = 3000
GRPC_PORT = 7000
HEALTH_PORT = 9090
NATS_PORT = 4222
NATS_ROUTE_PORT = 6222
NATS_MONITOR_PORT = 8222
MONGODB_PORT = 27017


def selector(workspace: Workspace, component: str | None = None) -> dict[str, str]:
    """The labels that find the pods of a component, or those of the whole workspace. They never change."""
    labels = {NAME: "palaver", INSTANCE: workspace.name}
    return labels | {COMPONENT: component} if component else labels


def labels(workspace: Workspace, component: str, version: str = "") -> dict[str, str]:
    """All labels of an object."""
    found = selector(workspace, component) | {MANAGED_BY: MANAGER, PART_OF: "palaver"}
    return found | {VERSION: version} if version else found


def make(
    workspace: Workspace, kind: str, name: str, component: str, *, api: str = "v1", version: str = "", **fields: Any
) -> Object:
    """An object of the workspace with its metadata; `fields` are the rest (`spec`, `data` …)."""
    metadata = {"name": name, "namespace": workspace.namespace, "labels": labels(workspace, component, version)}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}


def own(built: Object, kind: str, owner: Identity) -> Object:
    """The same object, as one that goes when its owner does: a resource of this kind."""
    reference = {"apiVersion": API_VERSION, "kind": kind, "name": owner.name, "uid": owner.uid}
    built["metadata"]["ownerReferences"] = [reference | {"controller": True, "blockOwnerDeletion": False}]
    return built


def component_name(workspace: Workspace, component: str) -> str:
    """The name of a component's workload, and of what else it has one of."""
    return f"{workspace.name}-{component}"


def grpc_name(workspace: Workspace, role: str) -> str:
    """The headless Service at which the others reach a role."""
    return f"{workspace.name}-{role}-grpc"


def nats_certificate(workspace: Workspace) -> str:
    """The Secret with the certificate of the managed NATS."""
    return f"{workspace.name}-nats-tls"


def grpc_secret(workspace: Workspace, role: str) -> str:
    """The Secret with a role's certificate for gRPC."""
    return f"{workspace.name}-grpc-{role}"
