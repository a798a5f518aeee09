"""`palaver` as a command: what it refuses, and how it starts, answers and stops."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from palaver import __version__
from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from palaver.ids import new_id
from palaver.log.dead_letters import DeadLetters
from palaver.v1.event_pb2 import Event
from tests.e2e.process import PalaverProcess
from tests.servers import mongodb_server

_ROOT = Path(__file__).parents[1]


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PALAVER_")}
    return subprocess.run(
        [sys.executable, "-m", "palaver", *arguments],
        env={**inherited, "PYTHONPATH": str(_ROOT / "services"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("role", ["auth", "presence", "messaging", "gateway"])
def test_a_role_alone_needs_the_parts_of_a_cluster(role: str) -> None:
    run = _run("serve", "--role", role)
    assert run.returncode == 2
    assert "PALAVER_NATS_URL and PALAVER_MONGODB_URL missing" in run.stderr
    assert role in run.stderr
    assert "Traceback" not in run.stderr


def test_a_wrong_variable_is_named() -> None:
    run = _run("serve", PALAVER_PORT="http")
    assert run.returncode == 2
    assert "PALAVER_PORT" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_wrong_settings_file_is_refused_at_start(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"Site_Nam": "Ours", "Accounts_LoginExpiration": "7"}')
    where = {"PALAVER_PORT": "0", "PALAVER_DATA_DIR": str(tmp_path / "data"), "PALAVER_SETTINGS_FILE": str(file)}
    run = _run("serve", **where)
    assert run.returncode == 2
    assert "there is no setting Site_Nam; Invalid value for setting Accounts_LoginExpiration" in run.stderr
    assert "Traceback" not in run.stderr


def test_config_lists_every_variable() -> None:
    run = _run("config")
    assert run.returncode == 0
    for name in ("PALAVER_HOST", "PALAVER_PORT", "PALAVER_DATA_DIR", "PALAVER_SITE_URL", "PALAVER_ADMIN_ID"):
        assert name in run.stdout


def test_migrate_makes_the_database_and_ends(tmp_path: Path) -> None:
    for _ in range(2):
        run = _run("migrate", PALAVER_DATA_DIR=str(tmp_path / "data"))
        assert (run.returncode, run.stderr) == (0, "")
        assert "has the schema of this version" in run.stdout
    assert (tmp_path / "data" / "palaver.db").stat().st_size > 0


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_a_database_of_a_newer_version_is_refused_by_numbers(tmp_path: Path, command: str) -> None:
    _run("migrate", PALAVER_DATA_DIR=str(tmp_path))
    connection = sqlite3.connect(tmp_path / "palaver.db")
    connection.execute(f"PRAGMA user_version = {99 << 16 | 101}")
    connection.close()
    run = _run(command, PALAVER_PORT="0", PALAVER_DATA_DIR=str(tmp_path))
    assert run.returncode == 2
    assert "the database has schema 101 and needs a version of Palaver that knows schema 99" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_something_else_than_a_database_is_refused_by_name(tmp_path: Path, command: str) -> None:
    path = tmp_path / "palaver.db"
    path.write_text("This is not a database, whatever its name says. " * 100)
    run = _run(command, PALAVER_PORT="0", PALAVER_DATA_DIR=str(tmp_path))
    assert run.returncode == 1
    assert f"{path} is not a database" in run.stderr
    assert "Traceback" not in run.stderr
    assert path.read_text().startswith("This is not")


async def test_one_process_starts_answers_and_stops_in_order(tmp_path: Path) -> None:
    server = PalaverProcess(tmp_path)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
            page = await http.get("/")
            assert page.headers["content-type"].startswith("text/html")
            assert server.url.rpartition(":")[2] in page.text
            assert (await http.get("/healthz")).json() == {"status": "ok"}
            roles = ["auth", "presence", "messaging", "gateway"]
            assert (await http.get("/readyz")).json() == {"status": "ready", "version": __version__, "roles": roles}
            metrics = (await http.get("/metrics")).text
            assert "palaver_events_committed_total" in metrics
            assert f'palaver_build_info{{roles="{",".join(roles)}",version="{__version__}"}} 1.0' in metrics
            assert (await http.get("/no/such/page")).status_code == 404
        second = _run(
            "serve",
            PALAVER_PORT=str(server.port),
            PALAVER_DATA_DIR=str(tmp_path / "other"),
        )
        assert second.returncode == 1
        assert "can't listen" in second.stderr
        for command in ("serve", "migrate"):
            third = _run(command, PALAVER_PORT="0", PALAVER_DATA_DIR=str(tmp_path / "data"))
            assert third.returncode == 1
            assert server.process is not None
            assert f"in use by another Palaver (process {server.process.pid})" in third.stderr
            assert "Traceback" not in third.stderr
    finally:
        code = server.stop()
    assert code == 0
    assert server.problems() == []


async def _make_letter(folder: Path, seq: int) -> str:
    """A dead letter of the followers of names, in a workspace where nothing runs."""
    database = SqliteDatabase(folder / "data" / "palaver.db")
    await database.open()
    event = Event(stream_kind="user", stream_id="nobody.at all", seq=seq, command_id=f"c{seq}", at=1)
    event.user_changed.set = b'{"name":"Somebody"}'
    await database.commit(Stream("user", "nobody.at all"), [event], [[]])
    id = await DeadLetters(database).bury("names", event, ValueError("it could not be handled"), 6, 1_700_000_000_000)
    await database.close()
    return id


async def test_dead_letters_are_listed_shown_replayed_and_dropped(tmp_path: Path) -> None:
    where = {"PALAVER_DATA_DIR": str(tmp_path / "data")}
    nowhere = _run("dead-letters", "list", **where)
    assert nowhere.returncode == 2
    assert "there is no database here" in nowhere.stderr
    first, second = await _make_letter(tmp_path, 1), await _make_letter(tmp_path, 2)
    assert first == "names/user/nobody_2eat_20all/1"
    listed = _run("dead-letters", "list", **where).stdout
    assert f"{first}  user_changed  6 attempts, 2023-11-14 22:13:20Z  ValueError: it could not be handled" in listed
    assert len(listed.splitlines()) == 2
    assert "no dead letters" in _run("dead-letters", "list", "--follower", "push", **where).stdout
    shown = _run("dead-letters", "show", first, **where).stdout
    for part in ("1 of user/nobody.at all", "names", "ValueError: it could not be handled", "Somebody"):
        assert part in shown
    unknown = _run("dead-letters", "replay", "names/user/x/1", first, **where)
    assert (unknown.returncode, "There is no dead letter names/user/x/1" in unknown.stderr) == (1, True)
    for wrong in (["replay"], ["drop"], ["drop", first, "--all"]):
        run = _run("dead-letters", *wrong, **where)
        assert (run.returncode, "either ids or --all" in run.stderr) == (2, True)
    assert _run("dead-letters", "drop", second, **where).stdout == "1 dropped.\n"
    # Asked for while nothing runs, and done by the next process.
    assert _run("dead-letters", "replay", "--all", **where).stdout.startswith("1 to be handled")
    assert "(replay asked for)" in _run("dead-letters", "list", **where).stdout
    server = PalaverProcess(tmp_path)
    await server.start()
    try:
        await _until_no_letters(where)
        third = await _make_letter(tmp_path, 3)  # beside the server
        assert third in _run("dead-letters", "list", **where).stdout
        assert _run("dead-letters", "replay", third, **where).returncode == 0
        await _until_no_letters(where)
    finally:
        server.stop()


async def _until_no_letters(where: dict[str, str]) -> None:
    async with asyncio.timeout(60):
        while "no dead letters" not in (await asyncio.to_thread(_run, "dead-letters", "list", **where)).stdout:
            await asyncio.sleep(0.2)


@pytest.mark.needs_servers
async def test_a_process_that_waits_for_a_migration_can_be_stopped(tmp_path: Path) -> None:
    async with mongodb_server() as url:
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(url)
        name = f"test{new_id()}"
        await client[f"palaver_{name}"]["schema"].insert_one({"_id": "lock", "owner": "somebody", "number": 1})
        server = PalaverProcess(
            tmp_path, PALAVER_MONGODB_URL=url, PALAVER_NATS_URL="nats://127.0.0.1:1", PALAVER_WORKSPACE=name
        )
        starting = asyncio.create_task(server.start())
        while "migrating the database: waiting" not in server.log:
            assert not starting.done()
            await asyncio.sleep(0.05)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert server.stop() == 0
        await client.drop_database(f"palaver_{name}")
        client.close()
