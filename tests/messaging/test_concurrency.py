"""Many senders, two processes on one database, processes that stop anywhere: nothing is lost, doubled or miscounted."""

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from palaver import failpoints
from palaver.errors import Unavailable
from palaver.events import room_stream
from palaver.messaging.role import MessagingService
from palaver.node import Node
from palaver.v1.event_pb2 import Event
from tests.messaging.helpers import ADMIN, Chat
from tests.services import service_nodes

ROOT = Path(__file__).parent.parent.parent
ROLES = ("auth", "presence", "messaging")
STOPS = [name for name in failpoints.NAMES if name.startswith("commit.") and "projections" not in name]


class Stop(Exception):
    """What a failpoint raises here: this process is thought to end."""


async def check_log(chat: Chat, room_id: str) -> int:
    """The room's events have no gap, its ordinals rise by one, and the documents agree; how many messages there are."""
    events: list[Event] = []
    while page := await chat.database.list_events(room_stream(room_id), len(events)):
        events += page
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    sent = [event.message_sent for event in events if event.WhichOneof("fact") == "message_sent"]
    assert [fact.counted for fact in sent] == list(range(1, len(sent) + 1))
    assert len({fact.message_id for fact in sent}) == len(sent)
    own: dict[str, int] = {}
    for fact in sent:
        own[fact.sender_subscription_id] = own.get(fact.sender_subscription_id, 0) + 1
        assert fact.sender_own == own[fact.sender_subscription_id]
    room = await chat.database.get("rooms", room_id)
    assert room is not None
    assert (room["applied_seq"], room["counted"]) == (len(events), len(sent))
    for subscription_id, count in own.items():
        subscription = await chat.database.get("subscriptions", subscription_id)
        assert subscription is not None
        assert subscription["own"] == count
    stored = await chat.database.find("messages", {"rid": room_id, "t": None}, sort=[("ts", 1), ("_id", 1)])
    assert [message["_id"] for message in stored] == [fact.message_id for fact in sent]
    return len(sent)


@asynccontextmanager
async def second_process(chat: Chat) -> AsyncIterator[MessagingService]:
    """Another messaging service on the same database, with writers and memories of its own."""
    first = chat.running.nodes["messaging"]
    node = Node(first.config, first.database, first.log, first.live, first.blobs)
    node.services = first.services
    node.access = first.access
    telling = asyncio.create_task(node.commits.run_telling())
    yield MessagingService(node)
    await node.commits.close()
    await telling


async def test_many_senders_at_once(chat: Chat) -> None:
    actors = await chat.users(*(f"user{index}" for index in range(6)))
    room_id = (await chat.room(actors[0], "dev", *(f"user{index}" for index in range(1, 6))))["_id"]
    texts = [f"@user{(index + 1) % 6} hello" if index % 3 else "hello" for index in range(90)]
    await asyncio.gather(*(chat.send(actors[index % 6], room_id, text) for index, text in enumerate(texts)))
    assert await check_log(chat, room_id) == 90
    await chat.set_setting("Unread_Count", "all_messages")
    for index, actor in enumerate(actors):
        unread, mentions, _, _ = await chat.counters(actor, room_id)
        assert unread == 75
        named = (index - 1) % 6  # by the neighbour, in those of their messages that name somebody
        assert mentions == sum(1 for n, text in enumerate(texts) if n % 6 == named and "@" in text)


async def test_two_processes_on_one_database(local: Chat) -> None:
    ann, bob = await local.users("ann", "bob")
    room_id = (await local.room(ann, "dev", "bob"))["_id"]
    async with second_process(local) as second:
        other = Chat(local.running)
        other.messaging = second
        chats = itertools.cycle([local, other])
        await asyncio.gather(
            *(chat.send(actor, room_id, "x") for chat, actor in zip(chats, [ann, bob, bob] * 20, strict=False))
        )
        assert await check_log(local, room_id) == 60
        # Each sees what the other did: no decision rests on what a process remembers.
        await local.remove(ann, room_id, "bob")
        with pytest.raises(Exception, match="not-allowed"):
            await other.send(bob, room_id)
        await other.join(bob, room_id)
        await local.send(bob, room_id)
        # The same command, sent to both.
        sent = await asyncio.gather(*(chat.send(ann, room_id, "once", message_id="m") for chat in (local, other) * 4))
        assert len({message["_updatedAt"]["$date"] for message in sent}) == 1
        assert await check_log(local, room_id) == 62
        # An id, sent to two rooms by both.
        rooms = [room_id, (await local.room(ann, "other"))["_id"]]
        for id in ("one", "two", "three"):
            works = [chat.send(ann, at, id, message_id=id) for chat, at in zip((local, other), rooms, strict=True)]
            answers = await asyncio.gather(*works, return_exceptions=True)
            assert sorted(type(answer).__name__ for answer in answers) == ["InvalidInput", "dict"]
        assert sum([await check_log(local, id) for id in rooms]) == 65


async def test_two_processes_create_general_once(tmp_path: Path, cheap_hashes: None) -> None:
    async with service_nodes(tmp_path, ("auth", "presence"), "process") as running:
        node = running.node
        services = []
        for index in range(2):
            other = Node(node.config, node.database, node.log, node.live, node.blobs)
            other.services, other.access = node.services, node.access
            other.spawn(other.commits.run_telling(), f"telling {index}")
            services.append((other, MessagingService(other)))
        await asyncio.gather(*(service.open() for _, service in services))
        room = await node.database.get("rooms", "GENERAL")
        assert room is not None
        assert (room["usersCount"], room["applied_seq"]) == (2, 1)
        for other, _ in services:
            await other.commits.close()


@pytest.mark.parametrize("name", STOPS)
@pytest.mark.parametrize("nth", [1, 2])
async def test_a_process_may_stop_anywhere(local: Chat, name: str, nth: int) -> None:
    """A client that repeats what was not answered has sent one message, whatever became of the first attempt."""
    ann, bob = await local.users("ann", "bob")
    room_id = (await local.room(ann, "dev", "bob"))["_id"]
    reached = itertools.count(1)

    def stop() -> None:
        if next(reached) == nth:
            raise Stop

    failpoints.arm(name, stop)
    try:
        for index in range(4):
            for _ in range(3):
                try:
                    await local.send(ann, room_id, f"{index} @bob", message_id=f"m{index}")
                    break
                except (Stop, Unavailable):
                    continue
    finally:
        failpoints.disarm()
    async with second_process(local) as second:
        other = Chat(local.running)
        other.messaging = second
        await other.send(bob, room_id, "the next process goes on")
        assert await check_log(other, room_id) == 5
        assert await other.texts(ann, room_id) == [f"{index} @bob" for index in range(4)] + ["the next process goes on"]
        assert await other.counters(bob, room_id) == (4, 4, 0, True)


async def test_a_name_claimed_by_a_process_that_stopped(local: Chat) -> None:
    def stop() -> None:
        raise Stop

    failpoints.arm("claim.after_claim", stop)
    try:
        with pytest.raises(Stop):
            await local.room(ADMIN, "dev")
    finally:
        failpoints.disarm()
    await local.room(ADMIN, "dev")


VICTIM = """
import asyncio, sys
from pathlib import Path
from palaver import failpoints
from tests.messaging.helpers import ADMIN, Chat
from tests.services import service_nodes

async def main() -> None:
    async with service_nodes(Path(sys.argv[1]), ("auth", "presence", "messaging"), "process") as running:
        chat = Chat(running)
        room = await chat.room(ADMIN, "dev")
        print(room["_id"], flush=True)
        failpoints.arm_from_environment(sys.argv[2])
        for index in range(10):
            await chat.send(ADMIN, room["_id"], str(index), message_id=f"m{index}")
            print(index, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["commit.before_append:4", "commit.after_advance:4", "commit.before_answer:4"])
async def test_a_killed_process(tmp_path: Path, point: str) -> None:
    """What was answered is there after a SIGKILL, and the log goes on without a gap."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'services'}:{ROOT}"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", VICTIM, str(tmp_path), point, stdout=asyncio.subprocess.PIPE, env=environment, cwd=ROOT
    )
    output, _ = await process.communicate()
    assert process.returncode == -signal.SIGKILL
    room_id, *answered = output.decode().split()
    assert answered == ["0", "1", "2"]
    async with service_nodes(tmp_path, ROLES, "process") as running:
        chat = Chat(running)
        texts = await chat.texts(ADMIN, room_id)
        assert texts[:3] == answered
        for index in range(10):
            await chat.send(ADMIN, room_id, str(index), message_id=f"m{index}")
        assert await chat.texts(ADMIN, room_id) == [str(index) for index in range(10)]
        assert await check_log(chat, room_id) == 10
