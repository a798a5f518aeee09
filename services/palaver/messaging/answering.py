"""How messaging answers: who is nobody is told so, what is refused is counted, and a process that stops finishes what
runs. Called by role.py, for every command and query."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from prometheus_client import Counter

from palaver.errors import PalaverError, Unavailable
from palaver.v1.event_pb2 import Actor

R = TypeVar("R", bound=Any)
T = TypeVar("T")

REFUSED = Counter("palaver_commands_refused_total", "Commands and queries that were refused", ["method", "error"])


class Answering:
    """The calls of one process."""

    def __init__(self) -> None:
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    async def answer(self, method: str, request: R, use_case: Callable[[R], Awaitable[T]]) -> T:
        """Runs the use case. A request without an actor is nobody's, not the system's. Raises what it raises, and
        Unavailable when this process stops."""
        if self._draining:
            raise Unavailable("This server is stopping")
        if not request.HasField("actor"):
            request.actor.kind = Actor.USER
        self._running += 1
        self._idle.clear()
        try:
            return await use_case(request)
        except PalaverError as error:
            REFUSED.labels(method, type(error).__name__).inc()
            raise
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    def refuse(self) -> None:
        """Refuses new calls from now on."""
        self._draining = True

    async def finish(self) -> None:
        """Returns when those that run are answered."""
        await self._idle.wait()
