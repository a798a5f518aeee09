"""One process: its ports, its roles, the way to the other services, health, drain and shutdown.

`Node.run` opens everything in the order of the table in roles.py, runs until a signal or until a background task
dies, and closes in the opposite order. A task that dies takes the process with it: it is restarted with a clean state.
"""

import asyncio
import contextlib
import gc
import importlib
import logging
import signal
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from palaver import __version__, failpoints
from palaver.access import Access
from palaver.api import Auth, Messaging, Presence
from palaver.blobs import Blobs
from palaver.causality import Causality
from palaver.commit import Commits
from palaver.config import Config, ConfigError, is_loopback
from palaver.database import Database
from palaver.errors import Unavailable
from palaver.health import HttpServer, health_app
from palaver.http import Allowed, Http
from palaver.live import Live
from palaver.log import Log
from palaver.node_name import NodeName
from palaver.ports import build_blobs, build_database, build_log, hold_embedded
from palaver.telemetry import run_measuring, show_build

if TYPE_CHECKING:
    from palaver.roles import Role
    from palaver.rpc import RemoteService, RpcServer
    from palaver.traces import Traces

logger = logging.getLogger(__name__)

RESTORING = "restoring"
"""The claim of an archive on the workspace that is being made of it (`backup/restoring.py`)."""


class Service(Protocol):
    """What a role's `build` returns: its API's methods, and these."""

    async def open(self) -> None:
        """Ready to answer when it returns. The services it calls are open already."""

    async def drain(self) -> None:
        """Takes nothing new, finishes what it accepted."""

    async def close(self) -> None: ...


@dataclass(slots=True)
class Services:
    """The way to each service, in this process or another one."""

    auth: Auth = field(init=False)
    presence: Presence = field(init=False)
    messaging: Messaging = field(init=False)


class Node:
    """What the roles of one process share. Built by `run`; a test builds the same with its own parts."""

    def __init__(self, config: Config, database: Database, log: Log, live: Live, blobs: Blobs) -> None:
        self.config = config
        self.database = database
        self.log = log
        self.live = live
        self.blobs = blobs
        self.http = Http(_parse_allowed(config))
        self.services = Services()
        self.access: Access
        self.commits = Commits(database, log, live, node_id=config.node_id, policy_seq=self._policy_seq)
        self.causality = Causality(self._policy_seq, lambda seq: self.access.catch_up(seq))
        self.roles: dict[str, Service] = {}
        self.ready = False
        self.problems: dict[str, str] = {}  # what is wrong although it serves; shown at /readyz
        self.stopping = asyncio.Event()
        self.failure: BaseException | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._drained: set[str] = set()
        self._remote: list[RemoteService] = []

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Runs a background task that this node owns: if it dies of an error, the node stops with it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _policy_seq(self) -> int:
        return self.access.policy.seq

    def fail(self, error: BaseException) -> None:
        """Stops the node because of an error that nothing can be done about here."""
        if self.failure is None:
            self.failure = error
        self.stopping.set()

    async def open(self, roles: Sequence["Role"]) -> None:
        """Opens the ports and the given roles."""
        await self.database.open()
        if (archive := await self.database.find_claim(RESTORING)) is not None:
            raise Unavailable(
                f"The archive {archive} is being restored here. If that has ended, `palaver restore` goes on with it."
            )
        self.spawn(self.database.watch(), "database")
        await self.log.open()
        await self.live.open()
        if not self.log.is_lossless:
            await NodeName(self.config.node_id, self.live, spawn=self.spawn, fail=self.fail).claim()
        await self.blobs.open()
        local = {role.name for role in roles}
        for name in _called_by(roles):
            if name not in local:
                setattr(self.services, name, self._connect(name))
        for role in roles:
            service = importlib.import_module(role.module).build(self)
            self.roles[role.name] = service
            if role.service is not None:
                setattr(self.services, role.name, service)
            if role.name == "auth" or not hasattr(self, "access"):
                self.access = Access(self.services.auth, self.log, self.live)
                self.causality.on_user_changed(self.access.forget_user)
        self._telling = self.spawn(self.commits.run_telling(), "telling")
        for role in roles:
            await self.roles[role.name].open()
            if role is roles[0]:
                await self.access.open()
                self.spawn(self.access.run_renewing(), "access")
        if any(role.commits for role in roles):
            self.spawn(self.commits.run_sweeping(), "sweeping")
        self.spawn(run_measuring(self.commits.measure, self.access.measure), "measuring")
        show_build(__version__, self.roles)

    async def close(self) -> None:
        """Drains the roles, callers first, tells what was committed, and closes the ports."""
        self.ready = False
        self.stopping.set()
        await self.drain(self.roles)
        await self.commits.close()
        if hasattr(self, "_telling"):
            await asyncio.wait([self._telling], timeout=self.config.drain_seconds)
        for service in reversed(self.roles.values()):
            await service.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for remote in self._remote:
            await remote.close()
        await self.blobs.close()
        await self.live.close()
        await self.log.close()
        await self.database.close()

    async def drain(self, names: Iterable[str]) -> None:
        """Has these roles finish what they accepted, callers first. Once is enough."""
        wanted = set(names) - self._drained
        self._drained |= wanted
        for name in reversed(self.roles):
            if name in wanted:
                try:
                    async with asyncio.timeout(self.config.drain_seconds):
                        await self.roles[name].drain()
                except TimeoutError:
                    logger.warning("%s did not drain in %g s", name, self.config.drain_seconds)

    def _connect(self, name: str) -> object:
        from palaver.roles import ROLES
        from palaver.rpc import Certificates, RemoteService

        address = getattr(self.config, f"{name}_address")
        role = ROLES[name]
        variable = f"PALAVER_{name.upper()}_ADDRESS"
        if not address or role.service is None:
            raise ConfigError(f"{variable} is missing: this process does not play {name}, and calls it")
        try:
            remote = RemoteService(
                role.service,
                address,
                spawn=self.spawn,
                affinity=role.affinity,
                by_actor=role.by_actor,
                certificates=Certificates.from_config(self.config),
                causality=self.causality,
            )
        except ValueError as error:
            raise ConfigError(f"{variable}: {error}") from error
        self._remote.append(remote)
        return remote

    def _on_task_done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the task %r died", task.get_name(), exc_info=error)
            self.fail(error)


def _spare_the_collector() -> None:
    """What stands now stays: the garbage collector need not walk it again, nor run for every few hundred messages."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def _parse_allowed(config: Config) -> Allowed:
    try:
        return Allowed.parse(config.outbound_allowed)
    except ValueError as error:
        raise ConfigError(f"PALAVER_OUTBOUND_ALLOWED: {error}") from error


def _called_by(roles: Sequence["Role"]) -> list[str]:
    return [name for role in roles for name in role.calls]


def build_node(config: Config, roles: Sequence["Role"]) -> Node:
    """A node with the adapters that the configuration asks for; each is imported only when chosen.

    Raises ConfigError when these roles can't work with these parts.
    """
    from palaver.roles import ROLES

    alone = {role.name for role in roles} != set(ROLES)
    missing = [
        name
        for name, value in (("PALAVER_NATS_URL", config.nats_url), ("PALAVER_MONGODB_URL", config.mongodb_url))
        if not value
    ]
    if alone and missing:
        played = ", ".join(role.name for role in roles)
        raise ConfigError(
            f"{' and '.join(missing)} missing: a process that plays only {played} shares its log and database with "
            "others, which the embedded ones can't do. Set them, or play all roles in one process."
        )
    database = build_database(config)
    log, live = build_log(config, database)
    return Node(config, database, log, live, build_blobs(config))


async def run(config: Config, roles: Sequence["Role"], on_ready: Callable[[int], None] | None = None) -> None:
    """Runs one process until SIGTERM or SIGINT. Raises what made it stop otherwise.

    `on_ready` hears the HTTP port when the process can serve.
    """
    failpoints.arm_from_environment(config.failpoints)
    node = build_node(config, roles)
    with hold_embedded(config):
        await _run(node, roles, on_ready)


async def _run(node: Node, roles: Sequence["Role"], on_ready: Callable[[int], None] | None) -> None:
    config = node.config
    names = [role.name for role in roles]
    about = {"version": __version__, "roles": names}
    logger.info("starting", extra=about)
    traces = _start_tracing(config, names)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.stopping.set)
    try:
        # Before anything else, if it has a port of its own: it says that the process lives and is not ready yet.
        health = await _start_http(node, health_app(node), health=True) if config.health_port else None
        if not await _open(node, roles):
            if node.failure is not None:
                raise node.failure
            return
        rpc = make_rpc_server(node, roles) if config.grpc_port else None
        if rpc is not None:
            await rpc.start()
        app = getattr(node.roles.get("gateway"), "app", None)
        public = await _start_http(node, app or health_app(node)) if app is not None or health is None else None
        servers = [server for server in (public, health) if server is not None]
        _spare_the_collector()
        node.ready = True
        logger.info("ready", extra={**about, "port": servers[0].port})
        if on_ready is not None:
            on_ready(servers[0].port)
        await node.stopping.wait()
        logger.info("stopping", extra=about)
        node.ready = False
        for server in servers:
            server.leave()
        if node.failure is None:
            await asyncio.sleep(config.notice_seconds)
        if public is not None:
            await public.refuse()
        await node.drain(role.name for role in roles if role.service is None)  # those whom clients speak to
        if rpc is not None:
            await rpc.stop(config.drain_seconds)
        for server in servers:
            server.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(config.drain_seconds + 2):
                for server in servers:
                    await server.stopped.wait()
    finally:
        await node.close()
        if traces is not None:
            await traces.close()
        logger.info("stopped", extra=about)
    if node.failure is not None:
        raise node.failure


async def _open(node: Node, roles: Sequence["Role"]) -> bool:
    """Opens the node. False when it is to stop meanwhile: it may wait for long, for another process that migrates."""
    opening = asyncio.create_task(node.open(roles), name="opening")
    stopping = asyncio.create_task(node.stopping.wait(), name="stopping")
    try:
        await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            opening.result()
            return True
        return False
    finally:
        opening.cancel()
        stopping.cancel()
        await asyncio.gather(opening, stopping, return_exceptions=True)


async def _start_http(node: Node, app: Any, *, health: bool = False) -> HttpServer:
    """An HTTP server that listens. Raises OSError when it can't."""
    server = HttpServer(app, node.config, health=health)
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = node.spawn(server.run(started), "health" if health else "http")
    await asyncio.wait([started, serving], return_when=asyncio.FIRST_COMPLETED)
    if not started.done():
        serving.result()
    return server


def _start_tracing(config: Config, roles: Sequence[str]) -> "Traces | None":
    if not config.traces_url:
        return None
    from palaver.traces import Traces

    return Traces(config, roles)


def make_rpc_server(node: Node, roles: Sequence["Role"]) -> "RpcServer":
    """What answers the calls of other processes for these roles of an open node. Raises ConfigError, OSError."""
    from palaver.roles import list_callers
    from palaver.rpc import Certificates, RpcServer

    config = node.config
    played = {role: role.service for role in roles if role.service is not None}
    certificates = Certificates.from_config(config)
    if certificates is None and not is_loopback(config.grpc_host):
        logger.warning(
            "gRPC listens on %s without TLS: whoever reaches it may do everything. Set PALAVER_GRPC_CERTIFICATE, _KEY "
            "and _AUTHORITY, unless the network lets nobody else in.",
            config.grpc_host,
        )
    return RpcServer(
        {service: node.roles[role.name] for role, service in played.items()},
        config.grpc_host,
        config.grpc_port,
        certificates=certificates,
        callers={service.full_name: list_callers(role.name) for role, service in played.items()},
        causality=node.causality,
        reflection=config.test_mode,
    )
