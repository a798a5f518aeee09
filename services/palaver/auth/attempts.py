"""Counts failed logins, by user and by address, and blocks those with too many. Called by logins.py only.

Each process counts for itself: what it protects is the time that guessing takes, and a handful of processes only
divides that by a handful.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from palaver.access import Access
from palaver.errors import LoginFailed

_MAX_COUNTED = 50_000
_PREFIX = "Block_Multiple_Failed_Logins_"


class _Count:
    __slots__ = ("failures", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.failures = 0


class Attempts:
    """Failed logins since the last success, within the time after which a block ends."""

    def __init__(
        self, access: Callable[[], Access], clock: Callable[[], float] = time.monotonic, *, always: bool = False
    ) -> None:
        """`always`: users are blocked whatever the settings let happen to passwords."""
        self._access = access
        self._always = always
        self._clock = clock
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def check(self, username: str, address: str) -> None:
        """Raises LoginFailed while this user or this address is blocked."""
        for kind, name, code in (
            ("User", username, "error-login-blocked-for-user"),
            ("Ip", address, "error-login-blocked-for-ip"),
        ):
            limit, seconds = self._limits(kind, name)
            count = self._counts.get(f"{kind}:{name}")
            if not limit or count is None or count.failures < limit:
                continue
            if self._clock() - count.since < seconds:
                raise LoginFailed("Login has been temporarily blocked", code=code)
            del self._counts[f"{kind}:{name}"]

    def failed(self, username: str, address: str) -> None:
        """Counts a failure."""
        for kind, name in (("User", username), ("Ip", address)):
            limit, seconds = self._limits(kind, name)
            if not limit:
                continue
            key = f"{kind}:{name}"
            count = self._counts.get(key)
            if count is None or self._clock() - count.since >= seconds:
                count = self._counts[key] = _Count(self._clock())
            count.failures += 1
            if count.failures == limit:
                count.since = self._clock()
            self._counts.move_to_end(key)
            while len(self._counts) > _MAX_COUNTED:
                self._counts.popitem(last=False)

    def succeeded(self, username: str) -> None:
        """Forgets the user's failures; those of an address may have been meant for others."""
        self._counts.pop(f"User:{username}", None)

    def _limits(self, kind: str, name: str) -> tuple[int, float]:
        """How many failures block, and for how many seconds; 0 failures: never."""
        setting = self._access().setting
        wanted = self._always or (setting(_PREFIX + "Enabled") and setting(f"{_PREFIX}By_{kind}"))
        if not name or not wanted:
            return 0, 0.0
        if kind == "Ip":
            trusted = [part.strip() for part in setting(_PREFIX + "Ip_Whitelist").split(",")]
            if name in trusted:
                return 0, 0.0
        limit = setting(f"{_PREFIX}Attempts_Until_Block_{'by' if kind == 'User' else 'By'}_{kind}")
        return limit, setting(f"{_PREFIX}Time_To_Unblock_By_{kind}_In_Minutes") * 60.0
