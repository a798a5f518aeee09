"""Writes docs/metrics.md: every metric of every process, and of the operator. `make metrics-page`.

The metrics are those that the packages' modules declare; what to look at is said here.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

import palaver

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "metrics.md"

HEAD = """\
# Metrics

Every process answers `GET /metrics` in the text format of Prometheus. Written by `make metrics-page` from the
declarations in `services/palaver` and `operator/palaver_operator`; not edited by hand. The operator has
alerts and dashboards of them; each alert has a page in [runbooks](runbooks).

Labels come from bounded sets: a declared path, never a URL; no room, no user, no address. Beside these there are the
usual `process_…` and `python_…` of the Prometheus client. What merely stands there (lengths, ages) is looked at
every half second, so that no request pays for it.

## What to look at

| question | expression |
|---|---|
| what runs where | `palaver_build_info` |
| requests a second | `sum by (endpoint) (rate(palaver_rest_request_seconds_count[5m]))`, \
`sum by (method) (rate(palaver_ddp_method_seconds_count[5m]))` |
| how many fail | `sum(rate(palaver_rest_request_seconds_count{status=~"5.."}[5m]))`, \
`sum(rate(palaver_ddp_method_seconds_count{outcome="failed"}[5m]))` |
| how long they take | `histogram_quantile(0.99, sum by (le) (rate(palaver_rest_request_seconds_bucket[5m])))`, \
the same of `palaver_ddp_method_seconds` |
| the same between processes | `palaver_rpc_answer_seconds` of auth, presence and messaging by `service` and `code`, \
`palaver_rpc_call_seconds` of who calls them |
| does the database keep up | `palaver_database_seconds`, `palaver_database_failures_total`, \
`palaver_commands_waiting`, embedded: `palaver_sqlite_works_waiting` |
| does NATS keep up | `palaver_nats_reply_seconds`, `palaver_nats_replies_missed_total` |
| is anything committed and not told | `max(palaver_outbox_age_seconds)`, and what crashed processes left: \
`max(palaver_outbox_left_age_seconds)` |
| do durable followers keep up | `max by (follower) (palaver_follower_events_behind)` |
| how late messages are | `histogram_quantile(0.99, sum by (le) (rate(palaver_event_age_seconds_bucket[5m])))` |
| is a process overloaded | `histogram_quantile(0.99, sum by (le, instance) \
(rate(palaver_event_loop_lag_seconds_bucket[5m])))` |
| may anybody do anything | `max(palaver_policy_age_seconds) < 3` |
| who is here | `sum(palaver_connections)`, `sum(palaver_users_connected)`, \
`rate(palaver_connections_opened_total[5m])` |
"""

PARTS = {
    "gateway": "The gateway",
    "messaging": "Messaging",
    "presence": "Presence",
    "auth": "Auth",
    "database": "The database",
    "log": "The log, and NATS",
    "live": "The live port",
    "rpc": "Calls between processes",
    "": "Every process",
    "operator": "The operator",
}
"""The heading of each folder of the package; "" stands for the modules beside them."""


OPERATOR = "palaver_operator.metrics"


@dataclass(frozen=True, slots=True)
class Metric:
    """One declaration, as a module makes it."""

    module: str
    name: str
    kind: str
    labels: tuple[str, ...]
    help: str

    @property
    def part(self) -> str:
        if self.module == OPERATOR:
            return "operator"
        folder, _, rest = self.module.removeprefix("palaver.").partition(".")
        return folder if rest or folder in PARTS else ""


def declared_metrics() -> list[Metric]:
    """Every metric that a module of Palaver or its operator declares, by module and name as they are exposed."""
    found: list[Metric] = []
    for module_name in [*sorted(_modules()), OPERATOR]:
        module = importlib.import_module(module_name)
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        for value in vars(module).values():
            if isinstance(value, MetricWrapperBase):
                (described,) = value.describe()
                name = described.name + ("_total" if described.type == "counter" else "")
                labels = tuple(value._labelnames)
                if f'"{name}"' in source:  # not where it is only imported
                    found.append(Metric(module_name, name, described.type, labels, described.documentation))
    return sorted(found, key=lambda metric: (list(PARTS).index(metric.part), metric.name))


def _modules() -> Iterator[str]:
    for found in pkgutil.walk_packages(palaver.__path__, "palaver."):
        if not found.name.endswith(".__main__") and not found.name.startswith("palaver.v1"):
            yield found.name


def build_page() -> str:
    """The page as it should be."""
    metrics = declared_metrics()
    parts = [HEAD]
    for part, heading in PARTS.items():
        rows = [
            f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |\n"
            for metric in metrics
            if metric.part == part
        ]
        if rows:
            parts.append(
                f"## {heading}\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n" + "".join(rows)
            )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(build_page(), encoding="utf-8")
