"""What the pods of one workspace say of themselves: reads their /metrics and makes `scaling.PodLoad`s of it.

Called by the reconcile before it decides about sizes. A pod that does not answer in time, or not with what can be
understood, is missing: a load without values. Rates come from two readings, so a pod that is met for the first
time has none yet.
"""

import asyncio
import math
import re
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urljoin

import aiohttp
import msgspec

from palaver_operator.health import Failures
from palaver_operator.scaling import PodLoad, Signal

URL_TEMPLATE = "http://{address}:9090/metrics"
TIMEOUT_SECONDS = 2.0
_AT_ONCE = 100
_MOST_BYTES = 4 * 1024 * 1024
_MOST_WORDS = 1000  # characters of what a pod says is wrong: it becomes part of a condition
_RATES, _FEWEST_RATES = 6, 3  # of failures: a minute of rounds, and what is enough to say something

_CPU = "process_cpu_seconds_total"
_REFUSED = "palaver_admissions_refused_total"
_REPORTS = "palaver_presence_reports_total"
_CONNECTIONS = "palaver_connections"
_LOOP_LAG = "palaver_event_loop_lag_last_seconds"
_OUTBOX_AGE = "palaver_outbox_age_seconds"
_FOLLOWER_AGE = "palaver_follower_oldest_seconds"
_SETTINGS_WRONG = "palaver_settings_file_wrong"
# What failed unexpectedly: not for scaling, but to see whether a new revision is worse than the one before.
_ERRORS = ("palaver_rest_errors_total", "palaver_ddp_errors_total", "palaver_rpc_internal_errors_total")

# Of several series of a name (by label) the sum counts for counters, the oldest for ages.
_SUMS = frozenset((_CPU, _REFUSED, _REPORTS, _CONNECTIONS, *_ERRORS))
_NAMES = (_CPU, _REFUSED, _CONNECTIONS, _LOOP_LAG, _OUTBOX_AGE, _FOLLOWER_AGE, _SETTINGS_WRONG, *_ERRORS)
# Reports that presence did not answer are made again: only the answered ones say how much there is to do.
_BEGINNINGS = {**{name: name for name in _NAMES}, f'{_REPORTS}{{outcome="answered"}}': _REPORTS}
_REST = re.compile(r"(?:\{.*\})? +(\S+)(?: \d+)?")


@dataclass(frozen=True, slots=True)
class Pod:
    """Where a ready pod answers. `uid` tells it from another one that had its name."""

    uid: str
    name: str
    role: str
    address: str


class _Readiness(msgspec.Struct):
    """What /readyz says, as far as it matters here."""

    problems: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading: the monotonic time in seconds, and each metric's value."""

    at: float
    values: Mapping[str, float]


def parse(text: str) -> dict[str, float]:
    """The few metrics that scaling looks at, out of a page in Prometheus' text format."""
    values: dict[str, float] = {}
    text = f"\n{text}\n"
    # A page has thousands of lines. To look for each name is many times faster than to look at each line.
    for beginning, name in _BEGINNINGS.items():
        at = text.find(f"\n{beginning}")
        while at >= 0:
            end = text.index("\n", at + 1)
            if (found := _REST.fullmatch(text, at + 1 + len(beginning), end)) and _is_quantity(found[1]):
                value = float(found[1])
                values[name] = values.get(name, 0.0) + value if name in _SUMS else max(values.get(name, 0.0), value)
            at = text.find(f"\n{beginning}", end)
    return values


def _is_quantity(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False


def pod_load(name: str, sample: Sample | None, before: Sample | None, cores: float = 1.0) -> PodLoad:
    """One pod's load from its last two readings. `cores`: how much CPU it may use, which is its 100 percent."""
    if sample is None:
        return PodLoad(name)
    known: dict[Signal, float | None] = {
        Signal.CONNECTIONS: sample.values.get(_CONNECTIONS),
        Signal.LOOP_LAG: _scaled(sample.values.get(_LOOP_LAG), 1000),
        Signal.QUEUE: sample.values.get(_OUTBOX_AGE),
        # A process that works on no partition has no follower that could be late.
        Signal.FOLLOWER: sample.values.get(_FOLLOWER_AGE, 0.0),
        Signal.CPU: _scaled(_rate(_CPU, sample, before) if _CPU in sample.values else None, 100 / cores),
        Signal.REFUSED: _rate(_REFUSED, sample, before),
        Signal.REPORTS: _rate(_REPORTS, sample, before),
    }
    return PodLoad(name, {signal: value for signal, value in known.items() if value is not None})


def share_reports(gateways: Sequence[PodLoad], presence: Sequence[PodLoad]) -> list[PodLoad]:
    """Gateways count what they report to presence, whose pods take turns: each of them has an even share.

    While a gateway is missing, nobody knows how much it is.
    """
    rates = [pod.values.get(Signal.REPORTS) for pod in gateways]
    shared: dict[Signal, float] = {}
    if None not in rates:
        shared[Signal.REPORTS] = sum(rate or 0.0 for rate in rates) / max(1, len(presence))
    loads = []
    for pod in presence:
        own: dict[Signal, float] = {signal: value for signal, value in pod.values.items() if signal != Signal.REPORTS}
        loads.append(PodLoad(pod.name, {**own, **shared} if own else own))
    return loads


class MetricsReader:
    """Gets the pages of many pods at once, for all workspaces. An async context manager: it owns an HTTP session."""

    def __init__(
        self,
        url_template: str = URL_TEMPLATE,
        timeout_seconds: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url_template`: {address}, {name} and {role} of a pod may stand in it."""
        self._url_template = url_template
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "MetricsReader":
        # No proxy, no cookies, no redirect, and no socket kept for longer than an answer takes.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self, pods: Sequence[Pod]) -> dict[str, Sample | None]:
        """A reading of each pod by its uid; None of those that did not answer."""
        samples = await asyncio.gather(*(self._read_one(pod) for pod in pods))
        return {pod.uid: sample for pod, sample in zip(pods, samples, strict=True)}

    async def read_problems(self, pod: Pod) -> str:
        """What a pod says is wrong although it serves, as a sentence; empty if it says nothing."""
        body = await self._get(urljoin(self._url(pod), "readyz"))
        try:
            found = msgspec.json.decode(body, type=_Readiness) if body is not None else _Readiness()
        except msgspec.DecodeError:
            return ""
        return "; ".join(found.problems.values())[:_MOST_WORDS]

    async def _read_one(self, pod: Pod) -> Sample | None:
        body = await self._get(self._url(pod))
        at = self._clock()
        values = parse(body.decode("utf-8", "replace")) if body is not None else {}
        return Sample(at, values) if values else None

    def _url(self, pod: Pod) -> str:
        return self._url_template.format(address=pod.address, name=pod.name, role=pod.role)

    async def _get(self, url: str) -> bytes | None:
        """A page; None if it does not come in time, or is none."""
        assert self._session is not None, "entered before it reads"
        try:
            async with (
                self._places,
                asyncio.timeout(self._timeout_seconds),
                self._session.get(url, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    return None
                body = bytearray()
                async for piece in response.content.iter_chunked(65536):
                    body += piece
                    if len(body) > _MOST_BYTES:
                        return None
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
            return None
        return bytes(body)


class WorkspaceLoad:
    """The pods of one workspace from round to round: what was read last is what the next rates are measured from."""

    def __init__(self, reader: MetricsReader) -> None:
        self._reader = reader
        self._before: dict[str, Sample] = {}
        self._rates: dict[str, deque[float]] = {}  # of failures, by the pod's uid
        self.failures: dict[str, Failures] = {}  # by the pod's name; of those that answered last time
        self.refused_settings: dict[str, str] = {}  # by the pod's name: what is wrong with its settings file

    async def read(self, pods: Sequence[Pod], cores: Mapping[str, float]) -> dict[str, list[PodLoad]]:
        """The load of each pod by role, in the order given. `cores` by role; a role that is not in it has one core."""
        samples = await self._reader.read(pods)
        loads: dict[str, list[PodLoad]] = {pod.role: [] for pod in pods}
        for pod in pods:
            load = pod_load(pod.name, samples[pod.uid], self._before.get(pod.uid), cores.get(pod.role, 1.0))
            loads[pod.role].append(load)
        self.failures = {
            pod.name: self._failures(pod, sample) for pod in pods if (sample := samples[pod.uid]) is not None
        }
        self._rates = {pod.uid: self._rates[pod.uid] for pod in pods if pod.uid in self._rates}
        wrong = [pod for pod in pods if (sample := samples[pod.uid]) and sample.values.get(_SETTINGS_WRONG)]
        told = await asyncio.gather(*(self._reader.read_problems(pod) for pod in wrong))
        self.refused_settings = {pod.name: problem for pod, problem in zip(wrong, told, strict=True)}
        # One that was missing goes on from its last reading; one that is gone is forgotten.
        self._before = {
            pod.uid: sample for pod in pods if (sample := samples[pod.uid] or self._before.get(pod.uid)) is not None
        }
        if "presence" in loads:
            loads["presence"] = share_reports(loads.get("gateway", []), loads["presence"])
        return loads

    def _failures(self, pod: Pod, sample: Sample) -> Failures:
        rates = [_rate(name, sample, self._before.get(pod.uid)) for name in _ERRORS]
        known = self._rates.setdefault(pod.uid, deque(maxlen=_RATES))
        if None in rates:
            known.clear()  # a process that has just begun, or begun anew
        else:
            known.append(sum(rate or 0.0 for rate in rates))
        lately = statistics.median_low(known) if len(known) >= _FEWEST_RATES else None
        return Failures(sum(sample.values.get(name, 0.0) for name in _ERRORS), lately)


def _rate(name: str, sample: Sample, before: Sample | None) -> float | None:
    """A counter's growth in each second; None without an earlier reading, and when the process has begun anew."""
    if before is None or sample.at <= before.at:
        return None
    grown = sample.values.get(name, 0.0) - before.values.get(name, 0.0)
    return grown / (sample.at - before.at) if grown >= 0 else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
