"""What a MongoDB database of Palaver has: collections, indexes, the number of its schema, and the lock to change it.

    events    one document an event; `_id` is its stream and its seq: unique, and ranges need no other index
    claims    unique names and their owners
    schema    "version" and, while somebody migrates, "lock"
    and the collections of `schema.py`

Called by `mongo.py`, and by the migrations.
"""

import asyncio
import logging
import time
from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from palaver.database import Stream
from palaver.database.migrations import MIGRATIONS, list_pending
from palaver.database.mongo_values import WORDS
from palaver.database.schema import COLLECTIONS, Collection, Index
from palaver.errors import Unavailable
from palaver.ids import encode_subject_token, new_id

logger = logging.getLogger(__name__)

MotorDatabase = AsyncIOMotorDatabase[dict[str, Any]]

EVENTS = "events"
CLAIMS = "claims"
SCHEMA = "schema"

LOCK_SECONDS = 30.0
WAIT_SECONDS = 300.0

# By which declared field the words of a searched text are grouped: people search in a room, or in their rooms.
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
    for name, collection in COLLECTIONS.items():
        if indexes := _indexes_of(name, collection):
            await database[name].create_indexes(indexes)


def _indexes_of(name: str, collection: Collection) -> list[IndexModel]:
    indexes = [create_index(index) for index in collection.indexes]
    if collection.text:
        indexes.append(IndexModel([(field, 1) for field in (*_TEXT_PREFIX.get(name, ()), WORDS)], name="text"))
    return indexes


def create_index(index: Index) -> IndexModel:
    """A declared index, as MongoDB wants it."""
    options: dict[str, Any] = {"name": ", ".join(index.fields)}
    if index.unique:
        options["unique"] = True
    if index.where:
        options["partialFilterExpression"] = {index.where: {"$exists": True}}
    return IndexModel([(field, 1) for field in index.fields], **options)


# -- migrations ------------------------------------------------------------------------------------------------------


async def migrate(database: MotorDatabase) -> None:
    """Brings the schema to this version, one process at a time. Raises NewerSchema, or Unavailable after long waits."""
    owner = new_id()
    deadline = time.monotonic() + WAIT_SECONDS
    while list_pending(await _get_version(database), MIGRATIONS):
        if await _lock(database, owner):
            try:
                for migration in list_pending(await _get_version(database), MIGRATIONS):
                    logger.info("migrating: %s", migration.sentence)
                    await _run_locked(database, owner, migration.mongo(database))
                    await database[SCHEMA].update_one(
                        {"_id": "version"}, {"$set": {"number": migration.number}}, upsert=True
                    )
            finally:
                await database[SCHEMA].delete_one({"_id": "lock", "owner": owner})
        elif time.monotonic() > deadline:
            raise Unavailable("another process has been migrating the database for too long")
        else:
            await asyncio.sleep(0.1)


async def _get_version(database: MotorDatabase) -> int:
    found = await database[SCHEMA].find_one({"_id": "version"})
    return 0 if found is None else int(found["number"])


async def _lock(database: MotorDatabase, owner: str) -> bool:
    """Takes the lock, renews it, or takes over one that its owner has left. Its times are this machine's: a clock that
    is wrong lets two migrate at once, and migrations bear that."""
    now = int(time.time() * 1000)
    free = {"_id": "lock", "$or": [{"owner": owner}, {"until": {"$lt": now}}]}
    taken = {"$set": {"owner": owner, "until": now + int(LOCK_SECONDS * 1000)}}
    try:
        found = await database[SCHEMA].find_one_and_update(
            free, taken, upsert=True, return_document=ReturnDocument.AFTER
        )
    except DuplicateKeyError:  # it is there, and not free
        return False
    return bool(found["owner"] == owner)


async def _run_locked(database: MotorDatabase, owner: str, work: Any) -> None:
    """Runs one migration and keeps the lock meanwhile."""
    running = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([running], timeout=LOCK_SECONDS / 3))[0]:
            await _lock(database, owner)
        await running
    finally:
        running.cancel()
