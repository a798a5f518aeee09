"""One process: its ports, its roles, the way to the other services, health, drain and shutdown.

`Node.run` opens everything in the order of the table in roles.py, runs until a signal or until a background task
dies, and closes in the opposite order. A task that dies takes the process with it: it is restarted with a clean state.
"""

import asyncio
import importlib
import logging
import signal
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from palaver import failpoints
from palaver.access import Access
from palaver.api import Auth, Messaging, Presence
from palaver.commit import Commits
from palaver.config import Config, ConfigError
from palaver.database import Database
from palaver.live import Live
from palaver.log import Log
from palaver.telemetry import measure_loop_lag

if TYPE_CHECKING:
    from palaver.roles import Role

logger = logging.getLogger(__name__)


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

    def __init__(self, config: Config, database: Database, log: Log, live: Live) -> None:
        self.config = config
        self.database = database
        self.log = log
        self.live = live
        self.commits = Commits(database, log, live, node_id=config.node_id)
        self.services = Services()
        self.access: Access
        self.roles: dict[str, Service] = {}
        self.ready = False
        self.stopping = asyncio.Event()
        self.failure: BaseException | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Runs a background task that this node owns: if it dies of an error, the node stops with it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def fail(self, error: BaseException) -> None:
        """Stops the node because of an error that nothing can be done about here."""
        if self.failure is None:
            self.failure = error
        self.stopping.set()

    async def open(self, roles: Sequence["Role"]) -> None:
        """Opens the ports and the given roles."""
        await self.database.open()
        await self.log.open()
        await self.live.open()
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
        self._telling = self.spawn(self.commits.run_telling(), "telling")
        for role in roles:
            await self.roles[role.name].open()
            if role is roles[0]:
                await self.access.open()
        self.spawn(self.commits.run_sweeping(), "sweeping")
        self.spawn(measure_loop_lag(), "loop lag")
        self.ready = True

    async def close(self) -> None:
        """Drains the roles, callers first, tells what was committed, and closes the ports."""
        self.ready = False
        self.stopping.set()
        for service in reversed(self.roles.values()):
            try:
                await asyncio.wait_for(service.drain(), self.config.drain_seconds)
            except TimeoutError:
                logger.warning("%s did not drain in %g s", type(service).__name__, self.config.drain_seconds)
        await self.commits.close()
        if hasattr(self, "_telling"):
            await asyncio.wait([self._telling], timeout=self.config.drain_seconds)
        for service in reversed(self.roles.values()):
            await service.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.live.close()
        await self.log.close()
        await self.database.close()

    def _connect(self, name: str) -> object:
        from palaver.roles import ROLES
        from palaver.rpc import RemoteService

        address = getattr(self.config, f"{name}_address")
        descriptor = ROLES[name].service
        if not address or descriptor is None:
            raise ConfigError(
                f"PALAVER_{name.upper()}_ADDRESS is missing: this process does not play {name}, and calls it"
            )
        return RemoteService(descriptor, address)

    def _on_task_done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the task %r died", task.get_name(), exc_info=error)
            self.fail(error)


def _called_by(roles: Sequence["Role"]) -> list[str]:
    return [name for role in roles for name in role.calls]
