"""The page of metrics is current, the metrics follow their rules, and they say what happened."""

import re
from collections import Counter
from pathlib import Path

import httpx
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from docs.generate_metrics import PAGE, build_page, declared_metrics
from tests.gateway.ddp import running_gateway

BOUNDED = {
    "code",  # of gRPC
    "connection",  # to NATS: the log's or the live port's
    "direction",  # up or down
    "endpoint",  # the declared path
    "error",  # a class of errors.py
    "follower",  # a declared one
    "kind",  # of Kubernetes' objects
    "method",  # a declared one
    "name",
    "namespace",  # of a workspace
    "operation",
    "outcome",
    "reason",
    "role",
    "roles",
    "room_type",
    "service",
    "signal",  # that scaling looks at
    "status",
    "stream",
    "stream_kind",
    "type",
    "version",
    "what",
    "workspace",  # that the operator looks after
}
"""Labels that take few values, whoever calls."""


def test_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == build_page(), "run 'make metrics-page'"


def test_names_and_texts() -> None:
    metrics = declared_metrics()
    assert len(metrics) > 40
    twice = [name for name, count in Counter(metric.name for metric in metrics).items() if count > 1]
    assert not twice
    for metric in metrics:
        assert re.fullmatch(r"palaver(_[a-z]+)+", metric.name), metric.name
        assert len(metric.help) > 10, metric
        assert not metric.help.endswith("."), metric
        assert set(metric.labels) <= BOUNDED, metric
        if metric.kind == "histogram":
            assert metric.name.endswith(("_seconds", "_works")), metric.name
        if metric.kind == "gauge":
            assert not metric.name.endswith("_total"), metric.name


def test_nothing_is_measured_that_the_page_does_not_know() -> None:
    declared = {metric.name.removesuffix("_total") for metric in declared_metrics()}
    known = {family.name for family in REGISTRY.collect() if family.name.startswith("palaver_")}
    assert known == declared


async def test_what_happened_is_counted(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_gateway(tmp_path) as gateway:
        before = await _samples(gateway.http)
        client = await gateway.client(gateway.admin)
        assert (await client.sub("stream-room-messages", "GENERAL"))["msg"] == "ready"
        assert (await client.sub("stream-room-messages", "nowhere"))["msg"] == "nosub"
        assert (await client.sub("no-such-stream", "x"))["msg"] == "nosub"
        await gateway.post("chat.postMessage", gateway.admin, roomId="GENERAL", text="hello")
        await client.wait_change("stream-room-messages", "GENERAL")
        assert "error" in await client.call("rooms/nonsense")
        assert (await gateway.http.get("no/such/endpoint")).status_code == 404
        assert (await gateway.http.get("chat.postMessage")).status_code == 405
        after = await _samples(gateway.http)

    def grown(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after.get(key, 0) - before.get(key, 0)

    post = {"endpoint": "chat.postMessage", "method": "POST", "status": "200"}
    assert grown("palaver_rest_request_seconds_count", **post) == 1
    assert grown("palaver_rest_request_seconds_count", endpoint="other", method="other", status="404") == 1
    assert grown("palaver_rest_request_seconds_count", endpoint="chat.postMessage", method="other", status="405") == 1
    assert grown("palaver_ddp_method_seconds_count", method="login", outcome="answered") == 1
    assert grown("palaver_ddp_method_seconds_count", method="other", outcome="refused") == 1
    assert grown("palaver_ddp_subscription_seconds_count", stream="stream-room-messages", outcome="ready") == 1
    assert grown("palaver_ddp_subscription_seconds_count", stream="stream-room-messages", outcome="refused") == 1
    assert grown("palaver_ddp_subscription_seconds_count", stream="other", outcome="refused") == 1
    assert grown("palaver_connections_opened_total") == 1
    assert grown("palaver_database_seconds_count", operation="commit") >= 1
    assert grown("palaver_sqlite_group_works_count") >= 1
    assert grown("palaver_log_publish_seconds_count") >= 1
    assert not any("nonsense" in str(key) or "no/such" in str(key) for key in after)


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def _samples(http: httpx.AsyncClient) -> Samples:
    """What /metrics says, by name and labels."""
    answer = await http.get(str(http.base_url.join("/metrics")))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
