"""Methods of rooms and subscriptions. A date stays {"$date": …} in them."""

from typing import Any

import pytest

from palaver.gateway.operations import rooms
from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group, say


async def result(client: Client, method: str, *parameters: Any, anonymous: bool = False) -> Any:
    """A successful method's result; None for none."""
    frame = await client.call(method, *parameters, anonymous=anonymous)
    assert "error" not in frame, frame
    return frame.get("result")


async def error(client: Client, method: str, *parameters: Any, anonymous: bool = False) -> Any:
    """The code of a refused method's error."""
    frame = await client.call(method, *parameters, anonymous=anonymous)
    assert frame["error"]["errorType"] == "Meteor.Error"
    assert frame["error"]["isClientSafe"] is True
    return frame["error"]["error"]


# -- making and finding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "room_type"), [("createChannel", "c"), ("createPrivateGroup", "p")])
async def test_rooms_are_made(alice: Client, bob: Client, method: str, room_type: str) -> None:
    room = await result(alice, method, "workshop", ["bob"], False, {"k": 1}, {"topic": "tools", "unknown": "x"})
    assert (room["rid"], room["t"], room["name"]) == (room["_id"], room_type, "workshop")
    assert isinstance(room["ts"]["$date"], int)
    assert (room["usersCount"], room["topic"], room["customFields"]) == (2, "tools", {"k": 1})
    assert await error(alice, method, "adrift", [], False, {}, {"teamId": "x"}) == "invalid-team"
    assert (await result(bob, "getRoomById", room["_id"]))["name"] == "workshop"
    assert await error(alice, method, "workshop", []) == "error-duplicate-channel-name"
    assert (await result(alice, method, "bare"))["name"] == "bare"
    for hostile in ({"$ne": ""}, None, 5, ["x"]):
        assert await error(alice, method, hostile, []) == 400


async def test_direct_rooms_are_opened(alice: Client, bob: Client) -> None:
    room = await result(alice, "createDirectMessage", "bob")
    assert room["rid"] == "".join(sorted([alice.user_id, bob.user_id]))
    assert (room["t"], set(room["usernames"])) == ("d", {"alice", "bob"})
    assert (await result(bob, "createDirectMessage", "alice", ""))["rid"] == room["rid"]
    several = await result(alice, "createDirectMessage", "bob", "boss")
    assert set(several["usernames"]) == {"alice", "bob", "boss"}
    assert await error(alice, "createDirectMessage", "ghost") == "error-invalid-user"
    assert await error(alice, "createDirectMessage", {"$ne": ""}) == 400


async def test_rooms_are_found_by_name_and_id(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "lighthouse")
    for wanted in ("lighthouse", room_id):
        assert await result(bob, "getRoomIdByNameOrId", wanted) == room_id
        assert (await result(bob, "getRoomByTypeAndName", "c", wanted))["_id"] == room_id
    assert await result(bob, "getRoomNameById", room_id) == "lighthouse"
    direct = await result(alice, "createDirectMessage", "bob")
    for wanted in ("bob", direct["_id"]):
        assert (await result(alice, "getRoomByTypeAndName", "d", wanted))["_id"] == direct["_id"]
    assert await error(bob, "getRoomByTypeAndName", "p", "lighthouse") == "error-invalid-room"
    assert await result(bob, "roomNameExists", "lighthouse") is True
    assert await result(bob, "roomNameExists", "tower") is False


async def test_forbidden_rooms_answer_as_unknown_ones(alice: Client, bob: Client) -> None:
    secret = await make_group(alice, "secret")
    for method, code, more in (
        ("getRoomById", "error-not-allowed", ()),
        ("getRoomIdByNameOrId", "error-not-allowed", ()),
        ("getRoomNameById", "error-not-allowed", ()),
        ("getUsersOfRoom", "error-invalid-room", (True,)),
        ("joinRoom", "error-invalid-room", ()),
        ("leaveRoom", "error-invalid-room", ()),
        ("loadHistory", "error-invalid-room", (None, 50)),
        ("loadNextMessages", "error-invalid-room", ()),
        ("readMessages", "error-invalid-room", ()),
        ("hideRoom", "error-invalid-room", ()),
        ("openRoom", "error-invalid-room", ()),
        ("toggleFavorite", "error-invalid-room", (True,)),
        ("archiveRoom", "error-invalid-room", ()),
        ("eraseRoom", "error-invalid-room", ()),
        ("getRoomRoles", "error-invalid-room", ()),
        ("saveRoomSettings", "error-invalid-room", ("roomTopic", "x")),
    ):
        forbidden = (await bob.call(method, secret, *more))["error"]
        assert forbidden["error"] == code, method
        assert forbidden == (await bob.call(method, "q" * 17, *more))["error"]
    assert await error(bob, "getRoomByTypeAndName", "p", "secret") == "error-invalid-room"
    assert await result(bob, "loadMissedMessages", secret, {"$date": 0}) is False


async def test_rooms_are_told_since_a_date(alice: Client) -> None:
    room_id = await make_channel(alice, "diary")
    everything = await result(alice, "rooms/get")
    assert {room["name"] for room in everything} == {"general", "diary"}
    assert isinstance(everything[0]["_updatedAt"]["$date"], int)
    changed = await result(alice, "rooms/get", {"$date": 0})
    assert {room["_id"] for room in changed["update"]} == {"GENERAL", room_id}
    assert changed["remove"] == []
    at = max(room["_updatedAt"]["$date"] for room in everything)
    await result(alice, "leaveRoom", "GENERAL")
    gone = (await result(alice, "rooms/get", {"$date": at}))["remove"]
    assert (await result(alice, "rooms/get", {"$date": float(at)}))["remove"] == gone
    assert [one["_id"] for one in gone] == ["GENERAL"]
    assert gone[0]["_deletedAt"]["$date"] > at
    for hostile in ({"$date": "x"}, {"$date": 10**30}, "now", 5):
        assert await error(alice, "rooms/get", hostile) == 400


async def test_nobody_has_no_rooms(anybody: Client) -> None:
    for method in ("rooms/get", "subscriptions/get"):
        assert await result(anybody, method, anonymous=True) == []
        assert await result(anybody, method, {"$date": 0}, anonymous=True) == {"update": [], "remove": []}


async def test_spotlight(alice: Client, bob: Client) -> None:
    await make_channel(alice, "bobsled")
    found = await result(alice, "spotlight", "bob", [], {"users": True, "rooms": True})
    assert [user["username"] for user in found["users"]] == ["bob"]
    assert [room["name"] for room in found["rooms"]] == ["bobsled"]
    assert (await result(alice, "spotlight", "bob", None, {"users": True}))["rooms"] == []
    assert (await result(alice, "spotlight", "bob", ["bob"], {"users": True}))["users"] == []
    assert (await result(alice, "spotlight", "#bob"))["users"] == []


async def test_the_directory(alice: Client) -> None:
    await make_channel(alice, "observatory")
    found = await result(alice, "browseChannels", {"text": "obs", "type": "channels", "page": 0, "offset": 0})
    assert ([room["name"] for room in found["results"]], found["total"]) == (["observatory"], 1)
    users = await result(alice, "browseChannels", {"text": "boss", "type": "users", "sortBy": "username"})
    assert [user["username"] for user in users["results"]] == ["boss"]


# -- people ------------------------------------------------------------------------------------------------------------


async def test_members_come_and_go(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "harbour")
    assert await result(bob, "joinRoom", room_id) is True
    members = await result(alice, "getUsersOfRoom", room_id, True, {"limit": 1, "skip": 1}, "")
    assert members["total"] == 2
    assert [member["username"] for member in members["records"]] == ["bob"]
    assert (await result(alice, "getUsersOfRoom", room_id))["records"] == []
    assert await result(bob, "leaveRoom", room_id) is None
    assert await result(alice, "addUsersToRoom", {"rid": room_id, "users": ["bob", "boss"]}) is True
    assert await result(alice, "removeUserFromRoom", {"rid": room_id, "username": "bob"}) is True
    assert await error(alice, "removeUserFromRoom", {"rid": room_id, "username": "bob"}) == "error-user-not-in-room"
    assert await error(alice, "getUsersOfRoom", room_id, True, {"limit": -1}) == 400
    assert await error(alice, "getUsersOfRoom", room_id, True, {"limit": 2**40}) == 400


async def test_roles(alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    room_id = await make_channel(alice, "crew", members=["bob"])
    assert await result(alice, "addRoomModerator", room_id, bob.user_id) is True
    roles = await result(bob, "getRoomRoles", room_id)
    assert {one["u"]["username"]: one["roles"] for one in roles} == {"alice": ["owner"], "bob": ["moderator"]}
    monkeypatch.setattr(rooms, "MAX_LISTED", 1)
    assert await result(bob, "getRoomRoles", room_id) == roles, "a part at a time"
    assert await result(alice, "removeRoomModerator", room_id, bob.user_id) is True
    assert await error(alice, "removeRoomModerator", room_id, bob.user_id) == "error-user-not-moderator"
    assert await error(bob, "addRoomOwner", room_id, bob.user_id) == "error-not-allowed"
    for role in ("Owner", "Leader"):
        await result(alice, f"addRoom{role}", room_id, bob.user_id)
        await result(alice, f"removeRoom{role}", room_id, bob.user_id)


async def test_members_are_muted(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "choir", members=["bob"])
    assert await result(alice, "muteUserInRoom", {"rid": room_id, "username": "bob"}) is True
    assert await error(bob, "sendMessage", {"rid": room_id, "msg": "la"}) == "error-not-allowed"
    assert await result(alice, "unmuteUserInRoom", {"rid": room_id, "username": "bob"}) is True
    await result(bob, "sendMessage", {"rid": room_id, "msg": "la"})


# -- changing ----------------------------------------------------------------------------------------------------------


async def test_settings_are_saved_alone_and_together(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "house", members=["bob"])
    assert await result(alice, "saveRoomSettings", room_id, "roomTopic", "paint") == {"result": True, "rid": room_id}
    await result(alice, "saveRoomSettings", room_id, {"roomName": "villa", "readOnly": True, "default": None})
    room = await result(alice, "getRoomById", room_id)
    assert (room["topic"], room["name"], room["ro"]) == ("paint", "villa", True)
    assert await error(alice, "saveRoomSettings", room_id, {"owner": "bob"}) == "error-invalid-settings"
    assert await error(alice, "saveRoomSettings", room_id, {}) == "error-invalid-settings"
    assert await error(bob, "saveRoomSettings", room_id, "roomTopic", "x") == "error-action-not-allowed"


async def test_rooms_are_archived_and_erased(admin: Client, alice: Client) -> None:
    room_id = await make_channel(alice, "ruin", members=["boss"])
    assert await result(alice, "archiveRoom", room_id) is None
    assert (await result(alice, "getRoomById", room_id))["archived"] is True
    assert await result(admin, "unarchiveRoom", room_id) is None
    assert await result(alice, "eraseRoom", room_id) is True
    assert await error(alice, "eraseRoom", room_id) == "error-invalid-room"


# -- subscriptions -----------------------------------------------------------------------------------------------------


async def test_subscriptions_are_told_since_a_date(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "mailbox", members=["bob"])
    everything = await result(bob, "subscriptions/get")
    own = {one["rid"]: one for one in everything}
    assert set(own) == {"GENERAL", room_id}
    at = max(one["_updatedAt"]["$date"] for one in everything)
    await say(alice, room_id, "@bob letter")
    changed = await result(bob, "subscriptions/get", {"$date": at})
    assert [(one["rid"], one["unread"], one["alert"]) for one in changed["update"]] == [(room_id, 1, True)]
    await result(bob, "leaveRoom", room_id)
    gone = (await result(bob, "subscriptions/get", {"$date": at}))["remove"]
    assert [one["_id"] for one in gone] == [own[room_id]["_id"]]


async def test_reading_hiding_and_preferring(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "shelf", members=["bob"])

    async def own() -> dict[str, Any]:
        found: dict[str, Any] = (await bob.get("subscriptions.getOne", roomId=room_id))["subscription"]
        return found

    message = await say(alice, room_id, "@bob book")
    assert (await own())["unread"] == 1
    assert await result(bob, "readMessages", room_id, False) is None
    assert (await own())["unread"] == 0
    await result(bob, "unreadMessages", {"_id": message["_id"], "rid": room_id, "msg": "book"})
    assert (await own())["alert"] is True
    await result(bob, "readMessages", room_id, True)
    await result(bob, "unreadMessages", None, room_id)
    assert (await own())["alert"] is True
    assert await result(bob, "hideRoom", room_id) == 1
    assert (await own())["open"] is False
    assert await result(bob, "openRoom", room_id) == 1
    assert (await own())["open"] is True
    assert await result(bob, "toggleFavorite", room_id, True) == 1
    assert (await own())["f"] is True
    assert await result(bob, "toggleFavorite", room_id) == 1
    await result(bob, "saveNotificationSettings", room_id, "hideUnreadStatus", "1")
    assert (await own())["hideUnreadStatus"] is True
    await result(bob, "ignoreUser", {"rid": room_id, "userId": alice.user_id})
    assert (await own())["ignored"] == [alice.user_id]
    await result(bob, "ignoreUser", {"rid": room_id, "userId": alice.user_id, "ignore": False})
    assert not (await own()).get("ignored")
