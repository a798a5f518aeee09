"""What a message costs: the same in a room of two and in a room of 50,000."""

import asyncio

import orjson
import pytest

from palaver.database import Put
from palaver.database.schema import COLLECTIONS
from palaver.events import room_stream
from palaver.messaging import rules
from palaver.projections import project
from palaver.sweeping import Sweeping
from palaver.v1.event_pb2 import Event
from tests.messaging.helpers import Chat


@pytest.fixture(autouse=True)
async def _untold(local: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are not published here: marking them so, later and many at once, would be counted with some message."""
    commits = local.running.node.commits
    for _ in range(200):
        if not await local.database.list_unpublished(2**50):
            break
        await asyncio.sleep(0.02)

    async def leave(*args: object, **options: object) -> None:
        """What nobody has told stays so, however long the test takes."""

    monkeypatch.setattr(commits, "tell", lambda events: None)
    monkeypatch.setattr(Sweeping, "sweep", leave)


async def fill(chat: Chat, room_id: str, members: int) -> None:
    """Adds so many members in one event, by hand."""
    room = await chat.database.get("rooms", room_id)
    assert room is not None
    event = Event(stream_kind="room", stream_id=room_id, seq=room["applied_seq"] + 1, command_id="fill")
    event.room_changed.set = orjson.dumps({"usersCount": members})
    puts = [Put("rooms", room_id, set={"usersCount": members})]
    for index in range(members - room["usersCount"]):
        user = {"_id": f"user{index}", "username": f"user{index}"}
        subscription = rules.new_subscription(f"s{index}", room, user, 1)
        puts.append(Put("subscriptions", subscription["_id"], insert=subscription))
    await chat.database.commit(room_stream(room_id), [event], [puts])


@pytest.mark.parametrize(
    ("text", "thread", "expected"),
    [
        ("plain", False, 4),  # the event, the message, the sender's subscription, the room
        ("for @bob", False, 6),  # and his subscription, and his list of mentions
        ("for @bob and @eve", False, 8),
        ("for @all", False, 4),
        ("a reply", True, 8),  # and the thread's first message, and its author's and the sender's records
        ("see #general and http://a.org", False, 4),
    ],
)
async def test_writes_of_a_message_in_rooms_small_and_large(
    local: Chat, text: str, thread: bool, expected: int
) -> None:
    ann, *_ = await local.users("ann", "bob", "eve")
    written = []
    for name, members in (("small", 3), ("large", 50_000 if text == "plain" else 2_000)):
        room_id = (await local.room(ann, name, "bob", "eve"))["_id"]
        await fill(local, room_id, members)
        root = await local.send(ann, room_id, "root", message_id=f"root{name}")
        thread_id = root["_id"] if thread else ""
        before = local.database.documents_written
        await local.send(ann, room_id, text, thread_id=thread_id)
        written.append(local.database.documents_written - before)
        assert (await local.get_room(ann, room_id))["usersCount"] == members
    assert written[0] == written[1]
    assert written[0] <= expected


async def test_a_message_touches_no_index_of_who_has_roles(local: Chat) -> None:
    """Also those of owners, who are in it: no field of it is written."""
    ann, *_ = await local.users("ann", "bob")
    room_id = (await local.room(ann, "dev", "bob"))["_id"]
    await local.send(ann, room_id, "for @bob")
    [event] = (await local.database.list_events(room_stream(room_id), 0))[-1:]
    changed = [put.set.keys() | put.unset for put in project(event) if put.collection == "subscriptions"]
    [index] = [index for index in COLLECTIONS["subscriptions"].indexes if index.where == "roles"]
    assert len(changed) == 2
    assert all(fields.isdisjoint(name.split(".")[0] for name in index.fields) for fields in changed)


async def test_reading_costs_two_writes(local: Chat) -> None:
    ann, bob = await local.users("ann", "bob")
    room_id = (await local.room(ann, "dev", "bob"))["_id"]
    await local.send(ann, room_id)
    await local.read(bob, room_id)
    await local.send(ann, room_id)
    before = local.database.documents_written
    await local.read(bob, room_id)
    assert local.database.documents_written - before <= 3  # the event, the subscription, the user
