"""The command `palaver followers`: how far each durable follower is, and forgetting one that is no more.

Whatever the broker loses is published again from where the follower that is furthest behind has stopped. One that no
version plays any more would hold that back for ever, so an administrator forgets it. Works on the database alone,
beside a workspace that runs or has stopped.
"""

import argparse
import asyncio
import datetime
import time

from palaver.config import Config
from palaver.errors import Conflict, NotFound
from palaver.log.positions import Positions
from palaver.ports import opened_database

# A follower that some process plays says at least once a minute how far it is.
_SILENT_MINUTES = 10


class FollowerNotFound(NotFound):
    reason = "There is no such follower"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the actions and what they take."""
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="one line a follower: partitions, and up to when everything is handled")
    forgetting = actions.add_parser("forget", help="for a follower that no process plays any more")
    forgetting.add_argument("name")


def run(config: Config, parsed: argparse.Namespace) -> None:
    """Does what was asked. Raises FollowerNotFound, Conflict, ConfigError when there is no database, Unavailable."""
    asyncio.run(_run(config, parsed))


async def _run(config: Config, parsed: argparse.Namespace) -> None:
    async with opened_database(config) as database:
        positions = Positions(database)
        if parsed.action == "list":
            await _list(positions)
        else:
            await _forget(positions, parsed.name)


async def _list(positions: Positions) -> None:
    handled: dict[str, list[int]] = {}
    async for name, _, progress in positions.list_all():
        handled.setdefault(name, []).append(progress.at)
    for name, times in handled.items():
        print(f"{name}  {len(times)} partitions  everything handled until {_time(min(times))}")
    if not handled:
        print("There are no followers.")


async def _forget(positions: Positions, name: str) -> None:
    times = [progress.at async for follower, _, progress in positions.list_all(name) if follower == name]
    if not times:
        raise FollowerNotFound(f"There is no follower {name}")
    if time.time() * 1000 - max(times) < _SILENT_MINUTES * 60_000:
        raise Conflict(
            f"{name} was at work at {_time(max(times))}: a process plays it. One that is no more is silent for"
            f" {_SILENT_MINUTES} minutes."
        )
    print(f"{await positions.forget(name)} partitions of {name} forgotten.")


def _time(milliseconds: int) -> str:
    if not milliseconds:
        return "never"
    return f"{datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC):%Y-%m-%d %H:%M:%SZ}"
