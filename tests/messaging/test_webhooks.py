"""Outgoing webhooks, against servers of other people's: what is posted when, again and again, and what is said back."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from palaver.errors import Unavailable
from palaver.messaging.integrations import deliveries
from palaver.messaging.integrations.outgoing import Outgoing
from palaver.messaging.integrations.sending import POSTED
from palaver.v1.event_pb2 import Actor, Event, MessageSent
from palaver.v1.integration_pb2 import DeliveryRequest, IntegrationRequest, ListDeliveriesRequest
from tests.messaging.crashing import dying
from tests.messaging.helpers import ADMIN, Chat, Document, loaded, refused
from tests.messaging.test_integrations import OUTGOING, said, save
from tests.messaging.test_uploads import add
from tests.outside import Answer, Outside, Request, outside
from tests.services import Transport, service_nodes

ROLES = ("auth", "presence", "messaging")


@pytest.fixture
async def chat(tmp_path: Path, transport: Transport, cheap_hashes: None) -> AsyncIterator[Chat]:
    async with service_nodes(tmp_path, ROLES, transport, outbound_allowed="127.0.0.1") as running:
        yield Chat(running)


async def make(chat: Chat, site: Outside, actor: Actor = ADMIN, **fields: Any) -> Document:
    """An outgoing webhook of every public channel."""
    defaults = {
        "name": "out",
        "enabled": True,
        "username": "boss",
        "event": "sendMessage",
        "channel": "all_public_channels",
        "urls": [f"{site.url}/hook"],
        "token": "our secret",
        "scriptEnabled": False,
    }
    return await save(chat, actor, type=OUTGOING, **{**defaults, **fields})


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 90) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def posted(site: Outside, count: int) -> list[Document]:
    """The first posts, once there are so many."""

    async def has_come() -> bool:
        return len(site.requests) >= count

    await until(has_come)
    return [json.loads(request.body) for request in site.requests]


async def history(chat: Chat, integration: Document) -> list[Document]:
    request = ListDeliveriesRequest(actor=ADMIN, integration_id=integration["_id"])
    return [loaded(document) for document in (await chat.messaging.list_deliveries(request)).documents]


async def finished(chat: Chat, integration: Document, count: int = 1) -> list[Document]:
    """The history, once so many deliveries have ended."""
    found: list[Document] = []

    async def is_done() -> bool:
        found[:] = await history(chat, integration)
        return len(found) >= count and all(delivery["finished"] for delivery in found)

    await until(is_done)
    return found


async def test_a_message_is_posted(chat: Chat) -> None:
    alice = await chat.user("alice")
    room = await chat.room(alice, "builds")
    group = await chat.room(alice, "secret", type="p")
    async with outside({"/hook": Answer()}) as site:
        made = await make(chat, site)
        await chat.send(alice, group["_id"], "not this")
        await chat.send(alice, room["_id"], "hello", message_id="theMessageOfAlice")
        (data,) = await posted(site, 1)
        (delivery,) = await finished(chat, made)
    assert data.pop("timestamp").endswith("Z")
    assert data == {
        "token": "our secret",
        "bot": False,
        "siteUrl": "http://chat.example.org",
        "channel_id": room["_id"],
        "channel_name": "builds",
        "message_id": "theMessageOfAlice",
        "user_id": alice.id,
        "user_name": "alice",
        "text": "hello",
    }
    assert site.requests[0].method == "POST"
    assert site.requests[0].headers["content-type"] == "application/json"
    assert (delivery["event"], delivery["attempts"], delivery["error"]) == ("sendMessage", 1, False)
    assert delivery["data"]["text"] == "hello"
    assert "our secret" not in json.dumps(delivery)


async def test_trigger_words_channels_and_edits(chat: Chat) -> None:
    alice, bob = await chat.users("alice", "bob")
    room = await chat.room(alice, "builds")
    other = await chat.room(alice, "other")
    direct = await chat.direct(alice, "bob")
    async with outside({"/hook": Answer()}) as site:
        await make(chat, site, channel="#builds,@bob", triggerWords=["!go", "please"])
        for text in ("no", "oh please", "please do"):
            await chat.send(alice, room["_id"], text)
        await chat.send(alice, other["_id"], "please not here")
        await chat.send(bob, direct["_id"], "!go on", message_id="aMessageOfBobsOwn")
        await posted(site, 2)
        await chat.edit(bob, "aMessageOfBobsOwn", "!go back")
        found = await posted(site, 3)
        assert sorted((data["text"], data["trigger_word"]) for data in found) == [
            ("!go back", "!go"),
            ("!go on", "!go"),
            ("please do", "please"),
        ]
        assert [data["text"] for data in found if data.get("isEdited")] == ["!go back"]


async def test_other_events(chat: Chat) -> None:
    async with outside({"/hook": Answer()}) as site:
        for event in ("userCreated", "roomCreated", "roomArchived", "roomJoined", "roomLeft"):
            await make(chat, site, event=event, urls=[f"{site.url}/hook?{event}"])
        alice, bob = await chat.users("alice", "bob")
        await posted(site, 2)
        room = await chat.room(alice, "builds")
        await chat.join(bob, room["_id"])
        await chat.leave(bob, room["_id"])
        await chat.update_room(alice, room["_id"], archived=True)
        await posted(site, 6)
        found = [(request.target.partition("?")[2], json.loads(request.body)) for request in site.requests]
    for event, data in found:
        assert event == "userCreated" or (data["room"]["name"], data["room"]["ts"][-1]) == ("builds", "Z")
        assert (data.get("owner") == data["user"]) is (event == "roomCreated")
    shown = sorted((event, data.get("channel_name"), data["user_name"]) for event, data in found)
    assert shown == [
        ("roomArchived", "builds", "alice"),
        ("roomCreated", "builds", "alice"),
        ("roomJoined", "builds", "bob"),
        ("roomLeft", "builds", "bob"),
        ("userCreated", None, "alice"),
        ("userCreated", None, "bob"),
    ]


async def test_a_file_is_a_message_too(chat: Chat) -> None:
    alice = await chat.user("alice")
    room_id = (await chat.room(alice, "builds"))["_id"]
    async with outside({"/hook": Answer()}) as site:
        for event in ("fileUploaded", "sendMessage"):
            await make(chat, site, event=event, urls=[f"{site.url}/hook?{event}"])
        upload = await add(chat, alice, room_id, name="a.txt")
        sent = await chat.send(alice, room_id, "", upload_id=upload["_id"])
        await posted(site, 2)
        found = {request.target.partition("?")[2]: json.loads(request.body) for request in site.requests}
    for data in found.values():
        assert (data["message_id"], data["user_name"], data["text"]) == (sent["_id"], "alice", "")
    assert "message" not in found["sendMessage"]
    shown = found["fileUploaded"]
    assert (shown["user"]["_id"], shown["room"]["_id"], shown["file"]["name"]) == (alice.id, room_id, "a.txt")
    assert shown["message"]["ts"] == shown["timestamp"]
    assert shown["message"]["attachments"][0]["title_link"] == sent["attachments"][0]["title_link"]


async def test_an_answer_is_said_once_and_triggers_nothing(chat: Chat) -> None:
    alice = await chat.user("alice")
    room = await chat.room(alice, "builds")
    answer = json.dumps({"text": "you said so", "username": "Echo", "attachments": [{"text": "more"}]}).encode()
    async with outside({"/hook": Answer(200, answer)}) as site:
        made = await make(chat, site)
        await chat.send(alice, room["_id"], "hello")
        (delivery,) = await finished(chat, made)
        request = DeliveryRequest(actor=ADMIN, integration_id=made["_id"], delivery_id=delivery["_id"])
        await chat.messaging.replay_delivery(request)
        await posted(site, 2)
        await finished(chat, made)
        assert len(site.requests) == 2
        assert site.requests[0].headers["x-palaver-delivery"] == site.requests[1].headers["x-palaver-delivery"]
    _, echo = await said(chat, alice, room["_id"])
    assert (echo["msg"], echo["alias"], echo["bot"]) == ("you said so", "Echo", {"i": made["_id"]})
    assert echo["attachments"] == [{"text": "more"}]
    assert echo["u"]["username"] == "boss"


async def test_what_fails_is_tried_again(chat: Chat) -> None:
    room = await chat.room(ADMIN, "builds")
    statuses = iter((500, 503, 200))

    async def answer(request: Request) -> Answer:
        return Answer(next(statuses))

    async with outside({"/hook": answer, "/gone": Answer(410), "/down": Answer(500, b"broken")}) as site:
        made = await make(chat, site)
        gone = await make(chat, site, urls=[f"{site.url}/gone"])
        down = await make(chat, site, urls=[f"{site.url}/down"], retryCount=1)
        inner = await make(chat, site, urls=["http://192.168.0.1/"])
        never = await make(chat, site, urls=[f"{site.url}/down"], retryFailedCalls=False)
        await chat.send(ADMIN, room["_id"], "hello")
        results = {
            name: (await finished(chat, one))[0]
            for name, one in {"made": made, "gone": gone, "down": down, "inner": inner, "never": never}.items()
        }
    shown = {name: (delivery["attempts"], delivery["error"]) for name, delivery in results.items()}
    assert shown == {"made": (3, False), "gone": (1, True), "down": (2, True), "inner": (1, True), "never": (1, True)}
    assert results["down"]["httpResult"] == "broken"
    assert "error-url-not-allowed" in results["inner"]["httpError"]


async def test_a_silent_server_keeps_no_other_waiting(chat: Chat) -> None:
    room = await chat.room(ADMIN, "builds")
    woken = asyncio.Event()

    async def wait(request: Request) -> Answer:
        await woken.wait()
        return Answer()

    async with outside({"/hook": wait}) as silent, outside({"/hook": Answer()}) as quick:
        slow = await make(chat, silent)
        fast = await make(chat, quick)
        for number in range(8):
            await chat.send(ADMIN, room["_id"], f"number {number}")
        await posted(quick, 8)
        await finished(chat, fast, 8)
        assert len(silent.requests) <= 4
        woken.set()
        await finished(chat, slow, 8)


async def test_what_was_cleared_removed_or_disabled_is_posted_no_more(chat: Chat) -> None:
    room = await chat.room(ADMIN, "builds")
    async with outside({"/hook": Answer()}) as site:
        made = await make(chat, site)
        await chat.send(ADMIN, room["_id"], "one")
        (delivery,) = await finished(chat, made)
        await chat.messaging.clear_deliveries(IntegrationRequest(actor=ADMIN, integration_id=made["_id"]))
        assert await history(chat, made) == []
        with refused("error-invalid-integration-history"):
            await chat.messaging.replay_delivery(
                DeliveryRequest(actor=ADMIN, integration_id=made["_id"], delivery_id=delivery["_id"])
            )
        await save(chat, ADMIN, made["_id"], type=OUTGOING, enabled=False)
        marker = await make(chat, site, urls=[f"{site.url}/hook?marker"])
        await chat.send(ADMIN, room["_id"], "two")
        await finished(chat, marker)
        await chat.messaging.remove_integration(IntegrationRequest(actor=ADMIN, integration_id=marker["_id"]))
        with refused("error-integration-not-found"):
            await history(chat, marker)
    assert [request.target for request in site.requests] == ["/hook", "/hook?marker"]


async def test_who_may_look(chat: Chat) -> None:
    alice = await chat.user("alice")
    async with outside({"/hook": Answer()}) as site:
        made = await make(chat, site)
        await chat.grant("manage-own-outgoing-integrations", "admin", "user")
        for call in (
            chat.messaging.list_deliveries(ListDeliveriesRequest(actor=alice, integration_id=made["_id"])),
            chat.messaging.clear_deliveries(IntegrationRequest(actor=alice, integration_id=made["_id"])),
            chat.messaging.replay_delivery(DeliveryRequest(actor=alice, integration_id=made["_id"], delivery_id="x")),
        ):
            with refused("error-integration-not-found"):
                await call
        with refused("error-invalid-post-as-user"):
            await make(chat, site, alice, username="alice", event="userCreated", impersonateUser=True)


async def test_nobody_is_told_what_others_say_among_themselves(chat: Chat) -> None:
    alice, bob = await chat.users("alice", "bob")
    await chat.grant("manage-own-outgoing-integrations", "admin", "user")
    own, others = await chat.direct(alice, "bob"), await chat.direct(bob, "boss")
    async with outside({"/hook": Answer()}) as site:
        with refused("error-invalid-room"):
            await make(chat, site, alice, username="alice", channel="@bob")
        await make(chat, site, alice, username="alice", channel="@alice")
        await chat.send(bob, others["_id"], "not for alice")
        await chat.send(bob, own["_id"], "for alice")
        assert [data["text"] for data in await posted(site, 1)] == ["for alice"]
        await make(chat, site, channel="@bob")


async def test_while_nobody_says_which_webhooks_there_are_events_wait(
    local: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = local.running.node
    outgoing = Outgoing(node, deliveries.Deliveries(node.database))
    message = orjson.dumps(await local.send(ADMIN, "GENERAL", "hello"))
    event = Event(stream_kind="room", stream_id="GENERAL", message_sent=MessageSent(message=message))
    concerns = outgoing.make_follower()._follower.concerns
    assert concerns(event)
    await outgoing.on_event(event)
    assert not concerns(event), "it is known that there are none"

    async def is_away(request: Any) -> Any:
        raise Unavailable

    monkeypatch.setattr(node.services.auth, "get_policy", is_away)
    await node.log.publish([Event(stream_kind="workspace", seq=node.access.policy.seq + 1)])
    assert concerns(event), "by now there may be one"
    with pytest.raises(Unavailable):
        await outgoing.on_event(event)


async def test_a_record_that_is_no_delivery_stops_no_other(chat: Chat) -> None:
    room = await chat.room(ADMIN, "builds")
    async with outside({"/hook": Answer()}) as site:
        made = await make(chat, site)
        broken = f"{made['_id']}/00000000000001-broken"
        await chat.database.put_record("webhook_deliveries", broken, {"finished": False, "due": 1, "attempts": 0})
        await chat.database.put_record("webhook_due", f"{1:014d}/{broken}", {})

        async def is_given_up() -> bool:
            record = await chat.database.find_record("webhook_deliveries", broken)
            return record is not None and record["finished"]

        await until(is_given_up)
        await chat.send(ADMIN, room["_id"], "hello")
        await posted(site, 1)


async def test_what_is_dropped_or_cleared_is_due_no_more(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "KEPT", 6)
    monkeypatch.setattr(deliveries, "_PRUNED_EVERY", 1)
    room = await chat.room(ADMIN, "builds")
    woken = asyncio.Event()

    async def wait(request: Request) -> Answer:
        await woken.wait()
        return Answer(status=500)

    async def due() -> int:
        return len(await chat.database.list_records("webhook_due", limit=100))

    async with outside({"/hook": wait}) as site:
        made = await make(chat, site, retryFailedCalls=True, retryCount=5, retryDelay="powers-of-ten")
        for number in range(15):
            await chat.send(ADMIN, room["_id"], f"number {number}")

        async def has_settled() -> bool:
            known = [one["data"]["text"] for one in await history(chat, made)]
            return "number 14" in known and len(known) == await due() == 6

        await until(has_settled)
        assert len(site.requests) <= 4
        await chat.messaging.clear_deliveries(IntegrationRequest(actor=ADMIN, integration_id=made["_id"]))
        assert await history(chat, made) == []
        assert await due() == 0
        before = POSTED.labels("failed")._value.get()
        under_way = len(site.requests)
        woken.set()

        async def have_failed() -> bool:
            return bool(POSTED.labels("failed")._value.get() >= before + under_way)

        await until(have_failed)
        await asyncio.sleep(0.1)
        assert await history(chat, made) == []
        assert await due() == 0


@pytest.mark.parametrize("point", ["webhook.after_add", "webhook.before_post", "webhook.after_post"])
async def test_a_process_that_dies_leaves_nothing_unposted(
    tmp_path: Path, transport: Transport, cheap_hashes: None, point: str
) -> None:
    async with outside({"/hook": Answer()}) as site:
        async with service_nodes(tmp_path, ROLES, transport, outbound_allowed="127.0.0.1") as running:
            chat = Chat(running)
            room = await chat.room(ADMIN, "builds")
            made = await make(chat, site)
            async with dying(point):
                await chat.send(ADMIN, room["_id"], "hello")
        before = len(site.requests)
        async with service_nodes(tmp_path, ROLES, transport, outbound_allowed="127.0.0.1") as running:
            chat = Chat(running)
            (delivery,) = await finished(chat, made)
    assert delivery["error"] is False
    assert before <= len(site.requests) <= before + 1
    assert len({request.headers["x-palaver-delivery"] for request in site.requests}) == 1
