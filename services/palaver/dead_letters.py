"""The command `palaver dead-letters`: events that a durable follower could not handle, looked at by an administrator.

It works on the database alone, beside a workspace that runs or has stopped. A replay is asked for here and done by a
process that plays the follower.
"""

import argparse
import asyncio
import datetime
from collections.abc import AsyncIterator, Sequence

from palaver.config import Config
from palaver.database import Document
from palaver.log.dead_letters import DeadLetters
from palaver.ports import opened_database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the actions and what they take."""
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="one line a letter: id, fact, attempts, time and error")
    listing.add_argument("--follower", default="", help="only this follower's")
    showing = actions.add_parser("show", help="all of one letter, with its event")
    showing.add_argument("id")
    for name, what in (("replay", "have events handled once more"), ("drop", "forget letters")):
        action = actions.add_parser(name, help=what)
        action.add_argument("id", nargs="*")
        action.add_argument("--all", action="store_true", help="every letter instead of ids")
        action.add_argument("--follower", default="", help="with --all: only this follower's")


def run(config: Config, parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Does what was asked. Raises DeadLetterNotFound, ConfigError when there is no database, Unavailable."""
    if parsed.action in ("replay", "drop") and bool(parsed.id) == parsed.all:
        parser.error(f"dead-letters {parsed.action} takes either ids or --all")
    asyncio.run(_run(config, parsed))


async def _run(config: Config, parsed: argparse.Namespace) -> None:
    async with opened_database(config) as database:
        letters = DeadLetters(database)
        if parsed.action == "list":
            await _list(letters, parsed.follower)
        elif parsed.action == "show":
            await _show(letters, parsed.id)
        else:
            ids = [id async for id in _chosen(letters, parsed.id, parsed.follower)]
            for id in ids:
                await (letters.ask_replay(id) if parsed.action == "replay" else letters.drop(id))
            done = (
                "dropped" if parsed.action == "drop" else "to be handled once more; what fails again stays in the list"
            )
            print(f"{len(ids)} {done}.")


async def _chosen(letters: DeadLetters, ids: Sequence[str], follower: str) -> AsyncIterator[str]:
    """The ids themselves, which must all be there, or every letter's."""
    for id in ids:
        await letters.get(id)
        yield id
    if not ids:
        async for id, _ in letters.list_all(follower):
            yield id


async def _list(letters: DeadLetters, follower: str) -> None:
    count = 0
    async for id, letter in letters.list_all(follower):
        count += 1
        first_line = letter["error"].partition("\n")[0][:100]
        replay = "  (replay asked for)" if await letters.is_replay_asked(id) else ""
        times = f"{letter['attempts']} attempts, {_time(letter['failed_at'])}"
        print(f"{id}  {letter['fact']}  {times}  {first_line}{replay}")
    if not count:
        print("There are no dead letters.")


async def _show(letters: DeadLetters, id: str) -> None:
    letter = await letters.get(id)
    for name, value in _facts_of(letter).items():
        print(f"{name + ':':<14}{value}")
    print(f"\n{letter['trace'].strip()}\n")
    print(await letters.get_event(letter))


def _facts_of(letter: Document) -> dict[str, str]:
    stream = "/".join(filter(None, (letter["stream_kind"], letter["stream_id"])))
    return {
        "follower": letter["follower"],
        "event": f"{letter['seq']} of {stream}",
        "fact": letter["fact"],
        "attempts": str(letter["attempts"]),
        "first failed": _time(letter["first_failed_at"]),
        "last failed": _time(letter["failed_at"]),
    }


def _time(milliseconds: int) -> str:
    return f"{datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC):%Y-%m-%d %H:%M:%SZ}"
