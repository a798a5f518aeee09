"""What SQLite's own misfortunes do: those concerned hear Unavailable, nothing is half written, and it goes on."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.database import Put, Stream, StreamConflict
from palaver.database.sqlite import SqliteDatabase
from palaver.errors import Unavailable
from tests.database.model import ROOM, commit, get_applied, make_event, project

ROOMS = [Stream("room", f"room{index}") for index in range(6)]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "deep" / "palaver.db", busy_timeout=0.1)
    await database.open()
    for stream in ROOMS:
        await commit(database, stream, 1, Put("rooms", stream.id, insert={"_id": stream.id, "t": "c"}))
    yield database
    await database.close()


async def check_untouched(database: SqliteDatabase, stream: Stream) -> None:
    assert await database.get_head(stream) == 1
    assert await database.get("rooms", stream.id) == {"_id": stream.id, "t": "c", "applied_seq": 1}
    assert await database.get("messages", f"of {stream.id}") is None


def send(database: SqliteDatabase, stream: Stream, text: str) -> "asyncio.Task[None]":
    id = f"of {stream.id}"
    puts = [
        Put("messages", id, insert={"_id": id, "rid": stream.id, "msg": text}),
        Put("rooms", stream.id, set={"last": text[:9]}),
    ]
    event = make_event(stream, 2, puts)
    return asyncio.create_task(database.commit(stream, [event], [project(event)]))


async def test_a_full_disk_is_survived(database: SqliteDatabase) -> None:
    pages = await database._submit(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await database._submit(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 4}").fetchone())
    outcomes = await asyncio.gather(
        *(send(database, stream, "x" * 20_000) for stream in ROOMS[:4]), return_exceptions=True
    )
    assert any(isinstance(outcome, Unavailable) for outcome in outcomes)
    for stream, outcome in zip(ROOMS, outcomes, strict=False):
        assert outcome is None or isinstance(outcome, Unavailable)
        if outcome is not None:
            await check_untouched(database, stream)
        else:
            assert await get_applied(database, stream) == 2
    await database._submit(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
    failed = [stream for stream, outcome in zip(ROOMS, outcomes, strict=False) if outcome is not None]
    await asyncio.gather(*(send(database, stream, "x" * 20_000) for stream in failed))
    for stream in ROOMS[:4]:
        assert await get_applied(database, stream) == 2
        assert await database.count("messages", {"rid": stream.id}) == 1
    assert not database._writer.failed.done()


async def test_a_locked_database_is_waited_for_and_then_given_up(database: SqliteDatabase) -> None:
    other = sqlite3.connect(database._path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(*(send(database, stream, "x") for stream in ROOMS[:2]), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
    for stream in ROOMS[:2]:
        await check_untouched(database, stream)  # reading goes on
    waiting = send(database, ROOMS[0], "x")
    await asyncio.sleep(0.02)
    other.execute("ROLLBACK")
    other.close()
    await waiting
    assert await get_applied(database, ROOMS[0]) == 2


async def test_a_corrupt_table_hurts_only_who_needs_it(database: SqliteDatabase) -> None:
    await send(database, ROOMS[0], "x")
    await database.close()
    connection = sqlite3.connect(database._path)
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'messages'").fetchone()[0]
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with database._path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    await database.open()
    with pytest.raises(Unavailable):
        await database.get("messages", f"of {ROOMS[0].id}")
    with pytest.raises(Unavailable):
        await database.count("messages", {"t": "x"})
    outcomes = await asyncio.gather(
        send(database, ROOMS[1], "x"),
        commit(database, ROOMS[2], 2, Put("rooms", ROOMS[2].id, set={"name": "well"})),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], Unavailable)
    assert await database.get_head(ROOMS[1]) == 1
    assert await get_applied(database, ROOMS[1]) == 1
    assert not isinstance(outcomes[1], BaseException)
    assert (await database.get("rooms", ROOMS[2].id) or {})["name"] == "well"
    assert not database._writer.failed.done()


async def test_something_else_than_a_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    path.write_bytes(b"This is not a database, whatever its name says. " * 100)
    database = SqliteDatabase(path)
    with pytest.raises(Unavailable):
        await database.open()
    await database.close()
    assert path.read_bytes().startswith(b"This is not")


async def test_one_commit_that_cannot_be_written_spares_its_neighbours(database: SqliteDatabase) -> None:
    outcomes = await asyncio.gather(
        send(database, ROOMS[0], "x"),
        commit(database, ROOMS[1], 2, Put("rooms", ROOMS[1].id, set={"name": "half a pair \ud800"})),
        commit(database, ROOMS[2], 2, Put("rooms", ROOMS[2].id, set={"lm": {"$date": 2**70}})),
        commit(database, ROOMS[3], 1, command_id="conflict"),
        send(database, ROOMS[4], "x"),
        return_exceptions=True,
    )
    for stream, outcome in zip(ROOMS, outcomes, strict=False):
        assert (outcome is None) == (stream in (ROOMS[0], ROOMS[4])), outcome
        assert await get_applied(database, stream) == (2 if outcome is None else 1)
        assert await database.get_head(stream) == (2 if outcome is None else 1)


async def test_commits_of_one_stream_may_follow_each_other_at_once(database: SqliteDatabase) -> None:
    room = ROOMS[0]
    await asyncio.gather(
        commit(database, room, 2, Put("messages", "m", insert={"_id": "m"}), Put("rooms", room.id, set={"n": 2})),
        commit(database, room, 3, Put("messages", "m", set={"a": 3}), Put("rooms", room.id, set={"n": 3})),
        commit(database, room, 4, Put("messages", "m", set={"a": 4, "b": 4}), Put("rooms", room.id, set={"o": 4})),
        commit(
            database, room, 5, Put("messages", "m", insert={"_id": "m", "a": 0}), Put("messages", "m", set={"c": 5})
        ),
        commit(database, ROOMS[1], 2, Put("messages", "m", set={"b": "stale"})),
    )
    assert await database.get("messages", "m") == {"_id": "m", "a": 4, "b": 4, "c": 5}
    assert await database.get("rooms", room.id) == {"_id": room.id, "t": "c", "n": 3, "o": 4, "applied_seq": 5}
    assert await get_applied(database, ROOMS[1]) == 2


async def test_a_gap_is_a_conflict(database: SqliteDatabase) -> None:
    outcomes = await asyncio.gather(
        commit(database, ROOMS[0], 2, Put("rooms", ROOMS[0].id, set={"n": 2})),
        commit(database, ROOMS[0], 4, Put("rooms", ROOMS[0].id, set={"n": 4})),
        return_exceptions=True,
    )
    assert outcomes[0] is not None
    assert isinstance(outcomes[1], StreamConflict)
    with pytest.raises(StreamConflict):
        await commit(database, ROOMS[1], 3, Put("rooms", ROOMS[1].id, set={"n": 3}))
    assert await database.get_heads(ROOMS[:2]) == [2, 1]
    assert (await database.get("rooms", ROOMS[0].id) or {})["n"] == 2
    await check_untouched(database, ROOMS[1])


async def test_many_more_than_a_group_are_written(database: SqliteDatabase) -> None:
    streams = [Stream("user", f"u{index}") for index in range(1500)]
    await asyncio.gather(*(commit(database, stream, 1) for stream in streams))
    assert await database.get_heads(streams) == [1] * 1500


async def test_a_caller_may_go_away(database: SqliteDatabase) -> None:
    tasks = [send(database, stream, "x") for stream in ROOMS]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await database.claim("name", "owner")  # whatever was queued is done
    for stream in ROOMS:
        assert await get_applied(database, stream) == await database.get_head(stream) == 2


async def test_close_finishes_what_is_queued(database: SqliteDatabase) -> None:
    tasks = [send(database, stream, "x") for stream in ROOMS]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*tasks)
    with pytest.raises(Unavailable):
        await commit(database, ROOM, 1)
    await database.open()
    for stream in ROOMS:
        assert await get_applied(database, stream) == 2


async def test_a_dead_writer_is_noticed(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise SystemError("nobody expects this")

    monkeypatch.setattr(database._writer, "_write", die)
    outcomes = await asyncio.gather(*(send(database, stream, "x") for stream in ROOMS), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * len(ROOMS)
    with pytest.raises(SystemError):
        await database.watch()
    with pytest.raises(Unavailable):
        await send(database, ROOMS[0], "x")
    assert await database.get_head(ROOMS[0]) == 1


async def test_nobody_else_may_read_the_files(database: SqliteDatabase) -> None:
    modes = {file.name: file.stat().st_mode & 0o777 for file in database._path.parent.iterdir()}
    assert modes == dict.fromkeys(["palaver.db", "palaver.db-wal", "palaver.db-shm"], 0o600)
