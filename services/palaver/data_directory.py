"""The folder of the embedded parts: it can be written, and belongs to one process at a time.

Held by `node.py` for as long as a process lives that keeps its database there.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from palaver.config import ConfigError
from palaver.errors import Unavailable

LOCK_NAME = "palaver.lock"


@contextmanager
def hold_data_directory(folder: Path) -> Iterator[None]:
    """Makes the folder and keeps others out of it. Raises ConfigError where that can't be, Unavailable if one is in.

    The lock is the system's: it ends with the process, however that ends, and the file itself may stay.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"PALAVER_DATA_DIR={folder} can't be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 100).decode(errors="replace").strip() or "unknown"
            raise Unavailable(
                f"{folder} is in use by another Palaver (process {holder}): an embedded database belongs to one process"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)
