"""What two people see of each other: messages, edits, deletions, room lists, unread, typing, presence."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.ddp import SILENCE, DdpClient, RunningGateway, running_gateway
from tests.services import TRANSPORTS

Headers = dict[str, str]


@pytest.fixture(params=TRANSPORTS)
async def gateway(tmp_path: Path, request: pytest.FixtureRequest, cheap_hashes: None) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, request.param) as running:
        yield running


@pytest.fixture
async def alice(gateway: RunningGateway) -> Headers:
    return await gateway.make_user("alice")


@pytest.fixture
async def bob(gateway: RunningGateway) -> Headers:
    return await gateway.make_user("bob")


async def _channel(gateway: RunningGateway, owner: Headers, name: str, *members: str) -> str:
    answer = await gateway.post("channels.create", owner, name=name, members=list(members))
    room_id: str = answer["channel"]["_id"]
    return room_id


async def test_a_message_reaches_everybody_once_the_sender_included(
    gateway: RunningGateway, alice: Headers, bob: Headers
) -> None:
    room = await _channel(gateway, alice, "talk", "bob")
    hers, his = await gateway.client(alice), await gateway.client(bob)
    for client in (hers, his):
        assert await client.sub("stream-room-messages", room, {"useCollection": False, "args": []})
    result = (await hers.call("sendMessage", {"_id": "first", "rid": room, "msg": "hello"}))["result"]
    assert (result["_id"], result["msg"], result["u"]["username"]) == ("first", "hello", "alice")
    for client in (hers, his):
        (message,) = await client.wait_change("stream-room-messages", room)
        assert message["_id"] == "first"
        assert isinstance(message["ts"]["$date"], int)
        assert message["md"] == [{"type": "PARAGRAPH", "value": [{"type": "PLAIN_TEXT", "value": "hello"}]}]
    again = (await hers.call("sendMessage", {"_id": "first", "rid": room, "msg": "hello"}))["result"]
    assert again == result
    await asyncio.sleep(SILENCE)
    assert len(his.changes("stream-room-messages", room)) == 1


async def test_added_comes_before_ready_when_asked_for(gateway: RunningGateway, alice: Headers) -> None:
    client = await gateway.client(alice)
    await client.sub("stream-room-messages", "__my_messages__", True)
    kinds = [
        frame["msg"]
        for frame in client.frames
        if frame.get("msg") in ("added", "ready") and frame.get("collection") != "users"
    ]
    assert kinds == ["added", "ready"]
    added = next(frame for frame in client.frames if frame.get("collection") == "stream-room-messages")
    assert (added["id"], added["fields"]) == ("id", {"eventName": "__my_messages__"})


async def test_my_messages_follow_membership(gateway: RunningGateway, alice: Headers, bob: Headers) -> None:
    bot = await gateway.client(bob)
    await bot.sub("stream-room-messages", "__my_messages__", False)
    hers = await gateway.client(alice)
    await hers.call("sendMessage", {"rid": "GENERAL", "msg": "to everybody"})
    _, about = await bot.wait_change("stream-room-messages", "__my_messages__", lambda a: a[0]["rid"] == "GENERAL")
    assert about == {"roomParticipant": True, "roomType": "c", "roomName": "general"}
    room = await _channel(gateway, alice, "later", "bob")
    await asyncio.sleep(SILENCE)
    await hers.call("sendMessage", {"rid": room, "msg": "bob, are you there?"})
    message, about = await bot.wait_change("stream-room-messages", "__my_messages__", lambda a: a[0]["rid"] == room)
    assert message["msg"] == "bob, are you there?"
    assert about == {"roomParticipant": True, "roomType": "c", "roomName": "later"}


async def test_edits_reactions_and_deletions_stay_in_order(
    gateway: RunningGateway, alice: Headers, bob: Headers
) -> None:
    room = await _channel(gateway, alice, "order", "bob")
    hers, his = await gateway.client(alice), await gateway.client(bob)
    await his.sub("stream-room-messages", room, False)
    await his.sub("stream-notify-room", f"{room}/deleteMessage", False)
    sent = (await hers.call("sendMessage", {"rid": room, "msg": "one"}))["result"]
    await hers.call("updateMessage", {"_id": sent["_id"], "rid": room, "msg": "two"})
    await hers.call("setReaction", ":smile:", sent["_id"])
    await hers.call("deleteMessage", {"_id": sent["_id"]})
    assert await his.wait_change("stream-notify-room", f"{room}/deleteMessage") == [{"_id": sent["_id"]}]
    seen = [args[0] for args in his.changes("stream-room-messages", room)]
    assert [message["msg"] for message in seen] == ["one", "two", "two"]
    assert seen[1]["editedBy"]["username"] == "alice"
    assert seen[2]["reactions"] == {":smile:": {"usernames": ["alice"]}}
    last = next(i for i, f in enumerate(his.frames) if f.get("collection") == "stream-notify-room")
    assert all(f.get("collection") != "stream-room-messages" for f in his.frames[last:])


async def test_rooms_that_one_may_not_see_can_not_be_heard(
    gateway: RunningGateway, alice: Headers, bob: Headers
) -> None:
    answer = await gateway.post("groups.create", alice, name="secret")
    room = answer["group"]["_id"]
    his = await gateway.client(bob)
    forbidden = await his.sub("stream-room-messages", room, False)
    unknown = await his.sub("stream-room-messages", "no-such-room", False)
    assert {**forbidden, "id": ""} == {**unknown, "id": ""}
    assert forbidden["error"]["error"] == "not-allowed"
    for event in (f"{alice['X-User-Id']}/message", "x/message", f"{bob['X-User-Id']}/no-such-event", "plain"):
        assert (await his.sub("stream-notify-user", event, False))["error"]["error"] == "not-allowed"
    assert (await his.sub("stream-notify-room", f"{room}/user-activity", False))["error"]["error"] == "not-allowed"
    nobody = await gateway.client()
    assert (await nobody.sub("stream-room-messages", room, False))["error"]["error"] == "not-allowed"
    assert (await nobody.sub("stream-notify-logged", "roles-change", False))["error"]["error"] == "not-allowed"
    assert (await nobody.sub("stream-notify-all", "public-settings-changed", False))["msg"] == "ready"


async def test_a_removed_member_hears_no_more(gateway: RunningGateway, alice: Headers, bob: Headers) -> None:
    room = (await gateway.post("groups.create", alice, name="inner", members=["bob"]))["group"]["_id"]
    his = await gateway.client(bob)
    await his.sub("stream-room-messages", room, False)
    await his.sub("stream-notify-user", f"{bob['X-User-Id']}/subscriptions-changed", False)
    await gateway.post("groups.kick", alice, roomId=room, userId=bob["X-User-Id"])
    verb, gone = await his.wait_change(
        "stream-notify-user", f"{bob['X-User-Id']}/subscriptions-changed", lambda args: args[0] == "removed"
    )
    assert (verb, gone["rid"]) == ("removed", room)
    await his.wait_for(lambda frame: frame.get("msg") == "nosub")
    before = len(his.changes("stream-room-messages", room))
    await gateway.post("chat.postMessage", alice, roomId=room, text="he is gone")
    await asyncio.sleep(SILENCE)
    assert len(his.changes("stream-room-messages", room)) == before


async def test_room_lists_follow_what_happens(gateway: RunningGateway, alice: Headers, bob: Headers) -> None:
    his = await gateway.client(bob)
    for event in ("rooms-changed", "subscriptions-changed", "notification"):
        assert (await his.sub("stream-notify-user", f"{his.user_id}/{event}", False))["msg"] == "ready"
    room = await _channel(gateway, alice, "lists", "bob")
    _, subscription = await his.wait_change(
        "stream-notify-user",
        f"{his.user_id}/subscriptions-changed",
        lambda a: a[0] == "inserted" and a[1]["rid"] == room,
    )
    assert (subscription["name"], subscription["t"], subscription["unread"]) == ("lists", "c", 0)
    await his.wait_change(
        "stream-notify-user", f"{his.user_id}/rooms-changed", lambda a: a[0] == "inserted" and a[1]["_id"] == room
    )
    await gateway.post("chat.postMessage", alice, roomId=room, text="hi all")
    _, changed = await his.wait_change(
        "stream-notify-user",
        f"{his.user_id}/subscriptions-changed",
        lambda a: a[0] == "updated" and a[1]["rid"] == room,
    )
    assert (changed["alert"], changed["unread"]) == (True, 0)
    _, shown = await his.wait_change(
        "stream-notify-user",
        f"{his.user_id}/rooms-changed",
        lambda a: a[0] == "updated" and a[1].get("lastMessage", {}).get("msg") == "hi all",
    )
    assert "counted" not in shown
    assert "applied_seq" not in shown
    await gateway.post("chat.postMessage", alice, roomId=room, text="@bob look here")
    _, mentioned = await his.wait_change(
        "stream-notify-user", f"{his.user_id}/subscriptions-changed", lambda a: a[1].get("userMentions") == 1
    )
    assert mentioned["unread"] == 1
    (notification,) = await his.wait_change("stream-notify-user", f"{his.user_id}/notification")
    assert notification["payload"]["rid"] == room
    await gateway.post("subscriptions.read", bob, rid=room)
    await his.wait_change(
        "stream-notify-user",
        f"{his.user_id}/subscriptions-changed",
        lambda a: a[0] == "updated" and a[1]["rid"] == room and not a[1]["alert"] and a[1].get("unread") == 0,
    )


async def test_state_is_told_again_only_when_it_changes(gateway: RunningGateway, alice: Headers, bob: Headers) -> None:
    room = await _channel(gateway, alice, "quiet", "bob")
    his = await gateway.client(bob)
    event = f"{his.user_id}/subscriptions-changed"
    await his.sub("stream-notify-user", event, False)
    for number in range(30):
        await gateway.post("chat.postMessage", alice, roomId=room, text=f"message {number}")
    await his.wait_change("stream-notify-user", event, lambda a: a[1]["alert"])
    await asyncio.sleep(SILENCE)
    assert len(his.changes("stream-notify-user", event)) == 1


async def test_notifications_are_of_real_mentions_and_have_what_is_encrypted(
    gateway: RunningGateway, alice: Headers, bob: Headers
) -> None:
    room = await _channel(gateway, alice, "notified", "bob")
    await gateway.post("users.setPreferences", bob, data={"desktopNotifications": "mentions"})
    his = await gateway.client(bob)
    event = f"{his.user_id}/notification"
    await his.sub("stream-notify-user", event, False)
    await gateway.post("chat.postMessage", alice, roomId=room, text="@all")
    forged = {"rid": room, "msg": "nobody", "attachments": [{"text": "x", "_id": "all"}]}
    await gateway.post("chat.sendMessage", alice, message=forged)
    direct = (await gateway.post("im.create", alice, username="bob"))["room"]["_id"]
    secret = {"rid": direct, "msg": "x1", "t": "e2e", "content": {"algorithm": "a", "ciphertext": "x1"}}
    await gateway.post("chat.sendMessage", alice, message=secret)
    (told,) = await his.wait_change("stream-notify-user", event, lambda args: args[0]["payload"]["rid"] == direct)
    assert told["payload"]["message"] == {name: secret[name] for name in ("msg", "t", "content")}
    texts = [args[0]["payload"]["message"]["msg"] for args in his.changes("stream-notify-user", event)]
    assert texts == ["@all", "x1"]


async def test_typing_is_told_to_the_others_in_both_forms(
    gateway: RunningGateway, alice: Headers, bob: Headers
) -> None:
    room = await _channel(gateway, alice, "typing", "bob")
    hers, his = await gateway.client(alice), await gateway.client(bob)
    for client in (hers, his):
        await client.sub("stream-notify-room", f"{room}/user-activity", False)
        await client.sub("stream-notify-room", f"{room}/typing", False)
    await hers.call("stream-notify-room", f"{room}/user-activity", "alice", ["user-typing"], {}, "")
    assert await his.wait_change("stream-notify-room", f"{room}/user-activity") == ["alice", ["user-typing"], {}]
    assert await his.wait_change("stream-notify-room", f"{room}/typing") == ["alice", True]
    await hers.call("stream-notify-room", f"{room}/typing", "alice", False)
    await his.wait_change("stream-notify-room", f"{room}/user-activity", lambda args: args[1] == [])
    # somebody else's name, and rubbish, are dropped without a word
    assert "error" not in await hers.call("stream-notify-room", f"{room}/typing", "bob", True)
    assert "error" not in await hers.call("stream-notify-room", {"$gt": ""}, 5, [[]])
    await asyncio.sleep(SILENCE)
    assert hers.changes("stream-notify-room") == []
    assert all(args[0] == "alice" for args in his.changes("stream-notify-room"))


async def test_presence_is_told_to_those_who_asked(gateway: RunningGateway, alice: Headers, bob: Headers) -> None:
    hers = await gateway.client(alice)
    bob_id = bob["X-User-Id"]
    assert (await hers.sub("stream-user-presence", "", {"added": [bob_id]}))["msg"] == "ready"
    later = await hers.sub("stream-user-presence", "", {"added": [alice["X-User-Id"]]})
    assert later["msg"] == "nosub"
    assert "error" not in later

    async def status(expected: list[Any]) -> None:
        await hers.wait_for(
            lambda frame: (
                frame.get("collection") == "stream-user-presence"
                and frame["id"] == bob_id
                and frame["fields"]["args"] == [expected]
            )
        )

    his = await gateway.client(bob)
    await status(["bob", 1, ""])
    await his.call("setUserStatus", "busy", "in a meeting")
    await status(["bob", 3, "in a meeting"])
    answer = await gateway.http.get("users.presence", params={"ids": bob_id}, headers=alice)
    assert answer.json()["users"][0]["status"] == "busy"
    await his.close()
    await status(["bob", 0, "in a meeting"])


async def test_replies_change_the_thread_for_everybody(gateway: RunningGateway, alice: Headers, bob: Headers) -> None:
    room = await _channel(gateway, alice, "threads", "bob")
    hers, his = await gateway.client(alice), await gateway.client(bob)
    await his.sub("stream-room-messages", room, False)
    root = (await hers.call("sendMessage", {"rid": room, "msg": "what do you think?"}))["result"]
    reply = (await his.call("sendMessage", {"rid": room, "msg": "well …", "tmid": root["_id"]}))["result"]
    assert reply["tmid"] == root["_id"]
    (changed,) = await his.wait_change("stream-room-messages", room, lambda args: args[0].get("tcount") == 1)
    assert changed["_id"] == root["_id"]
    assert set(changed["replies"]) == {alice["X-User-Id"], bob["X-User-Id"]}
    hers_list: DdpClient = hers
    subscriptions = (await hers_list.call("subscriptions/get"))["result"]
    mine = next(s for s in subscriptions if s["rid"] == room)
    assert mine["tunread"] == [root["_id"]]


async def test_nothing_is_kept_of_who_leaves_while_they_are_told(
    gateway: RunningGateway, alice: Headers, bob: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await _channel(gateway, alice, "talk", "bob")
    hers, his = await gateway.client(alice), await gateway.client(bob)
    await hers.sub("stream-room-messages", room_id, False)
    await his.sub("stream-notify-user", f"{his.user_id}/subscriptions-changed", False)
    role: Any = gateway.node.roles["gateway"]
    room, session = role.rooms.find(room_id), role.people.find(his.user_id)
    messaging = gateway.node.services.messaging
    list_subscriptions = messaging.list_subscriptions
    is_read, has_left = asyncio.Event(), asyncio.Event()

    async def takes_its_time(request: Any) -> Any:
        reply = await list_subscriptions(request)
        is_read.set()
        await has_left.wait()
        return reply

    await gateway.post("chat.postMessage", alice, roomId=room_id, text="for @bob")
    own = f"{his.user_id}/subscriptions-changed"
    await his.wait_change("stream-notify-user", own, lambda args: args[1].get("alert"))
    monkeypatch.setattr(messaging, "list_subscriptions", takes_its_time)
    telling = asyncio.create_task(role.states.tell_subscriptions(room, [session]))
    await asyncio.wait_for(is_read.wait(), 30)
    await his.close()
    async with asyncio.timeout(30):
        while session in room.members:
            await asyncio.sleep(0.01)
    has_left.set()
    await telling
    assert (session in room.alerted, session in room.choices) == (False, False)
