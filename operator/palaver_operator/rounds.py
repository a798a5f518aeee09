"""A task for each resource, which reconciles it when something has changed, and every ROUND_SECONDS.

Used by handlers.py: one for Palavers, one for PalaverBackups.

One at a time for a resource, a few at a time for all; an error of one is told and tried again later, and is no
other's.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client import Gauge

from palaver_operator import metrics
from palaver_operator.kube import ApiError
from palaver_operator.objects.naming import Object
from palaver_operator.scaling import ROUND_SECONDS

logger = logging.getLogger(__name__)

_AT_ONCE = 10
_SETTLE_SECONDS = 0.2  # changes seldom come alone
_LONGEST_PAUSE_SECONDS = 60.0


class Reconciler(Protocol):
    """Who knows what to do about a resource."""

    async def reconcile(self, body: Object) -> Object:
        """Returns the resource as it is then. Raises ApiError."""

    def forget(self, namespace: str, name: str, uid: str) -> None:
        """A resource that is gone."""


@dataclass(slots=True)
class _Watched:
    body: Object
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # what the resource says
    task: "asyncio.Task[None] | None" = None


def pause_after(failures: int) -> float:
    """How many seconds to wait after so many failures in a row."""
    return min(_LONGEST_PAUSE_SECONDS, 2.0 ** min(failures, 10))


class Rounds:
    def __init__(self, kind: str, gauge: Gauge, pause: Callable[[int], float] = pause_after) -> None:
        """`kind`: of resources, for people; `gauge`: how many there are; `pause`: seconds after so many failures."""
        self._kind = kind
        self._gauge = gauge
        self._pause = pause
        self._reconciler: Reconciler | None = None
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def start(self, reconciler: Reconciler) -> None:
        """From now on there is somebody who reconciles."""
        self._reconciler = reconciler

    def on_resource(self, body: Object) -> None:
        """A resource that is there, or has changed."""
        key = _key(body)
        known = self._watched.get(key)
        if known is not None and known.body["metadata"]["uid"] != body["metadata"]["uid"]:
            self.on_gone(known.body)
            known = None
        if known is None:
            known = self._watched[key] = _Watched(body)
            known.task = asyncio.create_task(self._run(known), name=f"{self._kind} {key[0]}/{key[1]}")
            self._gauge.set(len(self._watched))
            return
        has_changed = known.body["metadata"].get("generation") != body["metadata"].get("generation")
        _take(known, body)
        if has_changed:
            known.changed.set()
            known.woken.set()

    def on_gone(self, body: Object) -> None:
        """A resource that was deleted. What it owned goes by itself."""
        namespace, name = _key(body)
        known = self._watched.pop((namespace, name), None)
        if known is not None and known.task is not None:
            known.task.cancel()
            self._gauge.set(len(self._watched))
        if self._reconciler is not None:
            self._reconciler.forget(namespace, name, body["metadata"]["uid"])

    def wake(self, namespace: str, name: str) -> None:
        """Something of this workspace has changed in the cluster."""
        if known := self._watched.get((namespace, name)):
            known.woken.set()

    async def close(self) -> None:
        """Ends all rounds; one that is under way is interrupted between two requests."""
        tasks = [known.task for known in self._watched.values() if known.task is not None]
        self._watched.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, known: _Watched) -> None:
        failures, due, loop = 0, 0.0, asyncio.get_running_loop()
        while True:
            known.woken.clear()
            known.changed.clear()
            due = next_round(due, loop.time())
            failures = 0 if await self._reconcile(known) else failures + 1
            if failures:
                # What it is now told may be what was wrong; what else has changed waits.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause(failures)):
                        await known.changed.wait()
                continue
            try:
                async with asyncio.timeout_at(due):
                    await known.woken.wait()
                await asyncio.sleep(_SETTLE_SECONDS)
            except TimeoutError:
                pass

    async def _reconcile(self, known: _Watched) -> bool:
        """Whether it went well."""
        namespace, name = _key(known.body)
        assert self._reconciler is not None, "started before resources are told"
        async with self._turns:
            try:
                with metrics.RECONCILE_SECONDS.time():
                    _take(known, await self._reconciler.reconcile(known.body))
            except ApiError as error:
                logger.warning("%s/%s: %s", namespace, name, error)
                metrics.RECONCILES.labels("refused" if error.status else "unreachable").inc()
                if error.status != 404:
                    return False
                # The resource itself is gone. Whoever lost sight of it meanwhile is never told.
                self.on_gone(known.body)
                return True
            except Exception:
                logger.exception("%s/%s could not be reconciled", namespace, name)
                metrics.RECONCILES.labels("failed").inc()
                return False
        metrics.RECONCILES.labels("done").inc()
        return True


def next_round(due: float, now: float) -> float:
    """When the next round is, of one that was `due` and one that begins now, in seconds of a clock.

    One that a change has caused does not put the next one off: then busy workspaces would be looked at too seldom.
    """
    return due if now < due else now + ROUND_SECONDS


def _take(known: _Watched, body: Object) -> None:
    """Keeps the newer one: what was just written may be told again as it was before."""
    if int(body["metadata"]["resourceVersion"]) >= int(known.body["metadata"]["resourceVersion"]):
        known.body = body


def _key(body: Object) -> tuple[str, str]:
    return body["metadata"]["namespace"], body["metadata"]["name"]
