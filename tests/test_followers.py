"""`palaver followers`: who follows, and forgetting who does no more."""

import argparse
import asyncio
import time
from pathlib import Path

import pytest

from palaver import followers
from palaver.cli import main
from palaver.config import Config, ConfigError
from palaver.database.sqlite import SqliteDatabase
from palaver.errors import Conflict
from palaver.log.positions import Positions, Progress

LONG_AGO = 1_700_000_000_000


def command(folder: Path, *arguments: str) -> None:
    parser = argparse.ArgumentParser()
    followers.add_arguments(parser)
    followers.run(Config(data_dir=folder), parser.parse_args(arguments))


async def leave_positions(folder: Path, **handled: int) -> None:
    """What two partitions of each of these followers leave in a workspace."""
    database = SqliteDatabase(folder / "palaver.db")
    await database.open()
    for name, at in handled.items():
        for partition, behind in (("room.0", 0), ("room.1", 60_000)):
            await Positions(database).put(name, partition, Progress("7", at - behind))
    await database.close()


def test_followers_are_listed_and_those_that_are_no_more_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="there is no database here"):
        command(tmp_path, "list")
    asyncio.run(leave_positions(tmp_path))
    command(tmp_path, "list")
    assert capsys.readouterr().out == "There are no followers.\n"
    now = time.time_ns() // 1_000_000
    asyncio.run(leave_positions(tmp_path, push=LONG_AGO, pushed=LONG_AGO, names=now))
    command(tmp_path, "list")
    names, push, pushed = capsys.readouterr().out.splitlines()
    assert (names.split()[0], pushed.split()[0]) == ("names", "pushed")
    assert push == "push  2 partitions  everything handled until 2023-11-14 22:12:20Z"
    with pytest.raises(Conflict, match=r"names was at work at .* a process plays it"):
        command(tmp_path, "forget", "names")
    for unknown in ("pus", "push/room.0", ""):
        with pytest.raises(followers.FollowerNotFound, match=f"There is no follower {unknown}"):
            command(tmp_path, "forget", unknown)
    command(tmp_path, "forget", "push")
    assert capsys.readouterr().out == "2 partitions of push forgotten.\n"
    command(tmp_path, "list")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["names", "pushed"]


def test_it_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["followers", "--help"])
    assert "forget" in capsys.readouterr().out
