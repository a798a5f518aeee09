"""The live port of a cluster, over NATS.

Publishing and subscribing are core NATS. Leases and keys are the last messages of two streams in memory
(`log/streams.py`), where the server ends each by the message's own TTL: only its clock counts. A lease is taken by
the condition "nothing stands there" and renewed by "what stands there is what I wrote last"; the server checks both.

A server that loses its memory frees every lease: what a lease guards must bear two holders for a moment. Chosen by
`node.py` when NATS is configured.
"""

import asyncio
import base64
import logging
import math
from collections.abc import Sequence
from typing import Any

from nats.aio.msg import Msg

from palaver.errors import Unavailable
from palaver.live import OnGap, OnMessage, Subscription
from palaver.live.subjects import check_pattern, check_subject, tell
from palaver.log import connection
from palaver.log.connection import Connection
from palaver.log.interests import Interest
from palaver.log.replies import ApiError, NoResponders, parse_reply
from palaver.log.streams import Subjects, declare, live_streams

logger = logging.getLogger(__name__)

_NOT_FOUND = 10037
_WRONG_LAST_SEQUENCE = 10071, 10164
_NOTHING_TO_DELETE = 10043, 10057
_STREAM_NOT_FOUND = 10059
_ATTEMPTS = 8
_PAGE = 500


class NatsLive:
    """Whole seconds only: NATS counts the end of leases and keys in them, so fractions are rounded up."""

    def __init__(self, url: str, workspace: str, *, replicas: int = 1, authority: str = "") -> None:
        """`url`: one or more of nats://host:port, with commas between them. `replicas` of leases and keys.

        `authority`: the PEM file of who signs the server's certificate; empty: whom the system trusts.
        """
        self._subjects = Subjects(workspace)
        self._streams = live_streams(workspace)
        self._lease_stream, self._key_stream = (stream.name for stream in self._streams)
        self._replicas = replicas
        self._connection = Connection(
            url, "live", on_gap=self._tell_gap, on_reconnect=self._declare, authority=authority
        )
        self._on_gap: list[OnGap] = []
        # The revision at which this process wrote a lease last: renewing it is one message.
        self._revisions: dict[tuple[str, str], int] = {}

    async def open(self) -> None:
        """Connects and declares the streams. Raises Unavailable, or ConfigError when the server is too old."""
        await self._connection.open()
        try:
            await self._declare()
        except BaseException:
            await self._connection.close()
            raise

    async def close(self) -> None:
        """Disconnects. Leases and keys stay until they end."""
        await self._connection.close()

    async def _declare(self) -> None:
        await declare(self._connection, self._streams, self._replicas)

    def on_gap(self, callback: OnGap) -> None:
        """Registers a callback for reconnects and for messages that NATS or its client dropped."""
        self._on_gap.append(callback)

    def _tell_gap(self) -> None:
        for callback in self._on_gap:
            try:
                callback()
            except Exception:
                logger.exception("a subscriber failed on a gap")

    # -- telling -------------------------------------------------------------------------------------------------------

    async def publish(self, subject: str, message: bytes) -> None:
        """Tells whoever is subscribed at this moment. Raises ValueError for what is no subject."""
        check_subject(subject)
        await self._connection.publish(f"{self._subjects.live}.{subject}", message)

    async def subscribe(self, subject: str, on_message: OnMessage) -> Subscription:
        """Subscribes; NATS knows of it when this returns. Raises ValueError for what is no subject."""
        check_pattern(subject)

        def on_raw(raw: Msg) -> None:
            tell(on_message, raw.subject, raw.data)

        interest = await self._connection.subscribe(f"{self._subjects.live}.{subject}", on_raw)
        try:
            await self._connection.settle()
        except BaseException:
            await self._connection.unsubscribe(interest)
            raise
        return _Subscription(self._connection, interest)

    # -- leases --------------------------------------------------------------------------------------------------------

    async def acquire(self, name: str, holder: str, seconds: float) -> bool:
        """Takes or renews the lease; False while another holder has it, or when others are faster again and again."""
        check_subject(name)
        subject = f"{self._subjects.leases}.{name}"
        key = (name, holder)
        expected = self._revisions.pop(key, 0)
        for _ in range(_ATTEMPTS):
            try:
                headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
                self._revisions[key] = await self._store(subject, holder.encode(), seconds, headers)
                return True
            except ApiError as error:
                if error.number not in _WRONG_LAST_SEQUENCE:
                    raise
            found = await self._find(self._lease_stream, subject)
            if found is None:
                expected = 0
            elif found[0] == holder.encode():
                expected = found[1]
            else:
                return False
        return False

    async def release(self, name: str, holder: str) -> None:
        """Ends the lease if this holder has it."""
        check_subject(name)
        # The revision is the condition: a lease that was renewed or taken meanwhile is another message.
        revision = self._revisions.pop((name, holder), 0)
        if revision and await self._delete(self._lease_stream, revision):
            return
        found = await self._find(self._lease_stream, f"{self._subjects.leases}.{name}")
        if found is not None and found[0] == holder.encode():
            await self._delete(self._lease_stream, found[1])

    # -- keys ----------------------------------------------------------------------------------------------------------

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Sets the key for `seconds`."""
        check_subject(key)
        await self._store(f"{self._subjects.keys}.{key}", value, seconds, {})

    async def get(self, key: str) -> bytes | None:
        """The key's value, or None when it is not set or has ended."""
        check_subject(key)
        found = await self._find(self._key_stream, f"{self._subjects.keys}.{key}")
        return None if found is None else found[0]

    async def delete(self, key: str) -> None:
        """Ends the key; one that is not there is no error."""
        check_subject(key)
        await self._api(f"STREAM.PURGE.{self._key_stream}", {"filter": f"{self._subjects.keys}.{key}"})

    async def list(self, prefix: str) -> dict[str, bytes]:
        """The keys that are `prefix` or lie below it as a dotted path, with their values; all for "".

        With several replicas it may miss what was written within the last milliseconds.
        """
        if prefix:
            check_subject(prefix)
        root = f"{self._subjects.keys}."
        found: dict[str, bytes] = {}
        if prefix and (value := await self.get(prefix)) is not None:
            found[prefix] = value
        pattern = f"{root}{prefix}.>" if prefix else f"{root}>"
        after = 0
        while after >= 0:
            try:
                messages, after = await self._read_page(pattern, after)
            except NoResponders:
                await self._declare()
                messages, after = await self._read_page(pattern, after)
            for message in messages:
                headers = message.headers or {}
                # A key that is put again while this reads on is met again further on.
                found[headers["Nats-Subject"].removeprefix(root)] = message.data
        return found

    async def _read_page(self, pattern: str, after: int) -> tuple[Sequence[Msg], int]:
        """Up to `_PAGE` messages after this revision, and after which to go on: -1 when these were the last."""
        messages = []
        complete: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def on_message(message: Msg) -> None:
            headers = message.headers or {}
            status = headers.get("Status", "")
            if complete.done():
                return
            if status == "404":  # nothing left
                complete.set_result(-1)
            elif status == "204":  # the page's end
                last = headers.get("Nats-Num-Pending") == "0"
                complete.set_result(-1 if last else int(headers["Nats-Last-Sequence"]))
            elif status == "503":
                complete.set_exception(NoResponders("NATS: nobody answers"))
            elif status:
                complete.set_exception(Unavailable(f"NATS: {headers.get('Description', status)}"))
            else:
                messages.append(message)

        inbox = self._connection.new_inbox()
        interest = await self._connection.subscribe(inbox, on_message)
        try:
            async with asyncio.timeout(connection.REPLY_SECONDS):
                await self._connection.publish(
                    f"$JS.API.DIRECT.GET.{self._key_stream}",
                    f'{{"seq":{after + 1},"batch":{_PAGE},"next_by_subj":"{pattern}"}}'.encode(),
                    inbox,
                )
                return messages, await complete
        except TimeoutError as error:
            raise Unavailable("NATS does not answer in time") from error
        finally:
            await self._connection.unsubscribe(interest)

    # -- both ----------------------------------------------------------------------------------------------------------

    async def _store(self, subject: str, value: bytes, seconds: float, headers: dict[str, str]) -> int:
        """Writes one message that ends by itself; its revision. Raises ApiError when a condition in `headers` fails."""
        headers["Nats-TTL"] = f"{max(1, math.ceil(seconds))}s"
        try:
            reply = parse_reply(await self._connection.request(subject, value, headers))
        except NoResponders:
            await self._declare()
            reply = parse_reply(await self._connection.request(subject, value, headers))
        return int(reply["seq"])

    async def _find(self, stream: str, subject: str) -> tuple[bytes, int] | None:
        """The value and revision that stand at a subject, as the stream's leader knows them."""
        try:
            reply = await self._api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        except ApiError as error:
            if error.number == _NOT_FOUND:
                return None
            raise
        message = reply["message"]
        return base64.b64decode(message.get("data", "")), int(message["seq"])

    async def _delete(self, stream: str, revision: int) -> bool:
        """Whether this revision still stood there."""
        try:
            await self._api(f"STREAM.MSG.DELETE.{stream}", {"seq": revision, "no_erase": True})
        except ApiError as error:
            if error.number not in _NOTHING_TO_DELETE:
                raise
            return False
        return True

    async def _api(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._connection.api(subject, body)
        except ApiError as error:
            if error.number != _STREAM_NOT_FOUND:
                raise
        await self._declare()
        return await self._connection.api(subject, body)


class _Subscription:
    __slots__ = ("_connection", "_interest")

    def __init__(self, connection: Connection, interest: Interest) -> None:
        self._connection = connection
        self._interest = interest

    async def stop(self) -> None:
        """Stops; twice is once."""
        await self._connection.unsubscribe(self._interest)
