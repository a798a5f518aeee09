"""What can be done to a running cluster. Each fault returns when what it broke was mended; the load goes on."""

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from palaver import failpoints
from palaver.roles import ROLES
from tests.cluster import Cluster, Member
from tests.faults.proxy import Proxy
from tests.servers import MongodbServer, NatsServer

FREEZE_SECONDS = 10.0
PARTITION_SECONDS = 8.0
DEATH_SECONDS = 30.0
PARTITIONED = "gateway-1"
"""The process that reaches NATS through a proxy."""

# Passed only by who sweeps, and only where something was left to be published.
_BY_SWEEPER = "tell.between_publishes"
# Passed only by who gives a room its name.
_BY_NAMING = "claim.after_claim"


@dataclass
class Scene:
    """Everything that a fault can be done to."""

    cluster: Cluster
    nats: NatsServer
    mongodb: MongodbServer
    proxy: Proxy
    headers: dict[str, str]  # of the administrator
    names_given: int = 0


Fault = Callable[[Scene], Awaitable[None]]


async def kill(member: Member) -> None:
    """SIGKILL; the supervisor starts it again."""
    restarts = member.restarts
    member.send(signal.SIGKILL)
    await _until_restarted(member, restarts)


async def terminate(member: Member) -> None:
    """SIGTERM: it drains and ends with 0."""
    restarts = member.restarts
    member.send(signal.SIGTERM)
    await _until_restarted(member, restarts)
    if member.last_status != 0:
        raise AssertionError(f"{member.name} ended with status {member.last_status} after SIGTERM")


async def freeze(member: Member) -> None:
    member.send(signal.SIGSTOP)
    await asyncio.sleep(FREEZE_SECONDS)
    member.send(signal.SIGCONT)
    await member.wait_until_ready()


async def _until_restarted(member: Member, restarts: int) -> None:
    async with asyncio.timeout(DEATH_SECONDS):
        while member.restarts == restarts:
            await asyncio.sleep(0.05)
    await member.wait_until_ready()


async def _arm(member: Member, name: str, count: int) -> None:
    """Starts it anew, to die when it is at a named point between two writes for the `count`-th time.

    It has no such point in its life after that.
    """
    restarts = member.restarts
    member.next_environment = {"PALAVER_FAILPOINTS": f"{name}:{count}"}
    member.send(signal.SIGKILL)
    await _until_restarted(member, restarts)


async def _until_dead(member: Member, restarts: int, name: str, meanwhile: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(DEATH_SECONDS):
        while member.restarts == restarts:
            await meanwhile()
            await asyncio.sleep(0.1)
    if member.last_status != -signal.SIGKILL:
        raise AssertionError(f"{member.name} ended with status {member.last_status} at {name}")
    await member.wait_until_ready()


async def _nothing() -> None:
    pass


async def die_at(member: Member, name: str, count: int, meanwhile: Callable[[], Awaitable[None]] = _nothing) -> None:
    """The process dies at a named point between two writes, and comes back."""
    await _arm(member, name, count)
    await _until_dead(member, member.restarts, name, meanwhile)


async def _name_a_room(scene: Scene) -> None:
    scene.names_given += 1
    async with httpx.AsyncClient(base_url=f"{scene.cluster.url}/api/v1/", headers=scene.headers, timeout=15) as http:
        with contextlib.suppress(httpx.TransportError):
            await http.post("channels.create", json={"name": f"named-{scene.names_given}"})


async def _die_sweeping(scene: Scene) -> None:
    """Whoever sweeps dies at it, and the next who takes over. Nobody knows who that is: every process is armed.

    One of them dies with something that it has committed and not told.
    """
    armed: dict[str, int] = {}
    leaving = scene.cluster.of("messaging")[0]
    for role in ROLES:
        members = scene.cluster.of(role)
        for member in members:
            first = "tell.before_publish:3," if member is leaving else ""
            member.next_environment = {"PALAVER_FAILPOINTS": f"{first}{_BY_SWEEPER}:1"}
            armed[member.name] = member.restarts + 1
            member.send(signal.SIGKILL)
        for member in members:
            await _until_restarted(member, armed[member.name] - 1)
    async with asyncio.timeout(DEATH_SECONDS):
        while not any(
            scene.cluster.members[name].restarts > lives for name, lives in armed.items() if name != leaving.name
        ):
            await asyncio.sleep(0.1)
    for name, lives in armed.items():
        if (member := scene.cluster.members[name]).restarts == lives:
            await kill(member)  # or it would die of it in another round


def failpoint(name: str) -> Fault:
    """A messaging process dies at a named point; for what only a sweeper does, the one that sweeps."""

    async def fault(scene: Scene) -> None:
        member = scene.cluster.of("messaging")[0]
        if name == _BY_SWEEPER:
            await _die_sweeping(scene)
        elif name == _BY_NAMING:
            await die_at(member, name, 1, lambda: _name_a_room(scene))
        else:
            await die_at(member, name, 5)

    return fault


def _of_first(role: str, action: Callable[[Member], Awaitable[None]]) -> Fault:
    async def fault(scene: Scene) -> None:
        await action(scene.cluster.of(role)[0])

    return fault


async def restart_nats(scene: Scene) -> None:
    await scene.nats.restart()


async def lose_jetstream(scene: Scene) -> None:
    """NATS dies and its disk with it; the log is built again from the events in the database."""
    await scene.nats.kill()
    await asyncio.to_thread(shutil.rmtree, scene.nats.store_dir)
    await scene.nats.start()


async def freeze_nats(scene: Scene) -> None:
    scene.nats.pause()
    await asyncio.sleep(FREEZE_SECONDS)
    scene.nats.resume()


async def kill_database(scene: Scene) -> None:
    await scene.mongodb.kill()
    await asyncio.sleep(1)
    await scene.mongodb.start()


async def freeze_database(scene: Scene) -> None:
    scene.mongodb.pause()
    await asyncio.sleep(FREEZE_SECONDS)
    scene.mongodb.resume()


async def stall_network(scene: Scene) -> None:
    """One gateway's connections to NATS stay open, and nothing passes."""
    scene.proxy.stall()
    await asyncio.sleep(PARTITION_SECONDS)
    scene.proxy.heal()


async def cut_network(scene: Scene) -> None:
    """One gateway can't reach NATS."""
    scene.proxy.cut()
    await asyncio.sleep(PARTITION_SECONDS)
    scene.proxy.heal()


FAILPOINTS: dict[str, Fault] = {f"failpoint {name}": failpoint(name) for name in failpoints.NAMES}
KILLS: dict[str, Fault] = {f"kill -9 a {role}": _of_first(role, kill) for role in ROLES}
FREEZES: dict[str, Fault] = {f"freeze a {role}": _of_first(role, freeze) for role in ROLES}
SERVERS: dict[str, Fault] = {
    "restart NATS": restart_nats,
    "lose JetStream": lose_jetstream,
    "freeze NATS": freeze_nats,
    "kill -9 the database": kill_database,
    "freeze the database": freeze_database,
    "stall the network": stall_network,
    "cut the network": cut_network,
}
TERMINATIONS: dict[str, Fault] = {f"SIGTERM a {role}": _of_first(role, terminate) for role in ROLES}
FAULTS: dict[str, Fault] = {**FAILPOINTS, **KILLS, **FREEZES, **SERVERS, **TERMINATIONS}
