"""The way to a MongoDB: how a client is made, how long a call may take, and what becomes of the driver's errors.

All writes are acknowledged by a majority and journaled, and where there are replicas only what a majority has is read,
from the primary. Whatever the address says of it, these are not the operator's to loosen.

Called by `mongo.py`, and by `blobs/mongodb.py`, which keeps uploads in the same database by a client of its own.
"""

import functools
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

# Motor runs each operation in a thread; its default would let ten wait for the server at once. It reads this when it is
# imported, which is done here alone.
os.environ.setdefault("MOTOR_MAX_WORKERS", "64")

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import ConfigurationError, ConnectionFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from palaver.config import ConfigError
from palaver.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")
Method = Callable[P, Coroutine[Any, Any, T]]
logger = logging.getLogger(__name__)

MotorDatabase = AsyncIOMotorDatabase[dict[str, Any]]
MotorCollection = AsyncIOMotorCollection[dict[str, Any]]

SELECT_SECONDS = 5.0
_MAX_CONNECTIONS = int(os.environ["MOTOR_MAX_WORKERS"])


def within(seconds: float | None) -> Callable[[Method[P, T]], Method[P, T]]:
    """Gives a method so long (None: it sees to that itself), and turns what the driver raises into Unavailable."""

    def decorate(method: Method[P, T]) -> Method[P, T]:
        @functools.wraps(method)
        async def wrapped(*arguments: P.args, **named: P.kwargs) -> T:
            try:
                with pymongo.timeout(seconds):
                    return await method(*arguments, **named)
            except PyMongoError as error:
                if isinstance(error, ConnectionFailure) or error.timeout:
                    raise Unavailable(f"MongoDB is away: {error}") from error
                logger.exception("MongoDB refuses")
                raise Unavailable(f"MongoDB refuses: {error}") from error

        return wrapped

    return decorate


async def connect(url: str, name: str) -> MotorDatabase:
    """The database of this name, at a server that answers; closing its `client` ends it.

    Raises ConfigError for what is no address, and what the driver raises.
    """
    client = _make_client(url)
    try:
        with pymongo.timeout(SELECT_SECONDS):
            await client.admin.command("ping")
    except BaseException:
        client.close()
        raise
    servers = client.delegate.topology_description.server_descriptions().values()
    is_alone = all(server.server_type_name in ("Standalone", "Unknown") for server in servers)
    return client.get_database(
        name,
        codec_options=CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS),
        read_preference=ReadPreference.PRIMARY,
        write_concern=WriteConcern("majority", j=True),
        read_concern=ReadConcern() if is_alone else ReadConcern("majority"),
    )


def _make_client(url: str) -> "AsyncIOMotorClient[dict[str, Any]]":
    try:
        return AsyncIOMotorClient(
            url,
            appname="palaver",
            maxPoolSize=_MAX_CONNECTIONS,
            serverSelectionTimeoutMS=int(SELECT_SECONDS * 1000),
            connectTimeoutMS=int(SELECT_SECONDS * 1000),
            waitQueueTimeoutMS=int(SELECT_SECONDS * 1000),
            retryWrites=True,
            retryReads=True,
        )
    except (ConfigurationError, ValueError) as error:
        if "@" in url.partition("://")[2].replace("?", "/").partition("/")[2]:
            # The driver quotes what it takes for a database: the rest of a password with a slash in it.
            raise ConfigError("PALAVER_MONGODB_URL: user name and password have to be percent-encoded") from None
        raise ConfigError(f"PALAVER_MONGODB_URL: {error}") from error
