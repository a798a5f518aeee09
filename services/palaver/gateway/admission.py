"""How many newcomers a gateway takes: after a failure all clients come back at once, and who is served must stay so.

A newcomer who is turned away costs a hundredth of one who is let in, and comes back later. Called by the surfaces:
`ddp/server.py` for handshakes and logins, `rest/dispatch.py` for logins.
"""

import math
import time
from collections.abc import Callable

from prometheus_client import Counter

from palaver.config import Config
from palaver.errors import TooManyRequests

REFUSED = Counter("palaver_admissions_refused_total", "Newcomers who were told to come back later", ["what"])


class TokenBucket:
    """Lets `per_second` through on average, and those of one second (at least one) at once. 0: any number."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._most = max(1.0, per_second)
        self._tokens = self._most
        self._filled_at = clock()

    def take(self) -> float:
        """0 when a token was there and is taken; else the seconds until there is one."""
        if not self._per_second:
            return 0.0
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0


class Admission:
    """The two doors of a gateway. In test mode they are open."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._handshakes = TokenBucket(0 if config.test_mode else config.handshakes_per_second, clock)
        self._logins = TokenBucket(0 if config.test_mode else config.logins_per_second, clock)

    def refuse_handshake(self) -> int:
        """0 when one more websocket may be opened; else in how many seconds to try again."""
        wait = self._handshakes.take()
        if wait:
            REFUSED.labels("handshake").inc()
        return math.ceil(wait)

    def check_login(self) -> None:
        """Raises TooManyRequests when this login has to wait."""
        if wait := self._logins.take():
            REFUSED.labels("login").inc()
            raise TooManyRequests(
                "Error, too many requests. Please slow down. "
                f"You must wait {math.ceil(wait)} seconds before trying again.",
                details={"timeToReset": math.ceil(wait * 1000)},
            )
