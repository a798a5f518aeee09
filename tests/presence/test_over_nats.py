"""Presence processes and gateways of a real cluster: two of each role, over gRPC and NATS, that die and come back."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from palaver.blobs import Blobs
from palaver.blobs.files import FileBlobs
from palaver.config import Config
from palaver.database.sqlite import SqliteDatabase
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.presence_reports import PresenceReports
from palaver.gateway.session import Session
from palaver.live.nats import NatsLive
from palaver.log.embedded import EmbeddedLog
from palaver.node import Node
from palaver.presence.role import PresenceService
from palaver.roles import ROLES
from palaver.v1.presence_pb2 import AWAY, OFFLINE, ONLINE, GetPresenceRequest, PresenceChanged, Status
from tests.servers import NatsServer, nats_server
from tests.services import ADMIN_ID, make_config

pytestmark = pytest.mark.needs_servers


class Reached:
    """The way of a gateway to presence: the processes in turn, as long as they are there."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster

    async def report_statuses(self, request: object) -> object:
        presence = self._cluster.presence.pop(0)
        self._cluster.presence.append(presence)
        return await presence.report_statuses(request)  # type: ignore[arg-type]


class Gateway:
    """A gateway's reports, on a connection of its own."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.session = Session(ADMIN_ID)
        self.reports = PresenceReports(node, lambda: len(self.session.connections))

    async def open(self) -> None:
        await self.node.live.open()
        await self.reports.keep_lease()
        self.tasks = [
            self.node.spawn(self.reports.run(), "reports"),
            self.node.spawn(self.reports.run_lease(), "lease"),
        ]

    def say(self, *statuses: "Status.ValueType") -> None:
        """These are the user's connections now."""
        self.session.connections = [cast(Connection, SimpleNamespace(status=status)) for status in statuses]
        self.reports.on_connections_changed(self.session)

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.node.live.close()


class Cluster:
    """An auth service in memory of this process; everything else on connections to NATS of its own."""

    def __init__(self, nats: NatsServer, config: Config, auth: Node) -> None:
        self.nats = nats
        self._config = config
        self._auth = auth
        self.presence: list[PresenceService] = []
        self.nodes: dict[PresenceService, Node] = {}
        self.gateways: list[Gateway] = []
        self.told: list[int] = []

    def _node(self, name: str) -> Node:
        config = dataclasses.replace(self._config, node_id=name)
        live = NatsLive(self.nats.url, "work")
        return Node(config, self._auth.database, self._auth.log, live, cast(Blobs, None))

    async def start(self) -> PresenceService:
        node = self._node("presence")
        node.services.auth = self._auth.services.auth
        node.access = self._auth.access
        await node.live.open()
        presence = PresenceService(node)
        await presence.open()
        self.nodes[presence] = node
        self.presence.append(presence)
        return presence

    async def kill(self, presence: PresenceService) -> None:
        self.presence.remove(presence)
        node = self.nodes.pop(presence)
        for task in list(node._tasks):
            task.cancel()
        await asyncio.gather(*node._tasks, return_exceptions=True)
        await node.live.close()

    async def gateway(self) -> Gateway:
        node = self._node("gateway")
        node.services.presence = cast(PresenceService, Reached(self))
        gateway = Gateway(node)
        await gateway.open()
        self.gateways.append(gateway)
        return gateway

    async def wait(self, status: "Status.ValueType", seconds: float = 60) -> None:
        """Until every presence process sees the user so, and everybody was told."""
        request = GetPresenceRequest(user_ids=[ADMIN_ID])
        async with asyncio.timeout(seconds):
            while True:
                seen = [(await each.get_presence(request)).users[0].status for each in self.presence]
                if set(seen) == {status} and self.told and self.told[-1] == status:
                    return
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        for gateway in self.gateways:
            with contextlib.suppress(Exception):
                await gateway.kill()
        for presence in list(self.presence):
            await self.kill(presence)


@pytest.fixture
async def cluster(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(nats_server())
        config = make_config(tmp_path)
        live = NatsLive(nats.url, "work")
        database = SqliteDatabase(tmp_path / "palaver.db")
        auth = Node(config, database, EmbeddedLog(database), live, FileBlobs(tmp_path / "uploads"))
        stack.push_async_callback(auth.close)
        await auth.open([ROLES["auth"]])
        cluster = Cluster(nats, config, auth)
        await auth.live.subscribe(
            "presence",
            lambda message: cluster.told.extend(user.status for user in PresenceChanged.FromString(message).users),
        )
        stack.push_async_callback(cluster.close)
        yield cluster


async def test_processes_that_die_and_come_back(cluster: Cluster) -> None:
    first = await cluster.start()
    await cluster.start()
    one, two = await cluster.gateway(), await cluster.gateway()
    one.say(ONLINE)
    await cluster.wait(ONLINE)
    two.say(AWAY)
    one.say()
    await cluster.wait(AWAY)
    await cluster.kill(first)
    one.say(ONLINE, AWAY)
    await cluster.wait(ONLINE)
    third = await cluster.start()
    await cluster.wait(ONLINE)
    assert third._picture.connected_users == 1
    two.say()
    one.say(AWAY)
    await cluster.wait(AWAY)
    await one.reports.close()
    await cluster.wait(OFFLINE)
    assert set(cluster.told) == {ONLINE, AWAY, OFFLINE}


async def test_nats_is_started_again_and_has_forgotten_everything(cluster: Cluster) -> None:
    await cluster.start()
    await cluster.start()
    one, two = await cluster.gateway(), await cluster.gateway()
    one.say(AWAY)
    two.say(ONLINE)
    await cluster.wait(ONLINE)
    await cluster.nats.stop()
    two.say()  # nobody can be told of it now
    await asyncio.sleep(0.5)
    await cluster.nats.start()
    await cluster.wait(AWAY)
    async with asyncio.timeout(30):
        while (
            len(await one.node.live.list("presence.users")) < 2 or len(await one.node.live.list("presence.nodes")) < 2
        ):
            await asyncio.sleep(0.1)
    for presence in list(cluster.presence):
        await cluster.kill(presence)
    await cluster.start()
    await cluster.wait(AWAY)
    one.say()
    await cluster.wait(OFFLINE)


async def test_a_killed_gateway_takes_its_users_along(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palaver.gateway.presence_reports.LEASE_SECONDS", 4.0)
    monkeypatch.setattr("palaver.gateway.presence_reports._RENEW_SECONDS", 0.5)
    monkeypatch.setattr("palaver.presence.gateways.LEASE_SECONDS", 4.0)
    monkeypatch.setattr("palaver.presence.role.CHECK_SECONDS", 0.5)
    await cluster.start()
    await cluster.start()
    one, two = await cluster.gateway(), await cluster.gateway()
    one.say(ONLINE)
    two.say(AWAY)
    await cluster.wait(ONLINE)
    await one.kill()
    await cluster.wait(AWAY)
    await asyncio.sleep(6)
    await cluster.wait(AWAY)
    await two.kill()
    await cluster.wait(OFFLINE)
    assert cluster.told.count(OFFLINE) <= 2
