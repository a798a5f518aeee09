"""Names follow a rename: into every room of the user, once, whatever dies on the way."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from palaver.events import room_stream, user_stream
from palaver.messaging import renames
from palaver.v1.auth_pb2 import UpdateUserRequest
from palaver.v1.event_pb2 import Actor
from tests.messaging.crashing import dying
from tests.messaging.helpers import ADMIN, Chat, Document, refused, until
from tests.services import Transport, service_nodes

PEOPLE = ("alice", "bob", "carol")


async def rename(chat: Chat, actor: Actor, **changes: str) -> None:
    request = UpdateUserRequest(actor=ADMIN, user_id=actor.id, set=orjson.dumps(changes))
    await chat.running.services.auth.update_user(request)


async def own(chat: Chat, actor: Actor, room: Document) -> Document:
    """The stored subscription."""
    found = await chat.database.find_one("subscriptions", {"rid": room["_id"], "u._id": actor.id, "left_at": None})
    assert found is not None
    return found


async def shows(chat: Chat, actor: Actor, rooms: list[Document], username: str, name: str) -> bool:
    wanted = {"_id": actor.id, "username": username, "name": name}
    return all([(await own(chat, actor, room))["u"] == wanted for room in rooms])


async def test_names_follow_a_rename(chat: Chat) -> None:
    alice, bob, carol = await chat.users(*PEOPLE)
    channel = await chat.room(bob, "open", "alice")
    group = await chat.room(alice, "closed", "bob", type="p")
    pair = await chat.direct(alice, "bob")
    three = await chat.direct(bob, "alice", "carol")
    notes = await chat.direct(alice, "alice")
    other = await chat.direct(bob, "carol")
    before = await chat.get_room(bob, other["_id"])
    await rename(chat, alice, username="alicia", name="Alicia A.")
    await until(lambda: shows(chat, alice, [channel, group, pair, three, notes], "alicia", "Alicia A."))
    assert (await chat.get_room(alice, group["_id"]))["u"]["username"] == "alicia"
    assert (await chat.get_room(bob, channel["_id"]))["u"]["username"] == "bob"
    assert sorted((await chat.get_room(bob, pair["_id"]))["usernames"]) == ["alicia", "bob"]
    assert sorted((await chat.get_room(bob, three["_id"]))["usernames"]) == ["alicia", "bob", "carol"]
    assert (await chat.get_room(alice, notes["_id"]))["usernames"] == ["alicia"]

    async def names(actor: Actor, room: Document) -> tuple[str, str]:
        shown = await chat.subscription(actor, room["_id"])
        return shown["name"], shown["fname"]

    assert await names(bob, pair) == ("alicia", "Alicia A.")
    assert await names(alice, pair) == ("bob", "Bob")
    assert await names(bob, three) == ("alicia, carol", "Alicia A., Carol")
    assert await names(carol, three) == ("alicia, bob", "Alicia A., Bob")
    assert await names(alice, three) == ("bob, carol", "Bob, Carol")
    assert await names(alice, notes) == ("alicia", "Alicia A.")
    assert await names(bob, channel) == ("open", "open")
    assert await chat.get_room(bob, other["_id"]) == before
    # Only the name, and back again.
    await rename(chat, alice, name="Alice")
    await until(lambda: shows(chat, alice, [channel, group, pair, three, notes], "alicia", "Alice"))
    assert await names(bob, pair) == ("alicia", "Alice")
    await rename(chat, alice, username="alice")
    await until(lambda: shows(chat, alice, [channel, group, pair, three, notes], "alice", "Alice"))
    assert await names(bob, three) == ("alice, carol", "Alice, Carol")


async def test_clients_find_what_changed_by_its_time(chat: Chat) -> None:
    alice, bob, _ = await chat.users(*PEOPLE)
    pair = await chat.direct(alice, "bob")
    channel = await chat.room(bob, "open", "alice")
    last = max(shown["_updatedAt"]["$date"] for shown in (await chat.subscriptions(bob)).values())
    await rename(chat, alice, username="alicia")
    await until(lambda: shows(chat, alice, [pair, channel], "alicia", "Alice"))
    changed = await chat.subscriptions(bob, updated_since=last)
    assert pair["_id"] in changed
    assert channel["_id"] not in changed


async def test_who_is_muted_stays_so_under_another_name(chat: Chat) -> None:
    alice, bob, _ = await chat.users(*PEOPLE)
    room = await chat.room(bob, "open", "alice", "carol")
    await chat.update_room(bob, room["_id"], mute="alice")
    with refused("error-not-allowed"):
        await chat.send(alice, room["_id"])
    await rename(chat, alice, username="alicia")
    await until(lambda: shows(chat, alice, [room], "alicia", "Alice"))
    assert (await chat.get_room(bob, room["_id"]))["muted"] == ["alicia"]
    with refused("error-not-allowed"):
        await chat.send(alice, room["_id"])


async def test_what_is_no_rename_touches_no_room(local: Chat) -> None:
    alice, bob, _ = await local.users(*PEOPLE)
    pair = await local.direct(alice, "bob")
    head = await local.database.get_head(room_stream(pair["_id"]))
    await rename(local, alice, nickname="al")
    await rename(local, bob, name="Bobby")
    await until(lambda: shows(local, bob, [pair], "bob", "Bobby"))
    assert await local.database.get_head(room_stream(pair["_id"])) == head + 1


async def test_the_same_event_again_changes_nothing(local: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a follower that comes too late writes the names of now, not those of then."""
    monkeypatch.setattr(renames, "_PAGE", 2)
    alice, bob, _ = await local.users(*PEOPLE)
    rooms = [await local.room(bob, f"room{number}", "alice") for number in range(7)]
    await rename(local, alice, username="alicia")
    await until(lambda: shows(local, alice, rooms, "alicia", "Alice"))
    events = await local.database.list_events(user_stream(alice.id), 0)
    first = next(event for event in events if event.WhichOneof("fact") == "user_changed")
    await rename(local, alice, username="ally")
    await until(lambda: shows(local, alice, rooms, "ally", "Alice"))
    heads = await local.database.get_heads([room_stream(room["_id"]) for room in rooms])
    service: Any = local.running.nodes["messaging"].roles["messaging"]
    for _ in range(2):
        await service._followers["follower of names"]._follower.handle(first)
    assert await local.database.get_heads([room_stream(room["_id"]) for room in rooms]) == heads
    assert await shows(local, alice, rooms, "ally", "Alice")


async def test_a_crash_between_two_rooms_leaves_nothing_undone(
    tmp_path: Path, transport: Transport, cheap_hashes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renames, "_AT_ONCE", 1)
    roles = ("auth", "presence", "messaging")
    async with service_nodes(tmp_path, roles, transport) as running:
        chat = Chat(running)
        alice, bob, _ = await chat.users(*PEOPLE)
        rooms = [await chat.room(bob, f"room{number}", "alice") for number in range(6)]
        rooms.append(await chat.direct(alice, "bob"))
        async with dying("rename.between_rooms", spared=2):
            await rename(chat, alice, username="alicia")
        assert not await shows(chat, alice, rooms, "alicia", "Alice")
    async with service_nodes(tmp_path, roles, transport) as running:
        chat = Chat(running)
        await until(lambda: shows(chat, alice, rooms, "alicia", "Alice"))
        heads = await chat.database.get_heads([room_stream(room["_id"]) for room in rooms])
        events = [event for room in rooms for event in await chat.database.list_events(room_stream(room["_id"]), 0)]
        assert sum(event.WhichOneof("fact") == "member_renamed" for event in events) == len(rooms), heads
