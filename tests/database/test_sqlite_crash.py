"""Killed in the middle of group commits, the database holds every acknowledged event once, and nothing by halves."""

import asyncio
import os
import sys
from pathlib import Path

from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from tests.database.crash_child import STREAMS
from tests.database.model import fold, read_log

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 4


async def write_until_killed(path: Path, round: int) -> list[tuple[Stream, int, str]]:
    """What a process acknowledged before it was killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.database.crash_child",
        path,
        str(round),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "services"), str(ROOT)])},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    acknowledged: list[bytes] = []
    try:
        # Each round is killed at another moment of its group.
        async with asyncio.timeout(30):
            while len(acknowledged) < 150 + 37 * round:
                line = await process.stdout.readline()
                assert line, "the writing process ended by itself"
                acknowledged.append(line)
    finally:
        process.kill()
        await process.wait()
    acknowledged += (await process.stdout.read()).splitlines()
    events = []
    for line in acknowledged:
        room_id, seq, command_id = line.decode().rstrip("\n").split("\t")
        events.append((Stream("room", room_id), int(seq), command_id))
    return events


async def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    acknowledged: list[tuple[Stream, int, str]] = []
    for round in range(ROUNDS):
        acknowledged += await write_until_killed(path, round)
        database = SqliteDatabase(path)
        await database.open()
        try:
            messages = 0
            for stream in STREAMS:
                log = await read_log(database, stream)
                assert [event.seq for event in log] == list(range(1, len(log) + 1))
                places = {event.command_id: event.seq for event in log}
                assert len(places) == len(log)
                messages += len(log)
                for where, seq, command_id in acknowledged:
                    assert where != stream or places[command_id] == seq
                for (collection, id), document in fold(log).items():
                    assert await database.get(collection, id) == document
            assert await database.count("messages", {}) == messages
            assert await database.count("messages", {"$text": "word"}) == messages
            assert await database.list_unapplied(10**15) == []
        finally:
            await database.close()
