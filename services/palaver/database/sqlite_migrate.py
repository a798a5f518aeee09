"""Migrating the embedded database: each step is one transaction, so that whoever opens the file first does it.

`user_version` in the file's header holds both numbers of the schema: the last migration in its lower 16 bits, and what
a process must know at least in its upper ones. Called by `sqlite.py` when it opens.
"""

import sqlite3
from collections.abc import Sequence

from palaver.database.migrations import Migration, Schema, list_pending


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Brings the schema to this version. Raises NewerSchema."""
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            schema = read_schema(connection)
            pending = list_pending(schema, migrations)
            if pending:
                pending[0].sqlite(connection)
                _write_schema(connection, schema.after(pending[0]))
            elif schema.number > len(migrations):
                # What we write lacks the columns of later migrations. Whoever knows them does them again, and fills in.
                _write_schema(connection, schema._replace(number=len(migrations)))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if not pending:
            return


def read_schema(connection: sqlite3.Connection) -> Schema:
    """Both numbers of the schema; zero in a new file."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return Schema(version & 0xFFFF, version >> 16)


def _write_schema(connection: sqlite3.Connection, schema: Schema) -> None:
    connection.execute(f"PRAGMA user_version = {schema.compatible_from << 16 | schema.number}")
