"""Logs as JSON lines, the request id that follows a request through every process, and what a process measures.

What happens is counted where it happens. What merely stands there (lengths, ages) is looked at twice a second by
`run_measuring`, so that no request pays for it.
"""

import asyncio
import contextvars
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import orjson
from prometheus_client import Gauge, Histogram

from palaver.ids import new_id

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")

BUILD = Gauge(
    "palaver_build_info", "1 for what this process is: its version and the roles it plays", ["version", "roles"]
)
LOOP_LAG = Histogram(
    "palaver_event_loop_lag_seconds",
    "How late a timer of the event loop fires",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)
LOOP_LAG_NOW = Gauge("palaver_event_loop_lag_last_seconds", "The same, at the last measurement")

# What a client may choose: it stands in headers, in metadata of gRPC and in log lines.
_OFFERED = re.compile(r"[A-Za-z0-9_.:=+/@-]{1,64}", re.ASCII)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def name_request(offered: str, within: str = "") -> str:
    """Gives the request at hand its id, and returns it.

    A client's own name for it is kept if it is a short plain token, so that whoever asks, and any proxy on the way,
    finds it by that; `within` (the id of a connection) goes before it. All else gets a new one.
    """
    name = offered if _OFFERED.fullmatch(offered) else new_id()
    name = f"{within}/{name}" if within else name
    request_id.set(name)
    return name


class JsonFormatter(logging.Formatter):
    """One line of JSON a record; fields given as `extra=` stand beside the message."""

    def __init__(self, node_id: str) -> None:
        super().__init__()
        self._node_id = node_id

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "node": self._node_id,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) != "-":
            line["request_id"] = current
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except orjson.JSONEncodeError:  # half a surrogate pair, a number beyond 64 bits
            return json.dumps(line, default=str)


def configure_logging(level: str, node_id: str) -> None:
    """Sends everything of at least this level to standard error, as JSON lines.

    Libraries speak of trouble only: what they write besides shows what people say, and whose tokens they have.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(node_id))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    logging.getLogger("palaver").setLevel(level.upper())


def show_build(version: str, roles: Iterable[str]) -> None:
    """Says among the metrics what this process is."""
    BUILD.labels(version, ",".join(roles)).set(1)


async def run_measuring(*measures: Callable[[], None], every: float = 0.5) -> None:
    """The background task that watches how late the event loop runs, and has each part set its gauges."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every
        await asyncio.sleep(every)
        lag = max(0.0, loop.time() - due)
        LOOP_LAG.observe(lag)
        LOOP_LAG_NOW.set(lag)
        for measure in measures:
            measure()
