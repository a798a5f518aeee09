"""What tests build or fetch once a machine: kept outside the checkout, keyed by version or by the hash of its lock.

Used by whoever needs a program that no Python package brings (tests/servers.py, tests/kubernetes/tools.py). What can't
be had raises ServerUnavailable: the test fails and says why, because a skipped test would look like a passed one.
"""

import faulthandler
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

BUILD_SECONDS = 1800.0


class ServerUnavailable(Exception):
    """A server or client that the test needs could not be built, installed or started here."""


def cache_directory() -> Path:
    """Where built servers are kept: $PALAVER_CACHE, as the Makefile sets it."""
    if given := os.environ.get("PALAVER_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "palaver"


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds the lock `name` of the cache; who else wants it waits. It ends with the process, however that ends."""
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f".{name}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def built(key: str, build: Callable[[Path], None]) -> Path:
    """The folder `key` of the cache, filled by `build` unless it is there already.

    Built aside and moved into place, so that no killed test run leaves half of it; by one process at a time, and those
    that waited take what it has built.
    """
    finished = cache_directory() / key
    if finished.exists():
        return finished
    # The test that is first to need it may take as long as building does, and is not one that hangs.
    faulthandler.cancel_dump_traceback_later()
    with locked(key):
        if finished.exists():
            return finished
        aside = Path(tempfile.mkdtemp(prefix=f".{finished.name}-", dir=finished.parent))
        try:
            build(aside)
            aside.chmod(0o755)
            aside.rename(finished)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return finished


def run(
    *command: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = BUILD_SECONDS,
) -> str:
    """What a program that builds or fetches wrote to its standard output. Raises ServerUnavailable with its words."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise ServerUnavailable(f"{name} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ServerUnavailable(f"{name} took longer than {seconds:.0f} s") from None
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()[-2000:]
        raise ServerUnavailable(f"{name} failed with status {done.returncode}:\n{said}")
    return done.stdout.decode(errors="replace")
