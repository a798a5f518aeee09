"""The log of a cluster, over NATS.

An event is published once, to the subject of its stream. JetStream stores it there for durable followers, who read it
by partitions (`reading.py`); whoever follows live (gateways, caches) has a plain core subscription to the same subject
and no consumer. What JetStream has lost is published again (`refill.py`). Chosen by `node.py` when NATS is configured.

An event that is larger than what NATS carries goes as a reference, an event without its fact, and is read from the
database by whoever gets that.

`also_tell`: the event goes once more, by core publish, to the one subject `….told`, which no JetStream stream stores
(on the users' own subjects it would be stored a second time, as an event of the wrong stream). Every process
that follows a user stream listens there and picks those that concern its users. So a room created with a thousand
members costs one more message for each gateway, not one for each member.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

from nats.aio.msg import Msg
from prometheus_client import Counter

from palaver.database import Database, Stream
from palaver.errors import Unavailable
from palaver.log import Follow, OnEvent, OnGap, Reading
from palaver.log.addresses import list_open
from palaver.log.connection import Connection
from palaver.log.followers import Followers, StreamKey, tell
from palaver.log.interests import Interest, OnRawMessage
from palaver.log.messages import DROPPED, SHOWN_ONLY, Decoder, encode, is_reference, message_id
from palaver.log.reading import JetStreamReading
from palaver.log.refill import Refill
from palaver.log.replies import ApiError, NoResponders, parse_reply
from palaver.log.secrets import without_secrets
from palaver.log.streams import KINDS, MAX_AGE, Subjects, declare, list_missing, list_partitions, log_streams
from palaver.v1.event_pb2 import Event

logger = logging.getLogger(__name__)

GAPS = Counter("palaver_log_gaps_total", "Times that followers were told to look for missed events")

_TOLD: StreamKey = ("told", "")
_WINDOW = 256  # unacknowledged events of one call
_REMEMBERED = 1024
_DECLARE_SECONDS = 5.0  # that somebody waits for; it may take longer


class JetStreamLog:
    """Publishes to JetStream, follows by core subscriptions."""

    def __init__(self, url: str, workspace: str, database: Database, *, replicas: int = 1, authority: str = "") -> None:
        """`url`: one or more of nats://host:port, with commas between them. `replicas` of what JetStream stores.

        `authority`: the PEM file of who signs the server's certificate; empty: whom the system trusts.
        `database`: the record, open before this is and closed after it.
        """
        self._database = database
        self._refill = Refill(database, MAX_AGE)
        self._made = 0  # how often there were no streams
        self._subjects = Subjects(workspace)
        self._streams = log_streams(workspace)
        self._replicas = replicas
        self._declared = -1  # since which loss of the connection
        self._connection = Connection(
            url, "log", on_gap=self._tell_gap, on_reconnect=self._declare, authority=authority
        )
        self._followers = Followers()
        self._interests: dict[StreamKey, tuple[Interest, int]] = {}
        self._changing = asyncio.Lock()
        self._declaring: asyncio.Task[None] | None = None
        self._on_gap: list[OnGap] = []
        # Who has heard which of the last events that went to `told`: they come on two subjects.
        self._heard: OrderedDict[tuple[str, str, int], set[OnEvent]] = OrderedDict()
        self._decoder = Decoder()
        self._readings: set[JetStreamReading] = set()
        self._fetching: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connects and declares the streams. Raises Unavailable, or ConfigError when the server is too old."""
        if addresses := list_open(self._connection.url):
            logger.warning(
                "NATS at %s is used without TLS or without a user and password: whoever reaches it may read and forge "
                "what all processes tell each other. Use tls://user:password@host:port, unless the network lets nobody "
                "else in.",
                ", ".join(addresses),
            )
        await self._connection.open()
        try:
            await self._declare(None)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnects; every follow ends."""
        self._followers.clear()
        self._interests.clear()
        tasks = [*self._fetching, *filter(None, [self._declaring])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._connection.close()

    @property
    def losses(self) -> int:
        """Nothing is known to be lost on a connection that stands, in streams that were there."""
        return self._connection.losses + self._made

    async def _declare(self, seconds: float | None = _DECLARE_SECONDS) -> None:
        """Has the streams. Before anything goes into new ones, the database knows as unpublished what they lack.

        That may be three days' events: it goes on when whoever waits for it gives up. Raises Unavailable then.
        """
        if self._declared == self._connection.losses:
            return
        if self._declaring is None:
            self._declaring = asyncio.create_task(self._declare_anew(), name="declaring streams")
            self._declaring.add_done_callback(self._on_declared)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._declaring)
        except TimeoutError as error:
            raise Unavailable("the streams of JetStream are not ready yet") from error

    def _on_declared(self, task: asyncio.Task[None]) -> None:
        self._declaring = None
        if not task.cancelled():
            task.exception()  # whoever waited for it has heard it, or has left

    async def _declare_anew(self) -> None:
        losses = self._connection.losses
        if missing := await list_missing(self._connection, self._streams):
            await self._refill.mark()
            self._made += 1
            logger.info("making the JetStream streams %s", ", ".join(missing))
        await self._refill.meet(self._connection.server_id)
        await declare(self._connection, self._streams, self._replicas)
        self._declared = losses

    # -- publishing ----------------------------------------------------------------------------------------------------

    async def publish(self, events: Sequence[Event]) -> None:
        """Sends all in order, then waits until JetStream has stored them. It knows one published twice by its id.

        Raises Unavailable when NATS is away or does not answer in time: some may be stored, and all should be
        published again.
        """
        try:
            await self._declare()
            for start in range(0, len(events), _WINDOW):
                await self._publish(events[start : start + _WINDOW])
        except Unavailable:
            # The streams may be gone: nothing else tells where somebody follows the same subject. If they are, these
            # events have to wait until those before them are published again.
            self._declared = -1
            raise

    async def _publish(self, events: Sequence[Event]) -> None:
        connection = self._connection
        answers: list[asyncio.Future[Msg]] = []
        try:
            for event in events:
                subject = self._subjects.of_stream(event.stream_kind, event.stream_id)
                payload, headers = encode(event, subject, connection.max_payload)
                stored = {"Nats-Msg-Id": message_id(subject, event.seq), **headers}
                token, answer = connection.expect()
                answers.append(answer)
                await connection.publish(subject, payload, connection.reply_to(token), stored)
                if event.also_tell and not event.retold:
                    await connection.publish(self._subjects.told, payload, headers=headers)
        except BaseException:
            connection.forget(answers)
            raise
        if answers:
            for message in await connection.wait(answers):
                try:
                    parse_reply(message)
                except ApiError as error:
                    raise Unavailable(f"JetStream does not store events: {error.error_reason}") from error

    async def show(self, events: Sequence[Event]) -> None:
        """Tells live followers by core NATS alone: it works where JetStream does not. Raises Unavailable."""
        for event in events:
            if event.retold:
                continue
            subject = self._subjects.of_stream(event.stream_kind, event.stream_id)
            payload, headers = encode(event, subject, self._connection.max_payload)
            await self._connection.publish(subject, payload, headers={**headers, **SHOWN_ONLY})
            if event.also_tell:
                await self._connection.publish(self._subjects.told, payload, headers=headers)

    # -- following -----------------------------------------------------------------------------------------------------

    async def follow(self, stream: Stream, on_event: OnEvent) -> Follow:
        """Follows; NATS knows of it when this returns. Raises Unavailable, and follows nothing then."""
        return (await self.follow_all([stream], on_event))[0]

    async def follow_all(self, streams: Sequence[Stream], on_event: OnEvent) -> list[Follow]:
        """The same for several streams, in one round trip."""
        follows: list[Follow] = []
        held: list[StreamKey] = []
        try:
            for stream in streams:
                self._followers.add(stream, on_event)
                follows.append(_Follow(self, stream, on_event))
                for key in _keys_of(stream):
                    await self._hold(key)
                    held.append(key)
            await self._connection.settle()
        except BaseException:
            for stream in streams[: len(follows)]:
                self._followers.remove(stream, on_event)
            for key in held:
                await self._release(key)
            raise
        return follows

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
            event = self._decoder.decode(message)
            if event is None:
                return
            if (event.stream_kind, event.stream_id) != stream:
                self._decoder.drop("misplaced", message)
            elif not event.retold:
                self._deliver(message, event, lambda event: self._followers.of(stream))

        return on_message

    def _on_told(self, message: Msg) -> None:
        event = self._decoder.decode(message)
        if event is not None:
            self._deliver(message, event, self._followers.told_of)

    def _deliver(self, message: Msg, event: Event, find: Callable[[Event], Sequence[OnEvent]]) -> None:
        if not is_reference(message):
            self._tell(event, find(event))
            return
        # What comes meanwhile is not held back: a follower knows by its seq that something is missing.
        task = asyncio.create_task(self._fetch_and_tell(event, find), name="large event")
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def _fetch_and_tell(self, reference: Event, find: Callable[[Event], Sequence[OnEvent]]) -> None:
        try:
            event = await self._fetch(reference)
        except Unavailable as error:
            logger.warning("a large event could not be read, its followers look themselves: %s", error)
            self._tell_gap()
        else:
            if event is not None:
                self._tell(event, find(event))

    async def _fetch(self, reference: Event) -> Event | None:
        """The event that a reference names. Raises Unavailable."""
        stream = Stream(reference.stream_kind, reference.stream_id)
        events = await self._database.list_events(stream, reference.seq - 1, 1)
        if events and events[0].seq == reference.seq:
            return without_secrets(events[0])
        DROPPED.labels("unknown").inc()
        logger.error("%s has no event %d, although the log names it", stream, reference.seq)
        return None

    def _tell(self, event: Event, followers: Sequence[OnEvent]) -> None:
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

    # -- reading -------------------------------------------------------------------------------------------------------

    def list_partitions(self, kinds: Sequence[str]) -> list[str]:
        """Rooms and users are parted by a hash of their ids; the workspace is one."""
        return list_partitions(kinds)

    async def read(self, partition: str, position: str) -> Reading:
        """Reads what is stored of a partition."""
        await self._declare()
        kind = partition.partition(".")[0]

        async def decode(message: Msg) -> Event | None:
            event = self._decoder.decode(message)
            if event is None:
                return None
            subject = self._subjects.of_stream(event.stream_kind, event.stream_id)
            if event.stream_kind != kind or subject.rpartition(".")[2] != message.subject.rpartition(".")[2]:
                self._decoder.drop("misplaced", message)
                return None
            return await self._fetch(event) if is_reference(message) else event

        reading = JetStreamReading(
            self._connection,
            self._streams[KINDS.index(kind)].name,
            self._subjects.of_partition(partition),
            decode,
            lambda: self._readings.discard(reading),
        )
        try:
            await reading.open(position)
        except (ApiError, NoResponders):
            self._declared = -1
            raise
        self._readings.add(reading)
        return reading

    def _tell_gap(self) -> None:
        GAPS.inc()
        for reading in self._readings:
            reading.end("the connection was lost")
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
