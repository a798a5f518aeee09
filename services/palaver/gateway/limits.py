"""How often somebody may call: fixed windows, which all gateways count together.

Each gateway tells the others once a second what it has counted since, by a live subject. So a limit holds for all of
them, but for what comes within that second; and what a call costs here is one look into a dictionary. Who can't be
told counts alone. Called by `rest/dispatch.py` and `ddp/limits.py`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from palaver.errors import Unavailable
from palaver.live.others import Others, Told
from palaver.node import Node

logger = logging.getLogger(__name__)

_SUBJECT = "rates"
_TELL_SECONDS = 1.0
_TOLD_AT_ONCE = 2000
_MAX_WINDOWS = 200_000
_MAX_KEY = 300


class _Counted(NamedTuple):
    """Calls of one key, in a window that ends in so many seconds."""

    key: str
    seconds: float
    calls: int


class _Told(Told):
    """Calls that one gateway has counted."""

    counted: list[_Counted]


class RateLimiter:
    """Counts calls by key."""

    def __init__(self, node: Node, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._clock = clock
        self._others = Others(node.live, node.config.node_id, _SUBJECT, _Told, self._on_told)
        self._windows: dict[str, tuple[float, int]] = {}  # by key: its end, and the calls in it
        self._fresh: dict[str, int] = {}  # calls that nobody else knows of
        self._swept_at = 0.0

    async def open(self) -> None:
        """Begins to hear of the others' calls, and to tell them of those here."""
        await self._others.open()
        self._node.spawn(self._run_telling(), "rates")

    def count(self, key: str, calls: int, seconds: float, *, is_local: bool = False) -> tuple[int, float]:
        """Counts one call; returns how many are left in this window (below 0: too many) and the seconds to its end.

        A window begins with its first call. `is_local`: nobody else can have any of this key.
        """
        key = key[:_MAX_KEY]
        now = self._clock()
        end, used = self._add(key, now + seconds, 1, now)
        if not is_local:
            self._fresh[key] = self._fresh.get(key, 0) + 1
        return calls - used, end - now

    def _add(self, key: str, end: float, calls: int, now: float) -> tuple[float, int]:
        """Adds to the key's window, or begins one that ends then; returns its end, and how many are in it."""
        known_end, used = self._windows.get(key, (0.0, 0))
        if known_end > now:
            end = known_end
        else:
            used = 0
            self._sweep(now)
        self._windows[key] = (end, used + calls)
        return end, used + calls

    def _sweep(self, now: float) -> None:
        """Forgets windows that are over, where there are many: at most once a second."""
        if len(self._windows) >= _MAX_WINDOWS and not 0 <= now - self._swept_at < 1:
            self._swept_at = now
            self._windows = {key: window for key, window in self._windows.items() if window[0] > now}

    async def _run_telling(self) -> None:
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            await self.tell()

    async def tell(self) -> None:
        """Tells the others of what was counted since the last time."""
        fresh, self._fresh = self._fresh, {}
        now = self._clock()
        known = ((key, self._windows.get(key, (0.0, 0))[0], calls) for key, calls in fresh.items())
        counted = [_Counted(key, end - now, calls) for key, end, calls in known if end > now]
        try:
            for first in range(0, len(counted), _TOLD_AT_ONCE):
                told = _Told(self._node.config.node_id, counted[first : first + _TOLD_AT_ONCE])
                await self._others.tell(told)
        except Unavailable as error:
            logger.debug("calls could not be told of: %s", error)

    def _on_told(self, told: _Told) -> None:
        now = self._clock()
        for key, seconds, calls in told.counted:
            if seconds > 0 and calls > 0:
                self._add(key, now + seconds, calls, now)
