"""What can be done to a running cluster. Each fault returns when what it broke was mended; the load goes on."""

import asyncio
import contextlib
import random
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx

from palaver import failpoints
from palaver.roles import ROLES
from tests.cluster import Cluster, Member
from tests.faults.proxy import Proxy
from tests.servers import MongodbServer, NatsServer

FREEZE_SECONDS = 10.0
RANDOM_SECONDS = 15.0
PARTITION_SECONDS = 8.0
DEATH_SECONDS = 90.0
_LEASE_SECONDS = 5.0  # longer than that of the sweeper
PARTITIONED = "gateway-1"
"""The process that reaches NATS through a proxy."""

# Passed only by who sweeps, and only where something was left to be published.
_BY_SWEEPER = "tell.between_publishes"
# Those that a process passes which plays messaging. (Durable followers have others.)
_OF_MESSAGING = [name for name in failpoints.NAMES if name.startswith(("commit.", "tell.", "claim."))]
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
    await _until_ready(member)


async def _until_restarted(member: Member, restarts: int) -> None:
    async with asyncio.timeout(DEATH_SECONDS):
        while member.restarts == restarts:
            await asyncio.sleep(0.05)
    await _until_ready(member)


async def _until_ready(member: Member) -> None:
    """Whatever becomes of it meanwhile: it is started again."""
    deadline = time.monotonic() + DEATH_SECONDS
    while not await member.is_ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{member.name} is not ready after {DEATH_SECONDS:.0f} s")
        await asyncio.sleep(0.05)


async def die_at(scene: Scene, member: Member, names: Sequence[str]) -> None:
    """The process dies at one named point between two writes after another, in a life for each, and comes back."""
    first = member.restarts + 1  # the life in which it is to come to the first of them
    member.next_environments += [_at(name) for name in names]
    member.send(signal.SIGKILL)
    for life, name in enumerate(names, first):
        deadline = time.monotonic() + DEATH_SECONDS
        while member.restarts <= life:
            if time.monotonic() > deadline:
                member.next_environments.clear()
                raise TimeoutError(f"{member.name} did not come to {name}")
            if name == _BY_NAMING and member.restarts == life:
                await _name_a_room(scene)
            await asyncio.sleep(0.05)
        if member.last_status != -signal.SIGKILL:
            raise AssertionError(f"{member.name} ended with status {member.last_status} at {name}")
    await _until_ready(member)


def _at(name: str) -> dict[str, str]:
    """What kills a process there, not the first time: there should be some life before."""
    return {"PALAVER_FAILPOINTS": f"{name}:{1 if name == _BY_NAMING else 5}"}


async def _name_a_room(scene: Scene) -> None:
    scene.names_given += 1
    async with httpx.AsyncClient(base_url=f"{scene.cluster.url}/api/v1/", headers=scene.headers, timeout=15) as http:
        with contextlib.suppress(httpx.TransportError):
            # Both go to one messaging process after the other: in a random rhythm, so that each is asked to create.
            if random.random() < 0.5:
                await http.get("channels.list.joined", params={"count": 1})
            await http.post("channels.create", json={"name": f"named-{scene.names_given}"})


async def _make_somebody(scene: Scene) -> None:
    scene.names_given += 1
    name = f"somebody{scene.names_given}"
    body = {"username": name, "name": name, "email": f"{name}@example.org", "password": name}
    async with httpx.AsyncClient(base_url=f"{scene.cluster.url}/api/v1/", headers=scene.headers, timeout=15) as http:
        with contextlib.suppress(httpx.TransportError):
            await http.post("users.create", json=body)


async def _die_sweeping(scene: Scene) -> None:
    """Whoever sweeps dies at it, and the next who takes over. Nobody knows who that is: every process is armed.

    All but one of auth, which dies with a new user of whom it has told nobody. (What is left in a busy room is told by
    whoever writes there next.)
    """
    leaving = scene.cluster.of("auth")[0]
    armed: dict[Member, int] = {}  # with how often it has been started by then
    for role in ROLES:
        members = [member for member in scene.cluster.of(role) if member is not leaving]
        for member in members:
            member.next_environments.append({"PALAVER_FAILPOINTS": f"{_BY_SWEEPER}:1"})
            armed[member] = member.restarts + 1
            member.send(signal.SIGKILL)
        for member in members:
            await _until_restarted(member, armed[member] - 1)
    # Should the one that dies be the sweeper, it would come back in time to go on being it: first it loses the lease.
    leaving.send(signal.SIGSTOP)
    await asyncio.sleep(_LEASE_SECONDS)
    leaving.send(signal.SIGCONT)
    leaving.next_environments.append({"PALAVER_FAILPOINTS": "tell.before_publish:1"})
    lives = leaving.restarts + 1
    leaving.send(signal.SIGKILL)
    deadline = time.monotonic() + DEATH_SECONDS
    while not (dead := [member for member, starts in armed.items() if member.restarts > starts]):
        if time.monotonic() > deadline:
            raise TimeoutError("nobody has died sweeping")
        if leaving.restarts == lives:
            await _make_somebody(scene)
        await asyncio.sleep(0.1)
    for member in armed:
        if member not in dead:
            await kill(member)  # or it would die of it in another round


def failpoints_of_messaging(*names: str) -> Fault:
    async def fault(scene: Scene) -> None:
        await die_at(scene, await _find_busiest(scene, "messaging"), names)

    return fault


def _of_busiest(role: str, action: Callable[[Member], Awaitable[None]]) -> Fault:
    async def fault(scene: Scene) -> None:
        await action(await _find_busiest(scene, role))

    return fault


async def _find_busiest(scene: Scene, role: str) -> Member:
    """Of those who play a role, who has used the most CPU in the last second: all rooms may be one process's."""
    members = scene.cluster.of(role)
    before = [member.cpu_seconds() for member in members]
    await asyncio.sleep(1)
    used = [member.cpu_seconds() - earlier for member, earlier in zip(members, before, strict=True)]
    return members[used.index(max(used))]


async def kill_at_random(scene: Scene) -> None:
    """SIGKILL for one process after another, whoever it is and whatever it does: while the last ones come back, too."""
    members = list(scene.cluster.members.values())
    until = time.monotonic() + RANDOM_SECONDS
    while time.monotonic() < until:
        random.choice(members).send(signal.SIGKILL)
        await asyncio.sleep(random.uniform(0.1, 2.5))


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


FAILPOINTS: dict[str, Fault] = {
    **{f"die at {name}": failpoints_of_messaging(name) for name in _OF_MESSAGING if name != _BY_SWEEPER},
    f"die at {_BY_SWEEPER}": _die_sweeping,
}
EVERY_FAILPOINT = "die at every failpoint of messaging"
KILLS: dict[str, Fault] = {f"kill -9 a {role}": _of_busiest(role, kill) for role in ROLES}
RANDOM_KILLS: dict[str, Fault] = {"kill -9 anybody, again and again": kill_at_random}
FREEZES: dict[str, Fault] = {f"freeze a {role}": _of_busiest(role, freeze) for role in ROLES}
SERVERS: dict[str, Fault] = {
    "restart NATS": restart_nats,
    "lose JetStream": lose_jetstream,
    "freeze NATS": freeze_nats,
    "kill -9 the database": kill_database,
    "freeze the database": freeze_database,
    "stall the network": stall_network,
    "cut the network": cut_network,
}
TERMINATIONS: dict[str, Fault] = {f"SIGTERM a {role}": _of_busiest(role, terminate) for role in ROLES}
FAULTS: dict[str, Fault] = {
    EVERY_FAILPOINT: failpoints_of_messaging(*(name for name in _OF_MESSAGING if name != _BY_SWEEPER)),
    **FAILPOINTS,
    **KILLS,
    **RANDOM_KILLS,
    **FREEZES,
    **SERVERS,
    **TERMINATIONS,
}

# One cluster's life with every kind of fault, in as few rounds as can tell one from another.
SHORT_PLAN: dict[str, Sequence[str]] = {
    "failpoints": [EVERY_FAILPOINT],
    "sweeping": [f"die at {_BY_SWEEPER}"],
    "kills": [*KILLS, *RANDOM_KILLS],
    "network": ["freeze a messaging", "restart NATS", "lose JetStream", "cut the network"],
    "stops": ["kill -9 the database", "SIGTERM a gateway", "SIGTERM a messaging"],
}
