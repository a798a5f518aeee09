"""One connection to NATS, as the log and the live port need it: bounded, ordered, and honest about what it missed.

Over nats-py this adds: failure as `errors.Unavailable`, at once while NATS is away (nothing is kept to be sent late);
subscriptions whose callback runs where the message is read; replies; a new connection when nats-py gives one up.
Used by `log/jetstream.py` and `live/nats.py` only.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import Counter, Histogram

from palaver.config import ConfigError
from palaver.errors import Unavailable
from palaver.log.addresses import find_login, without_passwords
from palaver.log.interests import Interest, OnRawMessage, Straight
from palaver.log.replies import answered, parse_reply

logger = logging.getLogger(__name__)

RECONNECTS = Counter("palaver_nats_reconnects_total", "Connections to NATS that were made anew", ["connection"])
ANSWER_SECONDS = Histogram(
    "palaver_nats_reply_seconds",
    "Time until NATS has answered: requests, round trips, and batches of events that JetStream stores",
    ["connection"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
UNANSWERED = Counter("palaver_nats_replies_missed_total", "Answers of NATS that did not come in time", ["connection"])

# What the adapters declare needs it: older servers drop the options that they don't know without a word.
MINIMUM_VERSION = (2, 11)

PING_SECONDS = 2.0
CONNECT_SECONDS = 2.0
OPEN_SECONDS = 15.0
REPLY_SECONDS = 5.0
RETRY_SECONDS = 0.5
SILENT_SECONDS = 8.0
"""After so long without an answer a connection is torn down, whatever of it is unsent."""

_FAILURES = (nats.errors.Error, OSError, TimeoutError)


class Connection:
    """Connects, and stays connected. Everything that talks to the server raises Unavailable when that fails."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        on_gap: Callable[[], None],
        on_reconnect: Callable[[], Awaitable[None]],
        authority: str = "",
    ) -> None:
        """`on_gap` is called when messages may have been missed, `on_reconnect` after it, to mend what is gone.

        `authority`: the PEM file of who signs the server's certificate; empty: whom the system trusts.
        """
        self.url = url
        self.name = name
        self._reply_seconds = ANSWER_SECONDS.labels(name)
        self._authority = authority
        self._on_gap = on_gap
        self._on_reconnect = on_reconnect
        self._client = Client()
        self.losses = 0  # how often the connection was lost
        self._is_open = False
        self._complaint = ""  # what says most of why it could not connect
        self._reviving: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._interests: set[Interest] = set()
        self._inbox = ""
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._last_reply = 0
        self._round: asyncio.Task[None] | None = None

    # -- coming and going ----------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects. Raises Unavailable when nothing answers, ConfigError when the server is too old, or what it is to
        be known by can't be read.
        """
        try:
            self._trust()
        except OSError as error:
            raise ConfigError(f"PALAVER_NATS_AUTHORITY: {error}") from error
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._connect()
        except _FAILURES as error:
            await self._client.close()
            reason = str(error) or f"nothing in {OPEN_SECONDS:g} seconds{self._complaint}"
            raise Unavailable(f"NATS does not answer at {without_passwords(self.url)}: {reason}") from error
        self._is_open = True
        version = self._client.connected_server_version
        if (version.major, version.minor) < MINIMUM_VERSION:
            await self.close()
            wanted = ".".join(map(str, MINIMUM_VERSION))
            found = f"{version.major}.{version.minor}.{version.patch}"
            raise ConfigError(f"PALAVER_NATS_URL: nats-server {found} is too old, {wanted} or newer is needed")
        self._inbox = self._client.new_inbox()
        await self.subscribe(f"{self._inbox}.*", self._on_reply)
        await self.settle()
        self._watching = asyncio.create_task(self._watch(), name=f"watch {self.name}")

    async def close(self) -> None:
        """Closes. Subscriptions end with it."""
        was_open, self._is_open = self._is_open, False
        tasks = [task for task in (self._reviving, self._watching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._interests.clear()
        self._give_up()
        if was_open:
            closing = asyncio.create_task(self._client.close(), name=f"close {self.name}")
            await asyncio.wait([closing], timeout=CONNECT_SECONDS)
            self._abort()
            await closing

    def _trust(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self._authority) if self._authority else None

    async def _connect(self) -> None:
        self._client = Client()
        login = find_login(self.url)  # which nats-py would send as it stands in the address, quoted
        try:
            await self._client.connect(
                self.url.split(","),
                name=self.name,
                ping_interval=cast(int, PING_SECONDS),
                max_outstanding_pings=2,
                connect_timeout=cast(int, CONNECT_SECONDS),
                reconnect_time_wait=cast(int, RETRY_SECONDS),
                max_reconnect_attempts=-1,
                flush_timeout=CONNECT_SECONDS,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                closed_cb=self._on_closed,
                tls=self._trust(),
                user=login.user,
                password=login.password,
                token=login.token,
            )
        except asyncio.CancelledError:
            await self._client.close()
            raise

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, nats.errors.SlowConsumerError):
            logger.warning("NATS messages were dropped by %s: %s", self.name, error)
            self._on_gap()
        else:
            # One for each attempt to reconnect; the two lines that matter are written below. A server that refuses
            # often closes before its reason is read, so a reason that was read outlives connections that just broke.
            if not self._complaint or not isinstance(error, ConnectionError):
                self._complaint = f", but {error}"
            logger.debug("NATS connection %s: %s", self.name, error)

    async def _on_disconnected(self) -> None:
        if self._is_open:
            logger.warning("the NATS connection %s is lost", self.name)
        self.losses += 1
        self._give_up()

    def _give_up(self) -> None:
        """No reply will come on a connection that is gone: whoever waits need not wait to the end."""
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable("the connection to NATS was lost"))
                answer.exception()  # a waiter that has left by itself leaves no warning behind

    async def _on_reconnected(self) -> None:
        logger.warning("the NATS connection %s is back", self.name)
        RECONNECTS.labels(self.name).inc()
        self._on_gap()
        try:
            await self._on_reconnect()
        except Unavailable as error:
            logger.warning("after reconnecting %s: %s", self.name, error)

    async def _on_closed(self) -> None:
        """nats-py gives up for good after some errors of the server, such as an expired credential."""
        if self._is_open and self._reviving is None:
            logger.error("the NATS connection %s was closed: %s", self.name, self._client.last_error)
            self._reviving = asyncio.create_task(self._revive(), name=f"revive {self.name}")

    async def _watch(self) -> None:
        """Tears down a connection on which nothing is answered.

        nats-py closes it in order, and waits until all is sent: for a vanished host that is a quarter of an hour.
        """
        socket, proved_at = None, 0.0
        while True:
            if (current := self._find_socket()) is not socket:
                socket, proved_at = current, time.monotonic()
            try:
                await self.settle()
                proved_at = time.monotonic()
            except Unavailable:
                if time.monotonic() - proved_at > SILENT_SECONDS and socket is self._find_socket():
                    self._abort()
            await asyncio.sleep(PING_SECONDS)

    def _find_socket(self) -> asyncio.WriteTransport | None:
        writer = getattr(self._client._transport, "_io_writer", None)
        return None if writer is None else writer.transport

    def _abort(self) -> None:
        if (socket := self._find_socket()) is not None:
            socket.abort()

    async def _revive(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    await self._connect()
                    for interest in list(self._interests):
                        await self._subscribe(interest)
                    await self.settle()
                break
            except Exception as error:  # whatever it is: without this task there will be no connection any more
                logger.warning("the NATS connection %s can't be made anew yet: %r", self.name, error)
                with contextlib.suppress(Exception):
                    await self._client.close()
        self._reviving = None
        await self._on_reconnected()

    # -- talking -------------------------------------------------------------------------------------------------------

    @property
    def max_payload(self) -> int:
        """The largest message that the server takes, in bytes."""
        return self._client.max_payload

    @property
    def server_id(self) -> str:
        """Of the server that this is connected to; it takes another one each time that it is started."""
        return str(self._client._server_info.get("server_id", ""))

    def check_connected(self) -> None:
        """Raises Unavailable while the connection is lost."""
        if not self._client.is_connected:
            raise Unavailable("NATS is away")

    async def publish(
        self, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Sends one message; it is not known whether it arrives."""
        self.check_connected()
        try:
            await self._client.publish(subject, payload, reply, headers)
        except _FAILURES as error:
            raise Unavailable(f"NATS: {error}") from error

    async def subscribe(self, subject: str, on_message: OnRawMessage) -> Interest:
        """Subscribes; the server knows of it when a `settle` begun afterwards returns."""
        self.check_connected()
        interest = Interest(subject, on_message)
        await self._subscribe(interest)
        self._interests.add(interest)
        return interest

    async def _subscribe(self, interest: Interest) -> None:
        try:
            subscription = await self._client.subscribe(interest.subject, pending_bytes_limit=0)
        except _FAILURES as error:
            raise Unavailable(f"NATS: {error}") from error
        queue = subscription._pending_queue
        subscription._pending_queue = cast("asyncio.Queue[Msg]", Straight(interest.on_message))
        subscription._message_iterator = None
        while not queue.empty():  # what came between the two lines above
            interest.on_message(queue.get_nowait())
        interest.subscription = subscription

    async def unsubscribe(self, interest: Interest) -> None:
        """Ends a subscription. Never fails: without a connection there is nothing left to end."""
        self._interests.discard(interest)
        subscription, interest.subscription = interest.subscription, None
        if subscription is not None:
            try:
                await subscription.unsubscribe()
            except _FAILURES as error:
                logger.debug("unsubscribing from %s: %s", interest.subject, error)

    async def settle(self) -> None:
        """Returns when the server has handled everything that was sent before. One round trip serves all who wait."""
        if self._round is None:
            self._round = asyncio.create_task(self._settle(), name="settle")
            self._round.add_done_callback(
                lambda round: round.cancelled() or round.exception()
            )  # somebody may have left
        await asyncio.shield(self._round)

    async def _settle(self) -> None:
        await asyncio.sleep(0)  # whoever comes within this turn of the loop goes along
        self._round = None
        # Not nats-py's flush: its PING overtakes commands that are still waiting in its buffer.
        token, answer = self.expect()
        try:
            await self.publish(self.reply_to(token), b"")
        except Unavailable:
            self.forget([answer])
            raise
        await self.wait([answer])

    def expect(self) -> "tuple[str, asyncio.Future[Msg]]":
        """A token for a reply subject (`reply_to`), and the future message that comes there."""
        self._last_reply += 1
        token = str(self._last_reply)
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer
        return token, answer

    def reply_to(self, token: str) -> str:
        return f"{self._inbox}.{token}"

    def new_inbox(self) -> str:
        """A subject of one's own, for several replies: subscribe to it."""
        return self._client.new_inbox()

    async def wait(self, answers: "Sequence[asyncio.Future[Msg]]") -> list[Msg]:
        """The messages, when all have come. Raises Unavailable when some don't, and no longer waits for those."""
        started = time.perf_counter()
        try:
            await asyncio.wait(answers, timeout=REPLY_SECONDS)
        finally:
            late = self.forget(answers)
        self._reply_seconds.observe(time.perf_counter() - started)
        if late:
            UNANSWERED.labels(self.name).inc(late)
            raise Unavailable("NATS does not answer in time")
        return [answer.result() for answer in answers]

    def forget(self, answers: "Sequence[asyncio.Future[Msg]]") -> int:
        """No longer waits for those that have not come; how many they are."""
        late = [answer for answer in answers if not answer.done()]
        if late:
            for answer in late:
                answer.cancel()
            self._waiting = {token: answer for token, answer in self._waiting.items() if not answer.done()}
        return len(late)

    async def request(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> Msg:
        """Sends one message and returns the reply. Raises NoResponders when nobody listens there."""
        token, answer = self.expect()
        try:
            await self.publish(subject, payload, self.reply_to(token), headers)
        except Unavailable:
            self.forget([answer])
            raise
        return answered((await self.wait([answer]))[0])

    async def api(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request to JetStream's own API. Raises ApiError for what it refuses, NoResponders where it is off."""
        return parse_reply(await self.request(f"$JS.API.{subject}", orjson.dumps(body)))

    def _on_reply(self, message: Msg) -> None:
        answer = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if answer is not None and not answer.done():
            answer.set_result(message)
