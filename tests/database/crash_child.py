"""Run by test_sqlite_crash.py as a process of its own: writes for ever, says what was acknowledged, and gets killed."""

import asyncio
import os
import sys
from pathlib import Path

from palaver.database import Put, Stream
from palaver.database.sqlite import SqliteDatabase
from tests.database.model import append

STREAMS = [Stream("room", f"room{index}") for index in range(4)]
WRITERS = 12


async def write(database: SqliteDatabase, round: str, writer: int) -> None:
    """One writer: commits to the streams in turn, and prints each event once it is acknowledged."""
    number = 0
    while True:
        number += 1
        stream = STREAMS[(writer + number) % len(STREAMS)]
        command_id = f"{round} {writer} {number}"
        puts = [
            Put("messages", command_id, insert={"_id": command_id, "rid": stream.id, "msg": f"word{writer} {number}"}),
            Put("subscriptions", f"{stream.id} {writer}", insert={"_id": f"{stream.id} {writer}", "own": 0}),
            Put("subscriptions", f"{stream.id} {writer}", set={"own": number, "round": round}),
            Put("rooms", stream.id, insert={"_id": stream.id, "t": "c"}),
            Put("rooms", stream.id, set={"last": command_id}, unset=("nothing",)),
        ]
        event = await append(database, stream, command_id, puts)
        # One write of less than a pipe's buffer: the reader never sees half a line.
        os.write(1, f"{stream.id}\t{event.seq}\t{command_id}\n".encode())


async def main() -> None:
    database = SqliteDatabase(Path(sys.argv[1]))
    await database.open()
    await asyncio.gather(*(write(database, sys.argv[2], writer) for writer in range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(main())
