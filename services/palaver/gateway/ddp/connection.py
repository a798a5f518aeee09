"""One socket: who is on it, what it subscribes to, and the cheapest way to write to it."""

import asyncio
import os
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import Counter

from palaver.access import User
from palaver.gateway.frames import close_frame
from palaver.v1.presence_pb2 import ONLINE, Status

if TYPE_CHECKING:
    from palaver.gateway.session import Session

DROPPED = Counter("palaver_connections_dropped_total", "Connections that did not read what was sent", [])

WRITE_LIMIT = 4 * 1024 * 1024
"""Bytes that a slow client may have waiting before it is cut off."""
CLOSE_SECONDS = 5.0
"""How long a client may take to read what waited when its socket was closed; then it is cut off."""


class Transport(Protocol):
    """What this module needs of an asyncio transport."""

    def write(self, data: bytes) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def get_extra_info(self, name: str) -> Any: ...
    def is_closing(self) -> bool: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class Connection:
    """A websocket that speaks DDP. Compared by identity."""

    __slots__ = (
        "_fd",
        "_is_closing",
        "_waiting",
        "_write",
        "address",
        "busy",
        "hashed_token",
        "id",
        "last_input",
        "leaving",
        "notify_events",
        "open",
        "pinged",
        "presence_sub",
        "session",
        "status",
        "subs",
        "transport",
        "user",
        "user_agent",
        "versioned",
        "watched",
    )

    def __init__(self, id: str, transport: Transport, address: str, user_agent: str, now: float) -> None:
        self.id = id
        self.transport = transport
        self.address = address
        self.user_agent = user_agent
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._write = transport.write
        self._waiting = transport.get_write_buffer_size
        self._is_closing = transport.is_closing
        self.open = True
        self.versioned = False  # has said `connect`
        self.busy = False  # something that it has sent is being answered
        self.leaving = False  # to be closed as soon as it is not busy
        self.last_input = now
        self.pinged = False
        self.user: User | None = None
        self.hashed_token = ""
        self.session: Session | None = None
        self.subs: dict[str, tuple[str, str]] = {}  # subscription id → (stream, event name)
        self.notify_events = 0  # the user's own events that this connection hears, as bits (session.py)
        self.status: Status.ValueType = ONLINE  # or AWAY, as its client says
        self.presence_sub: str | None = None  # the id of its subscription to presence
        self.watched: set[str] | None = None  # users whose presence it wants to hear of

    def write(self, data: bytes) -> None:
        """Sends ready frames: by a system call at once if nothing waits, else behind what waits."""
        if not self.open:
            return
        if self._is_closing():
            # The socket is gone, and its number may be another one's by now.
            self.open = False
            return
        waiting = self._waiting()
        if waiting == 0:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the transport notices by itself
            if sent != len(data):
                self._write(data[sent:])
        elif waiting > WRITE_LIMIT:
            self.drop()
        else:
            self._write(data)

    def drop(self) -> None:
        """Cuts off a client that does not read."""
        if self.open:
            self.open = False
            DROPPED.inc()
            self.transport.abort()

    def close(self, code: int, reason: str = "") -> None:
        """Says goodbye, sends what waits, and closes."""
        if self.open:
            self.write(close_frame(code, reason))
            self.open = False
            self.transport.close()
            # Closing waits for a client that does not read as long as TCP does: a quarter of an hour.
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.transport.abort)

    def messages(self, text: str) -> list[str]:
        """The DDP messages in a frame that has come. Raises InvalidInput for what is no frame of this kind."""
        return [text]

    def subscribes_to(self, stream: str, event_name: str) -> bool:
        return (stream, event_name) in self.subs.values()
