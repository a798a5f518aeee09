"""Everything that `saveRoomSettings` takes, by REST and DDP; blocking, join codes, direct rooms of others."""

from typing import Any

import pytest

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group, say

SETTINGS: list[tuple[str, Any, str, Any]] = [
    ("roomName", "villa", "name", "villa"),
    ("roomTopic", "t", "topic", "t"),
    ("roomAnnouncement", "a", "announcement", "a"),
    ("roomDescription", "d", "description", "d"),
    ("roomCustomFields", {"floor": 2}, "customFields", {"floor": 2}),
    ("roomType", "p", "t", "p"),
    ("readOnly", True, "ro", True),
    ("reactWhenReadOnly", True, "reactWhenReadOnly", True),
    ("systemMessages", ["uj"], "sysMes", ["uj"]),
    ("default", True, "default", True),
    ("featured", True, "featured", True),
    ("joinCode", "sesame", "joinCodeRequired", True),
    ("encrypted", True, "encrypted", True),
    ("archived", True, "archived", True),
    ("favorite", {"favorite": True, "defaultValue": True}, "favorite", True),
    ("retentionEnabled", True, "retention", {"enabled": True}),
    ("retentionMaxAge", 3, "retention", {"maxAge": 3}),
    ("retentionExcludePinned", True, "retention", {"excludePinned": True}),
    ("retentionFilesOnly", True, "retention", {"filesOnly": True}),
    ("retentionIgnoreThreads", True, "retention", {"ignoreThreads": True}),
    ("retentionOverrideGlobal", True, "retention", {"overrideGlobal": True}),
]


@pytest.mark.parametrize("surface", ["rest", "ddp"])
async def test_every_setting_is_saved(admin: Client, bob: Client, surface: str) -> None:
    await admin.post("settings/E2E_Enable", value=True)
    for number, (name, value, field, stored) in enumerate(SETTINGS):
        room_id = await make_channel(admin, f"house-{number}", members=["bob"])
        if surface == "rest":
            answer = await admin.post("rooms.saveRoomSettings", rid=room_id, **{name: value})
            assert answer == {"rid": room_id, "success": True}
            await bob.post("rooms.saveRoomSettings", 400, rid=room_id, **{name: value})
        else:
            assert (await admin.call("saveRoomSettings", room_id, {name: value}))["result"]["rid"] == room_id
            assert "error" in await bob.call("saveRoomSettings", room_id, name, value)
        room = (await admin.get("rooms.info", roomId=room_id))["room"]
        assert room[field] == stored, name


@pytest.mark.parametrize(
    "wrong",
    [{"roomName": ""}, {"roomName": "taken"}, {"retentionMaxAge": 0}, {"systemMessages": [1]}, {"roomType": "x"}],
)
async def test_what_is_refused_changes_nothing_else(admin: Client, wrong: dict[str, Any]) -> None:
    await make_channel(admin, "taken")
    room_id = await make_channel(admin, "house")
    before = (await admin.get("rooms.info", roomId=room_id))["room"]
    other = {"readOnly": True, "roomTopic": "t", "default": True}
    assert "error" in await admin.call("saveRoomSettings", room_id, {**other, **wrong})
    assert (await admin.get("rooms.info", roomId=room_id))["room"] == before


async def test_settings_that_make_no_sense_are_refused(admin: Client) -> None:
    room_id = await make_channel(admin, "house")
    for body in ({"retentionMaxAge": "7"}, {"retentionMaxAge": -1}, {"sidepanel": {"items": ["channels"]}}):
        await admin.post("rooms.saveRoomSettings", 400, rid=room_id, **body)
    refused = await admin.call("saveRoomSettings", room_id, "favorite", True)
    assert refused["error"]["error"] == "error-invalid-settings"
    await admin.post("rooms.saveRoomSettings", rid=room_id, favorite={"favorite": True, "defaultValue": False})
    assert (await admin.get("rooms.info", roomId=room_id))["room"]["favorite"] is False


async def test_blocking_by_method(alice: Client, bob: Client) -> None:
    room_id = (await alice.post("im.create", username="bob"))["room"]["_id"]
    given = {"rid": room_id, "blocked": bob.user_id}
    assert (await alice.call("blockUser", given))["result"] is True
    assert (await alice.get("subscriptions.getOne", roomId=room_id))["subscription"]["blocker"] is True
    assert (await bob.get("subscriptions.getOne", roomId=room_id))["subscription"]["blocked"] is True
    refused = await bob.post("chat.sendMessage", 400, message={"rid": room_id, "msg": "but"})
    assert "room_is_blocked" in refused["error"]
    assert (await bob.call("unblockUser", {"rid": room_id, "blocked": alice.user_id}))["result"] is True
    await bob.post("chat.sendMessage", 400, message={"rid": room_id, "msg": "but"})
    assert (await alice.call("unblockUser", given))["result"] is True
    await say(bob, room_id, "thanks")
    elsewhere = await alice.call("blockUser", {"rid": "GENERAL", "blocked": bob.user_id})
    assert elsewhere["error"]["error"] == "error-invalid-room"


async def test_who_may_view_a_join_code(admin: Client, alice: Client) -> None:
    room_id = await make_channel(alice, "cave")
    assert (await admin.call("getRoomJoinCode", room_id)).get("result") is None
    await alice.post("channels.setJoinCode", roomId=room_id, joinCode="sesame")
    assert (await admin.call("getRoomJoinCode", room_id))["result"] == "sesame"
    assert (await alice.call("getRoomJoinCode", room_id))["error"]["error"] == "error-not-authorized"


@pytest.mark.parametrize("prefix", ["im", "dm"])
async def test_direct_rooms_of_others(admin: Client, alice: Client, bob: Client, prefix: str) -> None:
    room_id = (await alice.post("im.create", username="bob"))["room"]["_id"]
    await say(alice, room_id, "psst")
    path = f"{prefix}.messages.others"
    assert (await admin.get(path, 400, roomId=room_id))["errorType"] == "error-endpoint-disabled"
    await admin.post("settings/API_Enable_Direct_Message_History_EndPoint", value=True)
    found = await admin.get(path, roomId=room_id)
    assert ([message["msg"] for message in found["messages"]], found["total"]) == (["psst"], 1)
    assert (await alice.get(path, 403, roomId=room_id))["error"] == "unauthorized"
    assert (await admin.get(path, 400))["errorType"] == "error-roomid-param-not-provided"
    assert (await admin.get(path, 400, roomId="GENERAL"))["errorType"] == "error-room-not-found"


async def test_channels_are_listed_and_counted(admin: Client, alice: Client, bob: Client) -> None:
    busy, secret = await make_channel(alice, "busy"), await make_group(alice, "secret")
    for _ in range(5):
        await say(alice, busy, "hum")
    everything = (await alice.call("channelsList", "", "", 0, "name"))["result"]["channels"]
    assert [room["_id"] for room in everything] == [busy, "GENERAL", secret]
    public = (await bob.call("channelsList", None, "public", None, "msgs"))["result"]["channels"]
    assert [room["_id"] for room in public] == [busy, "GENERAL"]
    assert [room["_id"] for room in (await alice.call("channelsList", "ecr"))["result"]["channels"]] == [secret]
    assert (await bob.call("channelsList", "ecr"))["result"]["channels"] == []
    assert (await bob.call("channelsList", "", "", 1, "size"))["error"]["error"] == "error-invalid-sort"
    assert (await bob.call("getTotalChannels"))["result"] == 2


async def test_default_channels_are_entered(admin: Client, alice: Client) -> None:
    room_id = await make_channel(admin, "welcome")
    await admin.post("rooms.saveRoomSettings", rid=room_id, default=True)
    assert (await alice.call("joinDefaultChannels", True)).get("result") is None
    assert (await alice.get("rooms.isMember", roomId=room_id, userId=alice.user_id))["isMember"] is True


async def test_who_may_see_a_room(alice: Client, bob: Client) -> None:
    secret = await make_group(alice, "secret")
    assert (await alice.call("canAccessRoom", secret, alice.user_id))["result"]["_id"] == secret
    assert (await bob.call("canAccessRoom", secret))["result"] is False
    assert (await bob.call("canAccessRoom", "nowhere", bob.user_id))["result"] is False
    assert (await bob.call("canAccessRoom", secret, alice.user_id))["error"]["error"] == "error-not-allowed"


async def test_what_clients_send_along_is_taken(admin: Client, alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    found = await alice.get("rooms.info", roomId=room_id, fields='{"name":1}')
    assert found["room"] == {"_id": room_id, "name": "dev"}
    await alice.get("rooms.info", 400, roomId=room_id, fields="name")
    await alice.post("channels.close", roomId=room_id)
    await alice.post("channels.open", roomId=room_id, query="", sort={"name": 1})
    direct = (await alice.post("im.create", username="boss"))["room"]["_id"]
    assert (await admin.call("archiveRoom", direct))["error"]["error"] == "error-direct-message-room"
