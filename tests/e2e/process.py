"""A Palaver server as its own process: what a user starts, and what may be killed at any moment."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.children import die_with_parent
from tests.ports import free_port

ADMIN = {"user": "boss", "password": "an admin's password"}
_ROOT = Path(__file__).parents[2]


class Reachable:
    """Somewhere at `url` Palaver answers."""

    url: str

    async def login(self, user: str = ADMIN["user"], password: str = ADMIN["password"]) -> dict[str, str]:
        """Headers of a logged-in user."""
        answer = await self.request("POST", "login", json={"user": user, "password": password})
        return {"X-Auth-Token": answer["data"]["authToken"], "X-User-Id": answer["data"]["userId"]}

    async def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """A successful REST request's answer."""
        async with httpx.AsyncClient(base_url=f"{self.url}/api/v1/", timeout=60) as http:
            answer = await http.request(method, path, **options)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found


class PalaverProcess(Reachable):
    """`palaver serve` on a loopback port of its own; the port and the data survive `kill` and `start`."""

    def __init__(self, folder: Path, *, role: str = "", **environment: str) -> None:
        """Plays every role, or the given one. `environment` is added to what every test's server has."""
        self.folder = folder
        self.role = role
        self.port = int(environment.get("PALAVER_PORT") or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.health_url = f"http://127.0.0.1:{environment.get('PALAVER_HEALTH_PORT', self.port)}"
        self.process: subprocess.Popen[bytes] | None = None
        self.log_file = folder / "server.log"
        self._environment = environment

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    async def start(self, **environment: str) -> None:
        """Starts, and returns when the server is ready. Raises RuntimeError with its log if it ends before."""
        self.launch(**environment)
        await self.wait_until_ready()

    def launch(self, **environment: str) -> None:
        """Starts, and returns at once. `environment` counts for this start only."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PALAVER_")}
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "palaver", "serve", *(("--role", self.role) if self.role else ())],
                cwd=self.folder,
                env={
                    **inherited,
                    "PYTHONPATH": str(_ROOT / "services"),
                    "PALAVER_PORT": str(self.port),
                    "PALAVER_DATA_DIR": str(self.folder / "data"),
                    "PALAVER_TEST_MODE": "1",
                    "PALAVER_ADMIN_USERNAME": ADMIN["user"],
                    "PALAVER_ADMIN_PASSWORD": ADMIN["password"],
                    "PALAVER_ADMIN_EMAIL": "boss@example.org",
                    "PALAVER_ADMIN_NAME": "The Boss",
                    "PALAVER_DRAIN_SECONDS": "2",
                    **self._environment,
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Signals of the terminal are for whoever started this, who stops it in order; it ends with them.
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    async def is_ready(self) -> bool:
        """Whether it says that it can serve."""
        async with httpx.AsyncClient() as http:
            with contextlib.suppress(httpx.HTTPError):
                return (await http.get(f"{self.health_url}/readyz", timeout=2)).status_code == 200
        return False

    async def wait_until_ready(self, seconds: float = 90) -> None:
        """Returns when it is. Raises RuntimeError with its log if it ends, or is not in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                status = None if self.process is None else self.process.returncode
                raise RuntimeError(f"the server ended with {status}:\n{self.log[-4000:]}")
            if await self.is_ready():
                return
            await asyncio.sleep(0.05)
        raise RuntimeError(f"the server is not ready after {seconds:.0f} s:\n{self.log[-4000:]}")

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # a frozen one would not hear it
        try:
            return process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
            raise

    async def wait_until_dead(self, seconds: float = 60) -> int | None:
        """The exit code of a process that is to end by itself; None if it does not."""
        for _ in range(int(seconds / 0.02)):
            if self.process is not None and (code := self.process.poll()) is not None:
                return code
            await asyncio.sleep(0.02)
        return None

    def problems(self) -> list[str]:
        """Lines of the log above the level of information, but for the warning of the test mode."""
        found = [line for line in self.log.splitlines() if re.search(r'"level":"(warning|error|critical)"', line)]
        return [line for line in found if "PALAVER_TEST_MODE is on" not in line]
