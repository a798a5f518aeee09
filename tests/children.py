"""Servers as child processes of a test run: started, asked until they answer, stopped by their id.

Used by tests/servers.py and tests/kubernetes. Whatever becomes of the test run, they do not stay behind.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tests.cache import ServerUnavailable

START_SECONDS = 90.0
STOP_SECONDS = 10.0

# gRPC reads this when it is imported. What it would else do in each child that is forked beside its threads ends some.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Runs in a child: whatever becomes of the test run, its servers do not stay behind."""
    _libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def start(
    command: Sequence[str | Path],
    log: Path,
    stdin: int = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a server that writes to `log`; call it on the main thread, with which the server ends.

    With `environment` it has just these variables, else those of this process.
    """
    # Plain subprocess, not asyncio's: a server may outlive the event loop of the test that started it.
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=die_with_parent,
        )


def freeze(process: subprocess.Popen[bytes]) -> None:
    """Stops all its threads where they are; connections stay open and nothing answers. `thaw` ends it."""
    process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + STOP_SECONDS
    while any(_state(thread) != "T" for thread in Path(f"/proc/{process.pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"{process.pid} does not stand still"
        time.sleep(0.001)


def thaw(process: subprocess.Popen[bytes]) -> None:
    """Lets it go on after `freeze`."""
    process.send_signal(signal.SIGCONT)


def _state(thread: Path) -> str:
    """As the kernel names it (proc(5)): R running, S sleeping, T stopped …"""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


async def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process, gently for a while. Only ever this one, by its id."""
    if process.stdin:
        process.stdin.close()
    process.terminate()
    try:
        await asyncio.to_thread(process.wait, STOP_SECONDS)
    except subprocess.TimeoutExpired:
        await kill(process)


async def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the process at once."""
    process.kill()
    await asyncio.to_thread(process.wait)
    if process.stdin:
        process.stdin.close()


Answer = TypeVar("Answer")


async def until(
    name: str,
    process: subprocess.Popen[bytes],
    log: Path,
    ask: Callable[[], Answer | None],
    seconds: float = START_SECONDS,
) -> Answer:
    """What `ask` says once it says something; the server's own words if it dies or stays silent."""
    deadline = time.monotonic() + seconds
    while True:
        status = process.poll()
        if (answer := await asyncio.to_thread(ask)) is not None:
            return answer
        if status is not None or time.monotonic() > deadline:
            what = f"did not answer in {seconds:.0f} s" if status is None else f"ended with status {status}"
            said = (await asyncio.to_thread(log.read_text, errors="replace")).strip()[-2000:]
            raise ServerUnavailable(f"{name} {what}:\n{said}")
        await asyncio.sleep(0.02)
