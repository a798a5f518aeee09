"""Messages by REST: searched for, and what has changed since."""

import json
from typing import Any

import pytest

from palaver.gateway.ejson import parse_iso
from palaver.gateway.operations import reading
from palaver.messaging import paging
from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, say


async def test_search_finds_words(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "library")
    for text in ("red apple", "green apple pie", "red wine"):
        await say(alice, room_id, text)
    found = await alice.get("chat.search", roomId=room_id, searchText="apple")
    assert [message["msg"] for message in found["messages"]] == ["green apple pie", "red apple"]
    page = await alice.get("chat.search", roomId=room_id, searchText="red", count=1, offset=1)
    assert [message["msg"] for message in page["messages"]] == ["red apple"]
    assert (await alice.get("chat.search", roomId=room_id, searchText="red wi"))["messages"][0]["msg"] == "red wine"
    assert (await alice.get("chat.search", roomId=room_id, searchText=".*"))["messages"] == []
    missing = await alice.get("chat.search", 400, searchText="x")
    assert missing["errorType"] == "error-roomId-param-not-provided"
    missing = await alice.get("chat.search", 400, roomId=room_id)
    assert missing["errorType"] == "error-searchText-param-not-provided"


async def test_what_changed_since_a_date(alice: Client) -> None:
    room_id = await make_channel(alice, "ledger")
    kept, edited, deleted = [await say(alice, room_id, text) for text in ("kept", "edited", "deleted")]
    since = deleted["_updatedAt"]
    await alice.post("chat.update", roomId=room_id, msgId=edited["_id"], text="changed")
    await alice.post("chat.delete", roomId=room_id, msgId=deleted["_id"])
    result = (await alice.get("chat.syncMessages", roomId=room_id, lastUpdate=since))["result"]
    assert [message["msg"] for message in result["updated"]] == ["changed"]
    assert [gone["_id"] for gone in result["deleted"]] == [deleted["_id"]]
    assert result["deleted"][0]["_deletedAt"].endswith("Z")
    gone = await alice.get("chat.getDeletedMessages", roomId=room_id, since=since)
    assert gone["messages"] == [{"_id": deleted["_id"]}]
    assert (gone["count"], gone["offset"], gone["total"]) == (1, 0, 1)
    assert kept["_id"] not in {message["_id"] for message in result["updated"]}
    for parameters, code in (
        ({"lastUpdate": since}, "error-roomId-param-not-provided"),
        ({"roomId": room_id}, "error-lastUpdate-param-not-provided"),
        ({"roomId": room_id, "lastUpdate": "x"}, "error-roomId-param-invalid"),
    ):
        assert (await alice.get("chat.syncMessages", 400, **parameters))["errorType"] == code
    assert (await alice.get("chat.getDeletedMessages", 400, roomId=room_id, since="x"))["error"] == (
        'The "since" query parameter must be a valid date.'
    )


async def test_whoever_was_away_gets_everything(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much it is: messaging answers in parts. What is too much for a client is no half of it."""
    room_id = await make_channel(alice, "busy")
    root = first = await say(alice, room_id, "before")
    texts = [f"m{number}" for number in range(9)]
    for text in texts:
        root = await say(alice, room_id, text)
        await say(alice, room_id, f"to {text}", tmid=root["_id"])
    since = first["ts"]
    monkeypatch.setattr(paging, "MAX_BYTES", 3 * len(json.dumps(root)))
    newest_first = [text for number in reversed(texts) for text in (f"to {number}", number)]

    def said(messages: list[dict[str, Any]]) -> list[str]:
        return [message["msg"] for message in messages]

    synced = (await alice.get("chat.syncMessages", roomId=room_id, lastUpdate=since))["result"]["updated"]
    assert said(synced) == newest_first
    missed = await alice.call("loadMissedMessages", room_id, {"$date": parse_iso(since)})
    assert said(missed["result"]) == newest_first
    threads = (await alice.get("chat.syncThreadsList", rid=room_id, updatedSince=since))["threads"]["update"]
    assert said(threads) == texts[::-1]
    replies = await alice.get("chat.syncThreadMessages", tmid=root["_id"], updatedSince=since)
    assert said(replies["messages"]["update"]) == ["to m8"]
    page = await alice.get("channels.messages", roomId=room_id, count=50)
    assert (page["count"] < len(newest_first), page["total"] > page["count"]) == (True, True)
    monkeypatch.setattr(reading, "_MAX_MISSED_BYTES", 1000)
    refused = await alice.get("chat.syncMessages", 400, roomId=room_id, lastUpdate=since)
    assert refused["errorType"] == "error-too-much-changed"
    refused = await alice.get("chat.syncThreadsList", 400, rid=room_id, updatedSince=since)
    assert refused["errorType"] == "error-too-much-changed"


async def test_what_changes_while_a_client_asks_is_not_lost(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long ago it has changed before that: it has the last place then, and comes once, as it is now."""
    room_id = await make_channel(alice, "busy")
    first = await say(alice, room_id, "before")
    sent = [await say(alice, room_id, f"m{number}") for number in range(6)]
    monkeypatch.setattr(paging, "MAX_BYTES", 3 * len(json.dumps(first)))
    read, parts = reading.list_messages, 0

    async def read_and_edit(*arguments: Any, **options: Any) -> Any:
        nonlocal parts
        parts += 1
        reply = await read(*arguments, **options)
        if parts == 1:
            await alice.post("chat.update", roomId=room_id, msgId=sent[0]["_id"], text="changed")
        return reply

    monkeypatch.setattr(reading, "list_messages", read_and_edit)
    synced = await alice.get("chat.syncMessages", roomId=room_id, lastUpdate=first["ts"])
    assert parts > 1
    assert [message["msg"] for message in synced["result"]["updated"]] == ["m5", "m4", "m3", "m2", "m1", "changed"]
