"""Traces: where a request's time goes, over every process, as OpenTelemetry's spans sent by OTLP over HTTP.

The adapter behind `telemetry.span`: the only module that knows OpenTelemetry, imported only when PALAVER_TRACES_URL is
set. Spans wait in a bounded queue for a thread that sends them: a collector that is away costs spans, and neither time
nor memory. Called by node.py.
"""

import asyncio
import random
import re
import threading
from collections.abc import Iterable, Sequence
from contextvars import Token
from types import TracebackType
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from palaver import __version__
from palaver.config import Config, ConfigError
from palaver.errors import InternalError, PalaverError, Unavailable
from palaver.telemetry import NO_SPAN, Kind, Span, current_span, request_id, trace_with

_MAX_WAITING = 2048
_BATCH = 512
_SEND_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0
_CLOSE_SECONDS = 3.0
_MAX_LINKS = 100

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_KINDS: dict[Kind, trace.SpanKind] = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}


class Traces:
    """Makes the spans of this process and sends them. It is in force from its making until `close`."""

    def __init__(self, config: Config, roles: Sequence[str]) -> None:
        """Raises ConfigError for an address or a share that can't be."""
        if not 0 <= config.traces_sample <= 1:
            raise ConfigError(f"PALAVER_TRACES_SAMPLE={config.traces_sample!r}: a share is between 0 and 1")
        self._share = config.traces_sample
        self._exporter = OTLPSpanExporter(_endpoint(config.traces_url), timeout=_TIMEOUT_SECONDS)
        about = {
            "service.name": f"palaver-{roles[0]}" if len(roles) == 1 else "palaver",
            "service.namespace": config.workspace,
            "service.version": __version__,
            "service.instance.id": config.node_id,
        }
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource(about), shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=_MAX_WAITING,
                max_export_batch_size=_BATCH,
                schedule_delay_millis=_SEND_SECONDS * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("palaver")
        trace_with(self)

    async def close(self) -> None:
        """Makes no more spans, and sends what waits; gives up after some seconds, if nobody takes it."""
        trace_with(None)
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        sending = threading.Thread(target=self._provider.shutdown, name="palaver traces", daemon=True)
        sending.start()
        sending.join(_CLOSE_SECONDS)
        if sending.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def begin(self, name: str, link: str) -> Span:
        """The first step of a request, if it is chosen, linked to the client's own (a traceparent, or nothing)."""
        if random.random() >= self._share:
            return NO_SPAN
        return self._start(name, "server", None, _contexts([link]))

    def resume(self, name: str, kind: Kind, traces: Iterable[str]) -> Span:
        """A step that goes on from these: below the first, linked to the others. NO_SPAN if there are none."""
        contexts = _contexts(traces)
        if not contexts:
            return NO_SPAN
        return self._start(name, kind, trace.NonRecordingSpan(contexts[0]), contexts[1:])

    def start_below(self, parent: trace.Span, name: str, kind: Kind) -> Span:
        return self._start(name, kind, parent, [])

    def _start(
        self, name: str, kind: Kind, parent: trace.Span | None, links: Sequence[trace.SpanContext]
    ) -> "TracedSpan":
        span = self._tracer.start_span(
            name,
            # Never the parent that OpenTelemetry itself may know of in this context.
            trace.set_span_in_context(parent or trace.INVALID_SPAN),
            _KINDS[kind],
            links=[trace.Link(context) for context in links[:_MAX_LINKS]],
        )
        if (asked := request_id.get()) != "-":
            span.set_attribute("palaver.request_id", asked)
        return TracedSpan(self, span)


class TracedSpan:
    """One step of a request that was chosen to be traced."""

    __slots__ = ("_before", "_span", "_traces")

    def __init__(self, traces: Traces, span: trace.Span) -> None:
        self._traces = traces
        self._span = span
        self._before: Token[Span | None] | None = None

    @property
    def trace(self) -> str:
        """W3C's traceparent."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    def begin(self, name: str, kind: Kind) -> Span:
        """A step of this one."""
        return self._traces.start_below(self._span, name, kind)

    def note(self, name: str, value: str | int) -> None:
        """Says something of it."""
        self._span.set_attribute(name, value)

    def end(self) -> None:
        self._span.end()

    def __enter__(self) -> Span:
        self._before = current_span.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            current_span.reset(self._before)
        if kind is not None:
            # Its class alone: what it says may be what somebody has typed.
            self._span.set_attribute("error.type", kind.__name__)
            if not issubclass(kind, PalaverError) or issubclass(kind, (InternalError, Unavailable)):
                self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


def _contexts(traces: Iterable[str]) -> list[trace.SpanContext]:
    """What these name, each once; without those that name nothing."""
    found: dict[str, trace.SpanContext] = {}
    for traceparent in traces:
        if traceparent and traceparent not in found and (parts := _TRACEPARENT.fullmatch(traceparent)):
            context = trace.SpanContext(
                int(parts[1], 16), int(parts[2], 16), is_remote=True, trace_flags=trace.TraceFlags(1)
            )
            if context.is_valid:
                found[traceparent] = context
    return list(found.values())


def _endpoint(url: str) -> str:
    """The address itself, or OTLP's usual path below one that has none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"PALAVER_TRACES_URL={url!r} is not an http address")
    return url if parts.path.strip("/") else f"{url.rstrip('/')}/v1/traces"
