"""Fills Palaver's database with many users, rooms and messages, before a server opens it.

What is written are the product's own events with their projections, through its own database port: only the requests
that would have led to them are left out. A filled embedded database is kept in the cache, keyed by what it was made
from; a cluster's is filled each time.
"""

import asyncio
import dataclasses
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import orjson

import palaver
from palaver.auth.accounts import new_user
from palaver.auth.tokens import hash_token
from palaver.database import Database, Document, Stream
from palaver.database.mongo import MongoDatabase
from palaver.database.sqlite import SqliteDatabase
from palaver.events import SYSTEM, room_stream, user_actor, user_stream
from palaver.ids import new_id
from palaver.messaging import markdown
from palaver.messaging.rooms import new_room
from palaver.messaging.rules import new_subscription
from palaver.projections import project
from palaver.v1.event_pb2 import Actor, Event, MessageSent, RoomCreated, TokenIssued, UserCreated

T = TypeVar("T")

_AT_A_TIME = 500
_KEY_LENGTH = 16
_YEAR = 365 * 86_400_000
# What decides how the events and documents look.
_SOURCES = ("database", "v1", "projections", "events.py", "documents.py", "ids.py")
_SERVICE_SOURCES = ("auth/accounts.py", "auth/tokens.py", "messaging/rooms.py", "messaging/rules.py")


@dataclass(frozen=True, slots=True)
class RoomPlan:
    """A public room of `members` users in a row, beginning with the user number `first`."""

    id: str
    first: int
    members: int
    messages: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a database is filled with. The first `tokens` users have a token each."""

    name: str
    users: int
    tokens: int
    rooms: tuple[RoomPlan, ...]


def user_id(number: int) -> str:
    return f"user{number}"


def token(number: int) -> str:
    return f"token-of-user-{number}"


def write_credentials(path: Path, plan: Plan) -> Path:
    """The file that the generator and the baseline read: a line "userId authToken" for each user with a token."""
    path.write_text("".join(f"{user_id(number)} {token(number)}\n" for number in range(plan.tokens)))
    return path


@contextmanager
def filled(plan: Plan, cache: Path) -> Iterator[Path]:
    """A data folder of its own, filled according to the plan; removed at the end."""
    kept = cache / "benchmarks" / f"{plan.name}-{_key(plan)}"
    if not kept.is_dir():
        for older in kept.parent.glob(f"{plan.name}-{'?' * _KEY_LENGTH}"):
            shutil.rmtree(older, ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".filling-", dir=kept.parent))
        try:
            started = time.monotonic()
            asyncio.run(_fill(SqliteDatabase(aside / "palaver.db"), plan))
            print(f"filled a database of {plan.users} users in {time.monotonic() - started:.0f} s", flush=True)
            aside.rename(kept)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="palaver-bench-") as folder:
        data = Path(folder) / "data"
        shutil.copytree(kept, data)
        # Otherwise the kernel writes the copy out while something is measured.
        for file in data.iterdir():
            with file.open("rb") as copy:
                os.fsync(copy.fileno())
        yield data


def _key(plan: Plan) -> str:
    here = Path(palaver.__file__).parent
    parts = [here / part for part in (*_SOURCES, *_SERVICE_SOURCES)]
    files = [Path(__file__), *(file for part in parts for file in ([part] if part.is_file() else part.glob("*.py")))]
    digest = hashlib.sha256(orjson.dumps(dataclasses.asdict(plan)))
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:_KEY_LENGTH]


def fill_cluster(mongodb_url: str, workspace: str, plan: Plan) -> None:
    """Fills a workspace's database on a MongoDB server."""
    asyncio.run(_fill(MongoDatabase(mongodb_url, f"palaver_{workspace}"), plan))


async def _fill(database: Database, plan: Plan) -> None:
    await database.open()
    try:
        for numbers in _parts(range(plan.users), _AT_A_TIME):
            await asyncio.gather(*(_add_user(database, number, number < plan.tokens) for number in numbers))
        # Otherwise the server would make everybody a member of its first room.
        for rooms in _parts((RoomPlan("GENERAL", 0, 1), *plan.rooms), 20):
            await asyncio.gather(*(_add_room(database, room, plan.users) for room in rooms))
    finally:
        await database.close()


async def _commit(database: Database, stream: Stream, after: int, events: Sequence[Event], actor: Actor) -> None:
    now = time.time_ns() // 1_000_000
    for seq, event in enumerate(events, after + 1):
        event.stream_kind, event.stream_id = stream
        event.seq = seq
        event.command_id = event.command_id or new_id()
        event.at = event.at or now
        event.actor.CopyFrom(actor)
    await database.commit(stream, events, [project(event) for event in events])
    await database.mark_published(events)


async def _add_user(database: Database, number: int, with_token: bool) -> None:
    id = user_id(number)
    user = new_user(id, id, name=f"User {number}")
    events = [Event(user_created=UserCreated(user=orjson.dumps(user)))]
    if with_token:
        about = orjson.dumps({"type": "password"})
        expires_at = user["createdAt"]["$date"] + _YEAR
        fact = TokenIssued(hashed_token=hash_token(token(number)), expires_at=expires_at, token=about)
        events.append(Event(token_issued=fact))
    await _commit(database, user_stream(id), 0, events, SYSTEM)


async def _add_room(database: Database, plan: RoomPlan, users: int) -> None:
    begun = time.time_ns() // 1_000_000 - 1000 * (plan.messages + 1)
    room = new_room(plan.id, "c", begun, plan.members)
    name = plan.id.lower()
    room.update({"name": name, "fname": name, "ro": False, "u": _reference(plan.first % users)})
    members = [_reference((plan.first + index) % users) for index in range(plan.members)]
    subscriptions = [new_subscription(f"{plan.id}-{member['_id']}", room, member, begun) for member in members]
    fact = RoomCreated(room=orjson.dumps(room), subscriptions=[orjson.dumps(one) for one in subscriptions])
    created = Event(room_created=fact, at=begun)
    await _commit(database, room_stream(plan.id), 0, [created], user_actor(members[0]["_id"]))
    own: dict[int, int] = {}
    for numbers in _parts(range(1, plan.messages + 1), _AT_A_TIME):
        events = []
        for number in numbers:
            sender = number % min(plan.members, 50)
            own[sender] = own.get(sender, 0) + 1
            message = _message(plan.id, number, members[sender], begun + 1000 * number)
            events.append(_message_sent(plan, number, message, subscriptions[sender]["_id"], own[sender]))
        await _commit(database, room_stream(plan.id), numbers[0], events, user_actor(members[0]["_id"]))


def _message_sent(plan: RoomPlan, number: int, message: Document, subscription_id: str, own: int) -> Event:
    at = message["ts"]["$date"]
    fact = MessageSent(
        message=orjson.dumps(message),
        message_id=message["_id"],
        messages=number,
        counted=number,
        counts=True,
        sender_subscription_id=subscription_id,
        sender_own=own,
        sent_at=at,
    )
    return Event(message_sent=fact, at=at, command_id=message["_id"])


def _message(room_id: str, number: int, sender: dict[str, str], at: int) -> Document:
    text = f"message {number} " + "of a history " * 4
    return {
        "_id": f"{room_id}-{number}",
        "rid": room_id,
        "ts": {"$date": at},
        "u": sender,
        "_updatedAt": {"$date": at},
        "msg": text,
        "urls": [],
        "mentions": [],
        "channels": [],
        "md": markdown.parse(text),
    }


def _reference(number: int) -> dict[str, str]:
    return {"_id": user_id(number), "username": user_id(number), "name": f"User {number}"}


def _parts(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
