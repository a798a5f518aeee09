"""The log as stored in MongoDB: what of it is to be published (again). Called by `mongo.py`."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from palaver.database import Stream
from palaver.database.mongo_connection import MotorCollection
from palaver.database.unpublished import decode
from palaver.v1.event_pb2 import Event

MARKED_AT_ONCE = 1000
_STREAMS_AT_ONCE = 100


def now() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


def decode_all(found: Iterable[dict[str, Any]]) -> list[Event]:
    """Events that are to be published."""
    return [event for one in found for event in decode(one["body"], one.get("retold"), one["_id"])]


async def mark_some_unpublished(events: MotorCollection, since: int, until: int) -> int:
    """Has some of those that were marked between these times published again. Returns how many: fewer than
    MARKED_AT_ONCE when these were the last."""
    marked = {"published": {"$gte": max(since, 2), "$lte": until}}
    cursor = events.find(marked, {"_id": 1}).sort("published", 1).limit(MARKED_AT_ONCE)
    ids = [found["_id"] for found in await cursor.to_list(None)]
    if ids:
        await events.update_many({"_id": {"$in": ids}}, {"$set": {"published": False, "retold": True}})
    return len(ids)


async def list_unpublished_before(events: MotorCollection, seqs: Mapping[Stream, int], limit: int) -> list[Event]:
    """Of each of these streams the events below its seq that are to be published, by stream and seq."""
    found: list[Event] = []
    order = [("stream_kind", 1), ("stream_id", 1), ("seq", 1)]
    streams = sorted(seqs)
    for start in range(0, len(streams), _STREAMS_AT_ONCE):
        if len(found) >= limit:
            break
        before = [
            {"stream_kind": stream.kind, "stream_id": stream.id, "seq": {"$lt": seqs[stream]}, "published": False}
            for stream in streams[start : start + _STREAMS_AT_ONCE]
        ]
        cursor = events.find({"$or": before}, {"body": 1, "retold": 1}).sort(order).limit(limit - len(found))
        found += decode_all(await cursor.to_list(None))
    return found
