"""How long something took that was promised to be quick, on a machine that does other things at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_TICK_SECONDS = 0.01


class Stopwatch:
    """Seconds that do not pass while this event loop gets no turn: those are the machine's."""

    def __init__(self) -> None:
        self._stood_still = 0.0

    def now(self) -> float:
        return asyncio.get_running_loop().time() - self._stood_still

    async def run(self) -> None:
        """Watches for turns that come late. Runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self._stood_still += max(0.0, loop.time() - due - _TICK_SECONDS)


@asynccontextmanager
async def running_stopwatch() -> AsyncIterator[Stopwatch]:
    stopwatch = Stopwatch()
    watching = asyncio.create_task(stopwatch.run())
    try:
        yield stopwatch
    finally:
        watching.cancel()
