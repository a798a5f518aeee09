"""`palaver-operator simulate`: what the scaling rules do with a day, a stampede and flapping metrics.

It needs no cluster: the rules are those that the operator runs by, the rest is on paper (`world.py`). It takes seconds.
"""

from collections.abc import Sequence
from pathlib import Path

from palaver_operator.simulate.picture import describe, draw
from palaver_operator.simulate.scenarios import Run, default_limits, play_day, play_flapping, play_stampede
from palaver_operator.simulate.world import START_SECONDS

SCENARIOS = ("day", "stampede", "flapping")


def play(name: str, users: int, start_seconds: int = START_SECONDS) -> Run:
    """Plays one of SCENARIOS with so many users, under the limits and targets that the resource has by default.

    `start_seconds`: from a decision until a new pod is ready.
    """
    limits = default_limits(users)
    if name == "day":
        return play_day(users, limits, start_seconds)
    if name == "stampede":
        return play_stampede(users, limits, start_seconds)
    return play_flapping(users * 3 // 5, limits, start_seconds)


def simulate(names: Sequence[str], users: int, start_seconds: int, picture: Path | None) -> None:
    """Plays, prints, and writes the picture if a file is named for it. Raises OSError."""
    runs = [play(name, users, start_seconds) for name in names]
    for run in runs:
        print(describe(run))
    if picture is not None:
        picture.write_text(draw(runs), encoding="utf-8")
        print(f"The picture is in {picture}.")
