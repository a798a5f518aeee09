"""Migrating a MongoDB database: one process at a time, however many start, and whoever of them dies.

The collection `schema` has two documents: "version" with the schema's two numbers, and, while somebody migrates, "lock"
with its holder and the number of the holder's last beat. No clock is compared with another machine's: whoever waits and
has seen no beat for LOCK_SECONDS takes the lock from exactly that beat, and a holder who finds it taken stops.

Called by `mongo.py` when it opens.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

import pymongo
from pymongo.errors import DuplicateKeyError

from palaver.database.migrations import Migration, Schema, list_pending
from palaver.database.mongo_connection import MotorDatabase
from palaver.errors import Unavailable
from palaver.ids import new_id

logger = logging.getLogger(__name__)

SCHEMA = "schema"

LOCK_SECONDS = 30.0
MIGRATION_SECONDS = 24 * 3600.0
_CALL_SECONDS = 5.0


async def migrate(database: MotorDatabase, migrations: Sequence[Migration]) -> None:
    """Brings the schema to this version, or waits for who does. Raises NewerSchema or Unavailable."""
    lock = Lock(database)
    while list_pending(await _get_schema(database), migrations):
        if await lock.take():
            try:
                while pending := list_pending(await _get_schema(database), migrations):
                    logger.info("migrating: %s", pending[0].sentence)
                    with pymongo.timeout(MIGRATION_SECONDS):
                        await lock.keep_during(pending[0].mongo(database))
                    await _set_schema(database, pending[0])
            finally:
                await lock.leave()
        else:
            await asyncio.sleep(min(1.0, LOCK_SECONDS / 10))


async def _get_schema(database: MotorDatabase) -> Schema:
    with pymongo.timeout(_CALL_SECONDS):
        found = await database[SCHEMA].find_one({"_id": "version"})
    return Schema() if found is None else Schema(int(found["number"]), int(found.get("compatible_from", 0)))


async def _set_schema(database: MotorDatabase, done: Migration) -> None:
    # Numbers only rise: a holder who was frozen, and replaced, takes nothing back.
    numbers = {"number": done.number, "compatible_from": done.compatible_from}
    with pymongo.timeout(_CALL_SECONDS):
        await database[SCHEMA].update_one({"_id": "version"}, {"$max": numbers}, upsert=True)


class _Beat(NamedTuple):
    owner: str
    number: int


class Lock:
    """The right to migrate, or to do another work that one process does, as one of them tries to have it."""

    def __init__(self, database: MotorDatabase, id: str = "lock", work: str = "migrating the database") -> None:
        self._schema = database[SCHEMA]
        self._id = id
        self._work = work
        self._mine = _Beat(new_id(), 1)
        self._others: _Beat | None = None  # the last that was seen of another holder, and since when
        self._seen_at = 0.0

    async def take(self) -> bool:
        """Takes the lock if nobody has it, or if its holder has been silent for too long."""
        with pymongo.timeout(_CALL_SECONDS):
            found = await self._schema.find_one({"_id": self._id})
            if found is None:
                try:
                    await self._schema.insert_one({"_id": self._id, **self._mine._asdict()})
                except DuplicateKeyError:
                    return False
                return True
            beat = _Beat(str(found.get("owner")), int(found.get("number", 0)))
            if beat != self._others:
                if self._others is None:
                    logger.info("another process is %s: waiting for it", self._work)
                self._others, self._seen_at = beat, time.monotonic()
            elif time.monotonic() - self._seen_at > LOCK_SECONDS:
                logger.warning("the process that was %s is silent: going on in its place", self._work)
                return await self._replace(found, self._mine)
            return False

    async def keep_during(self, work: Awaitable[None]) -> None:
        """Waits for the work, and beats meanwhile. Raises Unavailable, and ends it, when the lock is lost."""
        running = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([running], timeout=LOCK_SECONDS / 5))[0]:
                before, self._mine = self._mine, self._mine._replace(number=self._mine.number + 1)
                with pymongo.timeout(_CALL_SECONDS):
                    if not await self._replace(before._asdict(), self._mine):
                        raise Unavailable(f"another process has taken over {self._work}")
            await running
        finally:
            running.cancel()

    async def leave(self) -> None:
        """Gives the lock back, if it is still ours."""
        with pymongo.timeout(_CALL_SECONDS):
            await self._schema.delete_one({"_id": self._id, "owner": self._mine.owner})

    async def _replace(self, found: dict[str, Any], beat: _Beat) -> bool:
        where = {"_id": self._id, "owner": found.get("owner"), "number": found.get("number")}
        return bool((await self._schema.update_one(where, {"$set": beat._asdict()})).matched_count)
