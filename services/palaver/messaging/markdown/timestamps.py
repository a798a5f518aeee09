"""Moments that a reader sees in their own time zone: <t:1700000000:R> and the like."""

import re
from datetime import UTC, datetime

from palaver.messaging.markdown.nodes import Node, plain

_TIMESTAMP = re.compile(
    r"<t:(?:(?P<seconds>\d{10})"
    r"|(?P<date>\d{4}-\d\d-\d\d)T(?P<clock>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d{3}))?(?P<zone>[+-]\d\d:\d\d)?"
    r"|(?P<today>\d\d:\d\d(?::\d\d)?)(?P<today_zone>[+-]\d\d:\d\d)?)"
    r"(?::(?P<format>[tTdDfFR]))?>",
    re.ASCII,
)


def match(text: str, position: int) -> tuple[Node, int] | None:
    """The moment written at this position, and where it ends."""
    found = _TIMESTAMP.match(text, position)
    if not found:
        return None
    seconds = found["seconds"] or str(_seconds(found))
    style = found["format"] or "t"
    node = {
        "type": "TIMESTAMP",
        "value": {"timestamp": seconds, "format": style},
        "fallback": plain(f"<t:{seconds}:{style}>"),
    }
    return node, found.end()


def _seconds(found: re.Match[str]) -> int:
    """Seconds since 1970; 0 for what no calendar or clock knows, and for a time of day without a zone."""
    date, clock, zone = found["date"], found["clock"], found["zone"]
    if not date:
        if not found["today_zone"]:
            return 0
        date, clock, zone = datetime.now(UTC).date().isoformat(), found["today"], found["today_zone"]
    year, month, day = map(int, date.split("-"))
    hour, minute, second = map(int, (clock + ":00").split(":")[:3])
    ahead_hours, ahead_minutes = map(int, (zone or "+00:00")[1:].split(":"))
    end_of_day = hour == 24 and not minute and not second
    if not (1 <= day <= 31 and (hour < 24 or end_of_day) and minute < 60 and second < 60):
        return 0
    if ahead_hours >= 24 or ahead_minutes >= 60:
        return 0
    try:
        first = datetime(year, month, 1, tzinfo=UTC)
    except ValueError:
        return 0
    # A day that a short month lacks is one of the next month; as numbers, days never run out.
    seconds = int(first.timestamp()) + ((day - 1) * 24 + hour) * 3600 + minute * 60 + second
    ahead = (ahead_hours * 60 + ahead_minutes) * 60
    seconds -= -ahead if zone and zone[0] == "-" else ahead
    if seconds < 0 and (found["fraction"] or "0").strip("0"):
        seconds += 1
    return seconds
