"""A minute of a day of a small team (`day.py`); `make day` lives a longer one."""

from pathlib import Path

from tests.e2e.day import STEPS, live


async def test_a_day_in_a_minute(tmp_path: Path) -> None:
    done = await live(tmp_path, seconds=40, seed=20261122)
    assert done.total() >= len(STEPS)
    assert {"say", "reply", "mention", "go_and_come", "ask_outgoing", "hear_incoming", "ask_bot"} <= done.keys()
