"""The NATS that the operator makes, in real pods: three servers with TLS, users and a volume each. While people chat by
two gateways, servers are told to stop and killed, and all get another certificate and other passwords. No message is
lost.
"""

import asyncio
import os
import ssl
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx
import orjson

from tests.faults.load import running_load
from tests.kubernetes.access import Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.real.images import NATS
from tests.kubernetes.real.servers import NATS_PORT
from tests.kubernetes.real.walk import volume
from tests.kubernetes.real.workspace import NAME, SMALL, Workspace, installed, is_ready, judge

CLIENTS = 40
PAUSE_SECONDS = 8.0
"""Between two messages of one client, on average."""
SERVERS = 3
AVAILABLE_SECONDS = 180.0
"""With three servers that have to find each other first."""
WHOLE_SECONDS = 120.0
"""The longest until a server is back, and has what the others have."""
ROLLED_SECONDS = 300.0
"""The longest until every pod has started anew, one role after the other."""
MONITOR_PORT = 8222
FORCED = ("--force", "--grace-period=0")


@dataclass
class Servers:
    """The NATS of a workspace, as an administrator sees it."""

    workspace: Workspace
    http: httpx.AsyncClient

    async def secret(self, name: str) -> dict[str, str]:
        found = await self.workspace.plane.get("v1", "secrets", self.workspace.namespace, f"{NAME}-{name}")
        return {key: b64decode(value).decode() for key, value in found["data"].items()}

    async def ask(self, pod: Object, what: str) -> Object:
        """A page of a server's own monitoring."""
        answer = await self.http.get(f"http://{pod['status']['podIP']}:{MONITOR_PORT}/{what}")
        answer.raise_for_status()
        found: Object = answer.json()
        return found

    async def find_streams(self) -> list[Object] | None:
        """All streams, once every server is ready and has everything that is in them; else None."""
        pods = await self.workspace.pods("nats")
        if len(pods) != SERVERS or not all(map(is_ready, pods)):
            return None
        streams: dict[str, Object] = {}
        names: set[str] = set()
        try:
            for pod in pods:
                page = await self.ask(pod, "jsz?streams=1&config=1")
                for account in page.get("account_details", ()):
                    for stream in account.get("stream_detail", ()):
                        # Only who leads it knows how far the others are.
                        names.add(stream["name"])
                        if stream["cluster"].get("leader") == pod["metadata"]["name"]:
                            streams[stream["name"]] = stream
        except httpx.HTTPError:
            return None
        copies = [copy for stream in streams.values() for copy in stream["cluster"].get("replicas", ())]
        is_whole = bool(names) and names == set(streams) and all(copy["current"] for copy in copies)
        return list(streams.values()) if is_whole and len(copies) == len(names) * (SERVERS - 1) else None

    async def find_leader(self) -> Object:
        """The pod of the server that decides for all of them."""
        pods = await self.workspace.pods("nats")
        leader = (await self.ask(pods[0], "jsz"))["meta_cluster"]["leader"]
        (found,) = (pod for pod in pods if pod["metadata"]["name"] == leader)
        return found

    async def until_whole(self, since: set[str]) -> list[Object]:
        """Waits until none of the pods with these uids is left, and every stream has all its copies; returns those."""

        async def ask() -> list[Object] | None:
            uids = {pod["metadata"]["uid"] for pod in await self.workspace.pods("nats")}
            return None if uids & since else await self.find_streams()

        return await self.workspace.plane.until(ask, WHOLE_SECONDS)

    async def certificate(self, pod: Object) -> bytes:
        """The one that a server shows to who trusts the workspace's authority and looks for its Service."""
        context = ssl.create_default_context(cadata=(await self.secret("grpc-gateway"))["ca.crt"])
        reader, writer = await asyncio.open_connection(pod["status"]["podIP"], NATS_PORT)
        try:
            assert (await reader.readline()).startswith(b"INFO ")
            await writer.start_tls(context, server_hostname=f"{NAME}-nats.{self.workspace.namespace}.svc")
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.close()
        assert isinstance(shown, bytes)
        return shown


async def check_servers(servers: Servers) -> None:
    """They are what docs/operations.md says of them, and so is who uses them."""
    streams = await servers.until_whole(set())
    assert streams
    assert {stream["config"]["num_replicas"] for stream in streams} == {SERVERS}
    users = set()
    for pod in await servers.workspace.pods("nats"):
        page = await servers.ask(pod, "varz")
        assert page["auth_required"]
        assert page["tls_required"]
        assert page["cluster"]["tls_required"]
        assert page["jetstream"]["config"]["sync_interval"] == 10 * 10**9
        for connection in (await servers.ask(pod, "connz?auth=1"))["connections"]:
            assert connection["tls_version"]
            users.add(connection["authorized_user"])
    assert users == {"services", "gateway"}


async def check_both_gateways(workspace: Workspace) -> None:
    """Clients are at each of them."""
    for pod in await workspace.pods("gateway"):
        async with httpx.AsyncClient(timeout=15) as http:
            page = (await http.get(f"http://{pod['status']['podIP']}:9090/metrics")).text
        (line,) = (line for line in page.splitlines() if line.startswith("palaver_connections "))
        assert float(line.split()[1]) > 0


async def change_passwords(servers: Servers) -> None:
    """As docs/operations.md says it: of NATS, and by a roll-out of all who use it."""
    workspace = servers.workspace
    chosen = {"password": "services: 100% /@?#", "gatewayPassword": "of gateways"}
    patch = orjson.dumps({"stringData": chosen}).decode()
    before = {pod["metadata"]["uid"] for kind in ("", "nats") for pod in await workspace.pods(kind)}
    await workspace.plane.kubectl("patch", "secret", f"{NAME}-nats", "-n", workspace.namespace, "-p", patch)

    async def is_new(found: Object) -> bool:
        pods = [pod for kind in ("", "nats") for pod in await workspace.pods(kind)]
        return not before & {pod["metadata"]["uid"] for pod in pods} and found["status"]["state"] == "Ready"

    print(f"other passwords after {await workspace.until(is_new, 'other passwords', ROLLED_SECONDS):.1f} s")
    values = await servers.secret("nats")
    assert chosen.items() <= values.items()


async def test_no_message_is_lost_while_servers_of_nats_come_and_go(
    plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    seed = int.from_bytes(os.urandom(2), "big")
    print(f"seed {seed}")
    draw = Random(seed)
    for number in range(SERVERS):
        await plane.apply(*volume(namespace, f"data-{NAME}-nats-{number}", tmp_path / f"nats-{number}"))
    one, two = {"min": 1, "max": 2, "resources": SMALL}, {"min": 2, "max": 2, "resources": SMALL}
    spec = {
        "nats": {"managed": {"image": NATS, "replicas": SERVERS, "storage": "1Gi", "resources": SMALL}},
        "roles": {"auth": one, "presence": one, "messaging": one, "gateway": two},
        "rollout": {"soakSeconds": 0},
    }
    async with (
        installed(plane, namespace, tmp_path, spec, AVAILABLE_SECONDS) as workspace,
        httpx.AsyncClient(timeout=15) as http,
    ):
        servers = Servers(workspace, http)
        await check_servers(servers)
        async with running_load(*await workspace.urls(), CLIENTS, seed, NAME) as load:
            for client in load.clients:
                client.pause = PAUSE_SECONDS
            load.begin(draw)
            for how in ((), FORCED):
                leader = await servers.find_leader()
                name, uid = leader["metadata"]["name"], leader["metadata"]["uid"]
                print(f"deleting {name}, which leads {' '.join(how)}")
                await plane.kubectl("delete", "pod", name, "-n", namespace, "--wait=false", *how)
                await servers.until_whole({uid})
                await check_both_gateways(workspace)

            before = [await servers.certificate(pod) for pod in await workspace.pods("nats")]
            uids = {pod["metadata"]["uid"] for pod in await workspace.pods("nats")}
            assert before == [ssl.PEM_cert_to_DER_cert((await servers.secret("nats-tls"))["tls.crt"])] * SERVERS
            await plane.kubectl("delete", "secret", f"{NAME}-nats-tls", "-n", namespace)
            await servers.until_whole(uids)
            after = [await servers.certificate(pod) for pod in await workspace.pods("nats")]
            assert after == [ssl.PEM_cert_to_DER_cert((await servers.secret("nats-tls"))["tls.crt"])] * SERVERS
            assert after != before
            await change_passwords(servers)

            await judge(load, draw)
            assert load.acknowledged() > CLIENTS
            await check_both_gateways(workspace)
        await check_servers(servers)
