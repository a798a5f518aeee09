"""Work that several may wait for, and that is done once."""

import asyncio
from collections.abc import Awaitable, Callable


class Once:
    """The first who asks does the work, the others wait for them.

    If it fails, its doer hears why, and each of those who waited tries it for themself.
    """

    __slots__ = ("_running", "is_done")

    def __init__(self) -> None:
        self.is_done = False
        self._running: asyncio.Future[None] | None = None

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Returns when the work has been done. Raises what it raises."""
        while not self.is_done:
            if self._running is not None:
                await asyncio.shield(self._running)
                continue
            self._running = asyncio.get_running_loop().create_future()
            try:
                await work()
                self.is_done = True
            finally:
                running, self._running = self._running, None
                running.set_result(None)
