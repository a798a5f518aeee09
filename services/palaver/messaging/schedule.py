"""When something is due: cron expressions of five fields, in UTC. Pure; called by `retention.py`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from palaver.errors import InvalidInput

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_MOST_DAYS = 366 * 8  # the 29th of February is never further away


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes at which something is due."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    any_of_days: bool  # day and weekday are both given: one of them is enough

    def find_last(self, at: int) -> int | None:
        """The last time at which it was due, at `at` or before (epoch milliseconds); None if there is none."""
        moment = datetime.fromtimestamp(at / 1000, UTC).replace(second=0, microsecond=0)
        for _ in range(_MOST_DAYS):
            if self._is_on(moment):
                for hour in sorted((hour for hour in self.hours if hour <= moment.hour), reverse=True):
                    latest = moment.minute if hour == moment.hour else 59
                    if minutes := [minute for minute in self.minutes if minute <= latest]:
                        return int(moment.replace(hour=hour, minute=max(minutes)).timestamp()) * 1000
            moment = (moment - timedelta(days=1)).replace(hour=23, minute=59)
        return None

    def _is_on(self, moment: datetime) -> bool:
        """Whether it is due at some time of this day."""
        day, weekday = moment.day in self.days, moment.isoweekday() % 7 in self.weekdays
        return moment.month in self.months and ((day or weekday) if self.any_of_days else (day and weekday))


def parse_schedule(text: str) -> Schedule:
    """A cron expression: "*/30 * * * *". Raises InvalidInput."""
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise InvalidInput(f"{text!r} is no cron expression of five fields", code="error-invalid-cron")
    minutes, hours, days, months, weekdays = (
        _parse_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)
    )
    return Schedule(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(weekday % 7 for weekday in weekdays),
        any_of_days=parts[2] != "*" and parts[4] != "*",
    )


def _parse_field(text: str, name: str, low: int, high: int) -> frozenset[int]:
    """The numbers that "*", "5", "1-5", "*/10", "1-9/2" and lists of them with commas stand for."""
    found: set[int] = set()
    for part in text.split(","):
        numbers, _, step = part.partition("/")
        first, _, last = numbers.partition("-")
        try:
            start, end = (low, high) if numbers == "*" else (int(first), int(last or (high if step else first)))
            if not (low <= start <= end <= high):  # before anything is counted: it may be any number
                raise InvalidInput(f"{part!r} is no {name}", code="error-invalid-cron")
            found.update(range(start, end + 1, int(step or 1)))
        except ValueError as error:
            raise InvalidInput(f"{part!r} is no {name}", code="error-invalid-cron") from error
    return frozenset(found)
