"""Runs services for the tests: in one process, over real gRPC sockets, or as a cluster; the same test asks all three.

    async with service_nodes(tmp_path, ("auth", "messaging"), "grpc") as running:
        await running.services.auth.login(request)

"process" is one node with all the roles. "grpc" is one node a role, with a port of its own; they share the embedded
database, log and live parts. "cluster" is the same with MongoDB and NATS behind the ports, and connections of each
node's own. The test is one more caller outside.
"""

import asyncio
import dataclasses
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from palaver.blobs.files import FileBlobs
from palaver.config import Config
from palaver.database.sqlite import SqliteDatabase
from palaver.live.embedded import EmbeddedLive
from palaver.log.embedded import EmbeddedLog
from palaver.node import Node, Services, make_rpc_server
from palaver.roles import ROLES
from palaver.rpc import Certificates, RemoteService
from tests.servers import mongodb_server, nats_server

Transport = Literal["process", "grpc", "cluster"]
_CLUSTER = pytest.param("cluster", marks=pytest.mark.needs_servers)
TRANSPORTS = ("process", "grpc", _CLUSTER)
STORES = ("process", _CLUSTER)
"""For tests that look behind a service: each kind of database, log and live part once."""

ADMIN_ID = "theAdmin"
ADMIN_PASSWORD = "an admin's password"


@dataclass(slots=True)
class RunningServices:
    """What `service_nodes` started. `nodes` has the node of each role: the same one for all of them in "process".

    `addresses` says where each role answers by gRPC; nowhere in "process".
    """

    services: Services
    nodes: dict[str, Node]
    config: Config
    make_parts: "Callable[[], Parts]"
    addresses: dict[str, str] = field(default_factory=dict)

    @property
    def node(self) -> Node:
        """The node of the highest role."""
        return list(self.nodes.values())[-1]

    @asynccontextmanager
    async def another(
        self, role: str, node_id: str, parts: "Parts | None" = None, **options: Any
    ) -> AsyncIterator[Node]:
        """One more node of a role that runs already; with parts of the test's own, if they are given."""
        config = dataclasses.replace(self.nodes[role].config, node_id=node_id, **options)
        node = Node(config, *(parts or self.make_parts()))
        try:
            await node.open([ROLES[role]])
            yield node
        finally:
            await node.close()


def make_config(folder: Path, **options: Any) -> Config:
    """A configuration with a first administrator `boss`; options are fields of Config."""
    return dataclasses.replace(
        Config(
            data_dir=folder,
            site_url="http://chat.example.org",
            node_id="test-node",
            admin_id=ADMIN_ID,
            admin_username="boss",
            admin_password=ADMIN_PASSWORD,
            admin_email="boss@example.org",
            admin_name="The Boss",
            test_mode=True,
        ),
        **options,
    )


@asynccontextmanager
async def service_nodes(
    folder: Path,
    roles: Sequence[str],
    transport: Transport,
    nats_url: str = "",
    of_role: Callable[[str], dict[str, Any]] = lambda role: {},
    **options: Any,
) -> AsyncIterator[RunningServices]:
    """Plays `roles` on an embedded database in `folder`. A second use of the same folder is a restart.

    `nats_url`: for a "cluster" with a nats-server of the test's own, which it may stop. `of_role`: options of one
    role's process alone; the test itself calls as a gateway.
    """
    config = make_config(folder, **options)
    names = [name for name in ROLES if name in roles]  # callee before caller
    async with AsyncExitStack() as stack:
        make_parts = await _parts(transport, folder, stack, nats_url)
        if transport == "process":
            node = Node(config, *make_parts())
            stack.push_async_callback(node.close)
            await node.open([ROLES[name] for name in names])
            yield RunningServices(node.services, dict.fromkeys(names, node), config, make_parts)
            return
        services = Services()
        nodes: dict[str, Node] = {}
        addresses: dict[str, Any] = {}
        for name in names:
            own_config = dataclasses.replace(config, node_id=f"test-{name}", **addresses, **of_role(name))
            node = Node(own_config, *make_parts())
            stack.push_async_callback(node.close)
            await node.open([ROLES[name]])
            nodes[name] = node
            descriptor = ROLES[name].service
            if descriptor is None:
                continue
            server = await stack.enter_async_context(make_rpc_server(node, [ROLES[name]]))
            addresses[f"{name}_address"] = f"127.0.0.1:{server.port}"
            caller = RemoteService(
                descriptor,
                f"127.0.0.1:{server.port}",
                spawn=node.spawn,
                affinity=ROLES[name].affinity,
                by_actor=ROLES[name].by_actor,
                certificates=Certificates.from_config(dataclasses.replace(config, **of_role("gateway"))),
            )
            stack.push_async_callback(caller.close)
            setattr(services, name, caller)
        yield RunningServices(
            services,
            nodes,
            config,
            make_parts,
            {name.removesuffix("_address"): address for name, address in addresses.items()},
        )


class ClusterServers:
    """A MongoDB and a nats-server for all tests of a run, in a thread whose event loop outlives every test's."""

    def __init__(self) -> None:
        self._found: Future[tuple[str, str]] = Future()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done: asyncio.Event | None = None

    def urls(self) -> tuple[str, str]:
        """Their addresses; the first who asks waits until they run."""
        if self._thread is None:
            self._thread = threading.Thread(target=lambda: asyncio.run(self._keep()), name="cluster servers")
            self._thread.start()
        return self._found.result()

    def stop(self) -> None:
        """Called at the end of the run (conftest.py)."""
        if self._thread is not None:
            if self._loop is not None and self._done is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._done.set)
            self._thread.join(30)

    async def _keep(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with mongodb_server() as mongodb, nats_server() as nats:
                self._found.set_result((mongodb, nats.url))
                await self._done.wait()
        except BaseException as error:
            if self._found.done():
                raise
            self._found.set_exception(error)


cluster_servers = ClusterServers()


Parts = tuple[Any, Any, Any, Any]
"""A node's database, log, live part and blobs."""


async def _parts(transport: Transport, folder: Path, stack: AsyncExitStack, nats_url: str) -> Callable[[], Parts]:
    """Makes the parts of one node after another."""
    if transport == "cluster":
        mongodb, nats = cluster_servers.urls()
        return lambda: cluster_parts((mongodb, nats_url or nats), folder)
    database = SqliteDatabase(folder / "palaver.db")
    parts = database, EmbeddedLog(database), EmbeddedLive(), FileBlobs(folder / "uploads")
    if transport == "process":
        return lambda: parts
    for part in parts:
        await part.open()
        stack.push_async_callback(part.close)
    database, log, live, blobs = parts
    return lambda: (Shared(database), Shared(log), Shared(live), Shared(blobs))


def cluster_parts(urls: tuple[str, str], folder: Path) -> Parts:
    """A node's own connections; the folder's name stands for the workspace, so that a second use finds the first's."""
    from palaver.blobs.mongodb import MongoBlobs
    from palaver.database.mongo import MongoDatabase
    from palaver.live.nats import NatsLive
    from palaver.log.jetstream import JetStreamLog

    mongodb, nats = urls
    workspace = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    database = MongoDatabase(mongodb, f"test_{workspace}")
    return (
        database,
        JetStreamLog(nats, workspace, database),
        NatsLive(nats, workspace),
        MongoBlobs(mongodb, f"test_{workspace}"),
    )


class Shared:
    """A port's part that several nodes of one process use: none of them opens or closes it."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    async def open(self) -> None:
        """Open already."""

    async def close(self) -> None:
        """Stays open for the others."""
