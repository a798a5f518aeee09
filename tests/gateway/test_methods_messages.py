"""Methods of messages and threads. A date stays {"$date": …} in them."""

from typing import Any

import pytest

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group
from tests.gateway.test_methods_rooms import error, result


async def send(client: Client, room_id: str, text: str, **fields: Any) -> dict[str, Any]:
    message: dict[str, Any] = await result(client, "sendMessage", {"rid": room_id, "msg": text, **fields})
    return message


async def test_sending_answers_the_message(alice: Client) -> None:
    room_id = await make_channel(alice, "talk")
    message = await send(alice, room_id, "hello", _id="chosen", bot={"i": "js.SDK"})
    assert (message["_id"], message["rid"], message["msg"]) == ("chosen", room_id, "hello")
    assert isinstance(message["ts"]["$date"], int)
    assert message["bot"] == {"i": "js.SDK"}
    assert await result(alice, "getSingleMessage", "chosen") == message
    trailing = await result(alice, "sendMessage", {"rid": room_id, "msg": "more"}, "")
    assert trailing["msg"] == "more"
    assert (await result(alice, "sendMessage", {"rid": room_id, "msg": "p"}, ["https://x.example"]))["msg"] == "p"


@pytest.mark.parametrize(
    "message",
    [
        None,
        "text",
        {},
        {"msg": "no room"},
        {"rid": {"$ne": ""}, "msg": "x"},
        {"rid": "GENERAL", "msg": {"$ne": ""}},
        {"rid": "GENERAL", "msg": "x", "_id": {"$ne": ""}},
        {"rid": "GENERAL", "msg": "x", "tmid": ["x"]},
        {"rid": "GENERAL", "msg": "x", "attachments": [5]},
        {"rid": "GENERAL", "msg": "x", "attachments": [{"title_link": "javascript:x"}]},
    ],
)
async def test_hostile_messages_are_refused(alice: Client, message: Any) -> None:
    assert await error(alice, "sendMessage", message) == 400


@pytest.mark.parametrize("depth", [70, 250, 300, 900, 1020, 100_000])
async def test_a_message_that_is_nested_too_deeply(alice: Client, depth: int) -> None:
    message = '{"rid":"GENERAL","msg":"x","attachments":[{"extra":' + '{"a":' * depth + "1" + "}" * depth + "}]}"
    frame = '{"msg":"method","id":"7","method":"sendMessage","params":[' + message + "]}"
    called = await alice.request("POST", "method.call/sendMessage", json={"message": frame})
    assert (called.status_code, called.json()["error"]) == (400, "Invalid method call")
    posted = await alice.request("POST", "chat.sendMessage", content='{"message":' + message + "}")
    assert (posted.status_code, posted.json()["errorType"]) == (400, "error-invalid-json")


async def test_changing_and_deleting(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "drafts", members=["bob"])
    message = await send(alice, room_id, "teh")
    assert await result(alice, "updateMessage", {**message, "msg": "the"}) is None
    edited = await result(bob, "getSingleMessage", message["_id"])
    assert (edited["msg"], edited["editedBy"]["username"]) == ("the", "alice")
    assert isinstance(edited["editedAt"]["$date"], int)
    assert await error(bob, "updateMessage", {**message, "msg": "mine"}) == "error-action-not-allowed"
    assert await error(bob, "deleteMessage", {"_id": message["_id"]}) == "error-action-not-allowed"
    assert await result(alice, "deleteMessage", {"_id": message["_id"]}) is None
    assert await result(alice, "getSingleMessage", message["_id"]) is None
    assert await error(alice, "deleteMessage", {"_id": message["_id"]}) == "error-message-not-found"
    assert await error(alice, "updateMessage", {"_id": "ghost", "rid": room_id, "msg": "x"}) == (
        "error-message-not-found"
    )


async def test_reactions_toggle(alice: Client) -> None:
    room_id = await make_channel(alice, "applause")
    message_id = (await send(alice, room_id, "ta-da"))["_id"]
    assert await result(alice, "setReaction", ":clap:", message_id) is True
    message = await result(alice, "getSingleMessage", message_id)
    assert message["reactions"] == {":clap:": {"usernames": ["alice"]}}
    await result(alice, "setReaction", "clap", message_id, "")
    assert "reactions" not in await result(alice, "getSingleMessage", message_id)
    await result(alice, "setReaction", "clap", message_id, False)
    assert "reactions" not in await result(alice, "getSingleMessage", message_id)
    assert await error(alice, "setReaction", "clap", "ghost") == "error-message-not-found"
    assert await error(alice, "setReaction", {"$ne": ""}, message_id) == 400


async def test_history_is_loaded_in_every_direction(alice: Client) -> None:
    room_id = await make_channel(alice, "annals")
    sent = [await send(alice, room_id, str(number)) for number in range(6)]
    at = [message["ts"] for message in sent]

    def texts(messages: list[dict[str, Any]]) -> list[str]:
        return [message["msg"] for message in messages]

    newest = await result(alice, "loadHistory", room_id, None, 3)
    assert texts(newest["messages"]) == ["5", "4", "3"]
    older = await result(alice, "loadHistory", room_id, at[3], 50, at[0], False)
    assert texts(older["messages"]) == ["2", "1", "0"]
    unread = await result(alice, "loadHistory", room_id, None, 2, at[0])
    assert unread["unreadNotLoaded"] == 3
    assert unread["firstUnread"]["_id"] == sent[1]["_id"]
    following = await result(alice, "loadNextMessages", room_id, at[2], 2)
    assert texts(following["messages"]) == ["3", "4"]
    missed = await result(alice, "loadMissedMessages", room_id, at[3])
    assert texts(missed) == ["5", "4"]
    around = await result(alice, "loadSurroundingMessages", {"_id": sent[3]["_id"], "rid": room_id}, 2)
    assert texts(around["messages"]) == ["2", "3", "4"]
    assert (around["moreBefore"], around["moreAfter"]) == (True, True)
    assert texts((await result(alice, "loadSurroundingMessages", {"_id": sent[3]["_id"]}))["messages"])[-6:] == [
        str(number) for number in range(6)
    ]
    assert await result(alice, "loadSurroundingMessages", {"_id": "ghost"}) is False
    between = {"rid": room_id, "latest": at[4], "oldest": at[1], "inclusive": True, "count": 3}
    assert texts((await result(alice, "getChannelHistory", between))["messages"]) == ["4", "3", "2"]
    assert await error(alice, "loadHistory", room_id, {"$date": "x"}, 5) == 400
    assert await error(alice, "loadHistory", room_id, None, 10**12) == 400


async def test_messages_are_synchronised(alice: Client) -> None:
    room_id = await make_channel(alice, "ledger")
    first, second = await send(alice, room_id, "first"), await send(alice, room_id, "second")
    await result(alice, "deleteMessage", {"_id": first["_id"]})
    await result(alice, "updateMessage", {"_id": second["_id"], "msg": "changed"})
    found = await result(alice, "messages/get", room_id, {"lastUpdate": second["_updatedAt"]})
    assert [message["msg"] for message in found["updated"]] == ["changed"]
    assert [gone["_id"] for gone in found["deleted"]] == [first["_id"]]
    page = await result(alice, "messages/get", room_id, {"count": 1})
    assert [message["msg"] for message in page["messages"]] == ["changed"]


async def test_threads(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "loom", members=["bob"])
    root = await send(alice, room_id, "root")
    for number in range(3):
        await send(bob, room_id, f"reply {number}", tmid=root["_id"])
    assert (await alice.get("subscriptions.getOne", roomId=room_id))["subscription"]["tunread"] == [root["_id"]]
    thread = await result(alice, "getThreadMessages", {"tmid": root["_id"]})
    assert [message["msg"] for message in thread] == ["root", "reply 2", "reply 1", "reply 0"]
    assert "tunread" not in (await alice.get("subscriptions.getOne", roomId=room_id))["subscription"]
    part = await result(alice, "getThreadMessages", {"tmid": root["_id"], "limit": 1, "skip": 1})
    assert [message["msg"] for message in part] == ["root", "reply 1"]
    assert [one["_id"] for one in await result(bob, "getThreadsList", {"rid": room_id})] == [root["_id"]]
    await result(bob, "unfollowMessage", {"mid": root["_id"]})
    await send(alice, room_id, "last", tmid=root["_id"])
    assert "tunread" not in (await bob.get("subscriptions.getOne", roomId=room_id))["subscription"]
    await result(bob, "followMessage", {"mid": root["_id"]})
    await send(alice, room_id, "very last", tmid=root["_id"])
    assert (await bob.get("subscriptions.getOne", roomId=room_id))["subscription"]["tunread"] == [root["_id"]]
    assert await result(bob, "readThreads", root["_id"]) is None
    assert "tunread" not in (await bob.get("subscriptions.getOne", roomId=room_id))["subscription"]


async def test_a_thread_is_read_by_those_who_only_look(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "window")
    root = await send(alice, room_id, "root")
    await send(alice, room_id, "reply", tmid=root["_id"])
    assert len(await result(bob, "getThreadMessages", {"tmid": root["_id"]})) == 2


async def test_search(alice: Client) -> None:
    room_id = await make_channel(alice, "library")
    for text in ("red apple", "green apple"):
        await send(alice, room_id, text)
    found = await result(alice, "messageSearch", "apple", room_id, 1)
    assert [message["msg"] for message in found["message"]["docs"]] == ["green apple"]
    found = await result(alice, "rocketchatSearch.search", "red", {"rid": room_id}, {})
    assert [message["msg"] for message in found["message"]["docs"]] == ["red apple"]
    assert await result(alice, "rocketchatSearch.search", "red", {}, None) == {"message": {"docs": []}}
    assert (await result(alice, "rocketchatSearch.getProvider"))["key"]


async def test_forbidden_messages_answer_as_unknown_ones(alice: Client, bob: Client) -> None:
    secret = (await send(alice, await make_group(alice, "secret"), "s3cret"))["_id"]
    for method, parameters in (
        ("getSingleMessage", lambda id: [id]),
        ("setReaction", lambda id: ["clap", id]),
        ("updateMessage", lambda id: [{"_id": id, "msg": "x"}]),
        ("updateMessage", lambda id: [{"_id": id, "rid": "GENERAL", "msg": "x"}]),
        ("deleteMessage", lambda id: [{"_id": id}]),
        ("getThreadMessages", lambda id: [{"tmid": id}]),
        ("followMessage", lambda id: [{"mid": id}]),
        ("readThreads", lambda id: [id]),
        ("unreadMessages", lambda id: [{"_id": id}]),
        ("loadSurroundingMessages", lambda id: [{"_id": id}]),
    ):
        forbidden = await bob.call(method, *parameters(secret))
        assert forbidden == await bob.call(method, *parameters("q" * 17)), method
        if method == "followMessage":
            assert forbidden["error"]["error"] == "error-invalid-message"
