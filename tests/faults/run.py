"""The fault suite: a real cluster under load, one fault after another, and the oracle after each round.

    make test-faults                                  # every fault in a round of its own, in an order drawn by the seed
    make test-faults ROUNDS=10 ARGS="--seed 7"        # ten times
    make test-faults ARGS="--only 'kill -9 a gateway'"
    make test-faults ROUNDS=10 ARGS=--short           # several faults in a round: a few minutes each time

`test_faults.py` runs the short plan, once.
"""

import argparse
import asyncio
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
import orjson

from palaver.commit import now
from palaver.database.mongo import MongoDatabase
from palaver.errors import Unavailable
from palaver.events import room_stream
from tests.cluster import Cluster
from tests.e2e.process import ADMIN
from tests.faults.client import Counts, LoadClient, Login
from tests.faults.faults import FAULTS, PARTITIONED, SHORT_PLAN, Scene
from tests.faults.oracle import Counters, Ledger, Stored, violations
from tests.faults.proxy import Proxy
from tests.servers import nats_server, own_mongodb_server

CLIENTS = 200
USERS = 20
ROOMS = 8
ROOMS_EACH = 2
WARM_SECONDS = 2.0
AFTER_SECONDS = 2.0
"""How long the load goes on before the first fault and after the last one."""
QUIET_SECONDS = 20.0
"""The longest that a client may need to hear what it has missed: two ticks of a gateway's comparison, at most."""
RECOVERY_SECONDS = 90.0
"""The longest that everything may take to be connected and answered again."""

LEAVING = 0.3
"""The part of the clients that come anew when a round begins."""

Plan = Sequence[Sequence[str]]
"""Rounds, each of some faults by name."""


@dataclass
class Suite:
    """A running cluster with its clients."""

    scene: Scene
    database: MongoDatabase
    rooms: list[str]
    clients: list[LoadClient]
    ledger: Ledger
    counts: Counts
    chats: list["asyncio.Task[None]"]
    draw: Random
    say: Callable[[str], None]
    logins: list[Login]
    seen: dict[str, tuple[int, list[str]]] = field(default_factory=dict)  # what was read of each room's events
    senders: dict[str, str] = field(default_factory=dict)  # message → user

    async def run_round(self, number: int, names: Sequence[str]) -> list[str]:
        """Does these faults under load. Returns what was broken by it."""
        self.counts.reset()
        sent, acknowledged = len(self.ledger.sent), self._acknowledged()
        for client in self.clients:
            client.sending.set()
            if self.draw.random() < LEAVING:  # so that every gateway has some
                client.leave()
        await asyncio.sleep(WARM_SECONDS)
        began = time.monotonic()
        broken: list[str] = []
        renaming = asyncio.create_task(self._rename(number))
        for name in names:
            try:
                await FAULTS[name](self.scene)
            except (AssertionError, TimeoutError, RuntimeError) as error:
                broken.append(f"{name}: {type(error).__name__}: {error}")
        lasted = time.monotonic() - began
        await asyncio.sleep(AFTER_SECONDS)
        for client in self.clients:
            client.sending.clear()
        broken += await self._recover()
        renamed = await renaming
        quiet = await self._wait_until_quiet()
        broken += violations(self.ledger, await self._read(*renamed))
        for chat in self.chats:
            if chat.done():
                broken.append(f"a client broke: {chat.exception()!r}")
        counts = self.counts
        self.say(
            f"round {number}: {', '.join(names)} ({lasted:.1f} s): "
            f"sent {len(self.ledger.sent) - sent}, acknowledged {self._acknowledged() - acknowledged}, "
            f"unknown {len(self.ledger.unknown)}, refused {len(self.ledger.refused)}, retries {counts.retries}, "
            f"delivered {counts.delivered}, reconnects {counts.reconnects}, "
            f"slowest return {counts.slowest_return:.1f} s, slowest answer {counts.slowest_answer:.1f} s, "
            f"the rest heard after {quiet:.1f} s" + (": BROKEN" if broken else "")
        )
        for line in broken:
            self.say(f"    {line}")
        return broken

    def _acknowledged(self) -> int:
        return sum(map(len, self.ledger.acknowledged.values()))

    async def _rename(self, number: int) -> tuple[str, str]:
        """Gives somebody another name, however often it takes: a durable follower is to bring it into every room.

        Returns the user and the name.
        """
        user, name = self.draw.choice(self.logins).user_id, f"Called {number}"
        body = {"userId": user, "data": {"name": name}}
        url = f"{self.scene.cluster.url}/api/v1/users.update"
        await asyncio.sleep(self.draw.uniform(0, 2))
        async with httpx.AsyncClient(headers=self.scene.headers, timeout=15) as http:
            for _ in range(100):
                with contextlib.suppress(httpx.HTTPError):
                    answer = await http.post(url, json=body)
                    if answer.status_code == 200:
                        return user, name
                    if answer.status_code != 503:
                        raise RuntimeError(f"users.update answered {answer.status_code}: {answer.text[:300]}")
                await asyncio.sleep(0.5)
        raise TimeoutError("users.update did not answer")

    async def _recover(self) -> list[str]:
        """Waits until every process is ready, and every client connected with nothing left to send."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        try:
            await self.scene.cluster.wait_until_ready(RECOVERY_SECONDS)
        except TimeoutError as error:
            return [str(error)]
        while waiting := [client for client in self.clients if not client.is_ready]:
            if time.monotonic() > deadline:
                return [
                    f"{len(waiting)} clients did not recover in {RECOVERY_SECONDS:.0f} s, such as {waiting[0].name}"
                ]
            await asyncio.sleep(0.1)
        return []

    async def _wait_until_quiet(self) -> float:
        """Waits until every socket has heard everything, or for as long as that may take. Returns the seconds."""
        began = time.monotonic()
        while self.ledger.waiting() and time.monotonic() - began < QUIET_SECONDS:
            await asyncio.sleep(0.1)
        took = time.monotonic() - began
        await asyncio.sleep(0.5)  # what nobody answered for has no place in the ledger's order
        return took

    async def _read(self, renamed: str, name: str) -> Stored:
        """The state of the database, once every event is told and the user's new name has come into every room."""
        unpublished, misnamed = 0, [""]
        deadline = time.monotonic() + QUIET_SECONDS
        while True:
            try:
                unpublished = len(await self.database.list_unpublished(now() - 2000))
                memberships = await self.database.find("subscriptions", {"u._id": renamed})
                misnamed = [found["_id"] for found in memberships if found["u"].get("name") != name]
                if not (unpublished or misnamed) or time.monotonic() > deadline:
                    break
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.5)
        documents: dict[str, Sequence[str]] = {}
        for room in self.rooms:
            await self._read_events(room)
            found = await self.database.find("messages", {"rid": room})
            documents[room] = [message["_id"] for message in found if "t" not in message]
        events = {room: messages for room, (_, messages) in self.seen.items()}
        counters = {room: await self._read_counters(room) for room in self.rooms}
        return Stored(events, documents, self.senders, counters, unpublished, misnamed)

    async def _read_counters(self, room: str) -> Counters:
        document = await self.database.get("rooms", room)
        assert document is not None
        members = await self.database.find("subscriptions", {"rid": room})
        own = {member["u"]["_id"]: member.get("own", 0) for member in members}
        return Counters(document["counted"], document.get("lastMessage", {}).get("_id", ""), own)

    async def _read_events(self, room: str) -> None:
        after, messages = self.seen.get(room, (0, []))
        while events := await self.database.list_events(room_stream(room), after):
            for event in events:
                if event.seq != after + 1:
                    raise AssertionError(f"room {room} has event {event.seq} after {after}")
                after = event.seq
                if event.WhichOneof("fact") == "message_sent":
                    messages.append(event.message_sent.message_id)
                    self.senders[event.message_sent.message_id] = event.actor.id
        self.seen[room] = (after, messages)


@asynccontextmanager
async def running_suite(folder: Path, seed: int, say: Callable[[str], None]) -> AsyncIterator[Suite]:
    """A cluster of two processes a role (where a role can), with everything that a fault needs, and its clients."""
    async with (
        own_mongodb_server() as mongodb,
        nats_server(store_dir=folder / "nats") as nats,
        Proxy(nats.port) as proxy,
    ):
        cluster = Cluster(
            folder,
            mongodb.url,
            nats.url,
            own_environment={PARTITIONED: {"PALAVER_NATS_URL": f"nats://127.0.0.1:{proxy.port}"}},
        )
        database = MongoDatabase(mongodb.url, "palaver_default")
        limits = httpx.Limits(max_keepalive_connections=0)  # a new connection each, so any gateway may answer
        async with httpx.AsyncClient(base_url=f"{cluster.url}/api/v1/", limits=limits, timeout=15) as http:
            chats: list[asyncio.Task[None]] = []
            try:
                await cluster.start()
                await database.open()
                headers = _headers(await _login(http, ADMIN["user"], ADMIN["password"]))
                logins = [await _make_user(http, headers, f"user{number}") for number in range(USERS)]
                rooms = [await _make_room(http, headers, f"room{number}") for number in range(ROOMS)]
                ledger, counts = Ledger(), Counts()
                clients = []
                for number in range(CLIENTS):
                    own = Random(f"{seed} {number}")
                    mine = own.sample(rooms, ROOMS_EACH)
                    login = logins[number % USERS]
                    clients.append(LoadClient(f"c{number}", login, mine, cluster.url, http, ledger, counts, own))
                chats = [asyncio.create_task(client.run(), name=client.name) for client in clients]
                scene = Scene(cluster, nats, mongodb, proxy, headers)
                suite = Suite(scene, database, rooms, clients, ledger, counts, chats, Random(seed), say, logins)
                if broken := await suite._recover():
                    raise RuntimeError(f"the load did not start: {broken[0]}")
                yield suite
            finally:
                for chat in chats:
                    chat.cancel()
                await asyncio.gather(*chats, return_exceptions=True)
                await database.close()
                codes = await cluster.stop()
        if bad := {name: code for name, code in codes.items() if code}:
            raise AssertionError(f"stopped with a status: {bad}")


async def _login(http: httpx.AsyncClient, name: str, password: str) -> Login:
    answer = await http.post("login", json={"user": name, "password": password})
    answer.raise_for_status()
    return Login(answer.json()["data"]["userId"], answer.json()["data"]["authToken"])


def _headers(login: Login) -> dict[str, str]:
    return {"X-Auth-Token": login.token, "X-User-Id": login.user_id}


async def _make_user(http: httpx.AsyncClient, headers: Mapping[str, str], name: str) -> Login:
    password = f"password of {name}"
    body = {"username": name, "name": name, "email": f"{name}@example.org", "password": password, "verified": True}
    (await http.post("users.create", json=body, headers=headers)).raise_for_status()
    return await _login(http, name, password)


async def _make_room(http: httpx.AsyncClient, headers: Mapping[str, str], name: str) -> str:
    body = {"name": name, "members": [f"user{number}" for number in range(USERS)]}
    answer = await http.post("channels.create", content=orjson.dumps(body), headers=headers)
    answer.raise_for_status()
    return str(answer.json()["channel"]["_id"])


async def run_plan(folder: Path, seed: int, plan: Plan, say: Callable[[str], None]) -> list[str]:
    """Runs the rounds; stops after the first that broke something. Returns what."""
    say(f"seed {seed}: {len(plan)} rounds, {CLIENTS} clients")
    async with running_suite(folder, seed, say) as suite:
        for number, names in enumerate(plan, 1):
            if broken := await suite.run_round(number, names):
                return [f"round {number} ({', '.join(names)}): {line}" for line in broken]
    return []


def main() -> None:
    parser = argparse.ArgumentParser(prog="make test-faults", description="Breaks a cluster under load, and counts.")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="what draws the order of faults")
    parser.add_argument("--rounds", type=int, default=1, help="how often every fault is done")
    parser.add_argument("--only", action="append", choices=list(FAULTS), help="only this fault (may be repeated)")
    parser.add_argument("--short", action="store_true", help="several faults in a round, as in make test-all")
    given = parser.parse_args()
    draw = Random(given.seed)
    plan: list[Sequence[str]] = []
    for _ in range(given.rounds):
        rounds = list(SHORT_PLAN.values()) if given.short else [[name] for name in given.only or FAULTS]
        draw.shuffle(rounds)
        plan += rounds
    folder = Path(tempfile.mkdtemp(prefix="palaver-faults-"))
    broken = asyncio.run(run_plan(folder, given.seed, plan, lambda line: print(line, flush=True)))
    if broken:
        sys.exit(f"make test-faults: {len(broken)} promises broken; the logs are in {folder}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
