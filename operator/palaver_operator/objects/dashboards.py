"""The Grafana dashboards of a workspace, as ConfigMaps that Grafana's sidecar finds by their label.

What they show stands in panels.py.
"""

import hashlib

import msgspec

from palaver_operator.objects.naming import Object, component_name, make
from palaver_operator.objects.panels import DASHBOARDS, Panel
from palaver_operator.resource import Workspace

_COLUMNS = 24  # of Grafana's grid
_HEIGHT = 8
_DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def build_dashboards(workspace: Workspace) -> list[Object]:
    """One ConfigMap for each dashboard."""
    found = []
    for name in DASHBOARDS:
        content = build_dashboard(workspace.namespace, workspace.name, name)
        file = f"{workspace.namespace}-{workspace.name}-{name}.json"
        config = make(
            workspace, "ConfigMap", component_name(workspace, f"dashboard-{name}"), "metrics", data={file: content}
        )
        config["metadata"]["labels"]["grafana_dashboard"] = "1"
        config["metadata"]["annotations"] = {"grafana_folder": "Palaver"}
        found.append(config)
    return found


def build_dashboard(namespace: str, workspace: str, name: str) -> str:
    """One dashboard as JSON, as Grafana imports it."""
    series = f'namespace="{namespace}",workspace="{workspace}"'
    panels: list[Object] = []
    for line, row in enumerate(DASHBOARDS[name]):
        width = _COLUMNS // len(row)
        for place, panel in enumerate(row):
            position = {"x": place * width, "y": line * _HEIGHT, "w": width, "h": _HEIGHT}
            panels.append(_panel(panel, len(panels) + 1, position, series))
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    dashboard = {
        "uid": hashlib.sha256(f"{namespace}/{workspace}/{name}".encode()).hexdigest()[:16],
        "title": f"Palaver {workspace}: {name} ({namespace})",
        "tags": ["palaver", workspace],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [source]},
        "panels": panels,
    }
    return msgspec.json.encode(dashboard).decode()


def _panel(panel: Panel, number: int, position: dict[str, int], series: str) -> Object:
    targets = [
        {
            "refId": chr(ord("A") + place),
            "datasource": _DATA_SOURCE,
            "expr": expression.replace("$w", series),
            "legendFormat": legend,
        }
        for place, (legend, expression) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "title": panel.title,
        "type": panel.kind,
        "datasource": _DATA_SOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
