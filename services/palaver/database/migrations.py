"""The one list of what has ever changed in a database, for both adapters.

A database knows the number of the last migration that it has seen. `open` runs the later ones in order, and writes
each one's number down after it: in SQLite in the same transaction; in MongoDB, which has none, an interrupted
migration runs again. So **every migration finds its work half done or done, and finishes it**. A new database runs
them all, and the first makes what `schema.py` declares *today*: later ones find their columns and indexes there.
Of processes that start at once one migrates, and the others wait.

While a new version rolls out, processes of the version before it still work on the same database, and may be started
again. So a migration says which schema a process must know to go on beside it (`compatible_from`):

- One that only adds (a collection, an index, a field that nobody else reads) keeps the number of the one before it, or
  an older one's. The new code bears documents as the old code writes them: without what was added.
- One that takes away or changes a meaning names the migration with which the code stopped relying on the old form. That
  one must have been released before: first a version that can do with both, then the version that takes away.

The database keeps the largest of these numbers. A process that knows less refuses to start (NewerSchema).

To change the schema: change `schema.py`, add a migration here that brings existing databases to it, never change an
older one. Called by the adapters' `open`.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from palaver.database import NewerSchema


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: its number (1, 2, 3 …), a sentence for people, what it does, and who can live with it.

    `sqlite` gets a connection within a transaction, and neither commits nor runs `executescript` (which would).
    `mongo` gets the motor database.
    """

    number: int
    sentence: str
    sqlite: Callable[[sqlite3.Connection], None]
    mongo: Callable[[Any], Awaitable[None]]
    compatible_from: int


class Schema(NamedTuple):
    """What a database knows of itself: its last migration, and the schema that a process must know at least."""

    number: int = 0
    compatible_from: int = 0

    def after(self, migration: Migration) -> "Schema":
        """The schema that this migration leaves."""
        return Schema(migration.number, max(self.compatible_from, migration.compatible_from))


def list_pending(schema: Schema, migrations: Sequence[Migration]) -> Sequence[Migration]:
    """The migrations that the database has not seen. Raises NewerSchema when these are too few for it."""
    known = len(migrations)
    if [migration.number for migration in migrations] != list(range(1, known + 1)):
        raise ValueError("migrations are numbered 1, 2, 3 …")
    if known < schema.compatible_from:
        raise NewerSchema(
            f"the database has schema {schema.number} and needs a version of Palaver that knows schema"
            f" {schema.compatible_from}; this one knows {known}"
        )
    return migrations[schema.number :]


# Each adapter's own module is loaded only where it is in use.


def _create_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_schema import create_everything

    create_everything(connection)


async def _create_in_mongo(database: Any) -> None:
    from palaver.database import mongo_schema

    await mongo_schema.create_everything(database)


def _add_records_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_records import TABLE

    connection.execute(TABLE)
    if "retold" not in [row[1] for row in connection.execute("PRAGMA table_info (events)")]:
        connection.execute("ALTER TABLE events ADD COLUMN retold INTEGER NOT NULL DEFAULT 0")


def _fill_discussions_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_schema import create_everything, fill_column

    create_everything(connection)
    fill_column(connection, "messages", "drid")


async def _add_published_in_mongo(database: Any) -> None:
    from palaver.database import mongo_schema

    await mongo_schema.create_published_index(database)


def _add_last_login_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_schema import create_everything, fill_column

    create_everything(connection)
    fill_column(connection, "users", "lastLogin")


def _add_pins_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_schema import create_everything, fill_column

    create_everything(connection)
    fill_column(connection, "messages", "pinned")
    fill_column(connection, "subscriptions", "ls")


def _add_pictures_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_schema import create_everything, fill_columns

    create_everything(connection)
    for collection in ("rooms", "users"):
        fill_columns(connection, collection)


def _name_tokens_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_schema import create_everything, fill_columns

    create_everything(connection)
    fill_columns(connection, "tokens")


MIGRATIONS: Sequence[Migration] = (
    Migration(1, "Collections, events and claims with their indexes", _create_in_sqlite, _create_in_mongo, 1),
    Migration(2, "Subscriptions are found by when they began", _create_in_sqlite, _create_in_mongo, 1),
    Migration(
        3,
        "Records of durable followers; when each event was published",
        _add_records_in_sqlite,
        _add_published_in_mongo,
        1,
    ),
    Migration(4, "Files that are sent have documents", _create_in_sqlite, _create_in_mongo, 1),
    Migration(
        5,
        "Messages are found by who wrote them, users by their last login",
        _add_last_login_in_sqlite,
        _create_in_mongo,
        1,
    ),
    Migration(6, "Discussions are found by their parents", _fill_discussions_in_sqlite, _create_in_mongo, 1),
    Migration(7, "Pictures are found by whose they are", _add_pictures_in_sqlite, _create_in_mongo, 1),
    Migration(8, "The workspace has kinds of status of its own", _create_in_sqlite, _create_in_mongo, 1),
    Migration(9, "Invites have documents", _create_in_sqlite, _create_in_mongo, 1),
    Migration(
        10,
        "Messages are found by pins, stars and mentions, their readers, and reports of them",
        _add_pins_in_sqlite,
        _create_in_mongo,
        1,
    ),
    Migration(11, "Logins are found by their ids and by when they began", _name_tokens_in_sqlite, _create_in_mongo, 1),
    Migration(12, "Integrations have documents", _create_in_sqlite, _create_in_mongo, 1),
)
