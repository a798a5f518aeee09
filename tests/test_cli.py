"""`palaver` as a command: what it refuses, and how it starts, answers and stops."""

import os
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
    finally:
        code = server.stop()
    assert code == 0
    assert server.problems() == [line for line in server.problems() if "PALAVER_TEST_MODE" in line]
