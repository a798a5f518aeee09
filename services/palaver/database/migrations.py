"""The one list of what has ever changed in a database, for both adapters.

A database knows the number of the last migration that it has seen. `open` runs the later ones in order, and writes
each one's number down after it: in SQLite in the same transaction; in MongoDB, which has none, an interrupted
migration runs again. So **every migration finds its work half done or done, and finishes it**. A new database runs
them all, and the first makes what `schema.py` declares *today*: later ones find their columns and indexes there.

To change the schema: change `schema.py`, add a migration here that brings existing databases to it, never change an
older one. Called by the adapters' `open`.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from palaver.database import NewerSchema


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: its number (1, 2, 3 …), a sentence for people, and what it does.

    `sqlite` gets a connection within a transaction, and neither commits nor runs `executescript` (which would).
    `mongo` gets the motor database.
    """

    number: int
    sentence: str
    sqlite: Callable[[sqlite3.Connection], None]
    mongo: Callable[[Any], Awaitable[None]]


def list_pending(version: int, migrations: Sequence[Migration]) -> Sequence[Migration]:
    """The migrations after this version. Raises NewerSchema when the database is beyond all of them."""
    known = len(migrations)
    if [migration.number for migration in migrations] != list(range(1, known + 1)):
        raise ValueError("migrations are numbered 1, 2, 3 …")
    if version > known:
        raise NewerSchema(f"the database has schema {version}; this version of Palaver knows {known}")
    return migrations[version:]


# Each adapter's own module is loaded only where it is in use.


def _create_in_sqlite(connection: sqlite3.Connection) -> None:
    from palaver.database.sqlite_schema import create_everything

    create_everything(connection)


async def _create_in_mongo(database: Any) -> None:
    from palaver.database import mongo_schema

    await mongo_schema.create_everything(database)


MIGRATIONS: Sequence[Migration] = (
    Migration(1, "Collections, events and claims with their indexes", _create_in_sqlite, _create_in_mongo),
)
