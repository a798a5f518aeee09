"""Completing the index of searched texts in MongoDB, where a migration begins it anew.

The keys (`text.py`) stand in the documents, and the index is an ordinary one. A process of the release before writes
whole words alone: until this has passed by, a text is found by the beginnings of its words, and so is what such a
process writes after that.

One process goes through the documents by their ids, and writes down how far it has come (in `schema`): another goes on
there when it dies, and whatever is done twice is the same.
"""

import asyncio
import logging

import pymongo
from pymongo import UpdateOne

from palaver.database.mongo_connection import MotorDatabase, within
from palaver.database.mongo_migrate import LOCK_SECONDS, SCHEMA, Lock
from palaver.database.mongo_values import WORDS
from palaver.database.schema import COLLECTIONS
from palaver.database.text import keys_of
from palaver.errors import Unavailable

logger = logging.getLogger(__name__)

_AT_ONCE = 500
_PAUSE_SECONDS = 0.1
_CALL_SECONDS = 15.0


async def begin_anew(database: MotorDatabase) -> None:
    """Has all texts that are there indexed again."""
    for collection in _searched():
        if await database[collection].find_one({}, {"_id": 1}) is not None:
            await database[SCHEMA].update_one({"_id": _progress(collection)}, {"$set": {"after": ""}}, upsert=True)


async def complete(database: MotorDatabase) -> None:
    """Returns when the indexes have everything, whoever has seen to that."""
    lock = Lock(database, "lock of texts", "indexing texts")
    for collection in _searched():
        is_complete = False
        while not is_complete:
            try:
                is_complete = await _try_complete(database, collection, lock)
            except Unavailable as error:
                logger.warning("texts are not indexed at the moment: %s", error)
            if not is_complete:
                await asyncio.sleep(LOCK_SECONDS / 10)


@within(None)
async def _try_complete(database: MotorDatabase, collection: str, lock: Lock) -> bool:
    """False when it is another process's turn."""
    with pymongo.timeout(_CALL_SECONDS):
        if await database[SCHEMA].find_one({"_id": _progress(collection)}) is None:
            return True
    if not await lock.take():
        return False
    try:
        await lock.keep_during(_index_all(database, collection))
    finally:
        await lock.leave()
    return True


async def _index_all(database: MotorDatabase, collection: str) -> None:
    is_complete = False
    while not is_complete:
        with pymongo.timeout(_CALL_SECONDS):
            is_complete = await _index_some(database, collection)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _index_some(database: MotorDatabase, collection: str) -> bool:
    """A step; True when there is nothing left."""
    name = COLLECTIONS[collection].text
    schema, where = database[SCHEMA], {"_id": _progress(collection)}
    progress = await schema.find_one(where)
    if progress is None:
        return True
    cursor = database[collection].find({"_id": {"$gt": progress["after"]}}, {name: 1, WORDS: 1})
    found = await cursor.sort("_id", pymongo.ASCENDING).limit(_AT_ONCE).to_list(None)
    if not found:
        await schema.delete_one(where)
        logger.info("the texts of %s are indexed", collection)
        return True
    changes = []
    for document in found:
        text = document.get(name)
        keys = keys_of(text) if isinstance(text, str) else []
        if keys and keys != document.get(WORDS):
            # A text that has changed since has its own keys.
            changes.append(UpdateOne({"_id": document["_id"], name: text}, {"$set": {WORDS: keys}}))
    if changes:
        await database[collection].bulk_write(changes, ordered=False)
    await schema.update_one(where, {"$set": {"after": found[-1]["_id"]}})
    return False


def _searched() -> list[str]:
    return [name for name, collection in COLLECTIONS.items() if collection.text]


def _progress(collection: str) -> str:
    return f"texts of {collection}"
