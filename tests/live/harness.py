"""Time for the tests of the live port: a clock that a test moves, or the real one."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from palaver.live import Live


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Cluster:
    """Two nodes (one object twice, in one process) and their time."""

    first: Live
    second: Live
    pass_seconds: Callable[[float], Awaitable[None]]
