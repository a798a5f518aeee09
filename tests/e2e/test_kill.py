"""Nothing acknowledged is lost or doubled when the server is killed: under load, and at every failpoint."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from palaver import failpoints
from tests.e2e.process import PalaverProcess
from tests.gateway.ddp import DdpClient

SENDERS = 4


@pytest.fixture
async def palaver(tmp_path: Path) -> AsyncIterator[PalaverProcess]:
    server = PalaverProcess(tmp_path)
    yield server
    server.stop()


async def _client(server: PalaverProcess, headers: dict[str, str]) -> DdpClient:
    socket = await connect(f"ws://127.0.0.1:{server.port}/websocket", compression=None, open_timeout=60)
    client = DdpClient(socket)
    await client.connect()
    await client.login(headers["X-Auth-Token"])
    return client


@dataclass
class Ledger:
    """What one room was sent, and how much of it was acknowledged, by message id."""

    room: str
    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)


async def _send_until_dead(client: DdpClient, ledger: Ledger, name: str) -> None:
    """Sends one message after another, noting which were acknowledged, until the server is gone."""
    for number in range(100_000):
        id = f"{name}-{number}"
        ledger.sent.add(id)
        result = await client.call("sendMessage", {"_id": id, "rid": ledger.room, "msg": f"text of {id}"})
        assert "error" not in result, result
        ledger.acknowledged.add(id)


async def _history(server: PalaverProcess, headers: dict[str, str], room: str) -> list[dict[str, Any]]:
    """Every message of the room that somebody wrote, oldest first."""
    found: list[dict[str, Any]] = []
    while True:
        params = {"roomId": room, "count": 100, "offset": len(found)}
        page = await server.request("GET", "channels.history", params=params, headers=headers)
        found += page["messages"]
        if len(page["messages"]) < 100:
            return [message for message in reversed(found) if "t" not in message]


async def _check(server: PalaverProcess, headers: dict[str, str], ledger: Ledger) -> None:
    ids = [message["_id"] for message in await _history(server, headers, ledger.room)]
    assert len(ids) == len(set(ids)), "a message is there twice"
    assert ledger.acknowledged <= set(ids), f"lost: {sorted(ledger.acknowledged - set(ids))}"
    assert set(ids) <= ledger.sent, "a message that nobody sent"
    info = await server.request("GET", "channels.info", params={"roomId": ledger.room}, headers=headers)
    assert info["channel"]["msgs"] == len(ids)


async def _crash_round(
    server: PalaverProcess, headers: dict[str, str], ledger: Ledger, name: str, kill_after: float
) -> None:
    """Several senders until the server dies (by itself, or killed after some seconds); then start again and look."""
    clients = [await _client(server, headers) for _ in range(SENDERS)]
    tasks = [
        asyncio.create_task(_send_until_dead(client, ledger, f"{name}-{index}")) for index, client in enumerate(clients)
    ]
    if kill_after:
        await asyncio.sleep(kill_after)
        server.kill()
    else:
        assert await server.wait_until_dead() == -9, "the failpoint was not reached"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for client in clients:
        with contextlib.suppress(Exception):
            await client.close()
    server.process = None
    await server.start()
    await _check(server, headers, ledger)


async def test_kill_under_load_loses_nothing(palaver: PalaverProcess) -> None:
    await palaver.start()
    headers = await palaver.login()
    room = (await palaver.request("POST", "channels.create", json={"name": "kill"}, headers=headers))["channel"]["_id"]
    ledger = Ledger(room)
    for number in range(3):
        await _crash_round(palaver, headers, ledger, f"round{number}", random.uniform(0.2, 0.8))
    # a subscriber that comes back hears what is said now, and finds the rest in the history
    client = await _client(palaver, headers)
    await client.sub("stream-room-messages", room, False)
    await client.call("sendMessage", {"_id": "after", "rid": room, "msg": "still here"})
    await client.wait_change("stream-room-messages", room, lambda args: args[0]["_id"] == "after")
    await client.close()


# The points that the embedded database passes; those between its writes exist only where the writes are separate.
EMBEDDED_FAILPOINTS = [
    name
    for name in failpoints.NAMES
    if name
    not in ("commit.after_append", "commit.between_projections", "commit.before_advance", "tell.between_publishes")
    and name.startswith(("commit.", "tell."))
]


@pytest.mark.parametrize("name", EMBEDDED_FAILPOINTS)
async def test_kill_at_a_failpoint_loses_nothing(palaver: PalaverProcess, name: str) -> None:
    await palaver.start()
    headers = await palaver.login()
    room = (await palaver.request("POST", "channels.create", json={"name": "points"}, headers=headers))["channel"][
        "_id"
    ]
    palaver.stop()
    await palaver.start(PALAVER_FAILPOINTS=f"{name}:{random.randint(40, 80)}")
    await _crash_round(palaver, headers, Ledger(room), name, 0)


# Eight rooms are done at once, so after the third time everything is done, and nobody has written that down.
@pytest.mark.parametrize("name", ["rename.between_rooms:1", "rename.between_rooms:3"])
async def test_kill_of_a_follower_leaves_nothing_undone(palaver: PalaverProcess, name: str) -> None:
    await palaver.start()
    headers = await palaver.login()
    for number in range(20):
        await palaver.request("POST", "channels.create", json={"name": f"room{number}"}, headers=headers)
    palaver.stop()
    await palaver.start(PALAVER_FAILPOINTS=name)
    with contextlib.suppress(httpx.HTTPError):
        change = {"userId": headers["X-User-Id"], "data": {"username": "chief"}}
        await palaver.request("POST", "users.update", json=change, headers=headers)
    assert await palaver.wait_until_dead() == -9, "the failpoint was not reached"
    palaver.process = None
    await palaver.start()
    async with asyncio.timeout(30):
        while set(names := await _names_shown(palaver, headers)) != {"chief"}:
            await asyncio.sleep(0.05)
    assert len(names) > 20


async def _names_shown(palaver: PalaverProcess, headers: dict[str, str]) -> list[str]:
    rooms = (await palaver.request("GET", "subscriptions.get", headers=headers))["update"]
    return [shown["u"]["username"] for shown in rooms]
