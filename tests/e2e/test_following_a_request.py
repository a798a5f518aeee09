"""A request over processes of their own: one id in the client's answer and in every log, one tree of spans."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from websockets.asyncio.client import connect

from tests.cluster import Cluster
from tests.collector import Collector
from tests.e2e.process import PalaverProcess
from tests.gateway.ddp import DdpClient
from tests.ports import free_port
from tests.servers import mongodb_server, nats_server

pytestmark = pytest.mark.needs_servers

ROLES = ("auth", "presence", "messaging", "gateway")


@dataclass
class Running:
    """A cluster whose two gateways have ports of their own, and what it writes to."""

    cluster: Cluster
    mongodb_url: str
    headers: dict[str, str]

    @property
    def first(self) -> PalaverProcess:
        return self.cluster.members["gateway-1"]

    async def open_socket(self, port: int) -> DdpClient:
        """A logged-in client of the gateway at this port."""
        client = DdpClient(await connect(f"ws://127.0.0.1:{port}/websocket", compression=None, open_timeout=60))
        await client.connect()
        await client.login(self.headers["X-Auth-Token"])
        return client

    def lines(self, name: str, request_id: str, level: str) -> list[dict[str, Any]]:
        """What a process has logged of a request."""
        lines = [json.loads(line) for line in self.cluster.members[name].log.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("request_id") == request_id and line["level"] == level]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
async def running(tmp_path: Path, collector: Collector) -> AsyncIterator[Running]:
    async with mongodb_server() as mongodb, nats_server() as nats:
        cluster = Cluster(
            tmp_path,
            mongodb,
            nats.url,
            replicas={**dict.fromkeys(ROLES, 1), "gateway": 2},
            environment={
                "PALAVER_LOG_LEVEL": "debug",
                "PALAVER_TRACES_URL": collector.url,
                "PALAVER_TRACES_SAMPLE": "1",
            },
            own_environment={"gateway-2": {"PALAVER_PORT": str(free_port()), "PALAVER_SHARE_PORT": "0"}},
        )
        try:
            await cluster.start()
            yield Running(cluster, mongodb, await PalaverProcess.login(cluster.members["gateway-1"]))
        finally:
            await cluster.stop()


async def test_a_request_can_be_followed(running: Running, collector: Collector) -> None:
    first = await running.open_socket(running.cluster.port)
    second = await running.open_socket(running.cluster.members["gateway-2"].port)
    for client in (first, second):
        assert (await client.sub("stream-room-messages", "GENERAL"))["msg"] == "ready"
    async with httpx.AsyncClient(base_url=f"{running.cluster.url}/api/v1/", timeout=60) as http:
        headers = {**running.headers, "X-Request-Id": "follow-me"}
        answer = await http.post("chat.postMessage", json={"roomId": "GENERAL", "text": "hello"}, headers=headers)
        assert answer.status_code == 200
        for client in (first, second):
            await client.wait_change("stream-room-messages", "GENERAL")
        await _check_tree(collector, answer.headers["traceparent"])
        for name in ("gateway-1", "gateway-2"):
            heard = [line["message"] for line in running.lines(name, "follow-me", "debug")]
            assert any("of room/GENERAL" in message for message in heard)

        _spoil_subscriptions(running.mongodb_url)
        headers["X-Request-Id"] = "find-me"
        answer = await http.get("subscriptions.get", headers=headers)
        assert (answer.status_code, answer.headers["x-request-id"]) == (500, "find-me")
        assert answer.json() == {"success": False, "error": "Internal error occured"}
    (line,) = running.lines("gateway-1", "find-me", "error")
    assert line["message"] == "GET subscriptions.get failed"
    (line,) = running.lines("messaging-1", "find-me", "error")
    assert "TypeError" in line["exception"]

    error = (await second.call("subscriptions/get"))["error"]
    assert error["error"] == 500
    assert len(running.lines("gateway-2", error["details"]["requestId"], "error")) == 1
    assert len(running.lines("messaging-1", error["details"]["requestId"], "error")) == 1
    for client in (first, second):
        await client.close()


async def _check_tree(collector: Collector, traceparent: str) -> None:
    """One tree from the first gateway over messaging to what both gateways wrote to their sockets."""

    def tree() -> list[Any]:
        roots = [span for span in collector.spans if span.span_id.hex() == traceparent.split("-")[2]]
        return collector.tree(roots[0]) if roots else []

    async with asyncio.timeout(30):
        while sum(span.name == "flush" for span in tree()) < 2:
            await asyncio.sleep(0.1)
    found = tree()
    assert {span.trace_id.hex() for span in found} == {traceparent.split("-")[1]}
    places = {(span.name, collector.processes[span.span_id]) for span in found}
    assert {
        ("POST chat.postMessage", "gateway-1"),
        ("command", "messaging-1"),
        ("commit", "messaging-1"),
        ("database commit", "messaging-1"),
        ("publish", "messaging-1"),
        ("event", "gateway-1"),
        ("event", "gateway-2"),
        ("flush", "gateway-1"),
        ("flush", "gateway-2"),
    } <= places


def _spoil_subscriptions(mongodb_url: str) -> None:
    """What no command writes: counters that are no numbers."""
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client["palaver_default"]["subscriptions"].update_many({}, {"$set": {"own": "many"}})
