"""What Prometheus and Grafana are told of a workspace: a ServiceMonitor, its alerts (alerts.yaml) and dashboards.

The ServiceMonitor gives every series the labels `namespace`, `workspace`, `role` and `pod`, which alerts and dashboards
look for.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from palaver_operator.objects.dashboards import build_dashboards
from palaver_operator.objects.naming import COMPONENT, HEALTH_PORT, INSTANCE, Object, component_name, make, selector
from palaver_operator.resource import Workspace
from palaver_operator.scaling import TARGETS, Signal

COMPONENT_NAME = "metrics"

_API = "monitoring.coreos.com/v1"


def build_monitoring(workspace: Workspace) -> list[Object]:
    """What the resource's `monitoring` asks for."""
    monitoring = workspace.spec.monitoring
    found: list[Object] = []
    if monitoring.service_monitor:
        found += [_service(workspace), _service_monitor(workspace)]
    if monitoring.rules:
        name = component_name(workspace, "alerts")
        found.append(make(workspace, "PrometheusRule", name, COMPONENT_NAME, api=_API, spec=_build_alerts(workspace)))
    if monitoring.dashboards:
        found += build_dashboards(workspace)
    for one in found:
        # What the operator finds them by stays.
        one["metadata"]["labels"] = monitoring.labels | one["metadata"]["labels"]
    return found


def _service(workspace: Workspace) -> Object:
    """The addresses of all pods that have a port for health: those of Palaver, and none of the servers beside them."""
    return make(
        workspace,
        "Service",
        component_name(workspace, COMPONENT_NAME),
        COMPONENT_NAME,
        spec={
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(workspace),
            "ports": [{"name": "health", "port": HEALTH_PORT, "targetPort": "health", "protocol": "TCP"}],
        },
    )


def _service_monitor(workspace: Workspace) -> Object:
    def from_pod(label: str, target: str) -> Object:
        source = re.sub("[^a-z]", "_", label)
        return {"action": "replace", "sourceLabels": [f"__meta_kubernetes_pod_label_{source}"], "targetLabel": target}

    endpoint = {
        "port": "health",
        "path": "/metrics",
        "interval": "15s",
        "relabelings": [
            from_pod(INSTANCE, "workspace"),
            from_pod(COMPONENT, "role"),
            # Labels of targets that some metrics have, too, with another meaning.
            {"action": "labeldrop", "regex": "endpoint|service|container"},
        ],
    }
    matches = selector(workspace, COMPONENT_NAME)
    return make(
        workspace,
        "ServiceMonitor",
        workspace.name,
        COMPONENT_NAME,
        api=_API,
        spec={"jobLabel": "app.kubernetes.io/name", "selector": {"matchLabels": matches}, "endpoints": [endpoint]},
    )


def _build_alerts(workspace: Workspace) -> Object:
    filled: Object = _fill(workspace, _alerts())
    for annotations in (rule["annotations"] for group in filled["groups"] for rule in group["rules"]):
        if prefix := workspace.spec.monitoring.runbook_url.rstrip("/"):
            # The name by which tools make a link of it.
            annotations["runbook_url"] = f"{prefix}/{annotations.pop('runbook').removeprefix('docs/runbooks/')}"
    return filled


def _fill(workspace: Workspace, template: Any) -> Any:
    """alerts.yaml with what is meant by the words in it."""
    if isinstance(template, dict):
        return {name: _fill(workspace, value) for name, value in template.items()}
    if isinstance(template, list):
        return [_fill(workspace, value) for value in template]
    if not isinstance(template, str):
        return template
    gateway = workspace.role(workspace.components[-1])
    connections = gateway.targets.connections or TARGETS["gateway"][Signal.CONNECTIONS]
    words = {
        "$workspace": f'namespace="{workspace.namespace}",workspace="{workspace.name}"',
        "$roles": str(len(workspace.components)),
        "$connections": f"{gateway.max * connections:.0f}",
        "$namespace": workspace.namespace,
        "$name": workspace.name,
    }
    return re.sub(r"\$[a-z]+\b", lambda found: words.get(found[0], found[0]), template)


@cache
def _alerts() -> Object:
    found: Object = yaml.safe_load(files("palaver_operator.objects").joinpath("alerts.yaml").read_text())
    return found
