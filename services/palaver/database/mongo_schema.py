"""What a MongoDB database of Palaver has: collections and indexes.

    events    one document an event; `_id` is its stream and its seq: unique, and ranges need no other index
    claims    unique names and their owners
    records   what is no projection of events; `_id` is its kind and its id
    schema    "version" and, while somebody migrates, "lock" (`mongo_migrate.py`)
    and the collections of `schema.py`

Called by `mongo.py`, and by the migrations.
"""

from typing import Any

from pymongo import IndexModel

from palaver.database import Stream
from palaver.database.mongo_connection import MotorDatabase
from palaver.database.mongo_values import WORDS
from palaver.database.schema import COLLECTIONS, Collection, Index
from palaver.ids import encode_subject_token

EVENTS = "events"
CLAIMS = "claims"
RECORDS = "records"

# By which declared field the keys of a searched text are grouped: people search in a room.
_TEXT_PREFIX = {"messages": ("rid",)}


def event_id(stream: Stream, seq: int) -> str:
    """The `_id` of an event: sorts by seq within its stream."""
    return f"{stream.kind}/{encode_subject_token(stream.id)}/{seq:016d}"


def event_range(stream: Stream, after: int = 0) -> dict[str, Any]:
    """The filter for the events of a stream with a seq above `after`."""
    return {"_id": {"$gt": event_id(stream, after), "$lte": event_id(stream, 10**16 - 1)}}


# -- indexes ---------------------------------------------------------------------------------------------------------


async def create_everything(database: MotorDatabase) -> None:
    """All indexes that are not there yet; collections come with them, or with their first document."""
    await database[EVENTS].create_indexes(
        [
            IndexModel([("stream_kind", 1), ("stream_id", 1), ("command_id", 1)], name="command", unique=True),
            IndexModel(
                [("stream_kind", 1), ("stream_id", 1), ("seq", 1), ("at", 1)],
                name="unpublished",
                partialFilterExpression={"published": False},
            ),
        ]
    )
    await create_published_index(database)
    for name, collection in COLLECTIONS.items():
        if indexes := _indexes_of(name, collection):
            await database[name].create_indexes(indexes)


async def create_published_index(database: MotorDatabase) -> None:
    """`published` is false, or when it was (epoch ms); true of events that were marked before that was written down."""
    recent = IndexModel([("published", 1)], name="published", partialFilterExpression={"published": {"$gt": 1}})
    await database[EVENTS].create_indexes([recent])


def _indexes_of(name: str, collection: Collection) -> list[IndexModel]:
    indexes = [create_index(index) for index in collection.indexes]
    # What a list holds is always looked up; SQLite has a table for that.
    indexes += [create_index(Index((field,))) for field, type in collection.fields.items() if type == "list"]
    if collection.text:
        indexes.append(IndexModel([(field, 1) for field in (*_TEXT_PREFIX.get(name, ()), WORDS)], name="text"))
    return indexes


def create_index(index: Index) -> IndexModel:
    """A declared index, as MongoDB wants it."""
    fields = dict.fromkeys((*([index.absent] if index.absent else []), *index.fields, *index.parts))
    options: dict[str, Any] = {"name": ", ".join(fields)}
    if index.unique:
        options["unique"] = True
    if index.where:
        options["partialFilterExpression"] = {index.where: {"$exists": True}}
    return IndexModel([(field, 1) for field in fields], **options)


async def drop_index(database: MotorDatabase, collection: str, index: Index) -> None:
    """Drops what `create_index` once made, if it is there."""
    if collection in await database.list_collection_names():
        name = create_index(index).document["name"]
        if name in await database[collection].index_information():
            await database[collection].drop_index(name)
