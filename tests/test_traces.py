"""Traces: a message's steps over all processes are one tree, a collector gets it, and one that is away harms nobody."""

import asyncio
import dataclasses
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from palaver.config import Config, ConfigError
from palaver.errors import NotAllowed
from palaver.health import HttpServer
from palaver.node import Node
from palaver.roles import ROLES
from palaver.telemetry import current_span, current_trace, request_span, resumed_span, span
from palaver.traces import Traces
from tests.collector import Collector
from tests.gateway.ddp import RunningGateway, running_gateway
from tests.services import Shared, Transport

CLIENTS_OWN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@asynccontextmanager
async def tracing(url: str, share: float = 1.0, roles: tuple[str, ...] = ("auth", "gateway")) -> AsyncIterator[Traces]:
    traces = Traces(Config(node_id="this-one", traces_url=url, traces_sample=share), roles)
    try:
        yield traces
    finally:
        await traces.close()


@pytest.fixture
async def traced(collector: Collector) -> AsyncIterator[Traces]:
    async with tracing(collector.url) as traces:
        yield traces


@asynccontextmanager
async def second_gateway(first: RunningGateway) -> AsyncIterator[RunningGateway]:
    """Another gateway of the same workspace, with sockets of its own."""
    node = first.node
    config = dataclasses.replace(node.config, node_id="second-gateway", port=0)
    second = Node(config, Shared(node.database), Shared(node.log), Shared(node.live), Shared(node.blobs))
    await second.open([ROLES["gateway"]])
    http = HttpServer(second.roles["gateway"].app, config)  # type: ignore[attr-defined]
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(http.run(started))
    gateway = RunningGateway(second, await started)
    try:
        yield gateway
    finally:
        await gateway.close()
        http.stop()
        await serving
        await second.close()


# -- one message -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["grpc", pytest.param("cluster", marks=pytest.mark.needs_servers)])
async def test_the_steps_of_a_message_are_one_tree(
    transport: Transport, tmp_path: Path, cheap_hashes: None, collector: Collector
) -> None:
    async with running_gateway(tmp_path, transport) as first, second_gateway(first) as second:
        alice = await first.make_user("alice")
        sender, hearer = await first.client(first.admin), await second.client(alice)
        for client in (sender, hearer):
            assert (await client.sub("stream-room-messages", "GENERAL"))["msg"] == "ready"
        async with tracing(collector.url):
            await sender.call("sendMessage", {"rid": "GENERAL", "msg": "traced"})
            for client in (sender, hearer):
                await client.wait_change("stream-room-messages", "GENERAL")
            await collector.wait_for(lambda: len(collector.named("flush")) == 2)
    (root,) = collector.named("method sendMessage")
    assert not root.parent_span_id
    tree = collector.tree(root)
    assert {span.trace_id for span in tree} == {root.trace_id}
    below = {(found.name, parent.name) for parent in tree for found in tree if found.parent_span_id == parent.span_id}
    assert {
        ("Messaging.SendMessage", "method sendMessage"),  # the caller's
        ("Messaging.SendMessage", "Messaging.SendMessage"),  # in the callee
        ("command", "Messaging.SendMessage"),
        ("commit", "command"),
        ("database commit", "commit"),
        ("publish", "command"),
        ("event", "command"),
        ("flush", "event"),
    } <= below
    # Both gateways heard of it, and wrote it once to their one socket.
    assert len([span for span in tree if span.name == "flush"]) == 2
    assert len({span.parent_span_id for span in tree if span.name == "flush"}) == 2


async def test_one_flush_goes_on_from_every_message_in_it(
    tmp_path: Path, cheap_hashes: None, collector: Collector
) -> None:
    async with running_gateway(tmp_path) as gateway:
        client = await gateway.client(gateway.admin)
        await client.sub("stream-room-messages", "GENERAL")
        async with tracing(collector.url):
            texts = [f"message {number}" for number in range(10)]
            await asyncio.gather(
                *(gateway.post("chat.postMessage", gateway.admin, roomId="GENERAL", text=text) for text in texts)
            )
            for text in texts:
                await client.wait_change("stream-room-messages", "GENERAL", partial(_says, text))
    heard = {span.span_id for span in collector.named("event")}
    flushes = collector.named("flush")
    assert len(flushes) < len(texts)
    flushed = [found for flush in flushes for found in (flush.parent_span_id, *(link.span_id for link in flush.links))]
    assert len(flushed) == len(set(flushed)) == len(texts)
    assert set(flushed) <= heard
    # Commands that were committed together share the step, too.
    commits = collector.named("commit")
    assert sum(1 + len(commit.links) for commit in commits) == len(texts)


async def test_an_http_client_hears_of_its_trace(tmp_path: Path, cheap_hashes: None, collector: Collector) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert "traceparent" not in (await gateway.http.get("me", headers=gateway.admin)).headers
        async with tracing(collector.url):
            headers = {**gateway.admin, "X-Request-Id": "mine", "Traceparent": CLIENTS_OWN}
            answer = await gateway.http.get("me", headers=headers)
            refused = await gateway.http.get("rooms.info", params={"roomId": "nowhere"}, headers=gateway.admin)
            for sent in ("", "nonsense", CLIENTS_OWN.replace("b7-01", "b7"), "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
                again = await gateway.http.get("me", headers={**gateway.admin, "Traceparent": sent})
                assert again.status_code == 200
    (span,) = [span for span in collector.named("GET me") if span.links]
    assert answer.headers["traceparent"] == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
    # The client's own trace is linked; it decides neither what is traced here nor where that belongs.
    assert not span.parent_span_id
    (link,) = span.links
    assert (link.trace_id.hex(), link.span_id.hex()) == tuple(CLIENTS_OWN.split("-")[1:3])
    assert _attributes(span)["palaver.request_id"] == "mine"
    assert refused.status_code == 400
    (span,) = collector.named("GET rooms.info")
    assert _attributes(span)["error.type"] == "RoomNotFound"
    assert span.status.code == Status.STATUS_CODE_UNSET


# -- spans -----------------------------------------------------------------------------------------------------------


async def test_steps_lie_within_each_other(traced: Traces, collector: Collector) -> None:
    with request_span("outer") as outer:
        assert current_trace() == outer.trace
        with span("inner", "client"), span("innermost") as innermost:
            innermost.note("palaver.deliveries", 3)
        with span("second"):
            pass
    assert current_span.get() is None
    assert current_trace() == ""
    with pytest.raises(RuntimeError), request_span("failing"):
        raise RuntimeError("what somebody has typed")
    with pytest.raises(NotAllowed), request_span("refused"):
        raise NotAllowed
    await traced.close()
    names = {found.span_id: found.name for found in collector.spans}
    assert {found.name: names.get(found.parent_span_id) for found in collector.spans} == {
        "outer": None,
        "inner": "outer",
        "innermost": "inner",
        "second": "outer",
        "failing": None,
        "refused": None,
    }
    (failing,) = collector.named("failing")
    assert failing.status.code == Status.STATUS_CODE_ERROR
    assert _attributes(failing) == {"error.type": "RuntimeError"}
    assert not failing.events
    assert "typed" not in str(collector.spans)
    (refused,) = collector.named("refused")
    assert refused.status.code == Status.STATUS_CODE_UNSET
    assert collector.about["service.name"] == "palaver"
    assert collector.about["service.instance.id"] == "this-one"


async def test_what_goes_on_from_nothing_is_not_traced(traced: Traces, collector: Collector) -> None:
    with span("nobody's"), resumed_span("nor this", "server", ("", "nonsense")) as found:
        assert found.trace == ""
    await traced.close()
    assert collector.spans == []


async def test_a_process_of_one_role_is_a_service_of_its_own(collector: Collector) -> None:
    async with tracing(collector.url + "/v1/traces", roles=("gateway",)):
        request_span("a").end()
    assert collector.about["service.name"] == "palaver-gateway"


async def test_a_share_of_the_requests_is_traced(collector: Collector) -> None:
    async with tracing(collector.url, share=0.0):
        for _ in range(100):
            with request_span("never") as root, span("within"):
                assert root.trace == ""
    async with tracing(collector.url, share=0.5):
        for _ in range(1000):
            with request_span("sometimes"), span("within"):
                pass
    assert not collector.named("never")
    assert 300 < len(collector.named("sometimes")) < 700
    assert len(collector.named("within")) == len(collector.named("sometimes"))


# -- what is not there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listens", [False, True])
async def test_a_collector_that_is_away_harms_nobody(listens: bool) -> None:
    with socket.socket() as silent:  # it answers nobody
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        traces = Traces(Config(traces_url=f"http://127.0.0.1:{silent.getsockname()[1]}", traces_sample=1.0), ())
        for _ in range(10_000):
            request_span("lost").end()
        (processor,) = traces._provider._active_span_processor._span_processors
        assert len(processor._batch_processor._queue) <= 2048  # type: ignore[attr-defined]
        await traces.close()


def test_nothing_of_it_is_loaded_unless_asked_for() -> None:
    code = (
        "import sys, pkgutil, importlib, palaver\n"
        "for found in pkgutil.walk_packages(palaver.__path__, 'palaver.'):\n"
        "    if found.name not in ('palaver.__main__', 'palaver.traces'): importlib.import_module(found.name)\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'requests'))])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "options",
    [{"traces_url": "collector:4318"}, {"traces_url": "ftp://x"}, {"traces_url": "http://x", "traces_sample": 1.5}],
)
def test_wrong_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="PALAVER_TRACES"):
        Traces(Config(**options), ())


def _says(text: str, arguments: list[Any]) -> bool:
    return bool(arguments[0]["msg"] == text)


def _attributes(span: Span) -> dict[str, Any]:
    return {found.key: getattr(found.value, str(found.value.WhichOneof("value"))) for found in span.attributes}
