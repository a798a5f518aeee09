"""`make cluster`: it starts, says where everything is, heals, and stops in order."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from palaver.roles import ROLES
from tests.cluster import REPLICAS
from tests.ports import free_port

pytestmark = pytest.mark.needs_servers
_ROOT = Path(__file__).parents[1]
_PATIENCE = 180.0


class Running:
    """`make cluster` as its own process, and what it says."""

    def __init__(self, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        port = self.url.rpartition(":")[2]
        self.folder = folder / "cluster"
        self._output = folder / "said"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster", "--port", port, "--folder", self.folder],
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT / "services")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self._output.read_text()

    def wait(self, pattern: str) -> re.Match[str]:
        """What it says, once it does."""
        deadline = time.monotonic() + _PATIENCE
        while (found := re.search(pattern, self.said)) is None:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)
        return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    started = Running(tmp_path)
    yield started
    if started.process.poll() is None:
        started.process.send_signal(signal.SIGTERM)
        started.process.wait(_PATIENCE)


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"{url} is not ready"
        time.sleep(0.05)


def test_it_starts_heals_and_stops(running: Running) -> None:
    password = running.wait(r"password (\S+) ")[1]
    running.wait("Ctrl-C")
    rows = dict(re.findall(r"^  (\w+-\d)\s+(\d+)\s", running.said, re.MULTILINE))
    assert list(rows) == [f"{role}-{n}" for role in ROLES for n in range(1, REPLICAS[role] + 1)]
    urls = dict(re.findall(r"^  (\w+-\d)\s+\d+\s+(\S+)", running.said, re.MULTILINE))
    for name, url in urls.items():
        assert httpx.get(f"{url}/readyz", timeout=60).json()["roles"] == [name.rpartition("-")[0]]
        assert "palaver_event_loop_lag_seconds" in httpx.get(f"{url}/metrics", timeout=60).text
    assert httpx.get(f"{running.url}/metrics", timeout=60).status_code == 404

    login = httpx.post(f"{running.url}/api/v1/login", json={"user": "admin", "password": password}, timeout=60).json()[
        "data"
    ]
    headers = {"X-Auth-Token": login["authToken"], "X-User-Id": login["userId"]}
    file = {"file": ("notes.txt", b"for everybody", "text/plain")}
    sent = httpx.post(f"{running.url}/api/v1/rooms.upload/GENERAL", files=file, headers=headers, timeout=60).json()
    for number, role in enumerate(ROLES):
        os.kill(int(rows[f"{role}-1"]), signal.SIGKILL)
        running.wait(rf"{role}-1 \(pid {rows[f'{role}-1']}\) ended with status -9; started again as pid \d+")
        _wait_ready(urls[f"{role}-1"])
        message = {"message": {"_id": f"after-{number}", "rid": "GENERAL", "msg": f"without the first {role}"}}
        answer = httpx.post(f"{running.url}/api/v1/chat.sendMessage", json=message, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
    found = httpx.get(
        f"{running.url}/api/v1/channels.history", params={"roomId": "GENERAL"}, headers=headers, timeout=60
    ).json()
    assert {f"after-{number}" for number in range(len(ROLES))} <= {message["_id"] for message in found["messages"]}

    # Each is a connection of its own: both gateways are asked, and neither had the file but in the database.
    path = sent["message"]["attachments"][0]["title_link"]
    fetched = [httpx.get(running.url + path, headers=headers, timeout=60) for _ in range(12)]
    assert [answer.content for answer in fetched] == [b"for everybody"] * 12
    assert list(running.folder.glob("*/data")) == []

    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(_PATIENCE) == 0
    assert not re.search("ended with status (?!-9)", running.said), running.said
