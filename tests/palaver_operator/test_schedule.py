"""When a backup on a schedule is due."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver_operator.cli import read_crd
from palaver_operator.resource import SpecError
from palaver_operator.schedule import parse_schedule
from tests.palaver_operator.workspaces import workspace

NOW = datetime(2026, 11, 21, 17, 30, 20, tzinfo=UTC)  # a Saturday


def last(schedule: str, now: datetime = NOW) -> str:
    found = parse_schedule(schedule).find_last(now)
    return "never" if found is None else f"{found:%Y-%m-%d %H:%M}"


DUE = [
    ("0 3 * * *", "2026-11-21 03:00"),
    ("30 17 * * *", "2026-11-21 17:30"),
    ("31 17 * * *", "2026-11-20 17:31"),
    ("*/15 * * * *", "2026-11-21 17:30"),
    ("0 */6 * * *", "2026-11-21 12:00"),
    ("5 22-23,4 * * *", "2026-11-21 04:05"),
    ("10-20/5 6 * * *", "2026-11-21 06:20"),
    ("7/20 6 * * *", "2026-11-21 06:47"),
    ("0 3 * * sun", "2026-11-15 03:00"),
    ("0 3 * * 7", "2026-11-15 03:00"),
    ("0 3 * * MON-FRI", "2026-11-20 03:00"),
    ("0 3 * * 5-7", "2026-11-21 03:00"),
    ("0 3 1 * *", "2026-11-01 03:00"),
    ("0 3 31 * *", "2026-10-31 03:00"),
    ("0 3 1 jan,jul *", "2026-07-01 03:00"),
    ("0 3 13 * fri", "2026-11-20 03:00"),  # either will do
    ("0 3 22 * sun", "2026-11-15 03:00"),
    ("0 3 */10 * sat", "2026-11-21 03:00"),
    ("0 0 29 2 *", "2024-02-29 00:00"),
    ("0 0 30 2 *", "never"),
    ("@yearly", "2026-01-01 00:00"),
    ("@annually", "2026-01-01 00:00"),
    ("@monthly", "2026-11-01 00:00"),
    ("@weekly", "2026-11-15 00:00"),
    ("@daily", "2026-11-21 00:00"),
    ("@hourly", "2026-11-21 17:00"),
]


@pytest.mark.parametrize(("schedule", "due"), DUE)
def test_the_last_time_that_was_due(schedule: str, due: str) -> None:
    assert last(schedule) == due


def test_schedules_are_in_utc() -> None:
    somewhere = timezone(timedelta(hours=9))
    assert last("0 3 * * *", datetime(2026, 11, 22, 1, 0, tzinfo=somewhere)) == "2026-11-21 03:00"


NONE = """
    0 3 * * | 0 3 * * * * | 60 3 * * * | 0 24 * * * | 0 3 0 * * | 0 3 * 13 * | 0 3 * * 8 | x 3 * * * | 0 3 * * xyz |
    5-1 3 * * * | */0 3 * * * | 1- 3 * * * | -1 3 * * * | 1,,2 3 * * * | 0 3 L * * | @never |
"""


@pytest.mark.parametrize("schedule", [text.strip() for text in NONE.split("|")])
def test_what_is_no_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError):
        parse_schedule(schedule)
    with pytest.raises(SpecError, match=r"spec\.backup\.schedule"):
        workspace(backup={"schedule": schedule, "to": {"volume": {"claimName": "c"}}})


def is_admitted(schedule: str) -> bool:
    """By the rule with which the API server refuses what is none, of which RE2 and Python think alike."""
    (rule,) = re.findall(r"self\.matches\('(\S*@.*)'\)", read_crd("palaver.yaml"))
    return re.search(rule, schedule) is not None


def test_the_api_server_admits_what_is_understood_and_nothing_else() -> None:
    assert [schedule for schedule, _ in DUE if not is_admitted(schedule)] == []
    # Which end of a range is the greater one is for the operator to say.
    refused = [text.strip() for text in NONE.split("|")]
    assert [schedule for schedule in refused if is_admitted(schedule)] == ["5-1 3 * * *"]


@given(
    st.sampled_from(["0 3 * * *", "*/7 2-5 * * *", "0 0 1 * *", "13 1 * * tue", "0 12 15 * mon"]),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
)
def test_it_is_the_last_one(schedule: str, now: datetime) -> None:
    parsed = parse_schedule(schedule)
    found = parsed.find_last(now)
    assert found is not None
    assert found <= now
    assert parsed.find_last(found) == found
    just_before = parsed.find_last(found - timedelta(minutes=1))
    assert just_before is not None
    assert just_before < found
