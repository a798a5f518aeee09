"""Waiting for what is sure to come, however slow the machine is."""

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Returns when the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
