"""The folder of the embedded parts belongs to one process, and says so where it can't."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaver.config import ConfigError
from palaver.data_directory import LOCK_NAME, hold_data_directory
from palaver.errors import Unavailable


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    with hold_data_directory(folder):
        with pytest.raises(Unavailable, match=f"process {os.getpid()}"), hold_data_directory(folder):
            pass
        with pytest.raises(Unavailable), hold_data_directory(folder):  # a refused one takes nothing away
            pass
    with hold_data_directory(folder):
        pass


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("4194304999\n")
    with hold_data_directory(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match="PALAVER_DATA_DIR"), hold_data_directory(tmp_path / "data"):
        pass


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that may be read and not written; the super-user, who may write everything, steps back meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


def test_a_read_only_folder_is_refused_by_name(read_only: Path) -> None:
    assert list(read_only.iterdir()) == []
    named = f"PALAVER_DATA_DIR={read_only} can't be written"
    with pytest.raises(ConfigError, match=named), hold_data_directory(read_only):
        pass
    with pytest.raises(ConfigError, match="can't be written"), hold_data_directory(read_only / "data"):
        pass
