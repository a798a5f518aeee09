"""The adapters that the configuration asks for; each is imported only when chosen.

Called by node.py and the commands.
"""

import contextlib
from collections.abc import AsyncIterator

from palaver.blobs import Blobs
from palaver.config import Config, ConfigError
from palaver.data_directory import hold_data_directory
from palaver.database import CommitOrder, Database
from palaver.live import Live
from palaver.log import Log

DATABASE_NAME = "palaver.db"


def build_log(config: Config, database: Database) -> tuple[Log, Live]:
    """The log and what is live beside it, not open yet. Raises ConfigError for a database that needs another log."""
    if config.nats_url:
        from palaver.live.nats import NatsLive
        from palaver.log.jetstream import JetStreamLog

        replicas = config.nats_replicas
        authority = config.nats_authority
        log = JetStreamLog(config.nats_url, config.workspace, database, replicas=replicas, authority=authority)
        return log, NatsLive(config.nats_url, config.workspace, replicas=replicas, authority=authority)
    from palaver.live.embedded import EmbeddedLive
    from palaver.log.embedded import EmbeddedLog

    if not isinstance(database, CommitOrder):
        raise ConfigError(
            "PALAVER_NATS_URL missing: with MongoDB the log is NATS. Set it, or unset PALAVER_MONGODB_URL."
        )
    return EmbeddedLog(database), EmbeddedLive()


def build_database(config: Config) -> Database:
    """The database that the configuration asks for, not open yet."""
    if config.mongodb_url:
        from palaver.database.mongo import MongoDatabase

        return MongoDatabase(config.mongodb_url, _mongodb_name(config))
    from palaver.database.sqlite import SqliteDatabase

    return SqliteDatabase(config.data_dir / DATABASE_NAME)


def build_blobs(config: Config) -> Blobs:
    """Where uploads are kept, not open yet: where all processes of the workspace reach them."""
    if config.s3_bucket:
        from palaver.blobs.s3 import S3Blobs

        return S3Blobs(
            endpoint=config.s3_endpoint,
            bucket=config.s3_bucket,
            region=config.s3_region,
            access_key=config.s3_access_key,
            secret_key=config.s3_secret_key,
            prefix=config.s3_prefix,
        )
    if config.mongodb_url:
        from palaver.blobs.mongodb import MongoBlobs

        return MongoBlobs(config.mongodb_url, _mongodb_name(config))
    from palaver.blobs.files import FileBlobs

    return FileBlobs(config.data_dir / "uploads")


def _mongodb_name(config: Config) -> str:
    return f"palaver_{config.workspace}"


async def migrate(config: Config) -> None:
    """Brings the database to this version's schema. Raises what `Database.open` does."""
    with hold_embedded(config):
        database = build_database(config)
        try:
            await database.open()
        finally:
            await database.close()


@contextlib.asynccontextmanager
async def opened_database(config: Config, *, may_be_new: bool = False) -> AsyncIterator[Database]:
    """The database of a workspace that may be running meanwhile. Raises ConfigError when there is none here."""
    if not may_be_new and not config.mongodb_url and not (config.data_dir / DATABASE_NAME).exists():
        raise ConfigError(f"PALAVER_DATA_DIR={config.data_dir}: there is no database here (and no PALAVER_MONGODB_URL)")
    database = build_database(config)
    try:
        await database.open()
        yield database
    finally:
        await database.close()


def hold_embedded(config: Config) -> contextlib.AbstractContextManager[None]:
    """Keeps other processes out of an embedded database, for who has it to themselves. Raises Unavailable."""
    return contextlib.nullcontext() if config.mongodb_url else hold_data_directory(config.data_dir)
