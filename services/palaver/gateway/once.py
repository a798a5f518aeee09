"""Work that several may wait for, and that is done once."""

import asyncio
from collections.abc import Awaitable, Callable


class Once:
    """Runs its work for the first who asks; the others wait for the same. A failure is told to all who wait, and the
    next who asks tries again."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @property
    def is_done(self) -> bool:
        return self._task is not None and self._task.done() and self._succeeded(self._task)

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Returns when the work has been done. Raises what it raises."""
        task = self._task
        if task is None or (task.done() and not self._succeeded(task)):
            task = self._task = asyncio.ensure_future(_as_coroutine(work))
        # Who asked first may go away: the work goes on for the others.
        await asyncio.shield(task)

    @staticmethod
    def _succeeded(task: "asyncio.Task[None]") -> bool:
        return not task.cancelled() and task.exception() is None


async def _as_coroutine(work: Callable[[], Awaitable[None]]) -> None:
    await work()
