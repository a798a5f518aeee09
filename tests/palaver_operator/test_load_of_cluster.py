"""What real processes of every role say is what scaling looks at."""

import asyncio
import time
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from palaver_operator.load import MetricsReader, Pod, WorkspaceLoad
from palaver_operator.roles import ROLES
from palaver_operator.scaling import TARGETS, Signal
from tests.cluster import Cluster
from tests.gateway.ddp import DdpClient
from tests.servers import mongodb_server, nats_server

pytestmark = pytest.mark.needs_servers


async def test_every_role_says_what_its_size_is_decided_by(tmp_path: Path) -> None:
    async with mongodb_server() as mongodb, nats_server(store_dir=tmp_path / "nats") as nats:
        cluster = Cluster(tmp_path, mongodb, nats.url, replicas=dict.fromkeys(ROLES, 1))
        await cluster.start()
        try:
            await _look(cluster)
        finally:
            await cluster.stop()


async def _look(cluster: Cluster) -> None:
    token = (await cluster.login())["X-Auth-Token"]
    address = cluster.url.removeprefix("http://")
    pods = [
        Pod(member.name, member.name, member.role, member.health_url.removeprefix("http://"))
        for member in cluster.members.values()
    ]
    async with MetricsReader("http://{address}/metrics") as reader:
        workspace = WorkspaceLoad(reader)
        loads = await workspace.read(pods, {})
        async with connect(f"ws://{address}/websocket") as one, connect(f"ws://{address}/websocket"):
            client = DdpClient(one)
            await client.connect()
            await client.login(token)
            await client.call("UserPresence:online")
            # A gauge is looked at twice a second.
            deadline = time.monotonic() + 20
            connections, reports = 0.0, 0.0
            while (connections, reports > 0) != (2, True) and time.monotonic() < deadline:
                await asyncio.sleep(0.2)
                loads = await workspace.read(pods, {})
                connections = loads["gateway"][0].values[Signal.CONNECTIONS]
                reports += loads["presence"][0].values[Signal.REPORTS]
    assert connections == 2
    assert reports > 0
    for role, targets in TARGETS.items():
        (load,) = loads[role]
        assert set(targets) <= set(load.values), role
        assert load.values[Signal.CPU] >= 0
