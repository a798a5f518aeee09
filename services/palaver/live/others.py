"""What a part of one process tells the same part of the others, by a live subject: at most once, and never itself.

Used by `auth/attempts.py` and `gateway/limits.py`: counts, of which one that is a moment late is as good.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from palaver.live import Live


class Told(msgspec.Struct):
    """What one process tells. A kind of it has fields of its own behind this one."""

    node_id: str


T = TypeVar("T", bound=Told)


class Others(Generic[T]):
    """The same part of the other processes. `on_told` is called with what one of them tells, and must not raise."""

    def __init__(self, live: Live, node_id: str, subject: str, kind: type[T], on_told: Callable[[T], None]) -> None:
        self._live = live
        self._node_id = node_id
        self._subject = subject
        self._decode = msgspec.json.Decoder(kind).decode
        self._on_told = on_told

    async def open(self) -> None:
        """Begins to hear them. Raises Unavailable."""
        await self._live.subscribe(self._subject, self._on_message)

    async def tell(self, told: T) -> None:
        """Raises Unavailable."""
        await self._live.publish(self._subject, msgspec.json.encode(told))

    def _on_message(self, message: bytes) -> None:
        try:
            told = self._decode(message)
        except msgspec.MsgspecError:
            return  # of another version
        if told.node_id != self._node_id:
            self._on_told(told)
