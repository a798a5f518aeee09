"""A whole cluster on this machine: a process for each role, several times, over a real NATS and a MongoDB.

`make cluster` runs it for people (`python -m tests.cluster --help`); tests and benchmarks run `Cluster`. The gateways
share one port (PALAVER_SHARE_PORT), so there is one address and nothing to install; each process has a health port of
its own. A process that dies is started again.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from palaver.roles import ROLES
from tests.e2e.process import PalaverProcess, Reachable
from tests.ports import free_port
from tests.servers import mongodb_server, nats_server

REPLICAS = dict.fromkeys(ROLES, 2)
"""How many processes play each role."""

_WATCH_SECONDS = 0.1
_PAUSE_SECONDS = 1.0
"""Between two starts of a process, at least."""
_OF_A_STAND_STILL = ("something may be unknown", "everything is known again")
"""What a gateway rightly says of itself that got no turn for three seconds."""


class Member(PalaverProcess):
    """One process of a cluster."""

    def __init__(self, folder: Path, name: str, role: str, environment: Mapping[str, str]) -> None:
        super().__init__(folder / name, role=role, **environment)
        self.name = name
        self.restarts = 0
        self.started_at = 0.0
        self.last_status: int | None = None  # of the process before this one
        self.next_environments: list[dict[str, str]] = []  # what is added for each of the next starts

    def cpu_seconds(self) -> float:
        """What its process has used since its start."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def launch(self, **environment: str) -> None:
        self.started_at = time.monotonic()
        own = self.next_environments.pop(0) if self.next_environments else {}
        super().launch(**environment, **own)


class Cluster(Reachable):
    """Every role of ROLES as processes of their own, kept alive. One address for clients: `url`."""

    def __init__(
        self,
        folder: Path,
        mongodb_url: str,
        nats_url: str,
        *,
        port: int = 0,
        replicas: Mapping[str, int] = REPLICAS,
        environment: Mapping[str, str] | None = None,
        own_environment: Mapping[str, Mapping[str, str]] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`environment` is for every process, `own_environment` for those that it names, such as "gateway-1"."""
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.members: dict[str, Member] = {}
        self._say = say
        self._supervising: asyncio.Task[None] | None = None
        names = {role: [f"{role}-{number}" for number in range(1, replicas[role] + 1)] for role in ROLES}
        grpc_ports = {name: free_port() for role in names for name in names[role] if ROLES[role].service is not None}
        shared = {
            "PALAVER_MONGODB_URL": mongodb_url,
            "PALAVER_NATS_URL": nats_url,
            "PALAVER_SITE_URL": f"http://localhost:{self.port}",
            "PALAVER_PORT": str(self.port),
            "PALAVER_SHARE_PORT": "1",
        }
        for role in ROLES:
            if ROLES[role].service is not None:
                ports = [grpc_ports[name] for name in names[role]]
                shared[f"PALAVER_{role.upper()}_ADDRESS"] = addresses(ports)
        for role in ROLES:
            for name in names[role]:
                own = {
                    "PALAVER_NODE_ID": name,
                    "PALAVER_HEALTH_PORT": str(free_port()),
                    "PALAVER_GRPC_PORT": str(grpc_ports.get(name, 0)),
                }
                given = {**shared, **own, **(environment or {}), **(own_environment or {}).get(name, {})}
                self.members[name] = Member(folder, name, role, given)

    @property
    def log(self) -> str:
        """What every process has written so far."""
        return "".join(f"{member.name}:\n{member.log}" for member in self.members.values())

    def problems(self) -> list[str]:
        """Lines of the logs above the level of information, but for the warning of the test mode, and for what is the
        machine's doing.
        """
        return [
            f"{member.name}: {line}"
            for member in self.members.values()
            for line in member.problems()
            if not any(said in line for said in _OF_A_STAND_STILL)
        ]

    def of(self, role: str) -> list[Member]:
        """The processes that play a role."""
        return [member for member in self.members.values() if member.role == role]

    async def start(self) -> None:
        """Starts every process, callee before caller; returns when all are ready. Raises RuntimeError.

        While this event loop runs, one that dies is started again.
        """
        for role in ROLES:
            for member in self.of(role):
                member.launch()
            for member in self.of(role):
                await member.wait_until_ready()
        self._supervising = asyncio.create_task(self._supervise(), name="supervising")

    async def stop(self) -> dict[str, int]:
        """Stops every process in order, callers first. Returns the exit codes."""
        if self._supervising is not None:
            self._supervising.cancel()
        codes: dict[str, int] = {}
        for role in reversed(ROLES):
            members = self.of(role)
            codes.update(
                zip(
                    [member.name for member in members],
                    await asyncio.gather(*(asyncio.to_thread(member.stop) for member in members)),
                    strict=True,
                )
            )
        return codes

    async def wait_until_ready(self, seconds: float = 90) -> None:
        """Returns when every process is (again). Raises TimeoutError that names those who are not."""
        deadline = time.monotonic() + seconds
        while True:
            missing = [member.name for member in self.members.values() if not await member.is_ready()]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready after {seconds:.0f} s: {', '.join(missing)}")
            await asyncio.sleep(0.1)

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for member in self.members.values():
                if member.process is not None and member.process.poll() is not None:
                    self._revive(member)

    def _revive(self, member: Member) -> None:
        assert member.process is not None
        if time.monotonic() - member.started_at < _PAUSE_SECONDS:
            return  # not yet
        status, pid = member.process.returncode, member.process.pid
        member.last_status = status
        member.launch()
        member.restarts += 1
        self._say(f"{member.name} (pid {pid}) ended with status {status}; started again as pid {member.process.pid}")


def addresses(ports: list[int]) -> str:
    """What a caller is told of a service that several processes of this machine play."""
    return ",".join(f"127.0.0.1:{port}" for port in ports)


@asynccontextmanager
async def _servers(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """The addresses of MongoDB and NATS: those that the environment names, else of servers started for this."""
    async with AsyncExitStack() as stack:
        mongodb, nats = os.environ.get("PALAVER_MONGODB_URL", ""), os.environ.get("PALAVER_NATS_URL", "")
        yield (
            mongodb or await stack.enter_async_context(mongodb_server()),
            nats or (await stack.enter_async_context(nats_server(store_dir=folder / "nats"))).url,
        )


async def run(port: int, replicas: Mapping[str, int], folder: Path) -> None:
    """Runs a cluster until SIGINT or SIGTERM, and says where everything is."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    password = secrets.token_urlsafe(9)
    environment = {
        "PALAVER_ADMIN_USERNAME": "admin",
        "PALAVER_ADMIN_PASSWORD": password,
        "PALAVER_ADMIN_EMAIL": "admin@example.org",
        "PALAVER_ADMIN_NAME": "Administrator",
        "PALAVER_DRAIN_SECONDS": "5",
        "PALAVER_TEST_MODE": "0",
    }
    async with _servers(folder) as (mongodb, nats):
        cluster = Cluster(folder, mongodb, nats, port=port, replicas=replicas, environment=environment, say=_say)
        try:
            starting = asyncio.create_task(cluster.start())
            waiting = asyncio.create_task(stopping.wait())
            await asyncio.wait([starting, waiting], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                _say(_describe(cluster, mongodb, nats, password))
                await waiting
            starting.cancel()
            _say("stopping")
        finally:
            codes = await cluster.stop()
    for name, code in codes.items():
        if code:
            _say(f"{name} ended with status {code}")


def _describe(cluster: Cluster, mongodb: str, nats: str, password: str) -> str:
    lines = [
        "",
        f"  Palaver is at http://localhost:{cluster.port}",
        f"  log in as admin, password {password} (unless the database had an administrator already)",
        "",
        f"  MongoDB  {mongodb}",
        f"  NATS     {nats}",
        "",
        f"  {'process':<13} {'pid':>8}  {'/readyz and /metrics at':<26} log",
    ]
    for member in cluster.members.values():
        pid = member.process.pid if member.process is not None else 0
        lines.append(f"  {member.name:<13} {pid:>8}  {member.health_url:<26} {member.log_file}")
    end = "  Kill any of them (kill -9 PID): it is started again. Ctrl-C stops everything in order."
    return "\n".join([*lines, "", end, ""])


def _say(line: str) -> None:
    print(line, flush=True)


def _replica(text: str) -> tuple[str, int]:
    role, _, number = text.partition("=")
    if role not in ROLES or not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a role of {', '.join(ROLES)} with a number: gateway=3")
    return role, int(number)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make cluster", description="Every role of Palaver as processes of its own.")
    parser.add_argument("--port", type=int, default=3000, help="where clients reach it (default: 3000)")
    parser.add_argument(
        "--replicas",
        type=_replica,
        action="append",
        default=[],
        metavar="ROLE=N",
        help="how many processes play a role (default: " + ", ".join(f"{r}={n}" for r, n in REPLICAS.items()) + ")",
    )
    parser.add_argument("--folder", type=Path, help="where logs and NATS's store are kept (default: a temporary one)")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="palaver-cluster-", ignore_cleanup_errors=True))
        )
        try:
            asyncio.run(run(given.port, {**REPLICAS, **dict(given.replicas)}, folder.resolve()))
        except (OSError, RuntimeError) as error:
            sys.exit(f"make cluster: {error}")


if __name__ == "__main__":
    main()
