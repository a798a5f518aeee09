"""A Palaver server as its own process: what a user starts, and what may be killed at any moment."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

ADMIN = {"user": "boss", "password": "an admin's password"}
_ROOT = Path(__file__).parents[2]


class PalaverProcess:
    """`palaver serve` on a loopback port of its own; the port and the data survive `kill` and `start`."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = environment
        self._log = folder / "server.log"

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def start(self, **environment: str) -> None:
        """Starts, and returns when the server is ready. Raises RuntimeError with its log if it ends before."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PALAVER_")}
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "palaver", "serve"],
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
            )
        async with httpx.AsyncClient() as http:
            for _ in range(400):
                if self.process.poll() is not None:
                    raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log[-4000:]}")
                try:
                    if (await http.get(f"{self.url}/readyz", timeout=2)).status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.05)
        raise RuntimeError(f"the server is not ready after 20 s:\n{self.log[-4000:]}")

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
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
            raise

    async def wait_until_dead(self, seconds: float = 20) -> int | None:
        """The exit code of a process that is to end by itself; None if it does not."""
        for _ in range(int(seconds / 0.02)):
            if self.process is not None and (code := self.process.poll()) is not None:
                return code
            await asyncio.sleep(0.02)
        return None

    async def login(self, user: str = ADMIN["user"], password: str = ADMIN["password"]) -> dict[str, str]:
        """Headers of a logged-in user."""
        answer = await self.request("POST", "login", json={"user": user, "password": password})
        return {"X-Auth-Token": answer["data"]["authToken"], "X-User-Id": answer["data"]["userId"]}

    async def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """A successful REST request's answer."""
        async with httpx.AsyncClient(base_url=f"{self.url}/api/v1/", timeout=20) as http:
            answer = await http.request(method, path, **options)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def problems(self) -> list[str]:
        """Lines of the log above the level of information."""
        return [line for line in self.log.splitlines() if re.search(r'"level":"(warning|error|critical)"', line)]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
