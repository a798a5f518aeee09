"""`palaver-operator run`: one process, assembled on this page. Called by cli.py."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from palaver_operator import metrics
from palaver_operator.backups import Backups
from palaver_operator.handlers import watch_resources
from palaver_operator.kinds import KINDS
from palaver_operator.kube import Access, ApiError, Kube, pause
from palaver_operator.leader import Leader
from palaver_operator.load import MetricsReader
from palaver_operator.mirror import Mirror
from palaver_operator.probes import Probes
from palaver_operator.reconcile import Reconciler
from palaver_operator.rounds import Rounds
from palaver_operator.sizing import Sizing

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """`namespaces`: those to look after; empty: all. `lease`: its name; empty: this is the only operator.
    `lease_seconds`: after so many of silence another operator takes over.
    """

    namespaces: Sequence[str]
    namespace: str  # the operator's own
    lease: str
    lease_seconds: int
    host: str
    port: int
    metrics_url_template: str


async def operate(access: Access, options: Options) -> None:
    """Works until SIGTERM or SIGINT. Raises LeadershipLost, OSError, or what a task died of."""
    kube = Kube(access)
    probes = Probes(options.host, options.port)
    try:
        await probes.open()
        if not options.lease:
            await _work(access, kube, options)
            return
        identity = f"{socket.gethostname()}-{os.getpid()}"
        leader = Leader(kube, options.namespace, options.lease, identity, options.lease_seconds)
        if not await _unless_stopped(leader.acquire()):
            return
        try:
            await _first(leader.hold(), _work(access, kube, options))
        finally:
            await leader.release()
    finally:
        await probes.close()
        await kube.close()


async def _work(access: Access, kube: Kube, options: Options) -> None:
    metrics.LEADS.set(1)
    rounds, backups = Rounds("palaver", metrics.WORKSPACES), Rounds("backup", metrics.BACKUPS)
    mirror = Mirror(kube, options.namespaces, rounds.wake)
    async with MetricsReader(options.metrics_url_template) as reader:
        rounds.start(Reconciler(kube, mirror, Sizing(reader), operator_namespace=options.namespace))
        backups.start(Backups(kube, mirror))
        try:
            await _first(mirror.run(), _watch(access, kube, mirror, (rounds, backups), options))
        finally:
            await rounds.close()
            await backups.close()
            metrics.LEADS.set(0)


async def _watch(access: Access, kube: Kube, mirror: Mirror, rounds: tuple[Rounds, Rounds], options: Options) -> None:
    """Begins when the definitions are there, and everything that the operator has made has been seen."""
    if not await _unless_stopped(_wait_ready(kube, mirror, options)):
        return
    logger.info("looking after %s", ", ".join(options.namespaces) or "all namespaces")
    await watch_resources(access, options.namespaces, *rounds)


async def _wait_ready(kube: Kube, mirror: Mirror, options: Options) -> None:
    while True:
        try:
            for kind in (KINDS["Palaver"], KINDS["PalaverBackup"]):
                await kube.list(kind, options.namespaces[0] if options.namespaces else None, "")
            break
        except ApiError as error:
            logger.warning("the resources can't be read (are their definitions installed?): %s", error)
            await pause(_LOOK_SECONDS)
    await mirror.wait_synced()


async def _unless_stopped(work: Coroutine[Any, Any, None]) -> bool:
    """Whether it came to its end before SIGTERM or SIGINT."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await _first(work, stopped.wait())
    return not stopped.is_set()


async def _first(*works: Coroutine[Any, Any, object]) -> None:
    """Runs them side by side until one ends, and ends the others. Raises what it has raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
