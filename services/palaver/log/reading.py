"""How a durable follower reads one partition from JetStream. Called by `jetstream.py` only.

Each reading has a consumer of its own, in the server's memory, that acknowledges nothing and disappears by itself:
where to go on is the reader's to know, not the server's. A position is the message's number in its JetStream stream,
together with what shows that it still is the same message: when the stream was made, and when the message came.
"""

import asyncio
import datetime
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import orjson
from nats.aio.msg import Msg

from palaver.errors import Unavailable
from palaver.ids import new_id
from palaver.log import Entry
from palaver.log.connection import Connection
from palaver.log.interests import Interest
from palaver.log.replies import ApiError
from palaver.v1.event_pb2 import Event

logger = logging.getLogger(__name__)

BATCH = 256
EXPIRES_SECONDS = 5.0
# A tail that the server has lost is published again, later than everything that it still has, whatever its clock did.
_OVERLAP = 60 * 1_000_000_000
_NOT_FOUND = 10037

Decode = Callable[[Msg], Awaitable[Event | None]]
"""The event of a stored message; None for one that is none of ours."""


class Position(NamedTuple):
    """After which message to go on."""

    created: str = ""  # of the JetStream stream
    number: int = 0
    at: int = 0  # nanoseconds

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Of what `str` has written, or of nothing. Raises ValueError."""
        if not text:
            return cls()
        created, number, at = text.split("/")
        return cls(created, int(number), int(at))

    def __str__(self) -> str:
        return f"{self.created}/{self.number}/{self.at}"


class JetStreamReading:
    """The messages of one stream with one subject filter, from a position on."""

    def __init__(
        self, connection: Connection, stream: str, subject: str, decode: Decode, on_close: Callable[[], None]
    ) -> None:
        self.behind = 0
        self._connection = connection
        self._stream = stream
        self._subject = subject
        self._decode = decode
        self._on_close = on_close
        self._position = Position()
        self._consumer = f"reading-{new_id()}"
        self._interest: Interest | None = None
        self._inbox = ""
        self._buffer: list[Msg] = []
        self._delivered = 0  # messages that this consumer was sent
        self._requested = 0  # that were asked for and have not come
        self._ended = ""  # why nothing comes any more
        self._wake = asyncio.Event()

    @property
    def position(self) -> str:
        return str(self._position)

    async def open(self, position: str) -> None:
        """Makes the consumer. Raises Unavailable."""
        info = await self._connection.api(f"STREAM.INFO.{self._stream}", {})
        start, self._position = await self._find_start(info, Position.parse(position))
        configuration = {
            "name": self._consumer,
            "filter_subject": self._subject,
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(6 * EXPIRES_SECONDS * 1e9),
            **start,
        }
        self._inbox = self._connection.new_inbox()
        self._interest = await self._connection.subscribe(self._inbox, self._on_message)
        try:
            await self._connection.api(
                f"CONSUMER.CREATE.{self._stream}.{self._consumer}",
                {"stream_name": self._stream, "config": configuration},
            )
        except BaseException:
            await self.close()
            raise

    async def _find_start(self, info: dict[str, Any], position: Position) -> tuple[dict[str, Any], Position]:
        """Where the consumer begins, and the position until it has read something."""
        state = info["state"]
        begin = position if position.created == info["created"] else Position(info["created"])
        if not begin.number:
            return {"deliver_policy": "all"}, begin
        if begin.number >= state["first_seq"] and not await self._is_there(begin):
            logger.warning("%s has lost its last messages; they are read when they come again", self._stream)
            since = _rfc3339(begin.at - _OVERLAP)
            return {"deliver_policy": "by_start_time", "opt_start_time": since}, begin
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": begin.number + 1}, begin

    async def _is_there(self, position: Position) -> bool:
        """Whether the message at the position is the one that was read then."""
        try:
            reply = await self._connection.api(f"STREAM.MSG.GET.{self._stream}", {"seq": position.number})
        except ApiError as error:
            if error.number != _NOT_FOUND:
                raise
            return False
        return bool(_nanoseconds(reply["message"]["time"]) == position.at)

    async def read(self) -> Sequence[Entry]:
        """The next events; none when nothing has come for some seconds. Raises Unavailable when it has ended."""
        messages = await self._receive()
        entries = []
        for message in messages:
            number, delivered, at, self.behind = _numbers(message)
            if delivered != self._delivered + 1:
                raise Unavailable(f"{self._stream}: messages were lost on the way")
            event = await self._decode(message)
            self._delivered = delivered
            self._position = Position(self._position.created, number, at)
            if event is not None:
                entries.append(Entry(event, self.position, at // 1_000_000))
        return entries

    async def _receive(self) -> list[Msg]:
        deadline = time.monotonic() + EXPIRES_SECONDS
        while not self._buffer:
            if self._ended:
                raise Unavailable(f"{self._stream}: {self._ended}")
            if self._requested <= 0:
                if time.monotonic() >= deadline:
                    return []
                await self._request()
            self._wake.clear()
            try:
                async with asyncio.timeout(EXPIRES_SECONDS + 2):
                    await self._wake.wait()
            except TimeoutError:
                raise Unavailable(f"{self._stream}: NATS does not answer in time") from None
        messages, self._buffer = self._buffer, []
        return messages

    async def _request(self) -> None:
        self._requested = BATCH
        largest = max(4 << 20, 2 * self._connection.max_payload)
        request = {"batch": BATCH, "max_bytes": largest, "expires": int(EXPIRES_SECONDS * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        await self._connection.publish(subject, orjson.dumps(request), self._inbox)

    def _on_message(self, message: Msg) -> None:
        status = "" if message.reply or message.headers is None else message.headers.get("Status", "")
        if not status:
            self._buffer.append(message)
            self._requested -= 1
        elif status in ("404", "408") or (status == "409" and _is_only_full(message)):
            self._requested = 0
        elif status != "100":
            self.end(f"{status} {(message.headers or {}).get('Description', '')}".strip())
        self._wake.set()

    def end(self, why: str) -> None:
        """Nothing comes any more: the connection was lost, or the consumer."""
        self._ended = why
        self._wake.set()

    async def close(self) -> None:
        """Ends; the server forgets the consumer by itself, if it can't be told."""
        self._on_close()
        if self._interest is None:
            return
        interest, self._interest = self._interest, None
        await self._connection.unsubscribe(interest)
        try:
            await self._connection.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}", b"")
        except Unavailable as error:
            logger.debug("a consumer of %s is left to end by itself: %s", self._stream, error)


def _is_only_full(message: Msg) -> bool:
    """Whether only the request has ended: it has had as much as it asked for."""
    description = (message.headers or {}).get("Description", "").lower()
    return "batch completed" in description or "exceeds maxbytes" in description


def _numbers(message: Msg) -> tuple[int, int, int, int]:
    """Number in the stream, number of this consumer, time in nanoseconds, and how many more there are."""
    parts = message.reply.split(".")
    # $JS.ACK.<stream>.<consumer>.<deliveries>.<number>.<delivered>.<time>.<pending>; some name domain and account, too.
    first = 5 if len(parts) == 9 else 7
    number, delivered, at, pending = map(int, parts[first : first + 4])
    return number, delivered, at, pending


def _nanoseconds(text: str) -> int:
    """Of a time as Go writes it, with up to nine digits of a second."""
    seconds, _, rest = text.partition(".")
    fraction = rest.rstrip("Z") if rest else ""
    whole = datetime.datetime.fromisoformat(seconds.rstrip("Z")).replace(tzinfo=datetime.UTC)
    return int(whole.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def _rfc3339(nanoseconds: int) -> str:
    whole = datetime.datetime.fromtimestamp(nanoseconds // 1_000_000_000, datetime.UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}Z"
