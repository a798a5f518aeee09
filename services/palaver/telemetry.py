"""Logs as JSON lines, the id and the spans that follow a request through every process, and what a process measures.

What happens is counted where it happens. What merely stands there (lengths, ages) is looked at twice a second by
`run_measuring`, so that no request pays for it. Spans cost nothing as long as nobody traces (`traces.py`).
"""

import asyncio
import contextvars
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal, Protocol

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


# -- spans -------------------------------------------------------------------------------------------------------------

Kind = Literal["internal", "server", "client", "producer", "consumer"]


class Span(Protocol):
    """One step of a request. `with` makes it the parent of the steps that begin within, and ends it."""

    @property
    def trace(self) -> str:
        """How a later step, or another process, goes on from it: W3C's traceparent. Empty when nobody traces it."""

    def begin(self, name: str, kind: Kind) -> "Span": ...
    def note(self, name: str, value: str | int) -> None: ...
    def end(self) -> None: ...
    def __enter__(self) -> "Span": ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class _NoSpan:
    """A step that nobody traces."""

    __slots__ = ()
    trace = ""

    def begin(self, name: str, kind: Kind) -> Span:
        return self

    def note(self, name: str, value: str | int) -> None:
        pass

    def end(self) -> None:
        pass

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


class Tracer(Protocol):
    """What makes spans; `traces.Traces` documents its methods."""

    def begin(self, name: str, link: str) -> Span: ...
    def resume(self, name: str, kind: Kind, traces: Iterable[str]) -> Span: ...


NO_SPAN: Span = _NoSpan()

current_span: contextvars.ContextVar[Span | None] = contextvars.ContextVar("current_span", default=None)
"""The step that is under way, if it is traced."""

_tracer: Tracer | None = None


def trace_with(tracer: Tracer | None) -> None:
    """A process has one tracer, as it has one log; or none."""
    global _tracer
    _tracer = tracer


def request_span(name: str, link: str = "") -> Span:
    """The first step of a request, where it comes in. `link`: the traceparent that the client sends."""
    return NO_SPAN if _tracer is None else _tracer.begin(name, link)


def resumed_span(name: str, kind: Kind, traces: Iterable[str]) -> Span:
    """A step that goes on from what `Span.trace` said elsewhere: one request's, or several that are served at once."""
    return NO_SPAN if _tracer is None else _tracer.resume(name, kind, traces)


def span(name: str, kind: Kind = "internal") -> Span:
    """A step of the request at hand: `with span("commit"): …`."""
    current = current_span.get()
    return NO_SPAN if current is None else current.begin(name, kind)


def current_trace() -> str:
    """`Span.trace` of the step under way."""
    current = current_span.get()
    return "" if current is None else current.trace


# -- logs --------------------------------------------------------------------------------------------------------------


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
        if traced := current_trace():
            line["trace_id"] = traced.split("-")[1]
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


# -- what stands there -------------------------------------------------------------------------------------------------


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
