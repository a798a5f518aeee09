"""The log of a cluster, over NATS.

An event is published once, to the subject of its stream. JetStream stores it there for durable followers; whoever
follows live (gateways, caches) has a plain core subscription to the same subject and no consumer. Chosen by
`node.py` when NATS is configured.

`also_tell`: the event goes once more, by core publish, to the one subject `….told`, which no JetStream stream stores
(on the users' own subjects it would be stored a second time, as an event of the wrong stream). Every process
that follows a user stream listens there and picks those that concern its users. So a room created with a thousand
members costs one more message for each gateway, not one for each member.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from prometheus_client import Counter

from palaver.database import Stream
from palaver.errors import Unavailable
from palaver.log import Follow, OnEvent, OnGap
from palaver.log.connection import ApiError, Connection, Interest, NoResponders, OnRawMessage, parse_reply
from palaver.log.followers import Followers, StreamKey, tell
from palaver.log.streams import Subjects, declare, log_streams
from palaver.v1.event_pb2 import Event

logger = logging.getLogger(__name__)

DROPPED = Counter("palaver_log_messages_dropped_total", "Messages on the log's subjects that are no event", ["reason"])
TOO_LARGE = Counter("palaver_log_events_too_large_total", "Events that NATS does not carry, left to be fetched")
GAPS = Counter("palaver_log_gaps_total", "Times that followers were told to look for missed events")

VERSION_HEADER = "Palaver-Event"
VERSION = "1"

_TOLD: StreamKey = ("told", "")
_WINDOW = 256  # unacknowledged events of one call
_REMEMBERED = 1024
_HEADER_BYTES = 512
_COMPLAIN_SECONDS = 10.0


class JetStreamLog:
    """Publishes to JetStream, follows by core subscriptions."""

    def __init__(self, url: str, workspace: str, *, replicas: int = 1) -> None:
        """`url`: one or more of nats://host:port, with commas between them. `replicas` of what JetStream stores."""
        self._subjects = Subjects(workspace)
        self._streams = log_streams(workspace)
        self._replicas = replicas
        self._declared = False
        self._connection = Connection(url, "log", on_gap=self._tell_gap, on_reconnect=self._declare)
        self._followers = Followers()
        self._interests: dict[StreamKey, tuple[Interest, int]] = {}
        self._changing = asyncio.Lock()
        self._on_gap: list[OnGap] = []
        # Who has heard which of the last events that went to `told`: they come on two subjects.
        self._heard: OrderedDict[tuple[str, str, int], set[OnEvent]] = OrderedDict()
        self._complaints: dict[str, float] = {}

    async def open(self) -> None:
        """Connects and declares the streams. Raises Unavailable, or ConfigError when the server is too old."""
        await self._connection.open()
        try:
            await self._declare()
        except BaseException:
            await self._connection.close()
            raise

    async def close(self) -> None:
        """Disconnects; every follow ends."""
        self._followers.clear()
        self._interests.clear()
        await self._connection.close()

    async def _declare(self) -> None:
        await declare(self._connection, self._streams, self._replicas)
        self._declared = True

    # -- publishing ----------------------------------------------------------------------------------------------------

    async def publish(self, events: Sequence[Event]) -> None:
        """Sends all in order, then waits until JetStream has stored them. It knows one published twice by its id.

        Raises Unavailable when NATS is away or does not answer in time: some may be stored, and all should be
        published again.
        """
        try:
            if not self._declared:
                await self._declare()
            for start in range(0, len(events), _WINDOW):
                window = events[start : start + _WINDOW]
                try:
                    await self._publish(window)
                except NoResponders:
                    await self._declare()
                    await self._publish(window)
        except Unavailable:
            # The streams may be gone (a new, empty server): nothing else tells where somebody follows the same subject.
            self._declared = False
            raise

    async def _publish(self, events: Sequence[Event]) -> None:
        connection = self._connection
        largest = connection.max_payload - _HEADER_BYTES
        answers: list[asyncio.Future[Msg]] = []
        try:
            for event in events:
                payload = event.SerializeToString()
                if len(payload) > largest:
                    # Its followers find the gap by the next event or by comparing heads.
                    TOO_LARGE.inc()
                    logger.error(
                        "event %d of %s/%s has %d bytes and NATS takes %d: raise its max_payload",
                        event.seq,
                        event.stream_kind,
                        event.stream_id,
                        len(payload),
                        largest,
                    )
                    continue
                subject = self._subjects.of_stream(event.stream_kind, event.stream_id)
                headers = {"Nats-Msg-Id": _message_id(subject, event.seq), VERSION_HEADER: VERSION}
                token, answer = connection.expect()
                answers.append(answer)
                await connection.publish(subject, payload, connection.reply_to(token), headers)
                if event.also_tell:
                    await connection.publish(self._subjects.told, payload, headers={VERSION_HEADER: VERSION})
        except BaseException:
            connection.forget(answers)
            raise
        if answers:
            for message in await connection.wait(answers):
                try:
                    parse_reply(message)
                except ApiError as error:
                    raise Unavailable(f"JetStream does not store events: {error.error_reason}") from error

    # -- following -----------------------------------------------------------------------------------------------------

    async def follow(self, stream: Stream, on_event: OnEvent) -> Follow:
        """Follows; NATS knows of it when this returns. Raises Unavailable, and follows nothing then."""
        follow = _Follow(self, stream, on_event)
        self._followers.add(stream, on_event)
        held: list[StreamKey] = []
        try:
            for key in _keys_of(stream):
                await self._hold(key)
                held.append(key)
            await self._connection.settle()
        except BaseException:
            self._followers.remove(stream, on_event)
            for key in held:
                await self._release(key)
            raise
        return follow

    async def stop(self, stream: Stream, on_event: OnEvent) -> None:
        """Called by a follow that ends."""
        self._followers.remove(stream, on_event)
        for key in _keys_of(stream):
            await self._release(key)

    @property
    def is_lossless(self) -> bool:
        return False

    async def check_heard(self, seconds: float) -> None:
        """A round trip on the connection that events come by: what came before its answer has been heard."""
        try:
            async with asyncio.timeout(seconds):
                await self._connection.settle()
        except TimeoutError as error:
            raise Unavailable("NATS does not answer in time") from error

    def on_gap(self, callback: OnGap) -> None:
        """Registers a callback for reconnects and for messages that NATS or its client dropped."""
        self._on_gap.append(callback)

    async def _hold(self, key: StreamKey) -> None:
        """One more follower of this subject in this process: the first one subscribes."""
        async with self._changing:
            if key in self._interests:
                interest, count = self._interests[key]
                self._interests[key] = (interest, count + 1)
            elif key == _TOLD:
                self._interests[key] = (await self._connection.subscribe(self._subjects.told, self._on_told), 1)
            else:
                subject = self._subjects.of_stream(*key)
                self._interests[key] = (await self._connection.subscribe(subject, self._receiver(key)), 1)

    async def _release(self, key: StreamKey) -> None:
        """One follower less: the last one unsubscribes."""
        async with self._changing:
            if key not in self._interests:  # closed meanwhile
                return
            interest, count = self._interests[key]
            if count > 1:
                self._interests[key] = (interest, count - 1)
            else:
                del self._interests[key]
                await self._connection.unsubscribe(interest)

    def _receiver(self, stream: StreamKey) -> OnRawMessage:
        def on_message(message: Msg) -> None:
            event = self._decode(message)
            if event is None:
                return
            if (event.stream_kind, event.stream_id) != stream:
                self._drop("misplaced", message)
                return
            self._deliver(event, self._followers.of(stream))

        return on_message

    def _on_told(self, message: Msg) -> None:
        event = self._decode(message)
        if event is not None:
            self._deliver(event, self._followers.told_of(event))

    def _deliver(self, event: Event, followers: Sequence[OnEvent]) -> None:
        if not event.also_tell:
            for on_event in followers:
                tell(on_event, event)
            return
        if not followers:
            return
        key = (event.stream_kind, event.stream_id, event.seq)
        heard = self._heard.setdefault(key, set())
        if len(self._heard) > _REMEMBERED:
            self._heard.popitem(last=False)
        for on_event in followers:
            if on_event not in heard:
                heard.add(on_event)
                tell(on_event, event)

    def _decode(self, message: Msg) -> Event | None:
        """The event, or None for what is not ours or of a version that this process does not know.

        An event with a fact unknown here is delivered: its followers count its `seq`.
        """
        version = None if message.headers is None else message.headers.get(VERSION_HEADER)
        if version == VERSION:
            try:
                return Event.FromString(message.data)
            except DecodeError:
                self._drop("undecodable", message)
        else:
            self._drop("foreign" if version is None else "version", message)
        return None

    def _drop(self, reason: str, message: Msg) -> None:
        DROPPED.labels(reason).inc()
        now = time.monotonic()
        if now - self._complaints.get(reason, -_COMPLAIN_SECONDS) >= _COMPLAIN_SECONDS:
            self._complaints[reason] = now
            logger.warning("a message on %s was dropped: %s", message.subject, reason)

    def _tell_gap(self) -> None:
        GAPS.inc()
        for callback in self._on_gap:
            try:
                callback()
            except Exception:
                logger.exception("a follower failed on a gap")


class _Follow:
    __slots__ = ("_log", "_on_event", "_stopped", "_stream")

    def __init__(self, log: JetStreamLog, stream: Stream, on_event: OnEvent) -> None:
        self._log = log
        self._stream = stream
        self._on_event = on_event
        self._stopped = False

    async def stop(self) -> None:
        """Stops following; twice is once."""
        if not self._stopped:
            self._stopped = True
            await self._log.stop(self._stream, self._on_event)


def _keys_of(stream: Stream) -> tuple[StreamKey, ...]:
    return (stream, _TOLD) if stream.kind == "user" else (stream,)


def _message_id(subject: str, seq: int) -> str:
    """<stream kind>/<stream id>/<seq>, with the id as it stands in the subject: a header holds no line breaks."""
    kind, _, id = subject.split(".", 2)[2].partition(".")
    return f"{kind}/{id}/{seq}"
