"""A small application for the suite: its events carry their own puts, so any sequence of writes can be tried.

`fold` says in plain Python what the documents of a stream must be after its events: the suite's other opinion.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from palaver.database import STREAM_COLLECTIONS, Database, Document, Put, Stream, StreamConflict, stream_document_id
from palaver.v1.event_pb2 import Event

ROOM = Stream("room", "room.1")
OTHER_ROOM = Stream("room", "room 2/ü*>")
USER = Stream("user", "rocket.cat")
WORKSPACE = Stream("workspace", "")


def make_event(stream: Stream, seq: int, puts: Sequence[Put] = (), *, command_id: str = "", at: int = 1000) -> Event:
    """An event with the puts that `project` takes out again. Its command is named after its seq unless it is given."""
    event = Event(
        stream_kind=stream.kind, stream_id=stream.id, seq=seq, at=at, command_id=command_id or f"command {seq}"
    )
    plain = [[put.collection, put.id, put.insert, put.set, list(put.unset)] for put in puts]
    event.room_changed.set = orjson.dumps(plain)
    return event


def project(event: Event) -> list[Put]:
    """The puts of one event."""
    plain = orjson.loads(event.room_changed.set)
    return [Put(collection, id, insert, set, tuple(unset)) for collection, id, insert, set, unset in plain]


def new_room(**fields: object) -> Put:
    """Makes the room ROOM."""
    return Put("rooms", ROOM.id, insert={"_id": ROOM.id, "t": "c", **fields})


async def commit(
    database: Database, stream: Stream, seq: int, *puts: Put, command_id: str = "", at: int = 1000
) -> Event:
    """Commits one event with these puts."""
    event = make_event(stream, seq, puts, command_id=command_id, at=at)
    await database.commit(stream, [event], [project(event)])
    return event


async def insert(database: Database, collection: str, *documents: Document) -> None:
    """Creates documents by one event of a stream of their own."""
    stream = Stream("room", f"source of {collection}")
    seq = await database.get_head(stream) + 1
    await commit(database, stream, seq, *(Put(collection, document["_id"], insert=document) for document in documents))


async def get_applied(database: Database, stream: Stream) -> int:
    """The last event of the stream that its document has seen."""
    document = await database.get(STREAM_COLLECTIONS[stream.kind], stream_document_id(stream))
    return 0 if document is None else int(document.get("applied_seq", 0))


async def catch_up(database: Database, stream: Stream, limit: int = 1000) -> int:
    """Applies what is appended and not yet applied, as any writer does first. Returns the head."""
    while True:
        events = await database.list_events(stream, await get_applied(database, stream), limit)
        if not events:
            return await get_applied(database, stream)
        await database.apply(stream, events, [project(event) for event in events])


async def append(database: Database, stream: Stream, command_id: str, puts: Sequence[Put]) -> Event:
    """Commits a command once, however often it is tried and whoever else writes: the protocol of `commit.py`, bare."""
    for _ in range(1000):
        head = await catch_up(database, stream)
        if (known := await database.find_event(stream, command_id)) is not None:
            if known.seq <= await get_applied(database, stream):
                return known
            continue
        event = make_event(stream, head + 1, puts, command_id=command_id)
        try:
            await database.commit(stream, [event], [project(event)])
        except StreamConflict:
            continue
        return event
    raise AssertionError(f"{stream} is never free")


async def read_log(database: Database, stream: Stream) -> list[Event]:
    """All events of the stream."""
    events: list[Event] = []
    while more := await database.list_events(stream, len(events), 100):
        events += more
    return events


def fold(events: Iterable[Event]) -> dict[tuple[str, str], Document]:
    """What one stream's events make of documents that nobody else writes, `applied_seq` of its own included."""
    documents: dict[tuple[str, str], Document] = {}
    for event in events:
        own = (STREAM_COLLECTIONS[event.stream_kind], event.stream_id or "workspace")
        for put in project(event):
            key = (put.collection, put.id)
            if put.insert is not None:
                documents.setdefault(key, {**put.insert})
            elif key in documents:
                documents[key].update(put.set)
                for name in put.unset:
                    documents[key].pop(name, None)
        documents.setdefault(own, {"_id": own[1]})["applied_seq"] = event.seq
    return documents


def plain(document: Document | None) -> Any:
    """The document without what only stream documents carry."""
    return None if document is None else {key: value for key, value in document.items() if key != "applied_seq"}
