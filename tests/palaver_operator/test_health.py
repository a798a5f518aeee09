"""What the status of pods means: see palaver_operator/health.py."""

from datetime import UTC, datetime

import pytest

from palaver_operator.health import Failures, is_watched
from palaver_operator.objects.naming import Object

NOW = 1_800_000_000.0


def pod(name: str, served: float, *, ready: bool = True, leaving: bool = False) -> Object:
    """One that has been as it is for so many seconds."""
    since = datetime.fromtimestamp(NOW - served, UTC).isoformat()
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}
    metadata = {"name": name, **({"deletionTimestamp": since} if leaving else {})}
    return {"kind": "Pod", "metadata": metadata, "status": {"conditions": [condition]}}


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        ([], False),
        ([59], False),
        ([60], True),
        ([60, 1], True),  # one was deleted, or another asked for, meanwhile
        ([60, 1, 1], False),
        ([60, 60, 1, 1], True),
    ],
)
def test_half_of_those_that_serve_have_been_watched(served: list[float], expected: bool) -> None:
    pods = [pod(f"auth-{number}", seconds) for number, seconds in enumerate(served)]
    assert is_watched(pods, {}, 60, NOW) is expected


def test_those_that_start_or_leave_say_nothing() -> None:
    beside = [pod("starting", 100, ready=False), pod("leaving", 100, leaving=True)]
    assert not is_watched(beside, {}, 60, NOW)
    assert is_watched([pod("auth", 60), *beside], {}, 60, NOW)


def test_who_says_how_often_it_fails_is_waited_for_unless_it_has_just_come() -> None:
    pods = [pod("old", 60), pod("new", 1)]
    unknown, known = Failures(5, None), Failures(5, 0.1)
    assert not is_watched(pods, {"old": unknown, "new": unknown}, 60, NOW)
    assert is_watched(pods, {"old": known, "new": unknown}, 60, NOW)
