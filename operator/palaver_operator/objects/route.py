"""What brings users' requests to the gateways: an Ingress or an HTTPRoute, with time for websockets."""

from palaver_operator.objects.naming import Object, component_name, make
from palaver_operator.resource import Workspace

# A websocket is silent between two heartbeats; what stands before the gateways must not end it meanwhile. Uploads are
# limited by the workspace's own settings. Who does not know an annotation passes it over.
_ANNOTATIONS = {
    "nginx.ingress.kubernetes.io/proxy-read-timeout": "3600",
    "nginx.ingress.kubernetes.io/proxy-send-timeout": "3600",
    "nginx.ingress.kubernetes.io/proxy-body-size": "0",
    "nginx.ingress.kubernetes.io/proxy-request-buffering": "off",
    "haproxy.org/timeout-tunnel": "3600s",
    "haproxy-ingress.github.io/timeout-tunnel": "3600s",
    "alb.ingress.kubernetes.io/load-balancer-attributes": "idle_timeout.timeout_seconds=3600",
}


def build_route(workspace: Workspace) -> list[Object]:
    kind = workspace.spec.route.kind
    if kind == "None":
        return []
    return [_ingress(workspace) if kind == "Ingress" else _http_route(workspace)]


def _ingress(workspace: Workspace) -> Object:
    route, spec = workspace.spec.route, workspace.spec
    backend = {"service": {"name": component_name(workspace, "gateway"), "port": {"name": "http"}}}
    rules = [{"host": spec.hostname, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    body: Object = {"rules": rules}
    if route.class_name:
        body["ingressClassName"] = route.class_name
    if spec.tls is not None and spec.tls.secret_name:
        body["tls"] = [{"hosts": [spec.hostname], "secretName": spec.tls.secret_name}]
    made = make(workspace, "Ingress", workspace.name, "gateway", api="networking.k8s.io/v1", spec=body)
    made["metadata"]["annotations"] = _ANNOTATIONS | route.annotations
    return made


def _http_route(workspace: Workspace) -> Object:
    route = workspace.spec.route
    parent: Object = {"name": route.gateway.name}
    if route.gateway.namespace:
        parent["namespace"] = route.gateway.namespace
    rule: Object = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{"name": component_name(workspace, "gateway"), "port": 80}],
        "timeouts": {"request": "0s", "backendRequest": "0s"},  # none: websockets stay for days
    }
    made = make(
        workspace,
        "HTTPRoute",
        workspace.name,
        "gateway",
        api="gateway.networking.k8s.io/v1",
        spec={"parentRefs": [parent], "hostnames": [workspace.spec.hostname], "rules": [rule]},
    )
    if route.annotations:
        made["metadata"]["annotations"] = dict(route.annotations)
    return made
