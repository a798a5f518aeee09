"""The clock of leases and of what is trusted for some seconds. Called by whoever holds or believes something."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Seconds since some moment: never set back, and where the system can say it (Linux), those asleep count, too."""
    return time.clock_gettime(_CLOCK)
