"""Failpoints: nothing unless they are armed, and a killed process where they say so."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaver import failpoints

SERVICES = Path(__file__).resolve().parent.parent / "services"


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.disarm()


def test_nothing_is_armed_at_first() -> None:
    for name in failpoints.NAMES:
        failpoints.reach(name)


def test_an_armed_point_acts_every_time_until_it_is_disarmed() -> None:
    reached = []
    failpoints.arm("tell.before_mark", lambda: reached.append(1))
    for _ in range(3):
        failpoints.reach("tell.before_mark")
        failpoints.reach("tell.after_mark")
    assert len(reached) == 3
    failpoints.disarm()
    failpoints.reach("tell.before_mark")
    assert len(reached) == 3


def test_an_action_may_raise() -> None:
    class Stop(BaseException):
        pass

    def stop() -> None:
        raise Stop

    failpoints.arm("commit.before_append", stop)
    with pytest.raises(Stop):
        failpoints.reach("commit.before_append")


@pytest.mark.parametrize("specification", ["nonsense", "commit.before_append,nonsense:2", ":3"])
def test_an_unknown_name_is_refused(specification: str) -> None:
    with pytest.raises(ValueError):
        failpoints.arm_from_environment(specification)


@pytest.mark.parametrize("count", ["x", "1:2"])
def test_a_count_that_is_no_number_is_refused(count: str) -> None:
    with pytest.raises(ValueError):
        failpoints.arm_from_environment(f"commit.before_append:{count}")


@pytest.mark.parametrize(
    ("specification", "reached"),
    [
        ("", 9),
        ("tell.after_mark", 9),
        ("commit.before_append", 0),
        ("commit.before_append:1", 0),
        ("commit.before_append:4", 3),
        ("tell.after_mark:2,commit.before_append:3", 2),
    ],
)
def test_a_process_is_killed_the_nth_time(specification: str, reached: int) -> None:
    program = (
        "import sys; from palaver import failpoints; failpoints.arm_from_environment(sys.argv[1])\n"
        "for _ in range(9): failpoints.reach('commit.before_append'); print('.', end='', flush=True)"
    )
    command = [sys.executable, "-c", program, specification]
    done = subprocess.run(command, cwd=SERVICES, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "." * reached
    assert done.returncode == (0 if reached == 9 else -signal.SIGKILL), done.stderr


def test_every_point_is_reached_somewhere_and_no_other() -> None:
    reached = set()
    for file in (SERVICES / "palaver").rglob("*.py"):
        reached |= set(re.findall(r'failpoints\.reach\("([^"]+)"\)', file.read_text()))
    assert reached <= set(failpoints.NAMES)
    assert set(failpoints.NAMES) - reached == set()
