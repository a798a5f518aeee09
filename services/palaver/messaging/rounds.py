"""Work of which one process of all does what is due: under a lease, every few seconds, or when somebody says so.

The lease is kept for as long as a round takes, however long that is. Where it is lost all the same, the work is
cancelled: somebody else may be at it by then. Work may also ask, just before what can't be taken back (`is_mine`).
Owned by the tasks that are such work: `retention.py`, `exports.py`, `takeouts/working.py`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from palaver.errors import Unavailable
from palaver.node import Node

logger = logging.getLogger(__name__)

_LEASE_SECONDS = 6.0
_KEEP_SECONDS = 2.0
"""Between two renewals: one of them may fail."""

GoOn = Callable[[], Awaitable[bool]]
"""Asked just before what can't be taken back: whether the work is still this process's."""


class Rounds:
    """The rounds of one process, which may have the lease or not. `name`: of the lease, and of the live subject."""

    def __init__(self, node: Node, name: str, every: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._node = node
        self._name = name
        self._every = every
        self._work = work
        self._wake = asyncio.Event()
        self._until = 0.0  # the end of the lease, by the loop's clock

    async def run(self) -> None:
        """The background task. Runs until it is cancelled."""
        subscription = await self._node.live.subscribe(self._name, lambda _: self._wake.set())
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._every):
                        await self._wake.wait()
                self._wake.clear()
                try:
                    await self._node.access.find_users(())  # the settings are known from here on
                    if await self.is_mine():
                        await self._work_while_mine()
                except Unavailable as error:
                    logger.warning("%s have to wait: %s", self._name, error)
        finally:
            await subscription.stop()

    async def wake(self) -> None:
        """There is something to do: whoever has the lease need not wait for the next round."""
        with contextlib.suppress(Unavailable):
            await self._node.live.publish(self._name, b"")

    async def _work_while_mine(self) -> None:
        work = asyncio.create_task(self._work(), name=self._name)
        try:
            while not work.done():
                await asyncio.wait((work,), timeout=_KEEP_SECONDS)
                if not work.done() and not await self._keep():
                    logger.warning("%s are no longer this process's", self._name)
                    break
        finally:
            work.cancel()
            await asyncio.wait((work,))
        if not work.cancelled():
            work.result()

    async def is_mine(self) -> bool:
        """Takes the lease, or keeps it. Raises Unavailable."""
        asked = asyncio.get_running_loop().time()
        is_mine = await self._node.live.acquire(self._name, self._node.config.node_id, _LEASE_SECONDS)
        if is_mine:
            self._until = asked + _LEASE_SECONDS
        return is_mine

    async def _keep(self) -> bool:
        """Renews the lease; where nobody answers it is still this process's until it ends."""
        try:
            return await self.is_mine()
        except Unavailable:
            return asyncio.get_running_loop().time() + _KEEP_SECONDS < self._until
