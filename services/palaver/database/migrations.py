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
from palaver.database.schema import Index


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


def _fill_in_sqlite(*collections: str) -> Callable[[sqlite3.Connection], None]:
    """Adds what these collections declare by now, and fills it from the documents."""

    def migrate(connection: sqlite3.Connection) -> None:
        from palaver.database.sqlite_schema import create_everything, fill_columns

        create_everything(connection)
        for collection in collections:
            fill_columns(connection, collection)

    return migrate


def _begin_texts_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_schema import SEARCHED
    from palaver.database.sqlite_text import begin_anew

    for collection, field in SEARCHED.items():
        begin_anew(connection, collection, field)


_WITH_HIDDEN = (Index(("rid", "ts", "_id")), Index(("rid", "ts", "_id", "drid"), where="drid"))


def _leave_out_hidden_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_names import quote
    from palaver.database.sqlite_schema import create_everything, index_name

    for index in _WITH_HIDDEN:  # the new ones have their names
        connection.execute(f"DROP INDEX IF EXISTS {quote(index_name('messages', index))}")
    create_everything(connection)


async def _leave_out_hidden_in_mongo(database: Any) -> None:
    from palaver.database import mongo_schema

    await mongo_schema.create_everything(database)
    for index in _WITH_HIDDEN:
        await mongo_schema.drop_index(database, "messages", index)


def _shorten_texts_in_sqlite(connection: sqlite3.Connection) -> None:
    """An index forgets a text only by the very keys that it has of it, and very long ones have fewer by now."""
    from palaver.database.sqlite_schema import SEARCHED, create_everything
    from palaver.database.sqlite_text import begin_anew
    from palaver.database.text import SEARCHED_LENGTH

    create_everything(connection)
    for collection, field in SEARCHED.items():
        longer = f"SELECT 1 FROM {collection} WHERE length(doc) > ? LIMIT 1"
        if connection.execute(longer, (SEARCHED_LENGTH,)).fetchone():
            begin_anew(connection, collection, field)


async def _begin_texts_in_mongo(database: Any) -> None:
    from palaver.database import mongo_text

    await mongo_text.begin_anew(database)


# What indexes with more fields have replaced.
_REPLACED = (
    ("rooms", Index(("t", "name"))),
    ("rooms", Index(("prid",))),
    ("subscriptions", Index(("rid", "left_at", "ls"))),
    ("messages", Index(("tmid", "ts", "_id"))),
    ("messages", Index(("rid", "tlm"))),
    ("messages", Index(("rid", "_updatedAt"))),
    ("messages", Index(("rid", "deleted_at"))),
    ("invites", Index(("createdAt",))),
    ("users", Index(("username",))),
    ("users", Index(("username", "_id"), absent="deleted_at")),
    ("users", Index(("name",))),
    ("users", Index(("createdAt",))),
    ("users", Index(("lastLogin",))),
    ("custom_statuses", Index(("name",))),
    ("tokens", Index(("revoked_at", "issued_at"))),
    ("emoji", Index(("deleted_at", "name"))),
    ("sounds", Index(("deleted_at", "name"))),
    ("rooms", Index(("t", "name", "_id"), absent="deleted_at")),
    ("rooms", Index(("name", "_id"), absent="deleted_at")),
    ("users", Index(("active", "username", "_id"), absent="deleted_at")),
    ("users", Index(("username", "_id"), absent="deleted_at", parts=("username", "name"))),
    ("users", Index(("active", "username", "_id"), absent="deleted_at", parts=("username", "name"))),
)


def _replace_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_names import quote
    from palaver.database.sqlite_schema import create_everything, index_name

    create_everything(connection)
    for collection, index in _REPLACED:
        connection.execute(f"DROP INDEX IF EXISTS {quote(index_name(collection, index))}")


def _add_bios_in_sqlite(connection: sqlite3.Connection) -> None:
    _fill_in_sqlite("users")(connection)
    _replace_in_sqlite(connection)


async def _replace_in_mongo(database: Any) -> None:
    from palaver.database import mongo_schema

    await mongo_schema.create_everything(database)
    for collection, index in _REPLACED:
        await mongo_schema.drop_index(database, collection, index)


def _fold_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_names import quote
    from palaver.database.sqlite_schema import fill_columns, index_name

    _replace_in_sqlite(connection)
    for collection in ("users", "rooms"):
        fill_columns(connection, collection)
    # MongoDB's index of these fields is what it was.
    former = index_name("users", Index(("username", "_id", "name"), absent="deleted_at"))
    connection.execute(f"DROP INDEX IF EXISTS {quote(former)}")


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
    Migration(7, "Pictures are found by whose they are", _fill_in_sqlite("rooms", "users"), _create_in_mongo, 1),
    Migration(8, "The workspace has kinds of status of its own", _create_in_sqlite, _create_in_mongo, 1),
    Migration(9, "Invites have documents", _create_in_sqlite, _create_in_mongo, 1),
    Migration(
        10,
        "Messages are found by pins, stars and mentions, their readers, and reports of them",
        _add_pins_in_sqlite,
        _create_in_mongo,
        1,
    ),
    Migration(
        11,
        "Logins are found by their ids and by when they began",
        _fill_in_sqlite("tokens"),
        _create_in_mongo,
        1,
    ),
    Migration(12, "Integrations have documents", _create_in_sqlite, _create_in_mongo, 1),
    Migration(
        13,
        "The files of a room are found by name, kind and time",
        _fill_in_sqlite("uploads"),
        _create_in_mongo,
        1,
    ),
    Migration(14, "Reports are found by the words in them", _fill_in_sqlite("reports"), _create_in_mongo, 1),
    Migration(15, "Texts are found by parts of their words", _begin_texts_in_sqlite, _begin_texts_in_mongo, 1),
    Migration(16, "The workspace has emoji and sounds of its own", _create_in_sqlite, _create_in_mongo, 1),
    Migration(
        17,
        "Lists are read in their order, and counted, from an index alone",
        _replace_in_sqlite,
        _replace_in_mongo,
        1,
    ),
    Migration(18, "Users are found by a part of either name in one index", _replace_in_sqlite, _replace_in_mongo, 1),
    Migration(
        19,
        "Rooms are found by their teams, members by their names",
        _fill_in_sqlite("rooms", "subscriptions"),
        _create_in_mongo,
        1,
    ),
    Migration(20, "Parts of names are looked for in an index alone", _fold_in_sqlite, _replace_in_mongo, 1),
    Migration(21, "Members are found by their roles", _fill_in_sqlite("subscriptions"), _create_in_mongo, 1),
    Migration(
        22,
        "Deleted emoji are found by when they were, rooms of teams by id; of very long texts less is searched",
        _shorten_texts_in_sqlite,
        _create_in_mongo,
        1,
    ),
    Migration(
        23,
        "What is gone is not in the index of a room's messages",
        _leave_out_hidden_in_sqlite,
        _leave_out_hidden_in_mongo,
        1,
    ),
    Migration(
        24,
        "Memberships are found by what their users chose to be told",
        _fill_in_sqlite("subscriptions"),
        _create_in_mongo,
        1,
    ),
    Migration(25, "Users are found by what they say of themselves", _add_bios_in_sqlite, _replace_in_mongo, 1),
)
