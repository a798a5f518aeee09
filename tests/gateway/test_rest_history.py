"""A room's messages by REST."""

import json
from typing import Any

import pytest

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group, say


async def test_history_is_told_newest_first_between_dates(alice: Client) -> None:
    room_id = await make_channel(alice, "annals")
    sent = [await say(alice, room_id, str(number)) for number in range(5)]

    async def read(**parameters: Any) -> list[str]:
        answer = await alice.get("channels.history", roomId=room_id, **parameters)
        assert answer["count"] == len(answer["messages"])
        return [message["msg"] for message in answer["messages"]]

    assert await read() == ["4", "3", "2", "1", "0"]
    assert await read(count=2) == ["4", "3"]
    assert await read(count=2, offset=2) == ["2", "1"]
    assert await read(oldest=sent[2]["ts"]) == ["4", "3"]
    assert await read(oldest=sent[2]["ts"], inclusive="true") == ["4", "3", "2"]
    assert await read(latest=sent[2]["ts"]) == ["1", "0"]
    assert await read(oldest=sent[0]["ts"], latest=sent[3]["ts"]) == ["2", "1"]
    unread = await alice.get("channels.history", roomId=room_id, oldest=sent[0]["ts"], count=2, unreads="true")
    assert unread["unreadNotLoaded"] == 2
    assert unread["firstUnread"]["_id"] == sent[1]["_id"]
    assert (await alice.get("channels.history", 400, roomId=room_id, latest="soon"))[
        "errorType"
    ] == "error-invalid-date"
    await alice.get("channels.history", 400, roomId=room_id, inclusive="perhaps")


@pytest.mark.parametrize(("face", "shown"), [("channels", False), ("groups", True)])
async def test_history_shows_replies_where_it_is_asked_to(alice: Client, face: str, shown: bool) -> None:
    make = make_channel if face == "channels" else make_group
    room_id = await make(alice, "threads")
    root = await say(alice, room_id, "root")
    await say(alice, room_id, "reply", tmid=root["_id"])
    for parameters, wanted in (
        ({}, shown),
        ({"showThreadMessages": "true"}, True),
        ({"showThreadMessages": "false"}, False),
    ):
        answer = await alice.get(f"{face}.history", roomId=room_id, **parameters)
        assert ("reply" in [message["msg"] for message in answer["messages"]]) is wanted


async def test_pages_of_messages(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "folio", members=["bob"])
    for number in range(3):
        await say(alice if number % 2 else bob, room_id, str(number))
    page = await alice.get("channels.messages", roomId=room_id, count=2, query='{"t":{"$exists":false}}')
    assert [message["msg"] for message in page["messages"]] == ["2", "1"]
    assert (page["count"], page["offset"], page["total"]) == (2, 0, 3)
    ascending = await alice.get("channels.messages", roomId=room_id, sort='{"ts":1}', fields='{"msg":1}')
    assert [message["msg"] for message in ascending["messages"]][-3:] == ["0", "1", "2"]
    own = await alice.get("channels.messages", roomId=room_id, query=json.dumps({"u._id": bob.user_id}))
    assert {message["u"]["username"] for message in own["messages"]} == {"bob"}
    await alice.get("channels.messages", 400, roomId=room_id, query='{"msg":{"$regex":"a.*b"}}')


async def test_anonymous_reading_is_a_setting(anybody: Client, admin: Client) -> None:
    await say(admin, "GENERAL", "hear ye")
    closed = await anybody.get("channels.anonymousread", 400, roomId="GENERAL")
    assert closed["errorType"] == "error-not-allowed"
    await admin.post("settings/Accounts_AllowAnonymousRead", value=True)
    read = await anybody.get("channels.anonymousread", roomName="general")
    assert [message["msg"] for message in read["messages"] if "t" not in message] == ["hear ye"]
    secret = await make_group(admin, "secret")
    await anybody.get("channels.anonymousread", 400, roomId=secret)
