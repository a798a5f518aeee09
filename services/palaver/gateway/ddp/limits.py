"""How often the methods of DDP may be called, by the settings `DDP_Rate_Limit_…`. Called by `server.py`."""

import math
from collections.abc import Mapping
from typing import Any

from palaver.addresses import counted_address
from palaver.errors import TooManyRequests
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.limits import RateLimiter
from palaver.node import Node

_PREFIX = "DDP_Rate_Limit_"
_STREAM_FACTOR = 4
"""Writing to a stream (who is typing) is cheap, and frequent: so many times more by method."""


class MethodLimits:
    """Checks them all: by address, by user and by connection, for all methods together and for each."""

    def __init__(self, node: Node, limiter: RateLimiter) -> None:
        self._node = node
        self._limiter = limiter

    def check(self, connection: Connection, method: str) -> None:
        """Counts one call. Raises TooManyRequests. `method` is of a bounded set. In test mode there are no limits."""
        user = connection.user
        access = self._node.access
        if self._node.config.test_mode or (user is not None and access.may(user, "api-bypass-rate-limit")):
            return
        settings = access.policy.settings
        factor = _STREAM_FACTOR if method.startswith("stream-") else 1
        self._count(settings, "IP", f"ddp-ip {counted_address(connection.address)}", method)
        self._count(settings, "Connection", f"ddp {connection.id}", method, is_local=True)
        by_method = f"ddp {connection.id} {method}"
        self._count(settings, "Connection_By_Method", by_method, method, is_local=True, factor=factor)
        if user is not None:
            self._count(settings, "User", f"ddp-user {user.id}", method)
            self._count(settings, "User_By_Method", f"ddp-user {user.id} {method}", method, factor=factor)

    def _count(
        self,
        settings: Mapping[str, Mapping[str, Any]],
        rule: str,
        key: str,
        method: str,
        *,
        is_local: bool = False,
        factor: int = 1,
    ) -> None:
        if not settings[f"{_PREFIX}{rule}_Enabled"]["value"]:
            return
        calls = int(settings[f"{_PREFIX}{rule}_Requests_Allowed"]["value"]) * factor
        milliseconds = int(settings[f"{_PREFIX}{rule}_Interval_Time"]["value"])
        if calls < 1 or milliseconds < 1:
            return
        left, reset = self._limiter.count(key, calls, milliseconds / 1000, is_local=is_local)
        if left < 0:
            raise TooManyRequests(
                "Error, too many requests. Please slow down. "
                f"You must wait {max(1, math.ceil(reset))} seconds before trying again.",
                details={"method": method, "timeToReset": math.ceil(reset * 1000)},
            )
