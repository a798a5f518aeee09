"""What is built once a machine is built once, whole or not at all."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cache import ServerUnavailable, built, cache_directory, run

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PALAVER_CACHE", str(tmp_path))
    return cache_directory()


def test_who_comes_second_waits_and_takes_what_the_first_has_built() -> None:
    def build(folder: Path) -> None:
        builds.append(folder)
        time.sleep(0.2)
        (folder / "program").write_text("whole")

    builds: list[Path] = []
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: built("tool-1", build), range(4)))
    assert len(builds) == 1
    assert {(folder / "program").read_text() for folder in folders} == {"whole"}


def test_another_process_waits_too() -> None:
    script = "from tests.cache import built; print((built('tool-1', lambda folder: None) / 'program').read_text())"
    others: list[subprocess.Popen[str]] = []

    def build(folder: Path) -> None:
        others.append(subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True))
        time.sleep(0.5)
        (folder / "program").write_text("whole")

    built("tool-1", build)
    assert others[0].communicate(timeout=30)[0] == "whole\n"
    assert others[0].returncode == 0


def test_a_failed_build_says_why_and_leaves_nothing(cache: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("")
        run("sh", "-c", "echo it has no flour >&2; exit 3")

    with pytest.raises(ServerUnavailable, match="sh failed with status 3:\nit has no flour"):
        built("cake-1", build)
    assert [path.name for path in cache.iterdir()] == [".cake-1.lock"]


def test_what_is_not_installed_or_too_slow_is_said() -> None:
    with pytest.raises(ServerUnavailable, match="no-such-program is not installed"):
        run("no-such-program")
    with pytest.raises(ServerUnavailable, match="sleep took longer than 0 s"):
        run("sleep", "5", seconds=0.1)


def test_a_test_that_waits_for_a_build_is_not_taken_for_one_that_hangs() -> None:
    built_late = """
import faulthandler, time
from tests.cache import built
faulthandler.dump_traceback_later(0.2, exit=True)
built("tool-1", lambda folder: time.sleep(1))
print("built")
"""
    done = subprocess.run([sys.executable, "-c", built_late], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("built\n", "")
