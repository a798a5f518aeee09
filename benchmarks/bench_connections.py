"""Connections: what the process and its sockets weigh, and how fast clients come and come back."""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import Report, Server, baseline_server, cache_folder, load, main, palaver_server
from seed import Plan, RoomPlan, filled, write_credentials

SOCKETS = 10_000
ROOMS_OF_A_USER = 50
MEMBERS_OF_A_ROOM = 250


def plan(quick: bool) -> Plan:
    """Every user in 50 rooms: one begins after each few users, and has the next so many as members."""
    users = 500 if quick else SOCKETS
    step = MEMBERS_OF_A_ROOM // ROOMS_OF_A_USER
    rooms = tuple(RoomPlan(f"room{first}", first, MEMBERS_OF_A_ROOM) for first in range(0, users, step))
    return Plan("connections-quick" if quick else "connections", users, users, rooms)


def benchmark(given: argparse.Namespace) -> Report:
    wanted = plan(given.quick)
    report = Report(f"Connections: {wanted.users:,} users, each in {ROOMS_OF_A_USER} rooms and with its room list open")
    _idle_memory(report)
    with filled(wanted, cache_folder()) as data:
        credentials = write_credentials(data / "credentials", wanted)
        with baseline_server(credentials) as server:
            base = _phases(report, server, credentials, wanted.users, given.quick)
        with palaver_server(data) as server:
            found = _phases(report, server, credentials, wanted.users, given.quick)

    def add(phase: str, key: str, name: str, unit: str, **more: Any) -> None:
        report.add(name, found[phase][key], unit, baseline=base[phase][key], **more)

    add("subscribe", "rss_kib_per_socket", "RSS of an idle socket", "KiB", budget=35)
    add("reconnect", "rss_kib_per_socket", "… after some have reconnected", "KiB")
    add("open", "per_s", "websockets opened", "/s", at_least=True)
    add("login", "per_s", "logins by token on open sockets", "/s", budget=10_000, at_least=True)
    add("login", "cpu_us_each", "CPU of a login", "µs", budget=100)
    add("subscribe", "per_s", "room lists subscribed", "/s", at_least=True)
    add("subscribe", "cpu_us_each", "CPU of subscribing a room list", "µs")
    add("reconnect", "per_s", "full reconnects", "/s", budget=1_000, at_least=True)
    add("reconnect", "cpu_us_each", "CPU of a full reconnect", "µs", budget=1_000)
    return report


def _idle_memory(report: Report) -> None:
    """Fresh processes without anybody."""
    with (
        tempfile.TemporaryDirectory(prefix="palaver-bench-") as folder,
        palaver_server(Path(folder)) as palaver,
        baseline_server() as baseline,
    ):
        time.sleep(2)
        (rss, _), (base, _) = palaver.memory(), baseline.memory()
    report.add("RSS of the idle process", rss, "MiB", budget=75, baseline=base)


def _phases(report: Report, server: Server, credentials: Path, sockets: int, quick: bool) -> dict[str, dict[str, Any]]:
    quiet = "0s" if quick else "3s"
    lines = load("connections", server, credentials, sockets=sockets, reconnects=sockets // 2, quiet=quiet)
    for line in lines:
        report.note(line)
    return {line["phase"]: line for line in lines}


if __name__ == "__main__":
    main(benchmark, __doc__)
