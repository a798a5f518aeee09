"""When a scheduled backup is due: five fields like cron's, in UTC. Pure; used by resource.py and backups.py.

minute hour day month weekday; each a `*`, a number or a name (jan, mon), a range, any of these with `/step`, or several
of them with commas between. Where day and weekday are both restricted, either will do, as cron has it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = {name: number for number, name in enumerate(_MONTHS, 1)}, {name: day for day, name in enumerate(_WEEKDAYS)}
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# Eight years may lie between two 29ths of February.
_FURTHEST_DAYS = 8 * 366 + 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which minutes are due."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    is_any_day: bool  # the field of the day says nothing
    is_any_weekday: bool

    def find_last(self, now: datetime) -> datetime | None:
        """The last time that was due, `now` included; None if there was none in years (the 30th of February)."""
        now = now.astimezone(UTC)
        day = now.date()
        latest = now.time()
        for _ in range(_FURTHEST_DAYS):
            if day.month in self.months and self._is_due_on(day.day, day.isoweekday() % 7):
                times = (time(hour, minute) for hour in sorted(self.hours, reverse=True) for minute in self._minutes)
                if found := next((one for one in times if one <= latest), None):
                    return datetime.combine(day, found, UTC)
            day -= timedelta(days=1)
            latest = time.max
        return None

    @property
    def _minutes(self) -> list[int]:
        return sorted(self.minutes, reverse=True)

    def _is_due_on(self, day: int, weekday: int) -> bool:
        if self.is_any_day or self.is_any_weekday:
            return day in self.days and weekday in self.weekdays
        return day in self.days or weekday in self.weekdays


def parse_schedule(text: str) -> Schedule:
    """Raises ValueError with a sentence."""
    fields = _NICKNAMES.get(text.strip().lower(), text).lower().split()
    if len(fields) != 5:
        raise ValueError("five fields are wanted (minute hour day month weekday), like 0 3 * * *")
    minute, hour, day, month, weekday = fields
    return Schedule(
        _parse(minute, 0, 59, {}),
        _parse(hour, 0, 23, {}),
        _parse(day, 1, 31, {}),
        _parse(month, 1, 12, _NAMES[0]),
        frozenset(found % 7 for found in _parse(weekday, 0, 7, _NAMES[1])),
        day.startswith("*"),
        weekday.startswith("*"),
    )


def _parse(field: str, least: int, most: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if span == "*":
            first, last = least, most
        else:
            start, dash, end = span.partition("-")
            first = _number(start, part, names)
            last = _number(end, part, names) if dash else most if slash else first
        every = _number(step, part, {}) if slash else 1
        if not least <= first <= last <= most or every < 1:
            raise ValueError(f"{part} is not within {least} to {most}")
        found.update(range(first, last + 1, every))
    return frozenset(found)


def _number(text: str, part: str, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{part} can't be understood")
    return int(text)
