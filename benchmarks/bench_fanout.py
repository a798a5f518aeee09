"""Fan-out: what a message to a busy room costs, and how late it comes."""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness import Report, Server, baseline_server, cache_folder, load, main, palaver_server
from seed import Plan, RoomPlan, filled, write_credentials

MEMBERS, MANY, CROWD = 500, 5_000, 50_000
RATES = (20, 40, 160, 320, 640)
CPU_BUDGET = {40: 12.0, 160: 5.0, 320: 2.5}
"""Microseconds of the server's CPU a delivery."""
ACK_BUDGET = {20: 6.0, 160: 20.0}
END_TO_END_BUDGET = {20: 15.0, 160: 45.0}
"""Milliseconds, 99th percentile."""

Step = dict[str, Any]


def plan(quick: bool) -> Plan:
    rooms = [RoomPlan("room-of-500", 0, MEMBERS), RoomPlan("room-of-2", 0, 2)]
    if quick:
        return Plan("fanout-quick", MEMBERS, MEMBERS, tuple(rooms))
    rooms += [RoomPlan("room-of-5000", 0, MANY), RoomPlan("room-of-50000", 0, CROWD)]
    return Plan("fanout", CROWD, MANY, tuple(rooms))


def benchmark(given: argparse.Namespace) -> Report:
    report = Report("Fan-out: one server on one core; every member receives every message")
    wanted = plan(given.quick)
    with filled(wanted, cache_folder()) as data:
        credentials = write_credentials(data / "credentials", wanted)
        with palaver_server(data) as palaver, baseline_server(credentials) as baseline:
            bench = _Bench(report, palaver, baseline, credentials, given.quick)
            bench.room_of_500()
            if not given.quick:
                bench.room_of_5000()
                bench.rooms_of_2_and_50000()
    return report


class _Bench:
    def __init__(self, report: Report, palaver: Server, baseline: Server, credentials: Path, quick: bool) -> None:
        self._report = report
        self._palaver = palaver
        self._baseline = baseline
        self._credentials = credentials
        self._quick = quick
        self._repeats = 1 if quick else 2

    def room_of_500(self) -> None:
        """CPU and delays by rate, for clients that hear only the room, and for real ones."""
        found: dict[str, dict[float, list[Step]]] = {}
        for _ in range(self._repeats):
            for who, server, profile in (
                ("baseline", self._baseline, "room"),
                ("room", self._palaver, "room"),
                ("client", self._palaver, "client"),
            ):
                by_rate = found.setdefault(who, defaultdict(list))
                for step in self._steps(server, "room-of-500", MEMBERS, RATES, profile):
                    by_rate[step["rate"]].append(step)
        base, room, client = found["baseline"], found["room"], found["client"]
        add = self._report.add
        for rate in RATES[1:]:
            add(
                f"CPU a delivery, 500 members, {rate} msg/s",
                _best(room[rate], "cpu_us_per_delivery"),
                "µs",
                budget=CPU_BUDGET.get(rate),
                baseline=_best(base[rate], "cpu_us_per_delivery"),
            )
        for rate in ACK_BUDGET:
            for key, name, budgets in (
                ("ack_p99_ms", "acknowledged", ACK_BUDGET),
                ("e2e_p99_ms", "end to end", END_TO_END_BUDGET),
            ):
                measured, yardstick = _best(room[rate], key), _best(base[rate], key)
                add(f"{name} p99, {rate} msg/s", measured, "ms", budget=budgets[rate], baseline=yardstick)
        self._held("500 members, 640 msg/s", room[640], base[640])
        for rate in RATES[1:]:
            own, others = _best(client[rate], "cpu_us_per_delivery"), _best(base[rate], "cpu_us_per_delivery")
            add(f"CPU a delivery to real clients, {rate} msg/s", own, "µs", baseline=others)
            times = own / _best(room[rate], "cpu_us_per_delivery")
            add(f"… against clients that hear only the room, {rate} msg/s", times, "×", budget=1.5)
        self._held("500 real clients, 640 msg/s", client[640], base[640])

    def room_of_5000(self) -> None:
        """Whether a large room keeps up."""
        base = self._steps(self._baseline, "room-of-5000", MANY, [100], "room")
        steps = self._steps(self._palaver, "room-of-5000", MANY, [100], "room")
        self._held("5,000 members, 100 msg/s", steps, base)
        for key, name, unit in (
            ("cpu_us_per_delivery", "CPU a delivery", "µs"),
            ("ack_p99_ms", "acknowledged, p99", "ms"),
        ):
            self._report.add(f"{name}, 5,000 members, 100 msg/s", _best(steps, key), unit, baseline=_best(base, key))

    def rooms_of_2_and_50000(self) -> None:
        """A message costs the same however many members a room has: two of them are connected."""
        figures: dict[str, list[Step]] = {"room-of-2": [], "room-of-50000": []}
        for _ in range(self._repeats):
            for room_id, steps in figures.items():
                steps += self._steps(self._palaver, room_id, 2, [100], "room")
        small, large = figures.values()
        for key, name, unit in (
            ("cpu_us_per_message", "CPU a message", "µs"),
            ("ack_p50_ms", "acknowledged, p50", "ms"),
        ):
            few, many = _best(small, key), _best(large, key)
            self._report.add(f"{name}, room of 2", few, unit)
            self._report.add(f"{name}, room of 50,000", many, unit, budget=1.25 * few)

    def _held(self, name: str, steps: list[Step], base: list[Step]) -> None:
        yardstick = float(any(step["held"] for step in base))
        self._report.add(
            f"held: {name}", any(s["held"] for s in steps), "yes", budget=1, at_least=True, baseline=yardstick
        )
        measured = _best(steps, "e2e_p99_ms")
        self._report.add(f"end to end p99, {name}", measured, "ms", budget=1000, baseline=_best(base, "e2e_p99_ms"))

    def _steps(self, server: Server, room_id: str, members: int, rates: Iterable[float], profile: str) -> list[Step]:
        duration, quiet = ("1500ms", "0s") if self._quick else ("8s", "3s")
        lines = load(
            "fanout",
            server,
            self._credentials,
            room=room_id,
            members=members,
            rates=",".join(str(rate) for rate in rates),
            profile=profile,
            duration=duration,
            quiet=quiet,
        )
        steps = [line for line in lines if line["kind"] == "step"]
        for step in steps:
            self._report.note(step)
        return steps


def _best(steps: list[Step], key: str, choose: Callable[[Iterable[float]], float] = min) -> float:
    """Of repeated steps the one that others disturbed least."""
    return choose(step[key] for step in steps)


if __name__ == "__main__":
    main(benchmark, __doc__)
