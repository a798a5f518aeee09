"""Events that are to be published, as an adapter has read them. Called by both adapters."""

import logging

from google.protobuf.message import DecodeError
from prometheus_client import Counter

from palaver.v1.event_pb2 import Event

logger = logging.getLogger(__name__)

UNREADABLE = Counter("palaver_events_unreadable_total", "Stored events that could not be read to be published")


def decode(body: bytes, retold: object, name: object) -> list[Event]:
    """The event; none if it can't be read: what is broken must not keep the others from being told."""
    try:
        event = Event.FromString(body)
    except DecodeError:
        UNREADABLE.inc()
        logger.error("the stored event %s can't be read", name)
        return []
    event.retold = bool(retold)
    return [event]
