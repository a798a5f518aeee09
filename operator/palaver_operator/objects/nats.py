"""The NATS that carries a workspace's events, where the resource doesn't name another: one server or three, with
JetStream.
"""

import json
from collections.abc import Mapping
from urllib.parse import quote

from palaver_operator.objects.claims import claim
from palaver_operator.objects.naming import (
    NATS_MONITOR_PORT,
    NATS_PORT,
    NATS_ROUTE_PORT,
    Object,
    component_name,
    nats_certificate,
)
from palaver_operator.objects.pods import container_security, pod_basics, pod_metadata, pod_security, spread
from palaver_operator.objects.secrets import Values, digest, is_secured, secret
from palaver_operator.objects.services import headless, service
from palaver_operator.objects.workloads import disruption_budget, stateful_set
from palaver_operator.resource import Workspace, resources_of
from palaver_operator.spec import ManagedNats

COMPONENT = "nats"
_USER = 1000
_CERTIFICATE_PATH = "/etc/nats-tls"
_RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


def build_nats(workspace: Workspace, known: Mapping[str, Values]) -> list[Object]:
    """`known`: the values of all Secrets by name, of which the servers' passwords and their certificate are needed."""
    managed = workspace.managed_nats
    if managed is None:
        return []
    name = component_name(workspace, COMPONENT)
    values = known.get(name, {})
    configuration = _configuration(workspace, managed, values)
    config = secret(workspace, f"{name}-config", COMPONENT, {"nats.conf": configuration})
    read = values.get("url", "")  # what servers read when they start, and never again
    if is_secured(values):
        read += values["gatewayUrl"] + known[nats_certificate(workspace)]["tls.crt"]
    client = service(workspace, name, COMPONENT, {"nats": NATS_PORT})
    servers = stateful_set(
        workspace,
        COMPONENT,
        replicas=managed.replicas,
        service=f"{name}-servers",
        template=_template(workspace, managed, digest(read)),
        claim=claim("data", managed.storage, managed.storage_class_name),
        keep=False,  # what it keeps stands in the database, too
    )
    routes = headless(workspace, f"{name}-servers", COMPONENT, {"routes": NATS_ROUTE_PORT})
    return [config, client, routes, servers, disruption_budget(workspace, COMPONENT)]


def _configuration(workspace: Workspace, managed: ManagedNats, values: Values) -> str:
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
        *_clients(workspace, values),
    ]
    if managed.replicas > 1:
        user, password = "routes" if is_secured(values) else values["user"], values["routesPassword"]
        domain = f"{name}-servers.{workspace.namespace}.svc"
        routes = ", ".join(
            f'"nats://{user}:{quote(password, safe="")}@{name}-{number}.{domain}:{NATS_ROUTE_PORT}"'
            for number in range(managed.replicas)
        )
        lines += [
            "cluster {",
            f"  name: {workspace.name}",
            f"  listen: 0.0.0.0:{NATS_ROUTE_PORT}",
            "  no_advertise: true",
            f"  authorization {{ user: {user}, password: {_quoted(password)} }}",
            *([f"  {_tls(verify=True)}"] if is_secured(values) else []),
            f"  routes: [{routes}]",
            "}",
        ]
    return "\n".join(lines) + "\n"


def _clients(workspace: Workspace, values: Values) -> list[str]:
    """Who may do what; see docs/operations.md, "Who may use NATS"."""
    if not is_secured(values):
        return [f"authorization {{ user: {values['user']}, password: {_quoted(values['password'])} }}"]
    own = f"palaver.{workspace.name}"
    subscribe = f'subscribe: ["{own}.>", "_INBOX.>"]'
    publish = f'"{own}.>", "$JS.API.>", "_INBOX.>"'
    told = ", ".join(f'"{own}.{subject}"' for subject in ("room.>", "user.>", "workspace", "told"))
    return [
        _tls(),
        "authorization {",
        "  users: [",
        f"    {{ user: {values['user']}, password: {_quoted(values['password'])},",
        f"      permissions: {{ publish: [{publish}], {subscribe} }} }},",
        f"    {{ user: gateway, password: {_quoted(values['gatewayPassword'])},",
        f"      permissions: {{ publish: {{ allow: [{publish}], deny: [{told}] }}, {subscribe} }} }}",
        "  ]",
        "}",
    ]


def _quoted(text: str) -> str:
    """As the servers' file has a string: like JSON, whose escapes for letters it does not know."""
    return json.dumps(text, ensure_ascii=False)


def _tls(*, verify: bool = False) -> str:
    """`verify`: whoever calls needs a certificate of the same authority, too."""
    files = {"cert_file": "tls.crt", "key_file": "tls.key"} | ({"ca_file": "ca.crt"} if verify else {})
    said = ", ".join(f'{name}: "{_CERTIFICATE_PATH}/{file}"' for name, file in files.items())
    return f"tls {{ {said}, {'verify: true, ' if verify else ''}timeout: 5 }}"


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
            {"name": "certificate", "mountPath": _CERTIFICATE_PATH, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    certificate = {"secretName": nats_certificate(workspace), "defaultMode": 0o440}
    config = {"secretName": f"{component_name(workspace, COMPONENT)}-config", "defaultMode": 0o440}
    return {
        "metadata": pod_metadata(workspace, COMPONENT, {"palaver.chat/secrets": secrets_digest}),
        "spec": {
            **pod_basics(workspace),
            **spread(workspace, COMPONENT),
            "securityContext": pod_security(_USER),
            "terminationGracePeriodSeconds": 60,
            "containers": [container],
            "volumes": [
                {"name": "config", "secret": config},
                {"name": "certificate", "secret": certificate},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }
