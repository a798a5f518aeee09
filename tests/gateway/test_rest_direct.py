"""Direct rooms by REST, under both of their names."""

import pytest

from tests.gateway.rest import Client
from tests.gateway.rooms import make_group, say


@pytest.mark.parametrize("prefix", ["im", "dm"])
async def test_direct_rooms(admin: Client, alice: Client, bob: Client, prefix: str) -> None:
    room = (await alice.post(f"{prefix}.create", username="bob"))["room"]
    assert room["_id"] == room["rid"] == "".join(sorted([alice.user_id, bob.user_id]))
    assert room["t"] == "d"
    assert set(room["usernames"]) == {"alice", "bob"}
    assert set(room["uids"]) == {alice.user_id, bob.user_id}
    assert (await bob.post(f"{prefix}.create", username="alice"))["room"]["_id"] == room["_id"]
    await say(alice, room["_id"], "psst")
    listed = await bob.get(f"{prefix}.list")
    assert [one["_id"] for one in listed["ims"]] == [room["_id"]]
    assert (listed["count"], listed["total"]) == (1, 1)
    by_name = await bob.get(f"{prefix}.messages", username="alice")
    assert [message["msg"] for message in by_name["messages"]] == ["psst"]
    assert by_name["total"] == 1
    history = await bob.get(f"{prefix}.history", roomId=room["_id"])
    assert [message["msg"] for message in history["messages"]] == ["psst"]
    members = await bob.get(f"{prefix}.members", roomId=room["_id"])
    assert [member["username"] for member in members["members"]] == ["alice", "bob"]
    assert (await bob.get(f"{prefix}.counters", roomId=room["_id"]))["unreads"] == 1
    assert (await bob.post(f"{prefix}.setTopic", 400, roomId=room["_id"], topic="x"))[
        "errorType"
    ] == "error-action-not-allowed"
    await bob.post(f"{prefix}.close", roomId=room["_id"])
    assert (await bob.get("subscriptions.getOne", roomId=room["_id"]))["subscription"]["open"] is False
    await bob.post(f"{prefix}.close", 400, roomId=room["_id"])
    await bob.post(f"{prefix}.open", roomId=room["_id"])
    await bob.post(f"{prefix}.open", roomId=room["_id"])
    assert (await bob.post(f"{prefix}.open", 400))["error"] == (
        'Body param "roomId" is required [error-room-param-not-provided]'
    )
    await bob.post(f"{prefix}.delete", 400, roomId=room["_id"])
    await admin.post(f"{prefix}.delete", roomId=room["_id"])
    await bob.get(f"{prefix}.history", 400, roomId=room["_id"])


async def test_direct_rooms_of_several(admin: Client, alice: Client, bob: Client) -> None:
    room = (await alice.post("im.create", usernames="bob, boss"))["room"]
    assert set(room["usernames"]) == {"alice", "bob", "boss"}
    assert (await bob.post("im.create", usernames="boss,alice"))["room"]["_id"] == room["_id"]
    await alice.post("im.create", 400, usernames="bob,ghost")
    both = await alice.post("im.create", 400, username="bob", usernames="bob")
    assert both["errorType"] == "invalid-params"
    await alice.post("im.create", 400)
    await alice.post("im.create", 400, usernames=",")


async def test_the_topic_of_a_direct_room(admin: Client, alice: Client) -> None:
    room = (await alice.post("im.create", username="boss"))["room"]
    assert (await admin.post("im.setTopic", roomId=room["_id"], topic="hush"))["topic"] == "hush"
    assert (await alice.get("rooms.info", roomId=room["_id"]))["room"]["topic"] == "hush"
    assert (await admin.post("im.setTopic", 400, topic="hush"))["errorType"] == "error-room-param-not-provided"


async def test_im_delete_is_for_direct_rooms_only(admin: Client, alice: Client) -> None:
    group = await make_group(alice, "safe")
    await admin.post("im.delete", 400, roomId=group)
    await alice.get("groups.info", roomId=group)
