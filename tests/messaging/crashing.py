"""A process that dies where a test says. What it leaves behind, its successor on the same folder shows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from palaver import failpoints
from tests.messaging.helpers import until


class Crash(BaseException):
    """What the process dies of."""


@asynccontextmanager
async def dying(point: str, *, spared: int = 0, seconds: float = 60) -> AsyncIterator[None]:
    """What is done here makes the process die at this failpoint, which it passes `spared` times before; ends then."""
    reached = 0

    def die() -> None:
        nonlocal reached
        reached += 1
        if reached > spared:
            raise Crash

    async def has_died() -> bool:
        return reached > spared

    failpoints.arm(point, die)
    try:
        yield
        await until(has_died, seconds)
    finally:
        failpoints.disarm()
