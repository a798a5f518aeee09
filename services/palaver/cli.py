"""The command line: `palaver serve` and what an administrator needs around it."""

import argparse
import asyncio
import contextlib
import ctypes
import dataclasses
import logging
import resource
import sys
from collections.abc import Sequence

from palaver import __version__, dead_letters, followers
from palaver.backup import command as backup
from palaver.config import Config, ConfigError
from palaver.database import NewerSchema
from palaver.errors import PalaverError
from palaver.roles import ROLES
from palaver.telemetry import configure_logging


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with 0 after an orderly stop, 1 after a failure, 2 for a wrong call or configuration."""
    parser = argparse.ArgumentParser(prog="palaver", description="Self-hosted team chat.")
    parser.add_argument("--version", action="version", version=f"palaver {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the server")
    serve.add_argument(
        "--role",
        action="append",
        choices=list(ROLES),
        help="play only this role (may be given several times; all of them otherwise)",
    )
    commands.add_parser("migrate", help="bring the database to this version and end: before a new version starts")
    letters = commands.add_parser("dead-letters", help="events that a follower could not handle: list, replay or drop")
    dead_letters.add_arguments(letters)
    following = commands.add_parser("followers", help="who follows the events, and how far: list or forget")
    followers.add_arguments(following)
    backups = commands.add_parser("backup", help="make an archive of the workspace while it runs, or verify one")
    backup.add_backup_arguments(backups)
    backup.add_restore_arguments(commands.add_parser("restore", help="make an empty workspace what an archive holds"))
    commands.add_parser("config", help="list the environment variables")
    parsed = parser.parse_args(arguments)
    if parsed.command == "config":
        _print_config()
        return
    try:
        config = Config.from_environment()
        configure_logging(config.log_level, config.node_id)
        if parsed.command == "migrate":
            _migrate(config)
            return
        if parsed.command == "dead-letters":
            dead_letters.run(config, letters, parsed)
            return
        if parsed.command == "followers":
            followers.run(config, parsed)
            return
        if parsed.command == "backup":
            backup.run_backup(config, backups, parsed)
            return
        if parsed.command == "restore":
            backup.run_restore(config, parsed)
            return
        roles = [role for role in ROLES.values() if parsed.role is None or role.name in parsed.role]
        _serve(config, [role.name for role in roles])
    except (ConfigError, NewerSchema) as error:
        print(f"palaver: {error}", file=sys.stderr)
        sys.exit(2)
    except (OSError, PalaverError) as error:
        print(f"palaver: {error}", file=sys.stderr)
        sys.exit(1)


def _migrate(config: Config) -> None:
    from palaver.ports import migrate

    asyncio.run(migrate(config))
    print("The database has the schema of this version.")


def _serve(config: Config, names: list[str]) -> None:
    import uvloop

    from palaver.node import run

    if config.test_mode:
        logging.getLogger("palaver").warning(
            "PALAVER_TEST_MODE is on: no rate limits and no second factor. Never run a real workspace like this."
        )
    _raise_file_limit()
    _give_memory_back()
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(config, [ROLES[name] for name in names], lambda port: _greet(config, names, port)))


def _give_memory_back() -> None:
    """glibc keeps the 19 MiB of a password hash for ever once it has seen them freed: it must not adapt to them."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD


def _raise_file_limit() -> None:
    """One socket is one file: take what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _greet(config: Config, names: list[str], port: int) -> None:
    if "gateway" not in names:
        return
    address = config.site_url if config.port == port else f"http://localhost:{port}"
    print(f"\n  Palaver is at {address}\n", flush=True)
    if "auth" in names and not config.admin_username:  # elsewhere nobody knows whether there is one
        print(
            "  While there is no user, the first to register becomes the administrator:\n\n"
            f"    curl {address}/api/v1/users.register -H 'Content-Type: application/json' \\\n"
            '      -d \'{"username":"alice","name":"Alice","email":"alice@example.org","pass":"choose-one"}\'\n\n'
            "  (or set PALAVER_ADMIN_USERNAME, _PASSWORD and _EMAIL before the first start)\n",
            flush=True,
        )


def _print_config() -> None:
    for option in dataclasses.fields(Config):
        default = option.default if option.default not in ("", None) else "(empty)"
        print(f"{option.metadata['variable']:<30} {option.metadata['documentation']}; default: {default}")
