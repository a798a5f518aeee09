"""Pins, stars and mentions by REST, by methods, and on the sockets."""

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.ddp import running_gateway
from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group, say
from tests.gateway.test_methods_rooms import result
from tests.services import ADMIN_PASSWORD


async def test_pins(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "board", members=["bob"])
    message = await say(alice, room_id, "read this")
    notice = (await alice.post("chat.pinMessage", messageId=message["_id"]))["message"]
    assert (notice["t"], notice["attachments"][0]["text"]) == ("message_pinned", "read this")
    listed = await bob.get("chat.getPinnedMessages", roomId=room_id)
    assert [found["_id"] for found in listed["messages"]] == [message["_id"]]
    assert (listed["count"], listed["offset"], listed["total"]) == (1, 0, 1)
    assert listed["messages"][0]["pinnedBy"]["username"] == "alice"
    assert (await bob.post("chat.unPinMessage", 400, messageId=message["_id"]))["errorType"] == "not-authorized"
    await alice.post("chat.unPinMessage", messageId=message["_id"])
    assert (await bob.get("chat.getPinnedMessages", roomId=room_id))["total"] == 0


async def test_stars_and_mentions(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "sky", members=["bob"])
    message = await say(alice, room_id, "@bob look up")
    await bob.post("chat.starMessage", messageId=message["_id"])
    [starred] = (await bob.get("chat.getStarredMessages", roomId=room_id))["messages"]
    assert starred["starred"] == [{"_id": bob.user_id}]
    [mentioning] = (await bob.get("chat.getMentionedMessages", roomId=room_id))["messages"]
    assert mentioning == starred
    assert (await alice.get("chat.getStarredMessages", roomId=room_id))["messages"] == []
    await bob.post("chat.unStarMessage", messageId=message["_id"])
    assert (await bob.get("chat.getStarredMessages", roomId=room_id))["total"] == 0


async def test_mentions_as_older_clients_ask_for_them(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "calls", members=["bob"])
    sent = [await say(alice, room_id, f"@bob {number}") for number in range(3)]
    path = "channels.getAllUserMentionsByChannel"
    listed = await bob.get(path, roomId=room_id, count=2)
    assert [found["msg"] for found in listed["mentions"]] == ["@bob 2", "@bob 1"]
    assert (listed["count"], listed["offset"], listed["total"]) == (2, 0, 3)
    oldest = await bob.get(path, roomId=room_id, sort='{"ts":1}', count=1)
    assert [found["_id"] for found in oldest["mentions"]] == [sent[0]["_id"]]
    options = {"limit": 1, "skip": 1, "sort": {"ts": 1}}
    found = await result(bob, "getUserMentionsByChannel", {"roomId": room_id, "options": options})
    assert [message["msg"] for message in found] == ["@bob 1"]
    assert len(await result(bob, "getUserMentionsByChannel", {"roomId": room_id})) == 3
    assert (await alice.get(path, roomId=room_id))["mentions"] == []
    hidden = await make_group(alice, "hidden")
    for elsewhere in (hidden, "nowhere"):
        assert (await bob.get(path, 400, roomId=elsewhere))["errorType"] == "error-invalid-room"
        refusal = (await bob.call("getUserMentionsByChannel", {"roomId": elsewhere}))["error"]
        assert refusal["error"] == "error-invalid-room"
    assert "roomId" in (await bob.get(path, 400))["error"]


async def test_by_methods(alice: Client) -> None:
    room_id = await make_channel(alice, "methods")
    message = await say(alice, room_id, "x")
    assert (await result(alice, "pinMessage", message))["t"] == "message_pinned"
    assert await result(alice, "unpinMessage", message) is True
    assert await result(alice, "starMessage", {"_id": message["_id"], "rid": room_id, "starred": True}) is True
    assert (await alice.get("chat.getStarredMessages", roomId=room_id))["total"] == 1
    assert await result(alice, "starMessage", {"_id": message["_id"], "rid": room_id, "starred": False}) is True
    assert (await alice.get("chat.getStarredMessages", roomId=room_id))["total"] == 0
    assert (await alice.call("pinMessage", {"_id": "ghost"}))["error"]["error"] == "error-invalid-message"


async def test_who_hears_of_pins_and_stars(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_gateway(tmp_path) as gateway:
        alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
        room_id = (await gateway.post("channels.create", alice, name="live", members=["bob"]))["channel"]["_id"]
        sent = (await gateway.post("chat.sendMessage", alice, message={"rid": room_id, "msg": "x"}))["message"]
        hers, his = await gateway.client(alice), await gateway.client(bob)
        for client in (hers, his):
            assert (await client.sub("stream-room-messages", room_id, False))["msg"] == "ready"
        await gateway.post("chat.starMessage", bob, messageId=sent["_id"])
        await his.wait_change("stream-room-messages", room_id, lambda args: "starred" in args[0])
        await gateway.post("chat.unStarMessage", bob, messageId=sent["_id"])
        await his.wait_change("stream-room-messages", room_id, lambda args: "starred" not in args[0])
        await gateway.post("chat.pinMessage", alice, messageId=sent["_id"])
        heard = await hers.wait_change("stream-room-messages", room_id, lambda args: True)
        assert (heard[0]["_id"], heard[0]["pinned"]) == (sent["_id"], True), "stars of others are not heard"
        await hers.wait_change("stream-room-messages", room_id, lambda args: args[0].get("t") == "message_pinned")
        await his.wait_change("stream-room-messages", room_id, lambda args: args[0].get("t") == "message_pinned")


async def test_receipts_and_who_hears_of_reading(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_gateway(tmp_path) as gateway:
        boss = await gateway.login("boss", ADMIN_PASSWORD)
        for setting in ("Message_Read_Receipt_Enabled", "Message_Read_Receipt_Store_Users"):
            await gateway.post(f"settings/{setting}", boss, value=True)
        alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
        room_id = (await gateway.post("channels.create", alice, name="live", members=["bob"]))["channel"]["_id"]
        sent = (await gateway.post("chat.sendMessage", alice, message={"rid": room_id, "msg": "x"}))["message"]
        assert sent["unread"] is True
        hers = await gateway.client(alice)
        assert (await hers.sub("stream-notify-room", f"{room_id}/messagesRead", False))["msg"] == "ready"
        await gateway.post("subscriptions.read", alice, rid=room_id)
        await gateway.post("subscriptions.read", bob, rid=room_id)
        [told] = await hers.wait_change("stream-notify-room", f"{room_id}/messagesRead", lambda args: True)
        assert told.keys() == {"until"}
        answer = await hers.call("getReadReceipts", {"messageId": sent["_id"]})
        assert [receipt["user"]["username"] for receipt in answer["result"]] == ["alice", "bob"]


async def test_a_deleted_message_is_told_as_the_setting_says(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_gateway(tmp_path) as gateway:
        boss = await gateway.login("boss", ADMIN_PASSWORD)
        hears = await gateway.client(boss)
        assert (await hears.sub("stream-room-messages", "GENERAL", False))["msg"] == "ready"
        assert (await hears.sub("stream-notify-room", "GENERAL/deleteMessage", False))["msg"] == "ready"
        sent = [
            (await gateway.post("chat.sendMessage", boss, message={"rid": "GENERAL", "msg": text}))["message"]["_id"]
            for text in ("one", "two")
        ]
        await gateway.post("chat.delete", boss, roomId="GENERAL", msgId=sent[0])
        [gone] = await hears.wait_change("stream-notify-room", "GENERAL/deleteMessage", lambda args: True)
        assert gone == {"_id": sent[0]}
        await gateway.post("settings/Message_ShowDeletedStatus", boss, value=True)
        await gateway.post("chat.delete", boss, roomId="GENERAL", msgId=sent[1])
        [shown] = await hears.wait_change("stream-room-messages", "GENERAL", lambda args: args[0].get("t") == "rm")
        assert (shown["_id"], shown["msg"]) == (sent[1], "")


async def test_several_messages_at_once(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "several")
    sent = [await say(alice, room_id, text) for text in ("one", "two", "three")]
    await alice.post("chat.delete", roomId=room_id, msgId=sent[2]["_id"])
    ids = [message["_id"] for message in (sent[1], sent[0], sent[2])]
    assert [found["msg"] for found in await result(alice, "getMessages", [*ids, "ghost"])] == ["two", "one"]
    hidden = await say(bob, await make_group(bob, "hidden"), "secret")
    answer = await alice.call("getMessages", [ids[0], hidden["_id"]])
    assert answer["error"]["error"] == "error-not-allowed"


async def test_off_the_record(alice: Client, bob: Client) -> None:
    room_id = (await alice.post("im.create", username="bob"))["room"]["_id"]
    await alice.post("chat.otr", roomId=room_id, type="user_joined_otr")
    history = await bob.get("im.history", roomId=room_id)
    assert [(message["t"], message["u"]["username"]) for message in history["messages"]] == [
        ("user_joined_otr", "alice")
    ]
    for body in ({}, {"roomId": room_id}, {"roomId": room_id, "type": "uj"}):
        assert (await alice.post("chat.otr", 400, **body))["errorType"] == "error-invalid-params"
    channel = await make_channel(alice, "on-the-record")
    refused = await alice.post("chat.otr", 400, roomId=channel, type="user_joined_otr")
    assert refused["errorType"] == "error-not-allowed"


async def test_receipts_by_rest(alice: Client) -> None:
    message = await say(alice, "GENERAL", "x")
    assert (await alice.get("chat.getMessageReadReceipts", messageId=message["_id"]))["receipts"] == []
    await alice.get("chat.getMessageReadReceipts", 400)
    answer = await alice.get("chat.getMessageReadReceipts", 400, messageId="ghost")
    assert answer["errorType"] == "error-invalid-message"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("chat.getPinnedMessages", "error-roomId-param-not-provided"),
        ("chat.getStarredMessages", "error-invalid-params"),
        ("chat.getMentionedMessages", "error-invalid-params"),
    ],
)
async def test_lists_need_a_room(alice: Client, bob: Client, path: str, code: str) -> None:
    assert (await alice.get(path, 400))["errorType"] == code
    room_id = await make_group(bob, "hidden")
    assert (await alice.get(path, 400, roomId=room_id))["errorType"] == "error-not-allowed"


@pytest.mark.parametrize("path", ["chat.pinMessage", "chat.unPinMessage", "chat.starMessage", "chat.unStarMessage"])
async def test_marks_need_a_message(alice: Client, path: str) -> None:
    assert (await alice.post(path, 400))["errorType"] == "error-messageid-param-not-provided"
    answer: dict[str, Any] = await alice.post(path, 400, messageId="ghost")
    assert answer["errorType"] == "error-message-not-found"
