"""Counts failed logins, by user and by address, and blocks those with too many.

Called by logins.py, second_factor.py. Each process tells the others of what it counts, by a live subject: failures are
few, and a count that is a moment late is as good. One that has just started knows of none; who is blocked elsewhere is
blocked there.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from palaver.addresses import counted_address
from palaver.errors import LoginFailed, Unavailable
from palaver.live.others import Others, Told
from palaver.node import Node

logger = logging.getLogger(__name__)

_MAX_COUNTED = 50_000
_MAX_NAME = 200
_LEAST_ATTEMPTS = 10
_PREFIX = "Block_Multiple_Failed_Logins_"


class _Count:
    __slots__ = ("failures", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.failures = 0


class _Told(Told):
    """A failure to count, or a user whose failures to forget."""

    name: str
    address: str
    failed: bool


class Attempts:
    """Failed logins since the last success, within the time after which a block ends."""

    def __init__(
        self, node: Node, what: str, clock: Callable[[], float] = time.monotonic, *, always: bool = False
    ) -> None:
        """`what` is counted: a word. `always`: users are blocked whatever the settings let happen to passwords."""
        self._node = node
        self._others = Others(node.live, node.config.node_id, f"attempts.{what}", _Told, self._on_told)
        self._always = always
        self._clock = clock
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    async def open(self) -> None:
        """Begins to hear of what other processes count."""
        await self._others.open()

    def check(self, name: str, address: str) -> None:
        """Raises LoginFailed while this user or this address is blocked."""
        for kind, who, code in (
            ("User", name, "error-login-blocked-for-user"),
            ("Ip", address, "error-login-blocked-for-ip"),
        ):
            limit, seconds = self._limits(kind, who)
            count = self._counts.get(_key(kind, who))
            if not limit or count is None or count.failures < limit:
                continue
            if self._clock() - count.since < seconds:
                raise LoginFailed("Login has been temporarily blocked", code=code)
            del self._counts[_key(kind, who)]

    async def failed(self, name: str, address: str) -> None:
        """Counts a failure, here and elsewhere."""
        self.count(name, address)
        await self.tell(name, address)

    async def succeeded(self, name: str) -> None:
        """Forgets the user's failures; those of an address may have been meant for others."""
        if self._counts.pop(_key("User", name), None) is not None:
            await self.tell(name, "", failed=False)

    def count(self, name: str, address: str) -> None:
        """Counts a failure here, at once; `tell` makes it known elsewhere."""
        for kind, who in (("User", name), ("Ip", address)):
            limit, seconds = self._limits(kind, who)
            if not limit:
                continue
            key = _key(kind, who)
            count = self._counts.get(key)
            if count is None or self._clock() - count.since >= seconds:
                count = self._counts[key] = _Count(self._clock())
            count.failures += 1
            if count.failures == limit:
                count.since = self._clock()
            self._counts.move_to_end(key)
            while len(self._counts) > _MAX_COUNTED:
                self._counts.popitem(last=False)

    async def tell(self, name: str, address: str, *, failed: bool = True) -> None:
        """Makes the others count a failure, too, or forget the user's."""
        told = _Told(self._node.config.node_id, name[:_MAX_NAME], address[:_MAX_NAME], failed)
        try:
            await self._others.tell(told)
        except Unavailable as error:
            logger.warning("a failed login could not be told of: %s", error)

    def _on_told(self, told: _Told) -> None:
        if told.failed:
            self.count(told.name, told.address)
        else:
            self._counts.pop(_key("User", told.name), None)

    def _limits(self, kind: str, who: str) -> tuple[int, float]:
        """How many failures block, and for how many seconds; 0 failures: never."""
        setting = self._node.access.setting
        wanted = self._always or (setting(_PREFIX + "Enabled") and setting(f"{_PREFIX}By_{kind}"))
        if not who or not wanted:
            return 0, 0.0
        if kind == "Ip":
            trusted = [part.strip() for part in setting(_PREFIX + "Ip_Whitelist").split(",")]
            if who in trusted or counted_address(who) in trusted:
                return 0, 0.0
        limit = setting(f"{_PREFIX}Attempts_Until_Block_{'by' if kind == 'User' else 'By'}_{kind}")
        minutes = setting(f"{_PREFIX}Time_To_Unblock_By_{kind}_In_Minutes")
        if self._always:
            return limit if limit > 0 else _LEAST_ATTEMPTS, max(1, minutes) * 60.0
        return limit, minutes * 60.0


def _key(kind: str, who: str) -> str:
    return f"{kind}:{counted_address(who) if kind == 'Ip' else who[:_MAX_NAME]}"
