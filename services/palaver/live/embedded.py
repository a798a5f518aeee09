"""The live port of a single process: subscribers are called while `publish` runs, leases and keys are dictionaries.

Chosen by `node.py` when no NATS is configured. Nobody else could hold a lease, and yet they expire as they do in a
cluster: the code above is the same.
"""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass

from palaver.live import OnGap, OnMessage, Subscription
from palaver.live.subjects import check_pattern, check_subject, is_below, tell


@dataclass(slots=True)
class _Expiring:
    """A lease (its holder) or a key (its value), until `until`."""

    value: bytes
    until: float


class _Expiries:
    """A dictionary whose entries end; what has ended is dropped little by little, so that it never piles up."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[str, _Expiring] = {}
        self._due: list[tuple[float, str]] = []

    def set(self, name: str, value: bytes, seconds: float) -> None:
        now = self._clock()
        self._entries[name] = _Expiring(value, now + seconds)
        heapq.heappush(self._due, (now + seconds, name))
        # Each call adds one and looks at two, so what has ended never piles up.
        for _ in range(2):
            if self._due[0][0] > now:
                break
            _, due = heapq.heappop(self._due)
            entry = self._entries.get(due)
            if entry is not None and entry.until <= now:
                del self._entries[due]
            if not self._due:
                break
        if len(self._due) > 2 * len(self._entries) + 64:  # entries set again and again, long before they end
            self._due = [(entry.until, name) for name, entry in self._entries.items()]
            heapq.heapify(self._due)

    def get(self, name: str) -> bytes | None:
        entry = self._entries.get(name)
        return None if entry is None or entry.until <= self._clock() else entry.value

    def delete(self, name: str) -> None:
        self._entries.pop(name, None)

    def list(self) -> dict[str, bytes]:
        now = self._clock()
        return {name: entry.value for name, entry in self._entries.items() if entry.until > now}

    def clear(self) -> None:
        self._entries.clear()
        self._due.clear()


class EmbeddedLive:
    """Everything in memory. `clock` counts seconds; tests pass their own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._exact: dict[str, tuple[_Subscription, ...]] = {}
        self._below: tuple[_Subscription, ...] = ()
        self._leases = _Expiries(clock)
        self._keys = _Expiries(clock)

    async def open(self) -> None:
        """Does nothing."""

    async def close(self) -> None:
        """Forgets subscribers, leases and keys."""
        self._exact.clear()
        self._below = ()
        self._leases.clear()
        self._keys.clear()

    async def publish(self, subject: str, message: bytes) -> None:
        """Calls the subscribers. What one raises is logged and counted. Raises ValueError for what is no subject."""
        check_subject(subject)
        for subscription in self._exact.get(subject, ()):
            tell(subscription.on_message, subject, message)
        for subscription in self._below:
            if subject.startswith(subscription.prefix):
                tell(subscription.on_message, subject, message)

    async def subscribe(self, subject: str, on_message: OnMessage) -> Subscription:
        """Hears of the subject, or with a last token `>` of all below it. Raises ValueError for anything else."""
        check_pattern(subject)
        subscription = _Subscription(self, subject, on_message)
        if subject.endswith(">"):
            self._below += (subscription,)
        else:
            self._exact[subject] = (*self._exact.get(subject, ()), subscription)
        return subscription

    async def acquire(self, name: str, holder: str, seconds: float) -> bool:
        """Takes or renews the lease; False while another holder has it."""
        check_subject(name)
        wanted = holder.encode()
        if self._leases.get(name) not in (None, wanted):
            return False
        self._leases.set(name, wanted, seconds)
        return True

    async def release(self, name: str, holder: str) -> None:
        """Ends the lease if this holder has it."""
        check_subject(name)
        if self._leases.get(name) == holder.encode():
            self._leases.delete(name)

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Sets the key for `seconds`."""
        check_subject(key)
        self._keys.set(key, value, seconds)

    async def get(self, key: str) -> bytes | None:
        """The key's value, or None when it is not set or has ended."""
        check_subject(key)
        return self._keys.get(key)

    async def delete(self, key: str) -> None:
        """Ends the key; one that is not there is no error."""
        check_subject(key)
        self._keys.delete(key)

    async def list(self, prefix: str) -> dict[str, bytes]:
        """The keys that are `prefix` or lie below it as a dotted path, with their values; all for ""."""
        if prefix:
            check_subject(prefix)
        return {key: value for key, value in self._keys.list().items() if is_below(key, prefix)}

    def on_gap(self, callback: OnGap) -> None:
        """Nothing is missed here: the callback is never called."""

    def remove(self, subscription: "_Subscription") -> None:
        """Called by the subscription itself."""
        subject = subscription.subject
        if subject.endswith(">"):
            self._below = tuple(other for other in self._below if other is not subscription)
        elif left := tuple(other for other in self._exact.get(subject, ()) if other is not subscription):
            self._exact[subject] = left
        else:
            self._exact.pop(subject, None)


class _Subscription:
    __slots__ = ("_live", "on_message", "prefix", "subject")

    def __init__(self, live: EmbeddedLive, subject: str, on_message: OnMessage) -> None:
        self._live = live
        self.subject = subject
        self.prefix = subject.removesuffix(">")
        self.on_message = on_message

    async def stop(self) -> None:
        """Stops; twice is once."""
        self._live.remove(self)
