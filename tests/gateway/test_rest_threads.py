"""Threads by REST."""

import pytest

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, say


async def test_threads(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "loom", members=["bob"])
    root = await say(alice, room_id, "root")
    replies = [await say(bob, room_id, f"reply {number}", tmid=root["_id"]) for number in range(3)]
    listed = await alice.get("chat.getThreadsList", rid=room_id)
    assert [thread["_id"] for thread in listed["threads"]] == [root["_id"]]
    assert listed["threads"][0]["tcount"] == 3
    assert set(listed["threads"][0]["replies"]) == {alice.user_id, bob.user_id}
    assert (listed["count"], listed["offset"], listed["total"]) == (1, 0, 1)
    few = await alice.get("chat.getThreadsList", rid=room_id, fields='{"msg": 1, "tcount": 1}')
    assert few["threads"] == [{"_id": root["_id"], "msg": "root", "tcount": 3}]
    page = await alice.get("chat.getThreadMessages", tmid=root["_id"], count=2)
    assert [message["msg"] for message in page["messages"]] == ["reply 0", "reply 1"]
    assert (page["count"], page["total"]) == (2, 3)
    newest = await alice.get("chat.getThreadMessages", tmid=root["_id"], sort='{"ts":-1}')
    assert [message["msg"] for message in newest["messages"]] == ["reply 2", "reply 1", "reply 0"]
    changed = await alice.get("chat.syncThreadMessages", tmid=root["_id"], updatedSince=replies[1]["_updatedAt"])
    assert [message["msg"] for message in changed["messages"]["update"]] == ["reply 2"]
    threads = await alice.get("chat.syncThreadsList", rid=room_id, updatedSince=root["_updatedAt"])
    assert [thread["_id"] for thread in threads["threads"]["update"]] == [root["_id"]]
    assert (await alice.get("chat.getThreadsList", rid=room_id, type="unread"))["total"] == 1
    assert (await bob.get("chat.getThreadsList", rid=room_id, text="nothing"))["total"] == 0


async def test_threads_are_followed(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "follow", members=["bob", "boss"])
    root = await say(alice, room_id, "root")
    await say(alice, room_id, "reply", tmid=root["_id"])
    assert (await bob.get("chat.getThreadsList", rid=room_id, type="following"))["total"] == 0
    await bob.post("chat.followMessage", mid=root["_id"])
    assert (await bob.get("chat.getThreadsList", rid=room_id, type="following"))["total"] == 1
    await bob.post("chat.unfollowMessage", mid=root["_id"])
    assert (await bob.get("chat.getThreadsList", rid=room_id, type="following"))["total"] == 0
    assert (await bob.post("chat.followMessage", 400))["error"] == 'The required "mid" body param is missing.'


@pytest.mark.parametrize(
    ("path", "parameters", "code"),
    [
        ("chat.getThreadsList", {}, "error-room-id-param-not-provided"),
        ("chat.getThreadsList", {"rid": "ghost"}, "error-not-allowed"),
        ("chat.getThreadMessages", {}, "error-invalid-params"),
        ("chat.getThreadMessages", {"tmid": "ghost"}, "error-invalid-message"),
        ("chat.syncThreadsList", {"rid": "x"}, "error-updatedSince-param-invalid"),
        ("chat.syncThreadsList", {"rid": "x", "updatedSince": "x"}, "error-updatedSince-param-invalid"),
        ("chat.syncThreadMessages", {"tmid": "x"}, "error-updatedSince-param-invalid"),
    ],
)
async def test_what_threads_need(admin: Client, path: str, parameters: dict[str, str], code: str) -> None:
    assert (await admin.get(path, 400, **parameters))["errorType"] == code


async def test_threads_can_be_switched_off(admin: Client) -> None:
    root = await say(admin, "GENERAL", "root")
    await admin.post("settings/Threads_enabled", value=False)
    for path, parameters in (
        ("chat.getThreadsList", {"rid": "GENERAL"}),
        ("chat.getThreadMessages", {"tmid": root["_id"]}),
    ):
        answer = await admin.get(path, 400, **parameters)
        assert answer["error"] == "Threads Disabled [error-not-allowed]"
