"""An event as a message of NATS. Called by `jetstream.py` only."""

import logging
import time

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from prometheus_client import Counter

from palaver.log.secrets import without_secrets
from palaver.v1.event_pb2 import Event

logger = logging.getLogger(__name__)

DROPPED = Counter("palaver_log_messages_dropped_total", "Messages on the log's subjects that are no event", ["reason"])
TOO_LARGE = Counter("palaver_log_events_too_large_total", "Events that NATS does not carry, published as references")

VERSION_HEADER = "Palaver-Event"
VERSION = "1"
REFERENCE_HEADER = "Palaver-Reference"

SHOWN_ONLY = {"Nats-Expected-Stream": "none"}
"""A header with which a message reaches whoever follows its subject, and no stream: JetStream stores it only in one of
this name, which there is not."""

_HEADER_BYTES = 512
_COMPLAIN_SECONDS = 10.0


def encode(event: Event, subject: str, max_payload: int) -> tuple[bytes, dict[str, str]]:
    """The payload and the headers. An event that is too large goes as a reference: without its fact."""
    payload = without_secrets(event).SerializeToString()
    headers = {VERSION_HEADER: VERSION}
    if len(payload) > max_payload - _HEADER_BYTES:
        TOO_LARGE.inc()
        logger.warning("%s: %d bytes are sent as a reference, NATS takes %d", subject, len(payload), max_payload)
        headers[REFERENCE_HEADER] = "1"
        payload = Event(
            stream_kind=event.stream_kind,
            stream_id=event.stream_id,
            seq=event.seq,
            also_tell=event.also_tell,
            retold=event.retold,
        ).SerializeToString()
    return payload, headers


class Decoder:
    """Takes the event out of messages; what holds none is counted, and told of now and then."""

    def __init__(self) -> None:
        self._complaints: dict[str, float] = {}  # when each reason was last told of

    def decode(self, message: Msg) -> Event | None:
        """The event, or None for what is not ours or of a version that this process does not know.

        An event with a fact unknown here is delivered: its followers count its `seq`.
        """
        version = None if message.headers is None else message.headers.get(VERSION_HEADER)
        if version == VERSION:
            try:
                return Event.FromString(message.data)
            except DecodeError:
                self.drop("undecodable", message)
        else:
            self.drop("foreign" if version is None else "version", message)
        return None

    def drop(self, reason: str, message: Msg) -> None:
        """Counts a message that is not looked at any further."""
        DROPPED.labels(reason).inc()
        now = time.monotonic()
        if now - self._complaints.get(reason, -_COMPLAIN_SECONDS) >= _COMPLAIN_SECONDS:
            self._complaints[reason] = now
            logger.warning("a message on %s was dropped: %s", message.subject, reason)


def is_reference(message: Msg) -> bool:
    """Whether the message only names its event."""
    return message.headers is not None and REFERENCE_HEADER in message.headers


def message_id(subject: str, seq: int) -> str:
    """<stream kind>/<stream id>/<seq>, with the id as it stands in the subject: a header holds no line breaks."""
    kind, _, id = subject.split(".", 2)[2].partition(".")
    return f"{kind}/{id}/{seq}"
