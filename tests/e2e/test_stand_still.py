"""A gateway's process stands still, as when a machine sleeps: when it goes on, it believes nothing from before."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.e2e.process import PalaverProcess, free_port
from tests.gateway.ddp import PATIENCE, DdpClient
from tests.servers import mongodb_server, nats_server

pytestmark = pytest.mark.needs_servers

STANDS_STILL = 4.0
"""Seconds: longer than anything is believed."""

Headers = dict[str, str]


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[tuple[PalaverProcess, PalaverProcess]]:
    """A process with every role, and one more gateway."""
    async with AsyncExitStack() as stack:
        mongodb = await stack.enter_async_context(mongodb_server())
        nats = await stack.enter_async_context(nats_server())
        grpc_port = free_port()
        shared = {"PALAVER_MONGODB_URL": mongodb, "PALAVER_NATS_URL": nats.url}
        whole = PalaverProcess(tmp_path / "whole", PALAVER_GRPC_PORT=str(grpc_port), **shared)
        addresses = {f"PALAVER_{name}_ADDRESS": f"127.0.0.1:{grpc_port}" for name in ("AUTH", "PRESENCE", "MESSAGING")}
        gateway = PalaverProcess(tmp_path / "gateway", role="gateway", **shared, **addresses)
        for process in (whole, gateway):
            stack.callback(process.stop)
            await process.start()
        yield whole, gateway


async def _make_user(server: PalaverProcess, admin: Headers, name: str) -> Headers:
    body = {"username": name, "name": name, "email": f"{name}@example.org", "password": f"secret of {name}"}
    await server.request("POST", "users.create", json={**body, "verified": True}, headers=admin)
    return await server.login(name, f"secret of {name}")


async def _client(server: PalaverProcess, headers: Headers, room: str) -> DdpClient:
    client = DdpClient(await connect(f"ws://127.0.0.1:{server.port}/websocket", compression=None))
    await client.connect()
    await client.login(headers["X-Auth-Token"])
    assert (await client.sub("stream-room-messages", room, False))["msg"] == "ready"
    return client


def _texts(client: DdpClient, room: str) -> list[str]:
    return [args[0]["msg"] for args in client.changes("stream-room-messages", room) if "t" not in args[0]]


async def test_after_a_stand_still_revocations_are_obeyed_and_nothing_is_missing(
    services: tuple[PalaverProcess, PalaverProcess],
) -> None:
    whole, gateway = services
    admin = await whole.login()
    ann, bob, eve, zoe = [await _make_user(whole, admin, name) for name in ("ann", "bob", "eve", "zoe")]
    body = {"name": "inner", "members": ["ann", "bob", "eve"]}
    room = (await whole.request("POST", "groups.create", json=body, headers=zoe))["group"]["_id"]
    clients = [await _client(gateway, headers, room) for headers in (ann, bob, eve, zoe)]
    revoked, deactivated, removed, member = clients
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        post = whole.request
        await post("POST", "users.logout", json={"userId": ann["X-User-Id"]}, headers=admin)
        change = {"userId": bob["X-User-Id"], "activeStatus": False}
        await post("POST", "users.setActiveStatus", json=change, headers=admin)
        await post("POST", "groups.kick", json={"roomId": room, "userId": eve["X-User-Id"]}, headers=zoe)
        said = [f"message {number}" for number in range(5)]
        for text in said:
            await post("POST", "chat.postMessage", json={"roomId": room, "text": text}, headers=zoe)
        # They wait in the sockets, and are the first that the gateway finds.
        for client in (revoked, deactivated):
            await client.send(msg="method", method="getUserRoles", id="late", params=[])
        await asyncio.sleep(STANDS_STILL)
    finally:
        gateway.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(PATIENCE):
        for client in (revoked, deactivated):
            await client.socket.wait_closed()
    await removed.wait_for(lambda frame: frame.get("msg") == "nosub")
    await member.wait_change("stream-room-messages", room, lambda args: args[0]["msg"] == said[-1])
    assert _texts(member, room) == said
    assert _texts(removed, room) == []
    for client in (revoked, deactivated):
        assert not any(frame.get("id") == "late" and "result" in frame for frame in client.frames)
    for client in clients:
        await client.close()
