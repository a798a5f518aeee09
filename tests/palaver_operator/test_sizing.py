"""The sizes of a workspace from round to round: what its pods say over HTTP, and what is decided from it."""

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import pytest

from palaver_operator.kinds import Key
from palaver_operator.load import MetricsReader
from palaver_operator.objects.naming import COMPONENT
from palaver_operator.resource import Workspace
from palaver_operator.roles import ROLES
from palaver_operator.rounds import next_round
from palaver_operator.scaling import ROUND_SECONDS, SHRINK_SECONDS, TARGETS, Reason, Signal
from palaver_operator.sizing import Sizes, Sizing
from tests.palaver_operator.workspaces import workspace

BEGUN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
SCALED = workspace(scaling={"downStabilizationSeconds": 60}, roles={"gateway": {"targets": {"connections": 100}}})


class Cluster:
    """Pods that a workspace has, and what each says. The page of a pod is at its name."""

    def __init__(self, port: int, address: str) -> None:
        self.address = address
        self.template = f"http://{{address}}:{port}/{{name}}"
        self.live: dict[Key, dict[str, Any]] = {}
        self.connections: dict[str, int] = {}
        self.asked = 0
        for role in ROLES:
            self.set_size(role, 2)

    def set_size(self, role: str, size: int) -> None:
        deployment = {"metadata": {"labels": {COMPONENT: role}}, "spec": {"replicas": size}}
        self.live[Key("Deployment", f"chat-{role}")] = deployment
        for key in [key for key in self.live if key.kind == "Pod" and key.name.startswith(role)]:
            del self.live[key]
        for number in range(size):
            self.add_pod(role, f"{role}-{number}")

    def add_pod(self, role: str, name: str, phase: str = "Running", ready: str = "True", **metadata: str) -> None:
        conditions = [{"type": "Ready", "status": ready}]
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self.live[Key("Pod", name)] = {
            "metadata": {"name": name, "uid": name, "labels": {COMPONENT: role}, **metadata},
            "status": {"phase": phase, "podIP": self.address, "conditions": conditions},
        }

    def page(self, name: str) -> str:
        self.asked += 1
        return (
            f"palaver_connections {self.connections.get(name, 0)}\npalaver_event_loop_lag_last_seconds 0.001\n"
            "palaver_outbox_age_seconds 0\nprocess_cpu_seconds_total 1\n"
        )


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # all pods are asked at once: with room for five, the sixth would be let in a second later


@pytest.fixture(params=["127.0.0.1"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """`param`: the address of all pods."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = made.page(self.path.removeprefix("/")).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    server = type("OfFamily", (Server,), {"address_family": family})((request.param, 0), Handler)
    made = Cluster(server.server_port, request.param)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0  # as the pods' time begins

    def __call__(self) -> float:
        return self.now


async def play(
    cluster: Cluster, sizing: Sizing, clock: Clock, rounds: int, found: Workspace = SCALED, others: tuple[str, ...] = ()
) -> Sizes:
    """So many rounds; each decision is carried out at once."""
    sizes = Sizes()
    for _ in range(rounds):
        clock.now += ROUND_SECONDS
        sizes = await sizing.look(found, cluster.live, others, BEGUN + clock.now - 1000)
        for role, decision in sizes.decisions.items():
            if decision.size != cluster.live[Key("Deployment", f"chat-{role}")]["spec"]["replicas"]:
                cluster.set_size(role, decision.size)
    return sizes


async def test_up_at_once_and_down_when_it_was_quiet_for_long_enough(cluster: Cluster) -> None:
    clock = Clock()
    async with MetricsReader(cluster.template, clock=clock) as reader:
        sizing = Sizing(reader, clock)
        cluster.connections = {"gateway-0": 200, "gateway-1": 199}
        sizes = await play(cluster, sizing, clock, 1)
        assert sizes.connections == 399
        assert sizes.decisions["gateway"].size == 4
        assert sizes.decisions["gateway"].reason == Reason.DEMAND
        cluster.connections = {}
        assert (await play(cluster, sizing, clock, 5)).decisions["gateway"].size == 4
        assert (await play(cluster, sizing, clock, 60)).decisions["gateway"].size == 2
        assert {sizes.decisions[role].size for role in ("auth", "presence", "messaging")} == {2}


@pytest.mark.parametrize("cluster", ["::1"], indirect=True)
async def test_pods_of_a_cluster_with_ipv6_alone_are_asked(cluster: Cluster) -> None:
    clock = Clock()
    async with MetricsReader(cluster.template, clock=clock) as reader:
        cluster.connections = {"gateway-0": 200, "gateway-1": 199}
        sizes = await play(cluster, Sizing(reader, clock), clock, 1)
    assert (sizes.connections, sizes.decisions["gateway"].size) == (399, 4)


@pytest.mark.parametrize("cpu", ["500m", "2", 2, 0.5, "1k", "1Ki"])
async def test_every_quantity_of_cpu_that_a_pod_may_have_is_understood(cluster: Cluster, cpu: str | float) -> None:
    found = workspace(roles={"gateway": {"resources": {"limits": {"cpu": cpu}}}})
    async with MetricsReader(cluster.template) as reader:
        assert (await Sizing(reader).look(found, cluster.live, (), BEGUN)).decisions["gateway"].size == 2


async def test_a_floor_that_is_lifted_again_lets_nobody_go_faster_than_any_other_quiet(cluster: Cluster) -> None:
    """However soon after: the decision of before the floor was raised is not gone back to."""
    clock = Clock()
    scaling = {"downStabilizationSeconds": 20}
    low, high = (workspace(scaling=scaling, roles={"gateway": {"min": least, "max": 40}}) for least in (2, 30))
    async with MetricsReader(cluster.template, clock=clock) as reader:
        sizing = Sizing(reader, clock)
        assert (await play(cluster, sizing, clock, 1, low)).decisions["gateway"].size == 2
        clock.now += 1
        raised = await sizing.look(high, cluster.live, (), BEGUN)
        assert raised.decisions["gateway"].sentence == "between 30 and 40, as the resource says"
        cluster.set_size("gateway", raised.decisions["gateway"].size)
        clock.now += 1
        assert (await sizing.look(low, cluster.live, (), BEGUN)).decisions["gateway"].size == 30
        sizes = [(await play(cluster, sizing, clock, 1, low)).decisions["gateway"].size for _ in range(26)]
        steps = [turn for turn, (was, became) in enumerate(pairwise([30, *sizes])) if became < was]
        assert sizes[-1] == 30 - 3 - 2 - 2 - 2, "a tenth at a time"
        assert all(later - sooner >= SHRINK_SECONDS / ROUND_SECONDS for sooner, later in pairwise(steps))
        # Whoever says that there shall be no more is obeyed at once.
        capped = workspace(scaling=scaling, roles={"gateway": {"min": 2, "max": 5}})
        clock.now += 1
        assert (await sizing.look(capped, cluster.live, (), BEGUN)).decisions["gateway"].size == 5


async def test_between_two_rounds_nobody_is_asked(cluster: Cluster) -> None:
    clock = Clock()
    async with MetricsReader(cluster.template, clock=clock) as reader:
        sizing = Sizing(reader, clock)
        first = await play(cluster, sizing, clock, 1)
        asked = cluster.asked
        clock.now += 1
        assert await sizing.look(SCALED, cluster.live, (), BEGUN) is first
        assert cluster.asked == asked


async def test_who_was_evicted_is_neither_asked_nor_waited_for(cluster: Cluster) -> None:
    clock = Clock()
    async with MetricsReader(cluster.template, clock=clock) as reader:
        cluster.set_size("gateway", 4)
        cluster.add_pod("gateway", "evicted", phase="Failed", ready="False")
        sizes = await play(cluster, Sizing(reader, clock), clock, 10)
    assert sizes.decisions["gateway"].size < 4


async def test_while_one_is_leaving_nobody_else_goes_and_it_is_not_counted(cluster: Cluster) -> None:
    clock = Clock()
    async with MetricsReader(cluster.template, clock=clock) as reader:
        cluster.set_size("gateway", 4)
        cluster.add_pod("gateway", "leaving", deletionTimestamp="2026-01-01T00:05:00Z")
        cluster.connections = {"leaving": 100_000}
        sizes = await play(cluster, Sizing(reader, clock), clock, 10)
    assert sizes.connections == 0
    assert (sizes.decisions["gateway"].size, sizes.decisions["gateway"].reason) == (4, Reason.SETTLING)


STUCK: list[tuple[str, dict[str, str]]] = [
    ("no node has room for it", {"phase": "Pending", "ready": "False"}),
    ("it falls again and again", {"ready": "False"}),
    ("its node is lost", {"deletionTimestamp": "2026-01-01T00:00:30Z"}),
]


@pytest.mark.parametrize(("why", "pod"), STUCK, ids=[why for why, _ in STUCK])
async def test_one_pod_that_is_stuck_keeps_nobody_from_going(cluster: Cluster, why: str, pod: dict[str, str]) -> None:
    clock = Clock()

    async with MetricsReader(cluster.template, clock=clock) as reader:
        sizing = Sizing(reader, clock)
        cluster.set_size("gateway", 4)
        cluster.add_pod("gateway", "gateway-stuck", **pod)
        early = await play(cluster, sizing, clock, 7)
        assert early.decisions["gateway"].reason == Reason.SETTLING
        sizes = early
        for _ in range(50):
            cluster.add_pod("gateway", "gateway-stuck", **pod)
            sizes = await play(cluster, sizing, clock, 1)
    assert sizes.decisions["gateway"].size == 2, why


async def test_whom_others_size_is_left_to_them(cluster: Cluster) -> None:
    clock = Clock()
    async with MetricsReader(cluster.template, clock=clock) as reader:
        sizing = Sizing(reader, clock)
        cluster.connections = {"gateway-0": 1000}
        sizes = await play(cluster, sizing, clock, 1, others=("gateway",))
        assert set(sizes.decisions) == {"auth", "presence", "messaging"}
        off = workspace(scaling={"enabled": False})
        assert (await play(cluster, sizing, clock, 1, off)).decisions == {}


async def test_the_emptiest_are_chosen(cluster: Cluster) -> None:
    clock = Clock()
    async with MetricsReader(cluster.template, clock=clock) as reader:
        cluster.set_size("gateway", 3)
        cluster.connections = {"gateway-0": 30, "gateway-1": 10, "gateway-2": 20}
        sizes = await play(cluster, Sizing(reader, clock), clock, 1)
    assert sizes.choose_leaving("gateway", 2) == ["gateway-1", "gateway-2"]


def test_targets_of_the_resource_stand_over_the_usual_ones() -> None:
    found = SCALED.limits("gateway")
    assert found.targets == {**TARGETS["gateway"], Signal.CONNECTIONS: 100}
    assert found.down_stabilization_seconds == 60
    assert SCALED.limits("auth").targets == TARGETS["auth"]


def test_a_round_that_a_change_has_caused_does_not_put_off_the_next() -> None:
    """Whatever happens meanwhile: rounds are no further apart than ROUND_SECONDS."""
    due = next_round(0, 100)
    assert due == 100 + ROUND_SECONDS
    assert next_round(due, due - 0.1) == due
    assert next_round(due, due) == due + ROUND_SECONDS
