"""`palaver` as a command: what it refuses, and how it starts, answers and stops."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.process import PalaverProcess

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
        async with httpx.AsyncClient(base_url=server.url) as http:
            page = await http.get("/")
            assert page.headers["content-type"].startswith("text/html")
            assert server.url.rpartition(":")[2] in page.text
            assert (await http.get("/healthz")).json() == {"status": "ok"}
            assert (await http.get("/readyz")).json()["roles"] == ["auth", "presence", "messaging", "gateway"]
            metrics = (await http.get("/metrics")).text
            assert "palaver_events_committed_total" in metrics
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
    assert server.problems() == [line for line in server.problems() if "PALAVER_TEST_MODE" in line]
