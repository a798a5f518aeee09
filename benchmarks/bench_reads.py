"""Reads: how long a client waits for a page of history and for its room list."""

import argparse
import http.client
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from harness import (
    GENERATOR_CORE,
    BenchmarkError,
    Report,
    Server,
    baseline_server,
    cache_folder,
    main,
    palaver_server,
    watching,
)
from seed import Plan, RoomPlan, filled, token, user_id, write_credentials

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
    os.sched_setaffinity(0, {GENERATOR_CORE})
    with filled(wanted, cache_folder()) as data:
        credentials = write_credentials(data / "credentials", wanted)
        with (
            palaver_server(data) as palaver,
            baseline_server(credentials, messages=wanted.rooms[0].messages, rooms=ROOMS) as baseline,
            watching(report, palaver, baseline),
        ):
            headers = {"X-User-Id": user_id(0), "X-Auth-Token": token(0)}
            newest = f"/api/v1/channels.history?roomId=history&count={PAGE}"
            page = _times(palaver, headers, [newest], _has_messages, count)
            yardstick = _times(baseline, {}, [newest], _has_documents(PAGE), count)
            _add(report, f"page of {PAGE} messages, the newest", page, yardstick, 4.0)
            middle = palaver.call(newest, headers)["messages"][-1]["ts"]
            older = f"{newest}&latest={_earlier(middle, wanted.rooms[0].messages // 2)}"
            page = _times(palaver, headers, [older], _has_messages, count)
            _add(report, f"page of {PAGE} messages, from the middle", page, yardstick, 4.0)
            lists = ["/api/v1/subscriptions.get", "/api/v1/rooms.get"]
            both = _times(palaver, headers, lists, _has_updates, count // 5)
            yardstick = _times(baseline, {}, lists, _has_documents(2 * ROOMS), count // 5)
            _add(report, f"subscriptions.get and rooms.get, {ROOMS} rooms", both, yardstick, 20.0)
    return report


def _add(report: Report, name: str, measured: list[float], yardstick: list[float], budget: float) -> None:
    report.add(f"{name}, p50", statistics.median(measured), "ms", budget=budget, baseline=statistics.median(yardstick))
    slow, slow_yardstick = (sorted(times)[int(len(times) * 0.99)] for times in (measured, yardstick))
    report.add(f"{name}, p99", slow, "ms", baseline=slow_yardstick)


def _times(server: Server, headers: Mapping[str, str], paths: list[str], check: Check, count: int) -> list[float]:
    """Milliseconds that it takes to ask for all of the paths, one after the other, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    times = []
    for turn in range(count + 10):
        started = time.perf_counter()
        for path in paths:
            connection.request("GET", path, headers=dict(headers))
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise BenchmarkError(f"{server.name}: {path} answered {response.status}: {body[:300]!r}")
        if turn >= 10:  # the first ones warm it up
            times.append(1000 * (time.perf_counter() - started))
    connection.close()
    for path in paths:
        if not check(server.call(path, headers)):
            raise BenchmarkError(f"{server.name}: {path} answered something else")
    return times


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
