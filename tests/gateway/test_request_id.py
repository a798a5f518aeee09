"""The request id: from the client's answer to the last log line, in whichever process."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from palaver.events import room_stream
from palaver.telemetry import JsonFormatter
from tests.gateway.ddp import RunningGateway, running_gateway
from tests.services import TRANSPORTS, Transport


class Lines(logging.Handler):
    """Every log line of this process, as it would be written."""

    def __init__(self) -> None:
        super().__init__()
        self._formatter = JsonFormatter("test")
        self._lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(json.loads(self._formatter.format(record)))

    def of(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self._lines if line.get("request_id") == request_id]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("palaver")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.fixture(params=TRANSPORTS)
async def gateway(request: pytest.FixtureRequest, tmp_path: Path, cheap_hashes: None) -> AsyncIterator[RunningGateway]:
    transport: Transport = request.param
    async with running_gateway(tmp_path, transport) as gateway:
        yield gateway


async def wait_for_lines(lines: Lines, request_id: str, logger: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(30):
        while not (found := [line for line in lines.of(request_id) if line["logger"] == logger]):
            await asyncio.sleep(0.01)
    return found


@pytest.mark.parametrize("offered", ["mine", "00-4bf92f3577b34da6a3ce929d0e0e4736-01", "a" * 64, "A/b.c:d@e=f+g_h"])
async def test_a_plain_token_of_the_client_is_kept(gateway: RunningGateway, offered: str) -> None:
    answer = await gateway.http.get("me", headers={**gateway.admin, "X-Request-Id": offered})
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == offered


@pytest.mark.parametrize("offered", [b"", b"a b", b"a" * 65, b"\xe4\xf6", b'"}', b"a\tb"])
async def test_anything_else_gets_a_new_one(gateway: RunningGateway, offered: bytes) -> None:
    headers = {name.encode(): value.encode() for name, value in gateway.admin.items()}
    answer = await gateway.http.get("me", headers={**headers, b"X-Request-Id": offered})
    assert answer.status_code == 200
    made = answer.headers["x-request-id"]
    assert made.isalnum()
    assert made.isascii()
    assert len(made) >= 12


async def test_every_answer_has_one(gateway: RunningGateway) -> None:
    for path, status in (("no.such", 404), ("me", 401), ("chat.postMessage", 405), ("info", 200)):
        answer = await gateway.http.get(path)
        assert (answer.status_code, bool(answer.headers.get("x-request-id"))) == (status, True)


@pytest.mark.parametrize("id", ["é\n☃", "", "x" * 1000])
async def test_a_method_may_have_any_id(gateway: RunningGateway, id: str) -> None:
    client = await gateway.client(gateway.admin)
    await client.send(msg="method", method="loadHistory", id=id, params=["GENERAL", None, 1, None])
    frame = await client.wait_for(lambda frame: frame.get("msg") == "result" and frame["id"] == id)
    assert "error" not in frame


async def test_who_hears_of_an_event_logs_the_request_that_it_came_of(gateway: RunningGateway, lines: Lines) -> None:
    await gateway.client(gateway.admin)
    client = await gateway.client(gateway.admin)
    await client.sub("stream-room-messages", "GENERAL")
    names = [f"post-{number}" for number in range(5)]
    await asyncio.gather(
        *(
            gateway.http.post(
                "chat.postMessage",
                json={"roomId": "GENERAL", "text": name},
                headers={**gateway.admin, "X-Request-Id": name},
            )
            for name in names
        )
    )
    for name in names:
        heard = await wait_for_lines(lines, name, "palaver.log.followers")
        assert len({line["message"] for line in heard}) == 1
        answered = await wait_for_lines(lines, name, "palaver.gateway.rest.dispatch")
        assert [line["message"] for line in answered] == ["POST chat.postMessage: 200"]
    events = await gateway.node.database.list_events(room_stream("GENERAL"), 0)
    assert len(events) > 5
    assert {event.request_id for event in events} == {""}


async def test_a_failure_tells_the_client_its_id(tmp_path: Path, cheap_hashes: None, lines: Lines) -> None:
    async with running_gateway(tmp_path) as gateway:
        spoil_subscriptions(tmp_path)
        client = await gateway.client(gateway.admin)
        frame = await client.call("subscriptions/get")
        assert frame["error"]["error"] == 500
        assert frame["error"]["reason"] == "Internal server error"
        line, *_ = await wait_for_lines(lines, frame["error"]["details"]["requestId"], "palaver.gateway.ddp.errors")
        assert (line["level"], line["message"]) == ("error", "subscriptions/get failed")
        assert "TypeError" in line["exception"]
        answer = await gateway.http.get("subscriptions.get", headers=gateway.admin)
        assert answer.status_code == 500
        assert answer.json() == {"success": False, "error": "Internal error occured"}
        line, *_ = await wait_for_lines(lines, answer.headers["x-request-id"], "palaver.gateway.rest.dispatch")
        assert (line["level"], line["message"]) == ("error", "GET subscriptions.get failed")


def spoil_subscriptions(folder: Path) -> None:
    """What no command writes: counters that are no numbers."""
    with sqlite3.connect(folder / "palaver.db") as connection:
        connection.execute("UPDATE subscriptions SET doc = json_set(doc, '$.own', 'many')")
    connection.close()
