"""How long the database takes, by operation: one decorator for the methods of both adapters."""

import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from prometheus_client import Counter, Histogram

from palaver.errors import Unavailable
from palaver.telemetry import span

P = ParamSpec("P")
T = TypeVar("T")

SECONDS = Histogram(
    "palaver_database_seconds",
    "Calls to the database; embedded: without reads of one row, which take microseconds",
    ["operation"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
WRITTEN = Counter("palaver_documents_written_total", "Events and documents that were written, with those written again")
FAILURES = Counter("palaver_database_failures_total", "Calls that the database did not answer", ["operation"])


def timed(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Measures and traces a method of the port under its own name."""
    name = method.__name__
    seconds = SECONDS.labels(name)
    step = f"database {name}"

    @functools.wraps(method)
    async def wrapped(*arguments: P.args, **named: P.kwargs) -> T:
        started = time.perf_counter()
        try:
            with span(step, "client"):
                return await method(*arguments, **named)
        except Unavailable:
            FAILURES.labels(name).inc()
            raise
        finally:
            seconds.observe(time.perf_counter() - started)

    return wrapped
