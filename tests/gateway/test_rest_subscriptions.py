"""What is in one's own list of rooms, and what was read, by REST."""

import pytest

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group, say


@pytest.mark.parametrize(("face", "noun"), [("channels", "channel"), ("groups", "private group")])
async def test_rooms_can_be_hidden_and_shown(alice: Client, bob: Client, face: str, noun: str) -> None:
    make = make_channel if face == "channels" else make_group
    room_id = await make(alice, "curtain")
    opened = await alice.post(f"{face}.open", 400, roomId=room_id)
    assert opened["error"] == f"The {noun}, curtain, is already open to the sender"
    await alice.post(f"{face}.close", roomId=room_id)
    assert (await alice.get("subscriptions.getOne", roomId=room_id))["subscription"]["open"] is False
    closed = await alice.post(f"{face}.close", 400, roomId=room_id)
    assert closed["error"] == f"The {noun}, curtain, is already closed to the sender"
    await alice.post(f"{face}.open", roomId=room_id)
    if face == "channels":
        outside = await bob.post("channels.close", 400, roomId=room_id)
        assert outside["error"] == 'The user/callee is not in the channel "curtain.'


async def test_rooms_and_subscriptions_are_told_since_a_date(alice: Client, bob: Client) -> None:
    stays, leaves = await make_channel(alice, "stays"), await make_channel(alice, "leaves")
    for room_id in (stays, leaves):
        await bob.post("channels.join", roomId=room_id)
    rooms, subscriptions = await bob.get("rooms.get"), await bob.get("subscriptions.get")
    assert {room["name"] for room in rooms["update"]} == {"general", "stays", "leaves"}
    assert rooms["remove"] == subscriptions["remove"] == []
    own = {subscription["rid"]: subscription for subscription in subscriptions["update"]}
    assert own[stays]["u"] == {"_id": bob.user_id, "username": "bob", "name": "Bob"}
    assert (own[stays]["unread"], own[stays]["open"], own[stays]["alert"]) == (0, True, False)
    since = (await alice.get("channels.info", roomId=leaves))["channel"]["_updatedAt"]
    await bob.post("channels.leave", roomId=leaves)
    await say(alice, stays, "hello @bob")
    changed = await bob.get("rooms.get", updatedSince=since)
    assert {room["_id"] for room in changed["update"]} == {stays}
    assert [gone["_id"] for gone in changed["remove"]] == [leaves]
    again = await bob.get("subscriptions.get", updatedSince=since)
    assert {one["rid"]: one["unread"] for one in again["update"]} == {stays: 1}
    assert [gone["_id"] for gone in again["remove"]] == [own[leaves]["_id"]]
    assert again["remove"][0]["_deletedAt"].endswith("Z")
    for path in ("rooms.get", "subscriptions.get"):
        assert len((await bob.get(path, updatedSince=""))["update"]) == 2
    later = "2100-01-01T00:00:00.000Z"
    assert await bob.get("rooms.get", updatedSince=later) == {"update": [], "remove": [], "success": True}
    assert await bob.get("subscriptions.get", updatedSince=later) == {"update": [], "remove": [], "success": True}
    wrong = await bob.get("rooms.get", 400, updatedSince="yesterday")
    assert wrong["errorType"] == "error-updatedSince-param-invalid"
    assert (await bob.get("subscriptions.get", 400, updatedSince="yesterday"))[
        "errorType"
    ] == "error-roomId-param-invalid"


async def test_what_is_unread_and_read(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "inbox", members=["bob"])
    message = await say(alice, room_id, "hello @bob")
    counters = await bob.get("channels.counters", roomId=room_id)
    assert (counters["joined"], counters["members"], counters["unreads"], counters["userMentions"]) == (True, 2, 1, 1)
    assert counters["latest"] == message["ts"]
    assert counters["unreadsFrom"].endswith("Z")
    assert counters["msgs"] >= 1
    await bob.post("subscriptions.read", rid=room_id)
    read = (await bob.get("subscriptions.getOne", roomId=room_id))["subscription"]
    assert (read["unread"], read["alert"], read["userMentions"]) == (0, False, 0)
    await bob.post("subscriptions.unread", firstUnreadMessage={"_id": message["_id"]})
    assert (await bob.get("subscriptions.getOne", roomId=room_id))["subscription"]["alert"] is True
    await bob.post("subscriptions.read", roomId=room_id, readThreads=True)
    assert (await bob.post("subscriptions.read", 400, rid=room_id, roomId=room_id))["errorType"] == "invalid-params"
    await bob.post("subscriptions.read", 400)
    await bob.post("subscriptions.unread", roomId=room_id)
    await bob.post("subscriptions.unread", 400, firstUnreadMessage={"_id": {"$ne": ""}})


async def test_counters_of_others_are_for_administrators(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "abacus", members=["boss", "bob"])
    await say(alice, room_id, "one")
    assert (await admin.get("channels.counters", roomId=room_id, userId=bob.user_id))["unreads"] == 1
    assert await bob.get("channels.counters", 403, roomId=room_id, userId=admin.user_id) == {
        "success": False,
        "error": "unauthorized",
    }
    outside = await admin.make_user("carol")
    counters = await outside.get("channels.counters", roomId=room_id)
    assert (counters["joined"], counters["unreads"], counters["unreadsFrom"]) == (False, None, None)


async def test_favourites_and_notifications(alice: Client) -> None:
    room_id = await make_channel(alice, "beloved")
    await alice.post("rooms.favorite", roomId=room_id, favorite=True)
    assert (await alice.get("subscriptions.getOne", roomId=room_id))["subscription"]["f"] is True
    await alice.post("rooms.favorite", roomName="beloved", favorite=False)
    assert not (await alice.get("subscriptions.getOne", roomId=room_id))["subscription"].get("f")
    assert (await alice.post("rooms.favorite", 400, roomId=room_id))["error"] == "The 'favorite' param is required"
    chosen = {"desktopNotifications": "nothing", "hideUnreadStatus": "1", "muteGroupMentions": "0"}
    await alice.post("rooms.saveNotification", roomId=room_id, notifications=chosen)
    own = (await alice.get("subscriptions.getOne", roomId=room_id))["subscription"]
    assert (own["desktopNotifications"], own["hideUnreadStatus"]) == ("nothing", True)
    for wrong in ({"desktopNotifications": "shout"}, {"roles": "owner"}):
        await alice.post("rooms.saveNotification", 400, roomId=room_id, notifications=wrong)


async def test_names_are_taken_even_where_one_may_not_look(alice: Client, bob: Client) -> None:
    await make_group(alice, "attic")
    assert (await bob.get("rooms.nameExists", roomName="attic"))["exists"] is True
    assert (await bob.get("rooms.nameExists", roomName="cellar"))["exists"] is False
    await bob.get("rooms.nameExists", 400)
