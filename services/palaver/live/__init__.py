"""Port 3, live: what is worth telling now and worthless later (typing, presence), and leases.

Nothing here survives a restart. Adapters: `embedded.py` (in process) and `nats.py` (core NATS, and a memory
key-value bucket); both pass `tests/live/contract`. Called by presence, the gateway and the sweeper.
"""

from collections.abc import Callable
from typing import Protocol

OnMessage = Callable[[bytes], None]
"""Must return quickly and not raise."""

OnGap = Callable[[], None]
"""Called when messages may have been missed, and keys and leases lost: the connection was."""


class Subscription(Protocol):
    async def stop(self) -> None: ...


class Live(Protocol):
    """Every method may raise `errors.Unavailable`. Subjects are dotted tokens (`ids.encode_subject_token`)."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def publish(self, subject: str, message: bytes) -> None:
        """Tells the subscribers of this moment; at most once."""

    async def subscribe(self, subject: str, on_message: OnMessage) -> Subscription:
        """Hears everything published to the subject after this returned. A last token `>` matches any rest."""

    async def acquire(self, name: str, holder: str, seconds: float) -> bool:
        """Takes or renews the lease `name` for `seconds` (a cluster counts whole ones); False while another has it."""

    async def release(self, name: str, holder: str) -> None: ...

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Sets a key that disappears after `seconds` unless it is put again."""

    async def get(self, key: str) -> bytes | None: ...

    async def delete(self, key: str) -> None: ...

    async def list(self, prefix: str) -> dict[str, bytes]:
        """The keys that are `prefix` or lie below it (a dotted path; "" is all), with their values."""

    def on_gap(self, callback: OnGap) -> None:
        """Registers who must look for what was missed, after every connection that was lost and is back."""
