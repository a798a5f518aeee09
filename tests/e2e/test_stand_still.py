"""A process stands still, as when a machine sleeps, or dies: revocations are obeyed all the same.

A gateway that goes on believes nothing from before. What auth has answered counts, whether or not it could still tell.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from palaver.gateway.following import COMPARE_SECONDS
from palaver.roles import ROLES
from tests import children
from tests.cluster import Cluster
from tests.e2e.process import PalaverProcess, Reachable
from tests.gateway.ddp import PATIENCE, DdpClient
from tests.ports import free_port
from tests.servers import mongodb_server, nats_server
from tests.stopwatch import running_stopwatch

pytestmark = pytest.mark.needs_servers

STANDS_STILL = 4.0
"""Seconds: longer than anything is believed."""
OBEYED = 0.8 * COMPARE_SECONDS
"""Seconds, fewer than from one routine look at the record to the next. A quiet machine needs three."""

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


async def _make_user(server: Reachable, admin: Headers, name: str) -> Headers:
    body = {"username": name, "name": name, "email": f"{name}@example.org", "password": f"secret of {name}"}
    await server.request("POST", "users.create", json={**body, "verified": True}, headers=admin)
    return await server.login(name, f"secret of {name}")


async def _client(server: PalaverProcess | Cluster, headers: Headers, room: str) -> DdpClient:
    client = DdpClient(await connect(f"ws://127.0.0.1:{server.port}/websocket", compression=None, open_timeout=60))
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
    children.freeze(gateway.process)
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
        children.thaw(gateway.process)
    async with running_stopwatch() as stopwatch, asyncio.timeout(PATIENCE):
        went_on = stopwatch.now()
        for client in (revoked, deactivated):
            await client.wait_closed()
        await removed.wait_for(lambda frame: frame.get("msg") == "nosub")
        assert stopwatch.now() - went_on <= OBEYED
    await member.wait_change("stream-room-messages", room, lambda args: args[0]["msg"] == said[-1])
    assert _texts(member, room) == said
    assert _texts(removed, room) == []
    for client in (revoked, deactivated):
        assert not any(frame.get("id") == "late" and "result" in frame for frame in client.frames)
    for client in clients:
        await client.close()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A process for each role."""
    async with mongodb_server() as mongodb, nats_server() as nats:
        cluster = Cluster(tmp_path, mongodb, nats.url, replicas=dict.fromkeys(ROLES, 1))
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.stop()


async def _revoke(cluster: Cluster, client: DdpClient, admin: Headers, then: Callable[[], None]) -> None:
    """Ends a user's logins, does something, and returns when they have ended: not by a routine look."""
    async with running_stopwatch() as stopwatch, asyncio.timeout(PATIENCE):
        await cluster.request("POST", "users.logout", json={"userId": client.user_id}, headers=admin)
        answered = stopwatch.now()
        then()
        await client.wait_closed()
        assert stopwatch.now() - answered <= OBEYED


async def test_what_auth_answered_before_it_died_is_obeyed(cluster: Cluster) -> None:
    """Also where it dies before it has told anybody."""
    admin = await cluster.login()
    headers = [await _make_user(cluster, admin, name) for name in ("ann", "bob")]
    body = {"name": "inner", "members": ["ann", "bob"]}
    room = (await cluster.request("POST", "groups.create", json=body, headers=admin))["group"]["_id"]
    first, second = [await _client(cluster, one, room) for one in headers]
    auth = cluster.members["auth-1"]
    await _revoke(cluster, first, admin, auth.kill)
    await asyncio.sleep(STANDS_STILL)  # until another process sweeps
    await auth.start(PALAVER_FAILPOINTS="tell.before_publish")
    await cluster.wait_until_ready()
    await _revoke(cluster, second, admin, lambda: None)
    async with asyncio.timeout(PATIENCE):
        while not auth.restarts:
            await asyncio.sleep(0.05)
    assert auth.last_status == -signal.SIGKILL
    for client in (first, second):
        await client.close()
