"""What clients write to the streams of others: it is heard by those whom it is for, and says nothing untrue."""

import asyncio
from typing import Any

from palaver.gateway.ddp.signals import parse_signal
from palaver.ids import direct_room_id
from tests.gateway.ddp import SILENCE, DdpClient, RunningGateway

USER, ROOM = "stream-notify-user", "stream-notify-room-users"


async def listening(gateway: RunningGateway, headers: dict[str, str]) -> DdpClient:
    client = await gateway.client(headers)
    for event in ("otr", "webrtc", "video-conference", "e2ekeyRequest", "userData", "subscriptions-changed"):
        assert (await client.sub(USER, f"{client.user_id}/{event}", False))["msg"] == "ready"
    return client


async def test_two_who_talk_to_each_other(gateway: RunningGateway) -> None:
    users = [await gateway.make_user(name) for name in ("alice", "bob", "eve")]
    hers, his, eves = [await listening(gateway, headers) for headers in users]
    room_id = (await gateway.post("im.create", users[0], username="bob"))["room"]["_id"]
    offer = {"roomId": room_id, "userId": hers.user_id, "publicKey": "key"}
    assert "error" not in await hers.call(USER, f"{his.user_id}/otr", "handshake", offer, "")
    assert await his.wait_change(USER, f"{his.user_id}/otr") == ["handshake", offer]
    called = {"action": "call", "params": {"callId": "c", "uid": his.user_id, "rid": room_id}}
    await his.call(USER, f"{hers.user_id}/video-conference", called)
    assert await hers.wait_change(USER, f"{hers.user_id}/video-conference") == [called]
    # who shares no room with her; who says to be somebody else, or in another room; what only the server says
    await eves.call(USER, f"{hers.user_id}/otr", "handshake", {"roomId": "x", "userId": eves.user_id})
    await his.call(USER, f"{hers.user_id}/otr", "handshake", {**offer, "userId": eves.user_id})
    await his.call(USER, f"{hers.user_id}/otr", "handshake", {"roomId": "GENERAL", "userId": his.user_id})
    await his.call(USER, f"{hers.user_id}/userData", {"type": "updated", "diff": {"roles": ["admin"]}})
    await his.call(ROOM, f"{room_id}/userData", {"type": "updated", "diff": {"roles": ["admin"]}})
    assert "error" not in await hers.call("blockUser", {"rid": room_id, "blocked": his.user_id})
    await his.call(USER, f"{hers.user_id}/otr", "handshake", {**offer, "userId": his.user_id})
    await asyncio.sleep(SILENCE)
    assert hers.changes(USER, f"{hers.user_id}/otr") == hers.changes(USER, f"{hers.user_id}/userData") == []
    assert eves.changes(USER, f"{eves.user_id}/otr") == []


async def test_a_key_is_asked_for_in_a_room(gateway: RunningGateway) -> None:
    users = [await gateway.make_user(name) for name in ("alice", "bob", "eve")]
    room_id = (await gateway.post("groups.create", users[0], name="secret", members=["bob"]))["group"]["_id"]
    hers, his, eves = [await listening(gateway, headers) for headers in users]
    await eves.call(ROOM, f"{room_id}/e2ekeyRequest", room_id, "of a stranger")
    await his.call(ROOM, f"{room_id}/e2ekeyRequest", "another room", "key1")
    await his.call(ROOM, f"{room_id}/e2ekeyRequest", room_id, "key1", "")
    assert await hers.wait_change(USER, f"{hers.user_id}/e2ekeyRequest") == [room_id, "key1"]
    await asyncio.sleep(SILENCE)
    assert len(hers.changes(USER, f"{hers.user_id}/e2ekeyRequest")) == 1
    assert not his.changes(USER, f"{his.user_id}/e2ekeyRequest"), "nobody hears themself"
    assert not eves.changes(USER, f"{eves.user_id}/e2ekeyRequest")


async def test_who_has_another_name_types_on(gateway: RunningGateway) -> None:
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    hers, his = await gateway.client(alice), await gateway.client(bob)
    await his.sub("stream-notify-room", "GENERAL/user-activity", False)
    await gateway.post("users.updateOwnBasicInfo", alice, data={"username": "alicia"})
    await hers.call("stream-notify-room", "GENERAL/user-activity", "alice", ["user-typing"], {})
    await hers.call("stream-notify-room", "GENERAL/user-activity", "alicia", ["user-typing"], {})
    assert await his.wait_change("stream-notify-room", "GENERAL/user-activity") == ["alicia", ["user-typing"], {}]


def test_what_is_no_signal() -> None:
    nested: list[Any] = []
    for _ in range(500):
        nested = [nested]
    for stream, arguments in (
        (USER, []),
        (USER, [{"$gt": ""}, 5]),
        (USER, ["otr"]),
        (USER, ["/otr"]),
        (USER, ["me/otr", "handshake"]),
        (USER, ["you/message", {"msg": "from the server"}]),
        (USER, ["you/force_logout"]),
        (USER, ["you/otr", "x" * 40_000]),
        (USER, ["you/otr", nested]),
        (ROOM, ["you/rooms-changed", "removed", {}]),
        (ROOM, ["room/e2ekeyRequest"]),
        ("stream-notify-logged", ["you/otr", "handshake"]),
    ):
        assert parse_signal(stream, arguments, "me") is None, arguments
    signal = parse_signal(USER, ["you/otr", "end", {"roomId": direct_room_id(["me", "you"])}], "me")
    assert signal is not None
    assert (signal.user_id, signal.room_id) == ("you", "meyou")
