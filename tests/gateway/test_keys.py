"""Keys for encryption from end to end: kept for their users, handed on by members of rooms, and by nobody else."""

from pathlib import Path
from typing import Any

import pytest

from palaver.documents import public_user
from palaver.events import user_stream
from palaver.v1.auth_pb2 import ListUserEventsRequest
from tests.gateway.ddp import running_gateway
from tests.gateway.rest import Client


@pytest.fixture(autouse=True)
async def _encryption(admin: Client) -> None:
    await admin.post("settings/E2E_Enable", value=True)


async def set_keys(client: Client, name: str) -> None:
    await client.post("e2e.setUserPublicAndPrivateKeys", public_key=f"{name} public", private_key=f"{name} private")


async def make_room(alice: Client, *members: str) -> str:
    return str((await alice.post("groups.create", name="secret", members=members))["group"]["_id"])


async def subscription(client: Client, room_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("subscriptions.getOne", roomId=room_id))["subscription"]
    return found


async def test_keys_are_kept_for_their_user_alone(admin: Client, alice: Client) -> None:
    assert set(await alice.get("e2e.fetchMyKeys")) == {"success"}
    await set_keys(alice, "alice")
    found = await alice.get("e2e.fetchMyKeys")
    assert (found["public_key"], found["private_key"]) == ("alice public", "alice private")
    assert (await alice.call("e2e.fetchMyKeys"))["result"]["private_key"] == "alice private"
    answer = await alice.post("e2e.setUserPublicAndPrivateKeys", 400, public_key="a", private_key="b")
    assert answer["errorType"] == "error-keys-already-set"
    pair = {"public_key": "new", "private_key": "newer", "force": True}
    assert "error" not in await alice.call("e2e.setUserPublicAndPrivateKeys", pair)
    for wrong in ("", "x" * 40_000):
        await alice.post("e2e.setUserPublicAndPrivateKeys", 400, public_key="a", private_key=wrong, force=True)
    # Nowhere else: not in what others see, and not in what leaves the database.
    for client in (alice, admin):
        assert "newer" not in str(await client.get("users.info", userId=alice.user_id))
    stored = await admin.node.database.get("users", alice.user_id)
    assert stored is not None
    assert "newer" in str(stored)
    assert "newer" not in str(public_user(stored))
    told = await admin.node.services.auth.list_user_events(ListUserEventsRequest(user_id=alice.user_id))
    assert len(told.events) == await admin.node.database.get_head(user_stream(alice.user_id))
    assert not [event for event in told.events if "newer" in str(event)]


async def test_members_hand_the_key_on(alice: Client, bob: Client) -> None:
    room_id = await make_room(alice, "bob")
    await set_keys(alice, "alice")
    await set_keys(bob, "bob")
    await alice.post("e2e.setRoomKeyID", rid=room_id, keyID="key1")
    assert (await alice.get("rooms.info", roomId=room_id))["room"]["e2eKeyId"] == "key1"
    answer = await bob.post("e2e.setRoomKeyID", 400, rid=room_id, keyID="key2")
    assert answer["errorType"] == "error-room-e2e-key-already-exists"
    assert "error" not in await alice.call("e2e.updateGroupKey", room_id, alice.user_id, "for alice")
    assert (await subscription(alice, room_id))["E2EKey"] == "for alice"
    waiting = [{"_id": bob.user_id, "public_key": "bob public"}]
    found = await alice.get("e2e.fetchUsersWaitingForGroupKey", **{"roomIds[]": room_id})
    assert found["usersWaitingForE2EKeys"] == {room_id: waiting}
    users = (await alice.get("e2e.getUsersOfRoomWithoutKey", rid=room_id))["users"]
    assert users == [{"_id": bob.user_id, "e2e": {"public_key": "bob public"}}]
    assert (await alice.call("e2e.getUsersOfRoomWithoutKey", room_id))["result"] == {"users": users}
    suggested = {room_id: [{"_id": bob.user_id, "key": "for bob"}]}
    await alice.post("e2e.provideUsersSuggestedGroupKeys", usersSuggestedGroupKeys=suggested)
    assert (await subscription(bob, room_id))["E2ESuggestedKey"] == "for bob"
    await bob.post("e2e.rejectSuggestedGroupKey", rid=room_id)
    assert (await bob.post("e2e.acceptSuggestedGroupKey", 400, rid=room_id))["errorType"] == "error-no-suggested-key"
    await alice.post("e2e.updateGroupKey", rid=room_id, uid=bob.user_id, key="again")
    await bob.post("e2e.acceptSuggestedGroupKey", rid=room_id)
    shown = await subscription(bob, room_id)
    assert (shown["E2EKey"], "E2ESuggestedKey" in shown) == ("again", False)
    # Who has a key is not suggested another one.
    await alice.post("e2e.updateGroupKey", rid=room_id, uid=bob.user_id, key="third")
    assert "E2ESuggestedKey" not in await subscription(bob, room_id)
    assert (await alice.get("e2e.getUsersOfRoomWithoutKey", rid=room_id))["users"] == []


async def test_strangers_neither_give_nor_get_keys(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_room(alice)
    channel = (await alice.post("channels.create", name="open"))["channel"]["_id"]
    await set_keys(alice, "alice")
    for rid in (room_id, channel):
        await bob.post("e2e.setRoomKeyID", 400, rid=rid, keyID="mine")
        await bob.post("e2e.updateGroupKey", 400, rid=rid, uid=alice.user_id, key="mine")
        await bob.post("e2e.acceptSuggestedGroupKey", 400, rid=rid)
        suggested = {rid: [{"_id": alice.user_id, "key": "mine"}]}
        await bob.post("e2e.provideUsersSuggestedGroupKeys", 400, usersSuggestedGroupKeys=suggested)
        assert (await bob.get("e2e.getUsersOfRoomWithoutKey", rid=rid))["users"] == []
        assert (await bob.get("e2e.fetchUsersWaitingForGroupKey", roomIds=rid))["usersWaitingForE2EKeys"] == {}
        assert "E2ESuggestedKey" not in await subscription(alice, rid)
    await bob.post("e2e.provideUsersSuggestedGroupKeys", 400, usersSuggestedGroupKeys={room_id: "x"})
    await bob.post("e2e.setRoomKeyID", 400, rid={"$ne": ""}, keyID="mine")


async def test_keys_are_reset(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_room(alice, "bob")
    for client, name in ((alice, "alice"), (bob, "bob")):
        await set_keys(client, name)
        await client.post("e2e.updateGroupKey", rid=room_id, uid=client.user_id, key=f"for {name}")
    assert (await bob.post("users.resetE2EKey", 400, userId=alice.user_id))["errorType"] == "error-not-allowed"
    assert (await subscription(alice, room_id))["E2EKey"] == "for alice"
    await admin.post("users.resetE2EKey", username="alice")
    await alice.get("e2e.fetchMyKeys", 401)  # their logins have ended
    again = await alice.login("alice")
    assert "public_key" not in await again.get("e2e.fetchMyKeys")
    assert "E2EKey" not in await subscription(again, room_id)
    assert (await bob.call("e2e.resetOwnE2EKey"))["result"] is True
    await bob.get("me", 401)


async def test_a_missing_key_is_asked_for(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_gateway(tmp_path) as gateway:
        alice, bob = [await gateway.make_user(name) for name in ("alice", "bob")]
        room_id = (await gateway.post("groups.create", alice, name="secret", members=["bob"]))["group"]["_id"]
        await gateway.post("e2e.setRoomKeyID", alice, rid=room_id, keyID="key1")
        await gateway.post("e2e.updateGroupKey", alice, rid=room_id, uid=alice["X-User-Id"], key="mine")
        hers, his = await gateway.client(alice), await gateway.client(bob)
        own = alice["X-User-Id"]
        await hers.sub("stream-notify-room", f"{room_id}/e2e.keyRequest", False)
        for event in ("subscriptions-changed", "e2ekeyRequest"):
            await hers.sub("stream-notify-user", f"{own}/{event}", False)
        await his.call("e2e.requestSubscriptionKeys")
        await hers.wait_change("stream-notify-room", f"{room_id}/e2e.keyRequest", lambda args: args == ["key1"])
        asked = [room_id, "key1"]
        await hers.wait_change("stream-notify-user", f"{own}/e2ekeyRequest", lambda args: args == asked)


async def test_nobody_begins_to_encrypt_where_the_settings_say_so(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_room(alice, "bob")
    await set_keys(alice, "alice")
    await alice.post("groups.setEncrypted", roomId=room_id, encrypted=True)
    await admin.post("settings/E2E_Enable", value=False)
    for path, body in (
        ("e2e.setUserPublicAndPrivateKeys", {"public_key": "a", "private_key": "b", "force": True}),
        ("e2e.setRoomKeyID", {"rid": room_id, "keyID": "key"}),
        ("e2e.updateGroupKey", {"rid": room_id, "uid": bob.user_id, "key": "key"}),
        ("e2e.acceptSuggestedGroupKey", {"rid": room_id}),
    ):
        assert (await alice.post(path, 400, **body))["errorType"] == "error-action-not-allowed"
    assert (await alice.get("e2e.fetchMyKeys"))["public_key"] == "alice public", "what there is can be read"
    await alice.post("groups.setEncrypted", roomId=room_id, encrypted=False)
    refused = await alice.post("groups.setEncrypted", 400, roomId=room_id, encrypted=True)
    assert refused["errorType"] == "error-action-not-allowed"
