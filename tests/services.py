"""Runs services for the tests, in one process or over real gRPC sockets; the same test asks both.

    async with service_nodes(tmp_path, ("auth", "messaging"), "grpc") as running:
        await running.services.auth.login(request)

"process" is one node with all the roles. "grpc" is one node a role, with a port of its own; they share the database,
the log and the live parts, as the nodes of a cluster do. The test is one more caller outside.
"""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from palaver.config import Config
from palaver.database.sqlite import SqliteDatabase
from palaver.live.embedded import EmbeddedLive
from palaver.log.embedded import EmbeddedLog
from palaver.node import Node, Services
from palaver.roles import ROLES
from palaver.rpc import RemoteService, RpcServer

Transport = Literal["process", "grpc"]
TRANSPORTS: tuple[Transport, ...] = ("process", "grpc")

ADMIN_ID = "theAdmin"
ADMIN_PASSWORD = "an admin's password"


@dataclass(slots=True)
class RunningServices:
    """What `service_nodes` started. `nodes` has the node of each role: the same one for all of them in "process"."""

    services: Services
    nodes: dict[str, Node]
    config: Config

    @property
    def node(self) -> Node:
        """The node of the highest role."""
        return list(self.nodes.values())[-1]


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
    folder: Path, roles: Sequence[str], transport: Transport, **options: Any
) -> AsyncIterator[RunningServices]:
    """Plays `roles` on an embedded database in `folder`. A second use of the same folder is a restart."""
    config = make_config(folder, **options)
    names = [name for name in ROLES if name in roles]  # callee before caller
    database, log, live = SqliteDatabase(folder / "palaver.db"), EmbeddedLog(), EmbeddedLive()
    async with AsyncExitStack() as stack:
        if transport == "process":
            node = Node(config, database, log, live)
            stack.push_async_callback(node.close)
            await node.open([ROLES[name] for name in names])
            yield RunningServices(node.services, dict.fromkeys(names, node), config)
            return
        for part in (database, log, live):
            await part.open()
            stack.push_async_callback(part.close)
        services = Services()
        nodes: dict[str, Node] = {}
        addresses: dict[str, Any] = {}
        for name in names:
            own_config = dataclasses.replace(config, node_id=f"test-{name}", **addresses)
            node = Node(own_config, Shared(database), Shared(log), Shared(live))
            stack.push_async_callback(_close_node, node)
            await node.open([ROLES[name]])
            nodes[name] = node
            descriptor = ROLES[name].service
            if descriptor is None:
                continue
            server = await stack.enter_async_context(RpcServer({descriptor: node.roles[name]}, "127.0.0.1", 0))
            addresses[f"{name}_address"] = f"127.0.0.1:{server.port}"
            caller = RemoteService(descriptor, f"127.0.0.1:{server.port}")
            stack.push_async_callback(caller.close)
            setattr(services, name, caller)
        yield RunningServices(services, nodes, config)


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


async def _close_node(node: Node) -> None:
    await node.close()
    for name in ROLES:
        service = getattr(node.services, name, None)
        if isinstance(service, RemoteService):
            with contextlib.suppress(Exception):
                await service.close()
