"""How often somebody may call: fixed windows, in this process."""

import time
from collections.abc import Callable

_MAX_WINDOWS = 100_000


class RateLimiter:
    """Counts calls by key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}

    def count(self, key: str, calls: int, seconds: float) -> tuple[int, float]:
        """Counts one call; returns how many are left in this window (below 0: too many) and the seconds to its end."""
        now = self._clock()
        end, used = self._windows.get(key, (0.0, 0))
        if now >= end:
            end, used = now + seconds, 0
            if len(self._windows) >= _MAX_WINDOWS:
                self._windows = {k: w for k, w in self._windows.items() if w[0] > now}
        self._windows[key] = (end, used + 1)
        return calls - used - 1, end - now
