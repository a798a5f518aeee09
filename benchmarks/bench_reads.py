"""Reads: how long a client waits for a page of history and for its room list."""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from asking import HEADERS, Request, both_servers, time_requests
from harness import Report, main
from seed import Plan, RoomPlan

MESSAGES = 200_000
ROOMS = 200
PAGE = 50

Check = Callable[[Any], bool]


def plan(quick: bool) -> Plan:
    """User 0 is in 200 rooms; one of them has a long history."""
    messages = 5_000 if quick else MESSAGES
    rooms = [RoomPlan("history", 0, 50, messages)]
    rooms += [RoomPlan(f"room{number}", 0, 10, 3) for number in range(1, ROOMS)]
    return Plan("reads-quick" if quick else "reads", 50, 1, tuple(rooms))


def benchmark(given: argparse.Namespace) -> Report:
    wanted = plan(given.quick)
    report = Report(f"Reads over REST: a channel of {wanted.rooms[0].messages:,} messages, a user with {ROOMS} rooms")
    count = 50 if given.quick else 500
    history = wanted.rooms[0].messages
    with both_servers(report, wanted, messages=history, rooms=ROOMS) as (palaver, baseline):
        newest = f"/api/v1/channels.history?roomId=history&count={PAGE}"
        page = time_requests(palaver, HEADERS, [Request(newest, _has_messages)], count)
        yardstick = time_requests(baseline, {}, [Request(newest, _has_documents(PAGE))], count)
        _add(report, f"page of {PAGE} messages, the newest", page, yardstick, 4.0)
        middle = palaver.call(newest, HEADERS)["messages"][-1]["ts"]
        older = f"{newest}&latest={_earlier(middle, history // 2)}"
        page = time_requests(palaver, HEADERS, [Request(older, _has_messages)], count)
        _add(report, f"page of {PAGE} messages, from the middle", page, yardstick, 4.0)
        lists = ["/api/v1/subscriptions.get", "/api/v1/rooms.get"]
        both = time_requests(palaver, HEADERS, [Request(path, _has_updates) for path in lists], count // 5)
        bare = [Request(path, _has_documents(2 * ROOMS)) for path in lists]
        yardstick = time_requests(baseline, {}, bare, count // 5)
        _add(report, f"subscriptions.get and rooms.get, {ROOMS} rooms", both, yardstick, 20.0)
    return report


def _add(report: Report, name: str, measured: list[float], yardstick: list[float], budget: float) -> None:
    report.add(f"{name}, p50", statistics.median(measured), "ms", budget=budget, baseline=statistics.median(yardstick))
    slow, slow_yardstick = (times[int(len(times) * 0.99)] for times in (measured, yardstick))
    report.add(f"{name}, p99", slow, "ms", baseline=slow_yardstick)


def _has_messages(answer: Any) -> bool:
    return len(answer["messages"]) == PAGE


def _has_updates(answer: Any) -> bool:
    return len(answer["update"]) >= ROOMS


def _has_documents(count: int) -> Check:
    return lambda answer: len(answer["documents"]) == count


def _earlier(moment: str, seconds: int) -> str:
    """An ISO 8601 time, so many seconds earlier: one message was sent each second."""
    at = time.mktime(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")) - seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.localtime(at))


if __name__ == "__main__":
    main(benchmark, __doc__)
