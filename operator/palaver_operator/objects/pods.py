"""What all pods have in common: identity, security, probes, where they may run; and the environment of Palaver's own
processes.
"""

from typing import Any

import msgspec

from palaver_operator.objects.naming import (
    GRPC_PORT,
    HEALTH_PORT,
    PUBLIC_PORT,
    Object,
    grpc_name,
    grpc_secret,
    labels,
    selector,
)
from palaver_operator.objects.settings import FILE, READERS, settings_name
from palaver_operator.resource import Workspace
from palaver_operator.roles import FETCHERS, ROLES, SINGLE
from palaver_operator.spec import ObjectStorage, SecretKey

USER = 65532  # of Palaver's image
TMP: Object = {"name": "tmp", "emptyDir": {}}
"""The volume of what a process writes for itself alone."""
_ALL_ADDRESSES = "::"  # those of IPv4, too
_GRPC_PATH = "/etc/palaver/grpc"
_SETTINGS_PATH = "/etc/palaver/settings"


def pod_security(user: int) -> Object:
    """For a pod: one user who is not root, and the runtime's own seccomp profile."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Object:
    """For a container: no way to more rights, nothing to write on but its volumes."""
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def spread(workspace: Workspace, component: str) -> Object:
    """Where the pods of a component shall run: apart from each other by machine and zone, as far as there is room."""
    found = {"matchLabels": selector(workspace, component)}
    return {
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": found}
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": found},
                    }
                ]
            }
        },
    }


def palaver_container(
    workspace: Workspace,
    name: str,
    arguments: list[str],
    *,
    environment: list[Object],
    resources: Object,
    mounts: list[Object],
    **more: Any,
) -> Object:
    """A container of Palaver's image. `mounts`: beside TMP, which its pod must have; `more`: its other fields."""
    return {
        "name": name,
        "image": workspace.image,
        "imagePullPolicy": workspace.spec.image.pull_policy,
        "command": ["palaver"],
        "args": arguments,
        "env": environment,
        "resources": resources,
        "securityContext": container_security(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],
        **more,
    }


def from_secret(name: str, source: SecretKey, *, optional: bool = False) -> Object:
    """A variable whose value stands in a Secret."""
    reference: Object = {"name": source.secret, "key": source.key}
    return {"name": name, "valueFrom": {"secretKeyRef": reference | ({"optional": True} if optional else {})}}


def grace_seconds(workspace: Workspace) -> int:
    """How long a process may take to stop in order; see docs/operations.md, "Stopping"."""
    drain = workspace.spec.drain
    return drain.notice_seconds + 2 * drain.seconds + 5


def database_environment(workspace: Workspace) -> list[Object]:
    """Which database, and where uploads are: for whatever works on a workspace's data."""
    found: list[Object] = [{"name": "PALAVER_WORKSPACE", "value": workspace.name}]
    if not workspace.is_single:
        found.append(from_secret("PALAVER_MONGODB_URL", workspace.mongodb_url))
    if workspace.spec.object_storage is not None:
        found += storage_environment(workspace.spec.object_storage)
    return found


def storage_environment(storage: ObjectStorage) -> list[Object]:
    """Where uploads are, when it is a server of their own."""
    found: list[Object] = [
        {"name": "PALAVER_S3_ENDPOINT", "value": storage.endpoint},
        {"name": "PALAVER_S3_BUCKET", "value": storage.bucket},
        {"name": "PALAVER_S3_REGION", "value": storage.region},
        from_secret("PALAVER_S3_ACCESS_KEY", storage.access_key),
        from_secret("PALAVER_S3_SECRET_KEY", storage.secret_key),
    ]
    return found + ([{"name": "PALAVER_S3_PREFIX", "value": storage.prefix}] if storage.prefix else [])


def environment(workspace: Workspace, component: str) -> list[Object]:
    """The variables of a process that serves."""
    drain = workspace.spec.drain
    found: list[Object] = [
        {"name": "PALAVER_HOST", "value": _ALL_ADDRESSES},
        {"name": "PALAVER_HEALTH_PORT", "value": str(HEALTH_PORT)},
        {"name": "PALAVER_SITE_URL", "value": workspace.url},
        {"name": "PALAVER_NODE_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "PALAVER_DRAIN_SECONDS", "value": str(drain.seconds)},
        *database_environment(workspace),
    ]
    if component in ("gateway", SINGLE.name):
        found.append({"name": "PALAVER_PORT", "value": str(PUBLIC_PORT)})
        found.append({"name": "PALAVER_NOTICE_SECONDS", "value": str(drain.notice_seconds)})
        found.append({"name": "PALAVER_TRUSTED_PROXIES", "value": str(workspace.trusted_proxies)})
    if component in ("auth", SINGLE.name):
        admin = workspace.admin_secret
        found += [
            from_secret(f"PALAVER_ADMIN_{key.upper()}", SecretKey(admin, key), optional=key in ("email", "name"))
            for key in ("username", "password", "email", "name")
        ]
    if component in FETCHERS and (allowed := workspace.spec.outbound.allowed):
        found.append({"name": "PALAVER_OUTBOUND_ALLOWED", "value": ",".join(allowed)})
    if component in READERS:
        found.append({"name": "PALAVER_SETTINGS_FILE", "value": f"{_SETTINGS_PATH}/{FILE}"})
    if component == SINGLE.name:
        found.append({"name": "PALAVER_DATA_DIR", "value": "/data"})
    else:
        found += _cluster_environment(workspace, component)
    return found


def _cluster_environment(workspace: Workspace, role: str) -> list[Object]:
    found: list[Object] = [
        from_secret("PALAVER_NATS_URL", workspace.nats_url_of(role)),
        {"name": "PALAVER_NATS_REPLICAS", "value": str(workspace.nats_replicas)},
        {"name": "PALAVER_GRPC_CERTIFICATE", "value": f"{_GRPC_PATH}/tls.crt"},
        {"name": "PALAVER_GRPC_KEY", "value": f"{_GRPC_PATH}/tls.key"},
        {"name": "PALAVER_GRPC_AUTHORITY", "value": f"{_GRPC_PATH}/ca.crt"},
    ]
    if workspace.managed_nats:
        found.append({"name": "PALAVER_NATS_AUTHORITY", "value": f"{_GRPC_PATH}/ca.crt"})
    if role != "gateway":
        found.append({"name": "PALAVER_GRPC_HOST", "value": _ALL_ADDRESSES})
        found.append({"name": "PALAVER_GRPC_PORT", "value": str(GRPC_PORT)})
    for called in ROLES[role].calls:
        address = f"dns:///{grpc_name(workspace, called)}.{workspace.namespace}.svc:{GRPC_PORT}"
        found.append({"name": f"PALAVER_{called.upper()}_ADDRESS", "value": address})
    return found


def volumes(workspace: Workspace, component: str) -> tuple[list[Object], list[Object]]:
    """The volumes of a process that serves (without the one of its data), and where they are mounted."""
    found: list[Object] = [TMP]
    mounts: list[Object] = []
    if component != SINGLE.name:
        secret = {"secretName": grpc_secret(workspace, component), "defaultMode": 0o440}
        found.append({"name": "grpc", "secret": secret})
        mounts.append({"name": "grpc", "mountPath": _GRPC_PATH, "readOnly": True})
    if component in READERS:
        found.append({"name": "settings", "configMap": {"name": settings_name(workspace)}})
        mounts.append({"name": "settings", "mountPath": _SETTINGS_PATH, "readOnly": True})
    return found, mounts


def probes() -> Object:
    """`/healthz` answers from the start, `/readyz` when the process can serve; a shell is needed for neither."""

    def ask(path: str, **times: int) -> Object:
        return {"httpGet": {"path": path, "port": "health"}, "timeoutSeconds": 3, **times}

    return {
        "startupProbe": ask("/healthz", periodSeconds=1, failureThreshold=60),
        "readinessProbe": ask("/readyz", periodSeconds=2, failureThreshold=2),
        "livenessProbe": ask("/healthz", periodSeconds=10, failureThreshold=3),
    }


def template(workspace: Workspace, component: str, secrets_digest: str) -> Object:
    """The pod that plays a role, or all of them.

    `secrets_digest` changes when it has to start anew for a Secret's sake.
    """
    found, mounts = volumes(workspace, component)
    if component == SINGLE.name:
        mounts.append({"name": "data", "mountPath": "/data"})
    ports = [{"name": "health", "containerPort": HEALTH_PORT}]
    if component in ("gateway", SINGLE.name):
        ports.append({"name": "http", "containerPort": PUBLIC_PORT})
    if component not in ("gateway", SINGLE.name):
        ports.append({"name": "grpc", "containerPort": GRPC_PORT})
    container = palaver_container(
        workspace,
        "palaver",
        ["serve"] if component == SINGLE.name else ["serve", "--role", component],
        environment=environment(workspace, component),
        resources=workspace.role(component).resources,
        mounts=mounts,
        ports=ports,
        terminationMessagePolicy="FallbackToLogsOnError",  # why it ended is told with the trouble that it makes
        **probes(),
    )
    return {
        "metadata": pod_metadata(
            workspace, component, {"palaver.chat/secrets": secrets_digest}, version=workspace.spec.version
        ),
        "spec": {
            **pod_basics(workspace),
            **spread(workspace, component),
            "securityContext": pod_security(USER),
            "terminationGracePeriodSeconds": grace_seconds(workspace),
            "containers": [container],
            "volumes": found,
        },
    }


def pod_metadata(
    workspace: Workspace, component: str, annotations: dict[str, str] | None = None, *, version: str = ""
) -> Object:
    """For every pod: what the resource wants all to bear, and what finds them, which nothing stands in for."""
    pods = workspace.spec.pods
    metadata: Object = {"labels": pods.labels | labels(workspace, component, version)}
    if borne := pods.annotations | (annotations or {}):
        metadata["annotations"] = borne
    return metadata


def pod_basics(workspace: Workspace) -> Object:
    """For every pod: where the resource wants it, no token for the API server, and no variables of Services, which
    would be taken for configuration.
    """
    basics: Object = {"automountServiceAccountToken": False, "enableServiceLinks": False}
    if secrets := workspace.spec.image.pull_secrets:
        basics["imagePullSecrets"] = [{"name": name} for name in secrets]
    pods = workspace.spec.pods
    if pods.node_selector:
        basics["nodeSelector"] = dict(pods.node_selector)
    if pods.tolerations:
        basics["tolerations"] = [msgspec.to_builtins(one) for one in pods.tolerations]
    if pods.priority_class_name:
        basics["priorityClassName"] = pods.priority_class_name
    return basics
