"""What goes with a user who leaves: rooms, memberships and messages, once, whatever dies on the way."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from palaver.errors import UserNotFound
from palaver.events import room_stream, user_stream
from palaver.messaging import departures, erasure, revisions
from palaver.v1.auth_pb2 import DeleteUserRequest, GetUserRequest, SetUserActiveRequest
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import CheckRelinquishRequest, UploadRequest
from tests.messaging.crashing import dying
from tests.messaging.helpers import ADMIN, Chat, error_of, refused, until
from tests.services import Transport, service_nodes


async def delete(chat: Chat, actor: Actor, erasure: str = "Delete") -> None:
    if erasure != "Delete":
        await chat.set_setting("Message_ErasureType", erasure)
        access = chat.running.nodes["auth"].access
        await chat.settle(lambda: access.setting("Message_ErasureType") == erasure)
    await chat.running.services.auth.delete_user(DeleteUserRequest(actor=ADMIN, user_id=actor.id))


async def is_gone(chat: Chat, actor: Actor) -> bool:
    """Whether nothing is left to do."""
    where = {"u._id": actor.id, "left_at": None}
    room_ids = [found["rid"] for found in await chat.database.find("subscriptions", where)]
    rooms = await chat.database.get_many("rooms", room_ids)
    return all("deleted_at" in room for room in rooms.values())


async def has_written_nothing(chat: Chat, actor: Actor) -> bool:
    found = await chat.database.find("messages", {"u._id": actor.id, "_hidden": None})
    rooms = await chat.database.get_many("rooms", [message["rid"] for message in found])
    return await is_gone(chat, actor) and not [room for room in rooms.values() if "deleted_at" not in room]


async def test_messages_are_deleted_with_their_user(chat: Chat) -> None:
    alice, bob = await chat.users("alice", "bob")
    room = await chat.room(bob, "open", "alice")
    first = await chat.send(bob, room["_id"], "mine")
    root = await chat.send(bob, room["_id"], "a thread")
    await chat.send(alice, room["_id"], "a reply", thread_id=root["_id"])
    last = await chat.send(alice, room["_id"], "yours")
    assert (await chat.get_room(bob, room["_id"]))["lastMessage"]["_id"] == last["_id"]
    await delete(chat, alice)
    await until(lambda: has_written_nothing(chat, alice))
    assert await chat.texts(bob, room["_id"]) == ["mine", "a thread"]
    shown = await chat.get_room(bob, room["_id"])
    assert shown["usersCount"] == 1
    assert shown["lastMessage"]["_id"] == root["_id"]
    assert (await chat.message(bob, root["_id"]))["tcount"] == 0
    assert (await chat.message(bob, first["_id"]))["msg"] == "mine"
    with refused("error-message-not-found"):
        await chat.message(bob, last["_id"])
    stored = await chat.database.get("users", alice.id)
    assert stored is not None
    assert not {"username", "name", "emails", "services"} & set(stored)


async def test_what_is_erased_mentions_nobody(chat: Chat) -> None:
    alice, bob, eve = await chat.users("alice", "bob", "eve")
    room = await chat.room(bob, "dev", "alice", "eve")
    for number in range(3):
        await chat.send(alice, room["_id"], f"@bob {number}")
    await chat.send(eve, room["_id"], "@bob of eve")
    assert (await chat.marked(bob, room["_id"], "MENTIONING", count=1))[1] == 4
    await delete(chat, alice)
    await until(lambda: has_written_nothing(chat, alice))
    assert await chat.marked(bob, room["_id"], "MENTIONING", count=1) == (["@bob of eve"], 1)


async def test_unlinked_messages_are_the_bots(chat: Chat) -> None:
    alice, bob = await chat.users("alice", "bob")
    room = await chat.room(bob, "open", "alice")
    last = await chat.send(alice, room["_id"], "what I said")
    pair = await chat.direct(alice, "bob")
    await chat.send(alice, pair["_id"], "between us")
    await delete(chat, alice, "Unlink")
    await until(lambda: has_written_nothing(chat, alice))
    message = await chat.message(bob, last["_id"])
    assert (message["msg"], message["u"]["_id"], message["alias"]) == ("what I said", "rocket.cat", "Removed User")
    assert (await chat.get_room(bob, room["_id"]))["lastMessage"]["u"]["username"] == "rocket.cat"
    with refused("error-room-not-found"):
        await chat.get_room(bob, pair["_id"])


async def test_kept_messages_stay_under_their_name(chat: Chat) -> None:
    alice, bob, _ = await chat.users("alice", "bob", "carol")
    room = await chat.room(bob, "open", "alice")
    last = await chat.send(alice, room["_id"], "what I said")
    pair = await chat.direct(alice, "bob")
    await chat.send(alice, pair["_id"], "between us")
    three = await chat.direct(bob, "alice", "carol")
    await delete(chat, alice, "Keep")
    await until(lambda: is_gone(chat, alice))
    assert (await chat.message(bob, last["_id"]))["u"]["username"] == "alice"
    assert await chat.texts(bob, pair["_id"]) == ["between us"]
    assert (await chat.get_room(bob, three["_id"]))["usernames"] == ["bob", "carol"]
    assert (await chat.subscription(bob, three["_id"]))["name"] == "carol"


async def test_files_go_with_their_messages(local: Chat) -> None:
    alice, bob = await local.users("alice", "bob")
    room = await local.room(bob, "open", "alice")
    request = UploadRequest(
        actor=alice,
        room_id=room["_id"],
        upload_id="aFile",
        name="a.txt",
        type="text/plain",
        size=1,
        sha256=hashlib.sha256(b"x").hexdigest(),
    )
    await local.messaging.add_upload(request)
    await local.send(alice, room["_id"], "", upload_id="aFile")
    await delete(local, alice)
    await until(lambda: has_written_nothing(local, alice))
    upload = await local.database.get("uploads", "aFile")
    assert upload is not None
    assert "deleted_at" in upload


async def check(chat: Chat, actor: Actor, user_id: str) -> None:
    await chat.messaging.check_relinquish(CheckRelinquishRequest(actor=actor, user_id=user_id))


async def test_the_last_owner_is_told_what_becomes_of_their_rooms(chat: Chat) -> None:
    alice, bob, carol = await chat.users("alice", "bob", "carol")
    shared = await chat.room(alice, "shared", "bob")
    await chat.room(alice, "alone", type="p")
    both = await chat.room(alice, "both", "bob")
    await chat.set_role(alice, both["_id"], bob.id, "owner")
    await chat.room(bob, "others", "alice")
    wanted = {"shouldChangeOwner": ["shared"], "shouldBeRemoved": ["alone"]}
    for actor in (alice, ADMIN):
        found = await error_of(check(chat, actor, alice.id))
        assert found == ("NotAllowed", "user-last-owner", "", wanted)
    assert (await error_of(check(chat, carol, alice.id)))[1] == "unauthorized"
    await check(chat, carol, carol.id)
    await chat.set_role(alice, shared["_id"], bob.id, "owner")
    assert (await error_of(check(chat, alice, alice.id)))[3] == {"shouldChangeOwner": [], "shouldBeRemoved": ["alone"]}


async def owners(chat: Chat, room_id: str) -> set[str]:
    found = await chat.database.find("subscriptions", {"rid": room_id, "left_at": None})
    return {member["u"]["username"] for member in found if "owner" in member.get("roles", ())}


async def test_the_oldest_member_inherits_a_room(chat: Chat) -> None:
    alice, bob, _ = await chat.users("alice", "bob", "carol")
    shared = await chat.room(alice, "shared")
    for name in ("carol", "bob"):
        await chat.invite(alice, shared["_id"], name)
    alone = await chat.room(alice, "alone", type="p")
    await delete(chat, alice)
    await until(lambda: is_gone(chat, alice))
    assert await owners(chat, shared["_id"]) == {"carol"}
    assert ("subscription-role-added", "carol") in await chat.notices(bob, shared["_id"])
    room = await chat.database.get("rooms", alone["_id"])
    assert room is not None
    assert "deleted_at" in room
    await chat.room(bob, "alone", type="p")  # the name is free again


async def set_active(chat: Chat, actor: Actor, active: bool, **fields: Any) -> None:
    request = SetUserActiveRequest(actor=ADMIN, user_id=actor.id, active=active, **fields)
    await chat.running.services.auth.set_user_active(request)


async def test_who_is_deactivated_gives_up_rooms_only_where_that_is_confirmed(chat: Chat) -> None:
    alice, _ = await chat.users("alice", "bob")
    shared = await chat.room(alice, "shared", "bob")
    await set_active(chat, alice, False)
    await set_active(chat, alice, True)
    await set_active(chat, alice, False, relinquish=True)

    async def is_inherited() -> bool:
        return await owners(chat, shared["_id"]) == {"alice", "bob"}

    await until(is_inherited)
    events = await chat.database.list_events(room_stream(shared["_id"]), 0)
    assert sum(event.WhichOneof("fact") == "member_changed" for event in events) == 1


@pytest.mark.parametrize("point", ["departure.between_rooms", "departure.between_erasures"])
async def test_a_crash_on_the_way_leaves_nothing_undone(
    tmp_path: Path, transport: Transport, cheap_hashes: None, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(departures, "_AT_ONCE", 1)
    monkeypatch.setattr(erasure, "_AT_ONCE", 1)
    monkeypatch.setattr(erasure, "_PER_EVENT", 2)
    roles = ("auth", "presence", "messaging")
    async with service_nodes(tmp_path, roles, transport) as running:
        chat = Chat(running)
        alice, bob = await chat.users("alice", "bob")
        rooms = [await chat.room(bob, f"room{number}", "alice") for number in range(5)]
        rooms.append(await chat.room(alice, "own", "bob"))
        for room in rooms:
            for number in range(3):
                await chat.send(alice, room["_id"], f"message {number}")
        async with dying(point, spared=2):
            await delete(chat, alice)
        assert not await has_written_nothing(chat, alice)
    async with service_nodes(tmp_path, roles, transport) as running:
        chat = Chat(running)
        await until(lambda: has_written_nothing(chat, alice))
        assert await owners(chat, rooms[-1]["_id"]) == {"bob"}
        for room in rooms:
            assert await chat.texts(bob, room["_id"]) == []
            assert (await chat.get_room(bob, room["_id"]))["usersCount"] == 1
        with pytest.raises(UserNotFound):
            await running.services.auth.get_user(GetUserRequest(actor=ADMIN, user_id=alice.id))


async def test_a_crash_takes_no_direct_room_from_the_others(
    tmp_path: Path, transport: Transport, cheap_hashes: None
) -> None:
    roles = ("auth", "presence", "messaging")
    async with service_nodes(tmp_path, roles, transport) as running:
        chat = Chat(running)
        alice, bob, _ = await chat.users("alice", "bob", "carol")
        three = await chat.direct(bob, "alice", "carol")
        await chat.send(bob, three["_id"], "among us")
        async with dying("departure.between_name_and_leaving"):
            await delete(chat, alice)
    async with service_nodes(tmp_path, roles, transport) as running:
        chat = Chat(running)
        await until(lambda: is_gone(chat, alice))
        assert await chat.texts(bob, three["_id"]) == ["among us"]
        assert (await chat.get_room(bob, three["_id"]))["usernames"] == ["bob", "carol"]


async def test_what_is_shown_of_deleted_replies_counts_no_second_time(local: Chat) -> None:
    alice, bob = await local.users("alice", "bob")
    room = await local.room(bob, "open", "alice")
    await local.set_setting("Message_ShowDeletedStatus", True)
    root = await local.send(bob, room["_id"], "a thread")
    await local.send(bob, room["_id"], "his reply", thread_id=root["_id"])
    reply = await local.send(alice, room["_id"], "her reply", thread_id=root["_id"])
    await local.delete(alice, reply["_id"])
    await delete(local, alice)
    await until(lambda: has_written_nothing(local, alice))
    assert (await local.message(bob, root["_id"]))["tcount"] == 1


async def test_an_erasure_is_no_larger_than_a_database_takes(local: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the first messages of threads as they are afterwards, and each may be large."""
    monkeypatch.setattr(revisions, "_MAX_EVENT_BYTES", 20_000)
    alice, bob = await local.users("alice", "bob")
    room = await local.room(bob, "open", "alice")
    roots = [await local.send(bob, room["_id"], "*a* " * 50) for _ in range(9)]
    for root in roots:
        await local.send(alice, room["_id"], "her reply", thread_id=root["_id"])
    await delete(local, alice)
    await until(lambda: has_written_nothing(local, alice))
    assert [(await local.message(bob, root["_id"]))["tcount"] for root in roots] == [0] * 9
    events = await local.database.list_events(room_stream(room["_id"]), 0)
    erased = [event.messages_erased for event in events if event.WhichOneof("fact") == "messages_erased"]
    assert len(erased) > 1
    assert max(fact.ByteSize() for fact in erased) <= 20_000


async def test_the_same_event_again_changes_nothing(local: Chat) -> None:
    alice, bob = await local.users("alice", "bob")
    room = await local.room(alice, "shared", "bob")
    await local.send(alice, room["_id"])
    await delete(local, alice)
    await until(lambda: has_written_nothing(local, alice))
    events = await local.database.list_events(user_stream(alice.id), 0)
    head = await local.database.get_head(room_stream(room["_id"]))
    service: Any = local.running.nodes["messaging"].roles["messaging"]
    await service._followers["follower of departures"]._follower.handle(events[-1])
    assert await local.database.get_head(room_stream(room["_id"])) == head
    assert await local.texts(bob, room["_id"]) == []
