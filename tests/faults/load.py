"""The clients of a fault suite: users who chat in some rooms, and the oracle's judgement of what became of it.

`run.py` puts this load on the processes of a cluster, `tests/kubernetes/real` on a workspace in pods.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import httpx
import orjson

from palaver.commit import now
from palaver.database.mongo import MongoDatabase
from palaver.errors import Unavailable
from palaver.events import room_stream
from tests.e2e.process import ADMIN
from tests.faults.client import Counts, LoadClient, Login
from tests.faults.oracle import Counters, Ledger, Stored, violations

USERS = 20
ROOMS = 8
ROOMS_EACH = 2
QUIET_SECONDS = 60.0
"""The longest that a client may need to hear what it has missed: two ticks of a gateway's comparison, anywhere."""
RECOVERY_SECONDS = 180.0
"""The longest that everything may take to be connected and answered again."""

LEAVING = 0.3
"""The part of the clients that come anew when a round begins."""


@dataclass
class Load:
    """Clients that chat, and what the database is to hold of it."""

    url: str
    headers: dict[str, str]  # of the administrator
    database: MongoDatabase
    rooms: list[str]
    clients: list[LoadClient]
    ledger: Ledger
    counts: Counts
    chats: list["asyncio.Task[None]"]
    logins: list[Login]
    seen: dict[str, tuple[int, list[str]]] = field(default_factory=dict)  # what was read of each room's events
    senders: dict[str, str] = field(default_factory=dict)  # message → user

    def begin(self, draw: Random) -> None:
        """All begin to write; some come anew first, so that every gateway has some."""
        self.counts.reset()
        for client in self.clients:
            client.sending.set()
            if draw.random() < LEAVING:
                client.leave()

    def end(self) -> None:
        """Nobody begins another message."""
        for client in self.clients:
            client.sending.clear()

    def acknowledged(self) -> int:
        return sum(map(len, self.ledger.acknowledged.values()))

    def summary(self) -> str:
        """What happened since `begin`, and to how many messages in all."""
        counts = self.counts
        return (
            f"unknown {len(self.ledger.unknown)}, refused {len(self.ledger.refused)}, retries {counts.retries}, "
            f"delivered {counts.delivered}, reconnects {counts.reconnects}, "
            f"slowest return {counts.slowest_return:.1f} s, slowest answer {counts.slowest_answer:.1f} s"
            + f"\n  the slowest way back: {', '.join(counts.slowest_way)}"
        )

    async def recover(self) -> list[str]:
        """Waits until every client is connected with nothing left to send. Returns who is not, if it takes too long."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while waiting := [client for client in self.clients if not client.is_ready]:
            if time.monotonic() > deadline:
                return [
                    f"{len(waiting)} clients did not recover in {RECOVERY_SECONDS:.0f} s, such as {waiting[0].name}"
                ]
            await asyncio.sleep(0.1)
        return []

    async def wait_until_quiet(self) -> float:
        """Waits until every socket has heard everything, or for as long as that may take. Returns the seconds."""
        began = time.monotonic()
        while self.ledger.waiting() and time.monotonic() - began < QUIET_SECONDS:
            await asyncio.sleep(0.1)
        took = time.monotonic() - began
        await asyncio.sleep(0.5)  # what nobody answered for has no place in the ledger's order
        return took

    async def rename(self, number: int, draw: Random) -> tuple[str, str]:
        """Gives somebody another name, however often it takes: a durable follower is to bring it into every room.

        Returns the user and the name.
        """
        user, name = draw.choice(self.logins).user_id, f"Called {number}"
        body = {"userId": user, "data": {"name": name}}
        url = f"{self.url}/api/v1/users.update"
        await asyncio.sleep(draw.uniform(0, 2))
        async with httpx.AsyncClient(headers=self.headers, timeout=15) as http:
            for _ in range(100):
                with contextlib.suppress(httpx.HTTPError):
                    answer = await http.post(url, json=body)
                    if answer.status_code == 200:
                        return user, name
                    if answer.status_code != 503:
                        raise RuntimeError(f"users.update answered {answer.status_code}: {answer.text[:300]}")
                await asyncio.sleep(0.5)
        raise TimeoutError("users.update did not answer")

    async def judge(self, renamed: str, name: str) -> list[str]:
        """Every promise that was broken so far, in words; the user who was renamed last has that name everywhere."""
        broken = violations(self.ledger, await self._read(renamed, name))
        return broken + [f"a client broke: {chat.exception()!r}" for chat in self.chats if chat.done()]

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
async def running_load(
    url: str, mongodb_url: str, clients: int, seed: int, workspace: str = "default"
) -> AsyncIterator[Load]:
    """Clients of new users in new rooms of the workspace at `url`, which keeps them in that MongoDB; all connected.

    The workspace has the administrator ADMIN, and neither limits their rate nor asks them for a second factor.
    """
    database = MongoDatabase(mongodb_url, f"palaver_{workspace}")
    limits = httpx.Limits(max_keepalive_connections=0)  # a new connection each, so any gateway may answer
    async with httpx.AsyncClient(base_url=f"{url}/api/v1/", limits=limits, timeout=15) as http:
        chats: list[asyncio.Task[None]] = []
        try:
            await database.open()
            headers = _headers(await _login(http, ADMIN["user"], ADMIN["password"]))
            logins = [await _make_user(http, headers, f"user{number}") for number in range(USERS)]
            rooms = [await _make_room(http, headers, f"room{number}") for number in range(ROOMS)]
            ledger, counts = Ledger(), Counts()
            made = []
            for number in range(clients):
                own = Random(f"{seed} {number}")
                mine = own.sample(rooms, ROOMS_EACH)
                made.append(LoadClient(f"c{number}", logins[number % USERS], mine, url, http, ledger, counts, own))
            chats = [asyncio.create_task(client.run(), name=client.name) for client in made]
            load = Load(url, headers, database, rooms, made, ledger, counts, chats, logins)
            if broken := await load.recover():
                raise RuntimeError(f"the load did not start: {broken[0]}")
            yield load
        finally:
            for chat in chats:
                chat.cancel()
            await asyncio.gather(*chats, return_exceptions=True)
            await database.close()


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
