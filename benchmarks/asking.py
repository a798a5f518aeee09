"""What is asked of REST again and again, by one user of a filled workspace, beside the same of the baseline.

Used by `bench_lists.py` and `bench_reads.py`.
"""

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness import (
    GENERATOR_CORE,
    BenchmarkError,
    Report,
    Server,
    baseline_server,
    cache_folder,
    palaver_server,
    watching,
)
from seed import Plan, filled, token, user_id, write_credentials

HEADERS = {"X-User-Id": user_id(0), "X-Auth-Token": token(0)}
"""Of the user who asks."""


@contextmanager
def both_servers(report: Report, plan: Plan, *, messages: int, rooms: int = 0) -> Iterator[tuple[Server, Server]]:
    """Palaver, on a database that is filled like that, and the baseline with so many messages and rooms."""
    os.sched_setaffinity(0, {GENERATOR_CORE})
    with filled(plan, cache_folder()) as data:
        credentials = write_credentials(data / "credentials", plan)
        with (
            palaver_server(data) as palaver,
            baseline_server(credentials, messages=messages, rooms=rooms) as baseline,
            watching(report, palaver, baseline),
        ):
            yield palaver, baseline


@dataclass(frozen=True)
class Request:
    """What is asked of a REST API again and again, and whether an answer is the right one."""

    path: str
    is_right: Callable[[Any], bool]
    make_body: Callable[[int], object] | None = None  # of a POST, by its number


def time_requests(server: Server, headers: Mapping[str, str], requests: Sequence[Request], count: int) -> list[float]:
    """Milliseconds that it takes to ask for all of these, one after the other on one connection; the slowest last."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    times = []
    for turn in range(-10, count):  # the first ones warm it up
        started = time.perf_counter()
        for request in requests:
            body = None if request.make_body is None else json.dumps(request.make_body(turn))
            sent = {**headers, "Content-Type": "application/json"} if body else dict(headers)
            connection.request("POST" if body else "GET", request.path, body, sent)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                raise BenchmarkError(f"{server.name}: {request.path} answered {response.status}: {answer[:300]!r}")
            if turn == -1 and not request.is_right(json.loads(answer)):
                raise BenchmarkError(f"{server.name}: {request.path} answered something else")
        if turn >= 0:
            times.append(1000 * (time.perf_counter() - started))
    connection.close()
    return sorted(times)
