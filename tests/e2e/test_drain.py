"""SIGTERM under load: what was accepted is answered, sockets go one after another, and the process ends with 0."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.e2e.process import PalaverProcess
from tests.gateway.ddp import DdpClient
from tests.ports import free_port

SOCKETS = 40
REST_CLIENTS = 4
NOTICE_SECONDS = 10
DRAIN_SECONDS = 5


@dataclass
class Load:
    """What was sent while the server stopped."""

    room: str
    headers: dict[str, str]
    answered: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    closed: list[tuple[float, int | None]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[PalaverProcess]:
    started = PalaverProcess(
        tmp_path,
        PALAVER_HEALTH_PORT=str(free_port()),
        PALAVER_NOTICE_SECONDS=str(NOTICE_SECONDS),
        PALAVER_DRAIN_SECONDS=str(DRAIN_SECONDS),
    )
    yield started
    started.kill()


async def _open(server: PalaverProcess, load: Load) -> DdpClient:
    client = DdpClient(await connect(f"ws://127.0.0.1:{server.port}/websocket", compression=None, open_timeout=60))
    await client.connect()
    await client.login(load.headers["X-Auth-Token"])
    return client


async def _send_by_ddp(client: DdpClient, load: Load, name: str) -> None:
    """One message after another until the server closes the socket."""
    for number in itertools.count():
        id = f"{name}-{number}"
        calling = asyncio.create_task(client.call("sendMessage", {"_id": id, "rid": load.room, "msg": f"text of {id}"}))
        closing = asyncio.create_task(client.wait_closed())
        await asyncio.wait([calling, closing], return_when=asyncio.FIRST_COMPLETED)
        if not calling.done():  # the answer may have come with the end
            calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        results = [frame for frame in client.frames if frame.get("msg") == "result"]
        if len(results) == number + 2:  # the first one was the login's
            assert "error" not in results[-1]
            load.answered.add(id)
        else:
            load.unanswered.add(id)
        if closing.done():
            load.closed.append((time.monotonic(), client.socket.close_code))
            return
        closing.cancel()
        await asyncio.sleep(0.02)


async def _send_by_rest(server: PalaverProcess, load: Load, name: str) -> None:
    """One request after another until the server takes no connections any more."""
    async with httpx.AsyncClient(base_url=f"{server.url}/api/v1/", headers=load.headers, timeout=60) as http:
        for number in itertools.count():
            id = f"{name}-{number}"
            try:
                answer = await http.post(
                    "chat.sendMessage", json={"message": {"_id": id, "rid": load.room, "msg": f"text of {id}"}}
                )
            except httpx.ConnectError:
                return
            except httpx.TransportError as error:
                load.broken.append(f"{id}: {error!r}")
                return
            assert answer.status_code == 200, answer.text
            load.answered.add(id)
            await asyncio.sleep(0.01)


async def _status(url: str) -> int:
    async with httpx.AsyncClient(timeout=60) as http:
        return (await http.get(url)).status_code


async def test_nothing_accepted_is_dropped(server: PalaverProcess) -> None:
    await server.start()
    assert await _status(f"{server.url}/metrics") == 404  # not for the outside when there is a port of its own
    assert await _status(f"{server.health_url}/metrics") == 200
    headers = await server.login()
    room = (await server.request("POST", "channels.create", json={"name": "drain"}, headers=headers))["channel"]["_id"]
    load = Load(room, headers)
    clients = [await _open(server, load) for _ in range(SOCKETS)]
    sending = [
        *(asyncio.create_task(_send_by_ddp(client, load, f"ddp{n}")) for n, client in enumerate(clients)),
        *(asyncio.create_task(_send_by_rest(server, load, f"rest{n}")) for n in range(REST_CLIENTS)),
    ]
    await asyncio.sleep(1)
    stopping = asyncio.create_task(asyncio.to_thread(server.stop))
    while await _status(f"{server.health_url}/readyz") != 503:
        await asyncio.sleep(0.02)
    # Whoever has not noticed yet is served.
    latecomer = await _open(server, load)
    assert not load.closed
    assert await stopping == 0
    await asyncio.gather(*sending)
    assert not load.broken
    assert [code for _, code in load.closed] == [1012] * SOCKETS
    first, last = min(load.closed), max(load.closed)
    assert last[0] - first[0] > DRAIN_SECONDS * 0.2, "all were thrown out at once"
    await latecomer.close()

    await server.start()
    found: list[str] = []
    while True:
        params = {"roomId": room, "count": 100, "offset": len(found)}
        page = (await server.request("GET", "channels.history", params=params, headers=headers))["messages"]
        found += [message["_id"] for message in page]
        if len(page) < 100:
            break
    assert load.answered <= set(found)
    assert not load.unanswered & set(found), "done, and not answered"
