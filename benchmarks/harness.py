"""What the benchmarks share: servers as child processes, the load generator, and the table of figures.

A server has the first core to itself, the generator the second one. Figures are compared with those of `baseline.py` in
the same run, since machines differ and are seldom quiet; no figure fails a run.
"""

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

HERE = Path(__file__).resolve().parent
START_SECONDS = 60.0
STOP_SECONDS = 15.0
REST_SECONDS = 300.0

_cores = sorted(os.sched_getaffinity(0))
SERVER_CORE = _cores[0]
GENERATOR_CORE = _cores[1 % len(_cores)]

ADMIN_NAME = "bench-admin"
ADMIN_PASSWORD = "a password of the benchmarks"


class BenchmarkError(Exception):
    """Something that a benchmark needs is missing or did not work. The message says what."""


def arguments(description: str) -> argparse.Namespace:
    """The options of every benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it works")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def main(benchmark: Callable[[argparse.Namespace], "Report"], description: str) -> None:
    """Runs one benchmark as a script."""
    given = arguments(description)
    try:
        report = benchmark(given)
    except BenchmarkError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(1)
    report.show()
    if given.json:
        given.json.write_text(json.dumps([vars(figure) for figure in report.figures], indent=2) + "\n")


# -- figures ---------------------------------------------------------------------------------------------------------


@dataclass
class Figure:
    """One line of the table. `budget` is the most that `measured` may be, or the least with `at_least`."""

    name: str
    measured: float
    unit: str = ""
    budget: float | None = None
    at_least: bool = False
    baseline: float | None = None

    @property
    def met(self) -> bool | None:
        if self.budget is None:
            return None
        return self.measured >= self.budget if self.at_least else self.measured <= self.budget


@dataclass
class Report:
    """A table of figures, and remarks beneath it."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    others: float = 0.0  # the most of a core that other processes used while something was measured

    def add(self, name: str, measured: float, unit: str = "", **more: Any) -> None:
        self.figures.append(Figure(name, measured, unit, **more))

    def note(self, measured: Mapping[str, Any]) -> None:
        """Remembers what others used meanwhile, of one of the generator's lines."""
        self.others = max(self.others, measured.get("others_cpu", 0.0))

    def show(self) -> None:
        lines = [("figure", "budget", "measured", "baseline", "ratio", "met")]
        for figure in self.figures:
            sign = "≥ " if figure.at_least else "≤ "
            ratio = figure.measured / figure.baseline if figure.baseline else None
            lines.append(
                (
                    figure.name,
                    "" if figure.budget is None else sign + _number(figure.budget, figure.unit),
                    _number(figure.measured, figure.unit),
                    "" if figure.baseline is None else _number(figure.baseline, figure.unit),
                    "" if ratio is None else f"{ratio:.2f}",
                    {True: "yes", False: "NO", None: ""}[figure.met],
                )
            )
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        print(f"\n{self.title}\n")
        for line in lines:
            cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
            print("  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip())
        missed = sum(figure.met is False for figure in self.figures)
        print(f"\n{missed or 'none'} of the budgets missed; other processes used up to {self.others:.0%} of a core")
        for remark in self.remarks:
            print(remark)
        sys.stdout.flush()


class Working(Protocol):
    """A process of which is known how much it works."""

    def cpu_seconds(self) -> float: ...


@contextmanager
def watching(report: Report, *servers: Working) -> Iterator[None]:
    """Notes what processes other than this one and the servers use meanwhile."""

    def used_by_others() -> float:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        machine = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # all but idle and waiting for a disk
        return machine - time.process_time() - sum(server.cpu_seconds() for server in servers)

    before, started = used_by_others(), time.monotonic()
    yield
    report.others = max(report.others, (used_by_others() - before) / (time.monotonic() - started))


def _number(value: float, unit: str) -> str:
    if unit == "yes":
        return "yes" if value else "no"
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{shown} {unit}".rstrip()


# -- servers ---------------------------------------------------------------------------------------------------------


class Server:
    """A child process that serves HTTP on `port`."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, name: str) -> None:
        self.process = process
        self.port = port
        self.name = name

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def pids(self) -> tuple[int, ...]:
        return (self.pid,)

    def memory(self) -> tuple[float, float]:
        """RSS and PSS in MiB."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
        return kib["Rss"] / 1024, kib["Pss"] / 1024

    def cpu_seconds(self) -> float:
        """What it has used since its start."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def call(self, path: str, headers: Mapping[str, str] | None = None, body: object = None) -> Any:
        """One request of the REST API, decoded. Raises BenchmarkError unless it succeeds."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(f"http://{self.address}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            raise BenchmarkError(f"{self.name}: {path} answered {error.code}: {error.read()[:300]!r}") from None


@contextmanager
def palaver_server(data: Path) -> Iterator[Server]:
    """All of Palaver in one process, on the given data folder."""
    port = free_port()
    settings = {
        "PALAVER_PORT": str(port),
        "PALAVER_DATA_DIR": str(data),
        "PALAVER_TEST_MODE": "1",
        "PALAVER_LOG_LEVEL": "warning",
        "PALAVER_ADMIN_USERNAME": ADMIN_NAME,
        "PALAVER_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "PALAVER_ADMIN_EMAIL": "bench-admin@example.org",
    }
    with _served([sys.executable, "-m", "palaver", "serve"], settings, port, "palaver") as server:
        yield server


@contextmanager
def baseline_server(credentials: Path | None = None, *, messages: int = 0, rooms: int = 0) -> Iterator[Server]:
    """The yardstick."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="palaver-baseline-") as folder:
        command = [sys.executable, HERE / "baseline.py", "--port", port, "--folder", folder]
        command += ["--credentials", credentials or os.devnull, "--messages", messages, "--rooms", rooms]
        with _served([str(part) for part in command], {}, port, "baseline") as server:
            yield server


@contextmanager
def _served(command: Sequence[str], settings: Mapping[str, str], port: int, name: str) -> Iterator[Server]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PALAVER_")}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            env={**environment, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: _prepare_child(SERVER_CORE),
        )
        try:
            _await_ready(process, port, name, output)
            yield Server(process, port, name)
        finally:
            if process.poll() is not None:
                print(f"{name} ended with status {process.returncode}:\n{_tail(output)}", file=sys.stderr)
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if complaints := _tail(output, ("ERROR", "Traceback", '"error"', "died")):
                print(f"{name} said:\n{complaints}", file=sys.stderr)


def _prepare_child(core: int) -> None:
    os.sched_setaffinity(0, {core})
    # Before what else runs here, where that is allowed (to root): by process, or by session where Linux groups them.
    os.setsid()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
        Path("/proc/self/autogroup").write_text("-15")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _await_ready(process: "subprocess.Popen[bytes]", port: int, name: str, output: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchmarkError(f"{name} did not start")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
            return
        time.sleep(0.05)
    raise BenchmarkError(f"{name} was not ready after {START_SECONDS:.0f} s:\n{_tail(output)}")


def _tail(output: IO[bytes], marks: Sequence[str] = ("",)) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").splitlines()
    return "\n".join([line for line in lines if any(mark in line for mark in marks)][-20:])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_rest(server: Server) -> None:
    """Returns when the server does nothing any more: its followers read all of a filled database's events first, as
    no followers of a workspace that has grown do. Raises BenchmarkError."""
    deadline = time.monotonic() + REST_SECONDS
    while time.monotonic() < deadline:
        before = server.cpu_seconds()
        time.sleep(2)
        if server.cpu_seconds() - before < 0.1:
            return
    raise BenchmarkError(f"{server.name} was still at work after {REST_SECONDS:.0f} s")


class Target(Protocol):
    """What the load generator drives."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str:
        """host:port; several with commas between them."""

    @property
    def pids(self) -> Sequence[int]:
        """The processes whose CPU is measured, and of the first its memory, too."""


# -- the load generator ----------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where what is built once is kept: $PALAVER_CACHE, as the Makefile sets it."""
    if given := os.environ.get("PALAVER_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "palaver"


def load(mode: str, server: Target, credentials: Path, **options: Any) -> list[dict[str, Any]]:
    """Runs the generator against a server; returns its lines. Raises BenchmarkError when something went wrong."""
    command = [str(_generator()), mode, "-address", server.address, "-pid", ",".join(map(str, server.pids))]
    command += ["-credentials", str(credentials)]
    for name, value in options.items():
        command += [f"-{name}", str(value)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        preexec_fn=lambda: _prepare_child(GENERATOR_CORE),
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"{mode} against {server.name}: {done.stderr.decode(errors='replace').strip()[-2000:]}")
    *lines, end = [json.loads(line) for line in done.stdout.splitlines()]
    if end["errors"]:
        examples = "\n".join(end["examples"])
        if any(line.get("lost") == 1 for line in lines):
            raise BenchmarkError(f"{mode} against {server.name}: nothing was delivered\n{examples}")
        print(f"{mode} against {server.name}: {end['errors']} errors, among them\n{examples}", file=sys.stderr)
    return lines


def _generator() -> Path:
    """The built generator, from the cache."""
    sources = sorted((HERE / "loadgen").iterdir())
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
    built = cache_folder() / "benchmarks" / f"loadgen-{digest}"
    if built.is_file():
        return built
    go = shutil.which("go")
    if go is None:
        raise BenchmarkError("building the load generator needs Go (https://go.dev/dl)")
    built.parent.mkdir(parents=True, exist_ok=True)
    aside = built.with_name(f".{built.name}-{os.getpid()}")
    done = subprocess.run([go, "build", "-o", aside, "."], cwd=HERE / "loadgen", capture_output=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"the load generator does not build:\n{done.stderr.decode(errors='replace')}")
    aside.rename(built)
    return built
