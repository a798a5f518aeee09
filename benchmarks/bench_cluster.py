"""The cluster: every role as processes of their own, on this one machine together with NATS and MongoDB."""

import argparse
import asyncio
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from harness import Report, Target, cache_folder, free_port, load, main, palaver_server
from palaver.database.mongo import MongoDatabase
from palaver.events import SYSTEM
from palaver.log.jetstream import JetStreamLog
from palaver.roles import ROLES
from palaver.v1.event_pb2 import Event
from seed import Plan, RoomPlan, fill_cluster, filled, write_credentials
from tests.cluster import REPLICAS, Cluster, Member
from tests.servers import mongodb_server, nats_server

WORKSPACE = "default"
SOCKETS = 10_000
ROOMS = tuple(f"room-{number}" for number in range(8))
PEOPLE, WATCHERS, WATCHED = 5_000, 50, 100
ELSEWHERE = 1_000
"""Events a second in rooms that a gateway has nothing to do with."""

Step = dict[str, Any]


def plan(quick: bool) -> Plan:
    sizes = (10, 500, 1_000) if quick else (10, 500, 1_000, 20_000)
    rooms = [RoomPlan(f"room-of-{size}", 0, size) for size in sizes]
    users = 2_000 if quick else 20_000
    tokens = users if quick else SOCKETS + 500
    return Plan("cluster", users, tokens, (*rooms, *(RoomPlan(id, 0, 2) for id in ROOMS)))


def benchmark(given: argparse.Namespace) -> Report:
    report = Report("The cluster: two gateways, NATS and MongoDB's stand-in for tests, all on this machine")
    with tempfile.TemporaryDirectory(prefix="palaver-bench-") as folder:
        bench = _Bench(report, Path(folder), given.quick)
        alone = bench.one_process()
        asyncio.run(bench.run(alone))
    return report


class _Processes:
    """Some of a cluster's processes, as the load generator sees them."""

    def __init__(self, gateways: Sequence[Member], members: Sequence[Member]) -> None:
        self.name = "the cluster"
        self.address = ",".join(f"127.0.0.1:{gateway.port}" for gateway in gateways)
        self.members = members
        self.pids = [member.process.pid for member in members if member.process is not None]

    def by_role(self, step: Step) -> dict[str, float]:
        """Seconds of CPU that each role's processes used."""
        found: dict[str, float] = {}
        for member, seconds in zip(self.members, step["cpu_seconds"], strict=True):
            found[member.role] = found.get(member.role, 0.0) + seconds
        return found


class _Bench:
    def __init__(self, report: Report, folder: Path, quick: bool) -> None:
        self._report = report
        self._folder = folder
        self._quick = quick
        self._plan = plan(quick)
        self._credentials = write_credentials(folder / "credentials", self._plan)
        self._mongodb = self._nats = ""

    def one_process(self) -> dict[float, float]:
        """Microseconds a delivery of everything in one process, by rate: what a gateway is compared with."""
        small = Plan("cluster-alone", 500, 500, (RoomPlan("room-of-500", 0, 500),))
        with filled(small, cache_folder()) as data, palaver_server(data) as server:
            steps = self._load_now("fanout", server, **self._fanout(["room-of-500"], 500, (40, 160)))
        return {step["rate"]: step["cpu_us_per_delivery"] for step in steps}

    async def run(self, alone: Mapping[float, float]) -> None:
        """`alone`: what `one_process` has found."""
        async with mongodb_server() as self._mongodb, nats_server(store_dir=self._folder / "nats") as nats:
            self._nats = nats.url
            await asyncio.to_thread(fill_cluster, self._mongodb, WORKSPACE, self._plan)
            async with self._cluster("two", REPLICAS) as cluster:
                await self._fan_out(cluster, alone)
                await self._delays(cluster)
                await self._members(cluster)
                two = await self._by_role(cluster)
                await self._events_elsewhere(cluster)
                await self._people_who_come_and_go(cluster)
                await self._sockets(cluster)
            async with self._cluster("one", {**REPLICAS, "messaging": 1}) as cluster:
                one = await self._by_role(cluster)
        self._compare_roles(one, two)

    @asynccontextmanager
    async def _cluster(self, name: str, replicas: Mapping[str, int]) -> AsyncIterator[Cluster]:
        """A cluster whose gateways have an address each, so that it is known who is where."""
        gateways = [f"gateway-{number}" for number in range(1, replicas["gateway"] + 1)]
        own = {gateway: {"PALAVER_PORT": str(free_port()), "PALAVER_SHARE_PORT": "0"} for gateway in gateways}
        environment = {"PALAVER_LOG_LEVEL": "warning", "PALAVER_WORKSPACE": WORKSPACE}
        cluster = Cluster(
            self._folder / name,
            self._mongodb,
            self._nats,
            replicas=replicas,
            environment=environment,
            own_environment=own,
        )
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.stop()
            for member in cluster.members.values():
                for problem in [line for line in member.problems() if "PALAVER_TEST_MODE" not in line][:5]:
                    print(f"{member.name} said: {problem[:300]}", file=sys.stderr)

    def _load_now(self, mode: str, target: Target, **options: Any) -> list[Step]:
        quiet = "0s" if self._quick else "3s"
        lines = load(mode, target, self._credentials, quiet=quiet, **options)
        found = [line for line in lines if line["kind"] in ("step", "phase")]
        for line in found:
            self._report.note(line)
        return found

    async def _load(self, mode: str, target: Target, **options: Any) -> list[Step]:
        return await asyncio.to_thread(self._load_now, mode, target, **options)

    def _fanout(self, rooms: Sequence[str], members: int, rates: Sequence[float]) -> dict[str, Any]:
        return {
            "room": ",".join(rooms),
            "members": members,
            "rates": ",".join(map(str, rates)),
            "duration": "1500ms" if self._quick else "8s",
        }

    async def _steps(self, target: Target, rooms: Sequence[str], members: int, rates: Sequence[float]) -> list[Step]:
        return await self._load("fanout", target, **self._fanout(rooms, members, rates))

    # -- what is measured ----------------------------------------------------------------------------------------------

    async def _fan_out(self, cluster: Cluster, alone: Mapping[float, float]) -> None:
        gateway = cluster.of("gateway")[0]
        for step in await self._steps(_Processes([gateway], [gateway]), ["room-of-500"], 500, (40, 160)):
            rate = step["rate"]
            self._report.add(
                f"CPU a delivery in a gateway, 500 members, {rate} msg/s",
                step["cpu_us_per_delivery"],
                "µs",
                budget=1.2 * alone[rate],
                baseline=alone[rate],
            )

    async def _delays(self, cluster: Cluster) -> None:
        """Half of the members on each gateway. A room as busy as the last two joins its messages for up to 20 ms."""
        one_of_10, one_of_500 = ["room-of-10"], ["room-of-500"]
        for rooms, size, shown in (
            (ROOMS, 2, ""),
            (one_of_10, 10, ", all in one room of 10"),
            (one_of_500, 500, ", all in one room of 500"),
        ):
            target = _Processes(cluster.of("gateway"), list(cluster.members.values()))
            (step,) = await self._steps(target, rooms, size, (100,))
            add = self._report.add
            add(f"acknowledged p50, 100 msg/s{shown}", step["ack_p50_ms"], "ms")
            add(f"end to end p50, 100 msg/s{shown}", step["e2e_p50_ms"], "ms", budget=None if shown else 12)
            add(f"end to end p99, 100 msg/s{shown}", step["e2e_p99_ms"], "ms", budget=None if shown else 60)
            add(f"lost or unanswered{shown}", step["lost"] + step["unanswered"], budget=0)

    async def _members(self, cluster: Cluster) -> None:
        """What a member costs who is not connected (nothing), and one who is."""
        everybody = _Processes(cluster.of("gateway"), list(cluster.members.values()))
        sizes = [room.members for room in self._plan.rooms if room.id.startswith("room-of-") and room.members != 500]
        first = fewest = 0.0
        for size in sizes:
            before = await self._count_writes(cluster)
            (step,) = await self._steps(everybody, [f"room-of-{size}"], 2, (50,))
            after = await self._count_writes(cluster)
            each = 1e6 * sum(step["cpu_seconds"]) / (step["delivered"] / 2)
            budget = 1.25 * first if first else None
            first = first or each
            self._report.add(f"CPU a message of all roles, room of {size:,}, 2 connected", each, "µs", budget=budget)
            writes = (after[0] - before[0]) / (after[1] - before[1])
            budget = 1.1 * fewest if fewest else None
            fewest = fewest or writes
            self._report.add(f"documents written for a message, room of {size:,}", writes, budget=budget)
        gateway = cluster.of("gateway")[0]
        costs: dict[int, float] = {}
        for connected in (10, 100, 1_000):
            (step,) = await self._steps(_Processes([gateway], [gateway]), ["room-of-1000"], connected, (20,))
            costs[connected] = step["cpu_us_per_message"]
            self._report.add(f"CPU a message in a gateway, {connected:,} connected", costs[connected], "µs")
        slope = (costs[1_000] - costs[100]) / 900
        self._report.add("… so each connected member costs", slope, "µs")
        line = costs[100] + slope * (10 - 100)
        self._report.add("… and 10 of them cost, against the line through the others", costs[10] / line, "×")

    async def _count_writes(self, cluster: Cluster) -> tuple[float, float]:
        """Documents that were written so far, and messages that were sent."""
        written = await self._count(cluster, "palaver_documents_written_total")
        return written, await self._count(cluster, "palaver_messages_sent_total")

    async def _by_role(self, cluster: Cluster) -> dict[str, float]:
        """Microseconds a message of each role, small rooms only, each read by a member; and append conflicts."""
        target = _Processes(cluster.of("gateway"), list(cluster.members.values()))
        before = await self._count(cluster, "palaver_commit_conflicts_total")
        (step,) = await self._load("fanout", target, **self._fanout(ROOMS, 2, (100,)), reads=1)
        conflicts = await self._count(cluster, "palaver_commit_conflicts_total") - before
        messages = step["delivered"] / 2
        found = {role: 1e6 * seconds / messages for role, seconds in target.by_role(step).items()}
        return {**found, "conflicts": 1000 * conflicts / messages}

    def _compare_roles(self, one: Mapping[str, float], two: Mapping[str, float]) -> None:
        for role in ROLES:
            budget = 1.25 * one[role] if role in ("messaging", "gateway") else None
            name = f"CPU a message and its reading of {role}, two messaging processes (baseline: one)"
            self._report.add(name, two[role], "µs", budget=budget, baseline=one[role])
        name = "append conflicts per 1,000 messages and readings, two messaging processes"
        self._report.add(name, two["conflicts"], budget=1)

    async def _events_elsewhere(self, cluster: Cluster) -> None:
        """A gateway with a hundred clients of one quiet room, while events of other rooms pass."""
        gateway = cluster.of("gateway")[1]
        quiet = asyncio.create_task(
            self._load(
                "presence",
                _Processes([gateway], [gateway]),
                members=100,
                watched=1,
                sockets=1,
                over="20s",
            )
        )
        await asyncio.sleep(8)
        seconds = 3.0 if self._quick else 10.0
        idle = await self._share(gateway, seconds)
        publishing = asyncio.create_task(self._publish_elsewhere(seconds + 2))
        await asyncio.sleep(1)
        busy = await self._share(gateway, seconds)
        await publishing
        await quiet
        name = f"share of a core that {ELSEWHERE:,} events/s elsewhere cost a gateway"
        self._report.add(name, 100 * max(0.0, busy - idle), "%", budget=1)

    async def _publish_elsewhere(self, seconds: float) -> None:
        database = MongoDatabase(self._mongodb, f"palaver_{WORKSPACE}")
        await database.open()
        log = JetStreamLog(self._nats, WORKSPACE, database)
        await log.open()
        try:
            loop = asyncio.get_running_loop()
            started, seq = loop.time(), 0
            while loop.time() - started < seconds:
                events = []
                for number in range(ELSEWHERE // 20):
                    seq += 1
                    event = Event(stream_kind="room", stream_id=f"elsewhere-{number}", seq=seq, command_id=str(seq))
                    event.actor.CopyFrom(SYSTEM)
                    event.message_sent.message = b'{"msg":"' + b"x" * 400 + b'"}'
                    events.append(event)
                await log.publish(events)
                await asyncio.sleep(max(0.0, started + seq / ELSEWHERE - loop.time()))
        finally:
            await log.close()
            await database.close()

    @staticmethod
    async def _share(member: Member, seconds: float) -> float:
        """How much of a core the process uses."""

        def used() -> float:
            assert member.process is not None
            fields = Path(f"/proc/{member.process.pid}/schedstat").read_text().split()
            return int(fields[0]) / 1e9

        before = used()
        await asyncio.sleep(seconds)
        return (used() - before) / seconds

    async def _people_who_come_and_go(self, cluster: Cluster) -> None:
        people = 300 if self._quick else PEOPLE
        gateways = cluster.of("gateway")
        target = _Processes(gateways, [*gateways, *cluster.of("presence")])
        before = await self._count(cluster, "palaver_presence_frames_written_total")
        come, leave = await self._load(
            "presence",
            target,
            members=WATCHERS,
            watched=WATCHED,
            sockets=people,
            over="5s" if self._quick else "60s",
        )
        written = await self._count(cluster, "palaver_presence_frames_written_total") - before
        interested = WATCHERS * WATCHED / people
        for step in (come, leave):
            roles = target.by_role(step)
            for role, seconds in roles.items():
                self._report.add(
                    f"CPU of {role} for each of {people:,} who {step['phase']}", 1e6 * seconds / people, "µs"
                )
            name = f"presence heard for each who {step['phase']}s (watched by {interested:g} on average)"
            self._report.add(name, step["heard"] / people, budget=interested)
        self._report.add(
            "presence frames written, of changes × interested connections", written / (2 * people * interested)
        )

    async def _sockets(self, cluster: Cluster) -> None:
        sockets = 1_000 if self._quick else SOCKETS
        gateway = cluster.of("gateway")[0]
        target = _Processes([gateway], [gateway])
        phases = {
            line["phase"]: line
            for line in await self._load("connections", target, sockets=sockets, reconnects=sockets // 10)
        }
        add = self._report.add
        add("sockets in one gateway", phases["subscribe"]["count"], budget=sockets, at_least=True)
        add("RSS of an idle socket in a gateway", phases["subscribe"]["rss_kib_per_socket"], "KiB", budget=35)
        add("logins by token on open sockets of a gateway", phases["login"]["per_s"], "/s", at_least=True)

    # -- what the processes say ----------------------------------------------------------------------------------------

    @staticmethod
    async def _count(cluster: Cluster, sample: str, **labels: str) -> float:
        """The sum of a sample over all processes."""

        def read(url: str) -> float:
            with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
                text = response.read().decode()
            return sum(
                found.value
                for family in text_string_to_metric_families(text)
                for found in family.samples
                if found.name == sample and labels.items() <= found.labels.items()
            )

        urls = [member.health_url for member in cluster.members.values()]
        return sum(await asyncio.gather(*(asyncio.to_thread(read, url) for url in urls)))


if __name__ == "__main__":
    main(benchmark, __doc__)
