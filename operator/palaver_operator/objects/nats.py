"""The NATS that carries a workspace's events, where the resource doesn't name another: one server or three, with
JetStream.
"""

from palaver_operator.objects.naming import (
    NATS_MONITOR_PORT,
    NATS_PORT,
    NATS_ROUTE_PORT,
    Object,
    component_name,
)
from palaver_operator.objects.pods import container_security, pod_basics, pod_metadata, pod_security, spread
from palaver_operator.objects.secrets import Values, secret
from palaver_operator.objects.services import headless, service
from palaver_operator.objects.workloads import claim, disruption_budget, stateful_set
from palaver_operator.resource import ManagedNats, Workspace, resources_of

COMPONENT = "nats"
_USER = 1000
_RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


def build_nats(workspace: Workspace, password: Values, secrets_digest: str) -> list[Object]:
    """`password`: the content of the Secret NAME-nats; `secrets_digest` changes with it."""
    managed = workspace.managed_nats
    if managed is None:
        return []
    name = component_name(workspace, COMPONENT)
    config = secret(workspace, f"{name}-config", COMPONENT, {"nats.conf": _configuration(workspace, managed, password)})
    client = service(workspace, name, COMPONENT, {"nats": NATS_PORT})
    servers = stateful_set(
        workspace,
        COMPONENT,
        replicas=managed.replicas,
        service=f"{name}-servers",
        template=_template(workspace, managed, secrets_digest),
        claim=claim("data", managed.storage, managed.storage_class_name),
        keep=False,  # what it keeps stands in the database, too
    )
    routes = headless(workspace, f"{name}-servers", COMPONENT, {"routes": NATS_ROUTE_PORT})
    return [config, client, routes, servers, disruption_budget(workspace, COMPONENT)]


def _configuration(workspace: Workspace, managed: ManagedNats, password: Values) -> str:
    """The servers' file. They sync every ten seconds instead of every two minutes.

    What a power failure takes from them meanwhile is published again from the database, which is the record;
    syncing at each message would only make all of them slower.
    """
    name = component_name(workspace, COMPONENT)
    lines = [
        "server_name: $SERVER_NAME",
        f"listen: 0.0.0.0:{NATS_PORT}",
        f"http: 0.0.0.0:{NATS_MONITOR_PORT}",
        "ping_interval: 5s",
        "ping_max: 2",
        "jetstream { store_dir: /data, sync_interval: 10s }",
        f'authorization {{ user: {password["user"]}, password: "{password["password"]}" }}',
    ]
    if managed.replicas > 1:
        user = f"{password['user']}:{password['password']}"
        routes = ", ".join(
            f'"nats://{user}@{name}-{number}.{name}-servers.{workspace.namespace}.svc:{NATS_ROUTE_PORT}"'
            for number in range(managed.replicas)
        )
        lines += [
            "cluster {",
            f"  name: {workspace.name}",
            f"  listen: 0.0.0.0:{NATS_ROUTE_PORT}",
            "  no_advertise: true",
            f'  authorization {{ user: {password["user"]}, password: "{password["password"]}" }}',
            f"  routes: [{routes}]",
            "}",
        ]
    return "\n".join(lines) + "\n"


def _template(workspace: Workspace, managed: ManagedNats, secrets_digest: str) -> Object:
    def ask(query: str, **times: int) -> Object:
        return {"httpGet": {"path": f"/healthz{query}", "port": "monitor"}, "timeoutSeconds": 5, **times}

    container: Object = {
        "name": "nats",
        "image": managed.image,
        "args": ["--config", "/etc/nats/nats.conf"],
        "env": [{"name": "SERVER_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [
            {"name": "nats", "containerPort": NATS_PORT},
            {"name": "routes", "containerPort": NATS_ROUTE_PORT},
            {"name": "monitor", "containerPort": NATS_MONITOR_PORT},
        ],
        "resources": resources_of(managed.resources, _RESOURCES),
        "securityContext": container_security(),
        # It has started when its streams are whole again: so a rolling restart leaves two of three copies.
        "startupProbe": ask("", periodSeconds=2, failureThreshold=150),
        "readinessProbe": ask("?js-server-only=true", periodSeconds=5, failureThreshold=3),
        "livenessProbe": ask("?js-enabled-only=true", periodSeconds=30, failureThreshold=3),
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "config", "mountPath": "/etc/nats", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    config = {"secretName": f"{component_name(workspace, COMPONENT)}-config", "defaultMode": 0o440}
    return {
        "metadata": pod_metadata(workspace, COMPONENT, {"palaver.chat/secrets": secrets_digest}),
        "spec": {
            **pod_basics(workspace),
            **spread(workspace, COMPONENT),
            "securityContext": pod_security(_USER),
            "terminationGracePeriodSeconds": 60,
            "containers": [container],
            "volumes": [{"name": "config", "secret": config}, {"name": "tmp", "emptyDir": {}}],
        },
    }
