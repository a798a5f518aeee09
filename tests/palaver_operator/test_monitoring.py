"""Alerts, dashboards and what makes Prometheus read pods: that they speak of what there is."""

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.generate_metrics import declared_metrics
from palaver_operator.objects import Surroundings, build
from palaver_operator.objects.certificates import find_first_end
from palaver_operator.objects.monitoring import build_monitoring
from palaver_operator.objects.secrets import values_of
from palaver_operator.scaling import TARGETS, Signal
from tests.palaver_operator.workspaces import CLUSTER, SINGLE, workspace

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
EVERYTHING = {"serviceMonitor": True, "rules": True, "dashboards": True}
STANDARD = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
TARGET_LABELS = {"namespace", "workspace", "role", "pod", "job"}
"""What the ServiceMonitors give every series."""


def made(base: dict[str, Any] = CLUSTER, **spec: Any) -> dict[tuple[str, str], dict[str, Any]]:
    built = build_monitoring(workspace(base, monitoring=EVERYTHING, **spec))
    return {(one["kind"], one["metadata"]["name"]): one for one in built}


def alerts() -> list[dict[str, Any]]:
    """Those of a workspace, and those of the operator as the chart has them."""
    found = list(made()["PrometheusRule", "chat-alerts"]["spec"]["groups"])
    chart = (ROOT / "charts" / "palaver" / "files" / "alerts.yaml").read_text()
    found += yaml.safe_load(chart.replace("$operator", 'job="palaver-operator"'))["groups"]
    return [rule for group in found for rule in group["rules"]]


def dashboards(base: dict[str, Any] = CLUSTER) -> list[dict[str, Any]]:
    return [
        json.loads(content)
        for (kind, _), one in made(base).items()
        if kind == "ConfigMap"
        for content in one["data"].values()
    ]


def expressions() -> list[str]:
    panels = [panel for dashboard in dashboards() for panel in dashboard["panels"]]
    return [rule["expr"] for rule in alerts()] + [query["expr"] for panel in panels for query in panel["targets"]]


def test_nothing_is_made_that_was_not_asked_for() -> None:
    assert build_monitoring(workspace()) == []
    kinds = Counter(one["kind"] for one in build_monitoring(workspace(monitoring={"dashboards": True})))
    assert kinds == {"ConfigMap": 5}
    built = build(workspace(monitoring=EVERYTHING), Surroundings(secrets={}, now=datetime(2026, 1, 1, tzinfo=UTC)))
    assert {"ServiceMonitor", "PrometheusRule"} <= {one["kind"] for one in built.others}


def test_labels_that_prometheus_selects_by() -> None:
    labels = {"release": "prometheus", "app.kubernetes.io/managed-by": "somebody"}
    for one in build_monitoring(workspace(monitoring={**EVERYTHING, "labels": labels})):
        assert one["metadata"]["labels"]["release"] == "prometheus"
        assert one["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "palaver-operator"


def test_prometheus_reads_every_pod_of_palaver_and_none_beside_them() -> None:
    found = made()
    service, monitor = found["Service", "chat-metrics"], found["ServiceMonitor", "chat"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    assert monitor["spec"]["endpoints"][0]["port"] == port["name"]
    built = build(workspace(), Surroundings(secrets={}, now=datetime(2026, 1, 1, tzinfo=UTC)))
    read = set()
    for one in built.others:
        if one["kind"] in ("Deployment", "StatefulSet"):
            template = one["spec"]["template"]
            assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
            ports = template["spec"]["containers"][0]["ports"]
            if port["targetPort"] in [one["name"] for one in ports]:
                read.add(one["metadata"]["name"])
    assert read == {"chat-auth", "chat-presence", "chat-messaging", "chat-gateway"}


def test_every_metric_exists_with_the_labels_that_are_asked_for() -> None:
    known: dict[str, set[str]] = {name: set() for name in STANDARD}
    for metric in declared_metrics():
        names = [metric.name]
        if metric.kind == "histogram":
            names = [f"{metric.name}_{part}" for part in ("bucket", "count", "sum")]
        known |= {name: {*metric.labels, "le"} for name in names}
    for expression in expressions():
        used = re.findall(r"\b((?:palaver|process)_[a-z_]+|up)\b(?:\{([^}]*)\})?", re.sub(r'"[^"]*"', '""', expression))
        assert used, expression
        asked = set(re.findall(r"by \(([^)]*)\)", expression))
        groups = {label.strip() for labels in asked for label in labels.split(",")}
        for name, matchers in used:
            assert name in known, f"{name} in {expression}"
            labels = set(re.findall(r"([a-z_]+)(?:=~|!=|!~|=)", matchers))
            assert labels <= known[name] | TARGET_LABELS, expression
            assert groups <= {label for name, _ in used for label in known[name]} | TARGET_LABELS, expression


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert sorted(names) == sorted(page.stem for page in RUNBOOKS.glob("*.md"))
    assert max(Counter(names).values()) == 1
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/runbooks/{rule['alert']}.md"
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        headings = re.findall(r"^#+ (.*)$", (RUNBOOKS / f"{rule['alert']}.md").read_text(), re.MULTILINE)
        assert headings == [rule["alert"], "What it means", "Look first", "Mend"]


def test_alerts_lead_to_where_their_pages_can_be_read() -> None:
    monitoring = {**EVERYTHING, "runbookUrl": "https://wiki.example.org/runbooks/"}
    (rules,) = (one for one in build_monitoring(workspace(monitoring=monitoring)) if one["kind"] == "PrometheusRule")
    for rule in [rule for group in rules["spec"]["groups"] for rule in group["rules"]]:
        assert rule["annotations"]["runbook_url"] == f"https://wiki.example.org/runbooks/{rule['alert']}.md"
        assert "runbook" not in rule["annotations"]


def test_pages_lead_to_pages_that_exist() -> None:
    for page in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            assert (RUNBOOKS / target).exists(), f"{target} in {page.name}"


def test_every_word_in_the_alerts_is_filled_in() -> None:
    text = json.dumps(made()["PrometheusRule", "chat-alerts"]["spec"])
    assert set(re.findall(r"\$[a-z]+", text)) == {"$labels", "$value"}
    assert 'namespace=\\"talk\\",workspace=\\"chat\\"' in text


def test_the_limit_of_connections_is_that_of_scaling() -> None:
    def limit(base: dict[str, Any], **spec: Any) -> str:
        groups = made(base, **spec)["PrometheusRule", "chat-alerts"]["spec"]["groups"]
        rules = {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}
        return str(rules["PalaverConnectionsNearLimit"].rpartition("* ")[2])

    usual = TARGETS["gateway"][Signal.CONNECTIONS]
    assert limit(CLUSTER, roles={"gateway": {"max": 10}}) == f"{10 * usual:.0f}"
    assert limit(CLUSTER, roles={"gateway": {"max": 10, "targets": {"connections": 1000}}}) == "10000"
    assert limit(SINGLE) == f"{usual:.0f}"


@pytest.mark.parametrize("base", [CLUSTER, SINGLE])
def test_dashboards_can_be_shown(base: dict[str, Any]) -> None:
    found = dashboards(base)
    assert len({dashboard["uid"] for dashboard in found}) == 5
    for dashboard in found:
        assert len(dashboard["uid"]) <= 40
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken
            assert place["x"] + place["w"] <= 24
            taken |= cells
            references = [target["refId"] for target in panel["targets"]]
            assert len(set(references)) == len(references) >= 1
            assert "$w" not in str(panel["targets"])


def test_the_first_end_of_a_certificate() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert find_first_end(workspace(), {}) is None
    built = build(workspace(), Surroundings(secrets={}, now=now)).others
    values = {one["metadata"]["name"]: values_of(one) for one in built if one["kind"] == "Secret"}
    assert find_first_end(workspace(), values) == now + timedelta(days=90)
    later = build(workspace(), Surroundings(secrets={}, now=now + timedelta(days=5))).others
    newer = {one["metadata"]["name"]: values_of(one) for one in later if one["kind"] == "Secret"}
    mixed = {**newer, "chat-grpc-messaging": values["chat-grpc-messaging"]}
    assert find_first_end(workspace(), mixed) == now + timedelta(days=90)
