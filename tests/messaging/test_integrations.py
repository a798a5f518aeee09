"""Integrations and incoming webhooks at the service: who may keep them, what they may say, and who may post."""

import asyncio
from typing import Any

import orjson
import pytest

from palaver.errors import NotAllowed, PalaverError
from palaver.events import WORKSPACE
from palaver.log.secrets import without_secrets
from palaver.messaging.integrations import rules
from palaver.v1.event_pb2 import Actor
from palaver.v1.integration_pb2 import (
    IntegrationRequest,
    ListIntegrationsRequest,
    PostByWebhookRequest,
    SaveIntegrationRequest,
)
from palaver.v1.messaging_pb2 import ListMessagesRequest, MessageRequest
from tests.messaging.helpers import ADMIN, Chat, Document, loaded, refused

INCOMING, OUTGOING = "webhook-incoming", "webhook-outgoing"


async def save(chat: Chat, actor: Actor, id: str = "", type: str = INCOMING, **fields: Any) -> Document:
    request = SaveIntegrationRequest(actor=actor, integration_id=id, type=type, set=orjson.dumps(fields))
    return loaded((await chat.messaging.save_integration(request)).integration)


async def make(chat: Chat, actor: Actor = ADMIN, **fields: Any) -> Document:
    """An incoming webhook of GENERAL."""
    defaults = {"name": "CI", "enabled": True, "username": "boss", "channel": "#general", "scriptEnabled": False}
    return await save(chat, actor, **{**defaults, **fields})


async def get(chat: Chat, actor: Actor, id: str) -> Document:
    return loaded(
        (await chat.messaging.get_integration(IntegrationRequest(actor=actor, integration_id=id))).integration
    )


async def names(chat: Chat, actor: Actor, **fields: Any) -> list[str]:
    reply = await chat.messaging.list_integrations(ListIntegrationsRequest(actor=actor, **fields))
    assert reply.total >= len(reply.documents)
    return [loaded(document)["name"] for document in reply.documents]


async def post(chat: Chat, integration: Document, text: str = "hello", *targets: str, **extra: Any) -> None:
    thread_id = extra.pop("tmid", "")
    request = PostByWebhookRequest(
        actor=Actor(kind=Actor.INTEGRATION, id=integration["_id"]),
        token=integration["token"],
        targets=targets,
        text=text,
        thread_id=thread_id,
        extra=orjson.dumps(extra) if extra else b"",
    )
    await chat.messaging.post_by_webhook(request)


async def said(chat: Chat, actor: Actor, room_id: str) -> list[Document]:
    """What was said in a room, oldest first."""
    request = ListMessagesRequest(actor=actor, room_id=room_id, ascending=True, count=50)
    found = [loaded(message) for message in (await chat.messaging.list_messages(request)).messages]
    return [message for message in found if "t" not in message]


async def test_made_changed_and_removed(chat: Chat) -> None:
    made = await make(chat, alias="Builder", emoji=":hammer:")
    assert made["type"] == INCOMING
    assert made["channel"] == ["#general"]
    assert (made["username"], made["userId"]) == ("boss", ADMIN.id)
    assert made["_createdBy"] == {"_id": ADMIN.id, "username": "boss"}
    assert len(made["token"]) > 30
    assert (made["scriptEnabled"], made["overrideDestinationChannelEnabled"]) == (False, False)
    assert await get(chat, ADMIN, made["_id"]) == made
    await chat.user("helper", roles=["bot"])
    changed = await save(chat, ADMIN, made["_id"], name="CD", channel="#general, @helper", username="helper")
    assert changed["token"] == made["token"]
    assert changed["channel"] == ["#general", "@helper"]
    assert changed["alias"] == "Builder"
    assert await names(chat, ADMIN) == ["CD"]
    removed = await chat.messaging.remove_integration(IntegrationRequest(actor=ADMIN, integration_id=made["_id"]))
    assert loaded(removed.integration)["_id"] == made["_id"]
    assert await names(chat, ADMIN) == []
    with refused("error-integration-not-found"):
        await get(chat, ADMIN, made["_id"])
    with refused("error-integration-not-found"):
        await save(chat, ADMIN, made["_id"], name="again")
    with refused("error-integration-not-found"):
        await post(chat, made)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"channel": ""}, "error-invalid-channel"),
        ({"channel": "general"}, "error-invalid-channel-start-with-chars"),
        ({"channel": "#nowhere"}, "error-invalid-room"),
        ({"channel": "@nobody"}, "error-invalid-room"),
        ({"username": "nobody"}, "error-invalid-user"),
        ({"username": ""}, "error-invalid-user"),
        ({"scriptEnabled": True, "script": "x"}, "error-not-implemented"),
        ({"name": {"$ne": 1}}, "error-invalid-params"),
        ({"_id": "mine"}, "error-invalid-params"),
        ({"userId": "x"}, "error-invalid-params"),
        ({"urls": ["http://x/"]}, "error-invalid-params"),
        ({"token": "chosen"}, "error-invalid-params"),
        ({"alias": "x" * 2000}, "error-invalid-params"),
        ({"type": "webhook-strange"}, "error-invalid-integration-type"),
    ],
)
async def test_what_an_integration_may_not_say(inside: Chat, fields: dict[str, Any], code: str) -> None:
    with refused(code):
        await make(inside, **fields)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"event": "nonsense"}, "error-invalid-event-type"),
        ({"urls": []}, "error-invalid-urls"),
        ({"urls": ["file:///etc/passwd"]}, "error-invalid-url"),
        ({"channel": ""}, "error-invalid-channel"),
        ({"targetRoom": "general"}, "error-invalid-targetRoom-start-with-chars"),
        ({"retryCount": 1000}, "error-invalid-retryCount"),
        ({"retryDelay": "daily"}, "error-invalid-retryDelay"),
    ],
)
def test_what_an_outgoing_one_may_not_say(fields: dict[str, Any], code: str) -> None:
    right = {"event": "sendMessage", "urls": ["http://hooks.example.org/"], "channel": "#general"}
    assert rules.apply(rules.read_fields(orjson.dumps(right)), {}, OUTGOING)["retryCount"] == 6
    with pytest.raises(PalaverError) as caught:
        rules.apply(rules.read_fields(orjson.dumps({**right, **fields})), {}, OUTGOING)
    assert caught.value.error_code == code


async def test_who_may(chat: Chat) -> None:
    alice, bob = await chat.users("alice", "bob")
    await chat.join(alice, "GENERAL")
    room = await chat.room(bob, "bobs", type="p")
    theirs = await make(chat)
    with refused("not_authorized"):
        await make(chat, alice, username="alice")
    with refused("unauthorized"):
        await names(chat, alice)
    with refused("not_authorized"):
        await get(chat, alice, theirs["_id"])
    await chat.grant("manage-own-incoming-integrations", "admin", "user")
    own = await make(chat, alice, name="own", username="alice")
    assert await names(chat, alice) == ["own"]
    assert sorted(await names(chat, ADMIN)) == ["CI", "own"]
    for work in (
        get(chat, alice, theirs["_id"]),
        save(chat, alice, theirs["_id"], name="taken"),
        get(chat, bob, own["_id"]),
        chat.messaging.remove_integration(IntegrationRequest(actor=bob, integration_id=own["_id"])),
    ):
        with refused("error-integration-not-found"):
            await work
    with refused("error-invalid-post-as-user"):
        await make(chat, alice, username="bob")
    with refused("error-invalid-post-as-user"):
        await save(chat, alice, own["_id"], username="boss")
    with refused("error-invalid-room"):
        await make(chat, alice, username="alice", channel=f"#{room['name']}")
    with refused("not_authorized"):
        await save(chat, alice, type=OUTGOING, event="userCreated", urls=["http://x/"], username="alice")
    await make(chat, alice, name="as a bot", username="rocket.cat")
    await make(chat, name="an admin chooses anybody", username="bob", channel=f"#{room['name']}")


async def test_lists(chat: Chat) -> None:
    alice = await chat.user("alice")
    await chat.room(ADMIN, "other")
    await make(chat, name="one")
    await make(chat, name="two", channel="#other")
    await make(chat, name="three", channel="#general,#other", enabled=False)
    assert await names(chat, ADMIN) == ["three", "two", "one"]
    assert await names(chat, ADMIN, count=1, offset=1) == ["two"]
    assert await names(chat, ADMIN, sort=b'[["name", 1]]') == ["one", "three", "two"]
    assert await names(chat, ADMIN, channels=["#general"]) == ["three", "one"]
    assert await names(chat, ADMIN, filter=b'{"enabled": false}') == ["three"]
    for filter in (b'{"token": "x"}', b'{"_createdBy": "x"}'):
        with refused("error-invalid-query"):
            await names(chat, ADMIN, filter=filter)
    with pytest.raises(NotAllowed):
        await names(chat, alice)


async def test_posting(chat: Chat) -> None:
    alice = await chat.user("alice")
    room = await chat.room(ADMIN, "builds")
    made = await make(chat, username="alice", channel="#builds", alias="Builder", emoji=":hammer:")
    await post(chat, made, "it works @alice")
    await post(chat, made, "", attachments=[{"text": "details"}], alias="Other", avatar="http://x/y.png")
    first, second = await said(chat, alice, room["_id"])  # its user has entered the public room
    assert (first["msg"], first["bot"]) == ("it works @alice", {"i": made["_id"]})
    assert first["u"]["username"] == "alice"
    assert (first["alias"], first["emoji"]) == ("Builder", ":hammer:")
    assert [mention["username"] for mention in first["mentions"]] == ["alice"]
    assert (second["alias"], second["avatar"]) == ("Other", "http://x/y.png")
    assert second["attachments"] == [{"text": "details"}]
    await post(chat, made, "a reply", tmid=first["_id"])
    root = await chat.messaging.get_message(MessageRequest(actor=alice, message_id=first["_id"]))
    assert loaded(root.message)["tcount"] == 1
    with refused("error-invalid-message"):
        await post(chat, made, " ", groupable=False)
    await post(chat, made, "")  # somebody tries the address
    with refused("error-message-size-exceeded"):
        await post(chat, made, "x" * 6000)
    with refused("error-invalid-channel", "overriding destination channel is disabled for this integration"):
        await post(chat, made, "elsewhere", "#general")
    with refused("error-invalid-channel", "overriding destination channel is disabled for this integration"):
        await post(chat, made, "to somebody who is called like the room", f"@{room['name']}")
    await post(chat, made, "by its bare name", room["name"])
    assert (await said(chat, alice, room["_id"]))[-1]["msg"] == "by its bare name"
    await save(chat, ADMIN, made["_id"], overrideDestinationChannelEnabled=True)
    await post(chat, made, "elsewhere", "#general", "@boss", room["_id"])
    assert [message["msg"] for message in await said(chat, alice, "GENERAL")] == ["elsewhere"]
    assert (await said(chat, alice, room["_id"]))[-1]["msg"] == "elsewhere"
    direct = await chat.direct(ADMIN, "alice")
    assert [message["msg"] for message in await said(chat, ADMIN, direct["_id"])] == ["elsewhere"]


async def test_who_may_not_post(chat: Chat) -> None:
    alice, bob = await chat.users("alice", "bob")
    private = await chat.room(ADMIN, "private", type="p")
    made = await make(chat, username="alice", overrideDestinationChannelEnabled=True)
    with refused("error-integration-not-found", "Invalid integration id or token provided."):
        await post(chat, {**made, "token": made["token"][:-1] + "?"})
    with refused("error-integration-not-found"):
        await post(chat, {**made, "token": ""})
    with refused("error-integration-not-found"):
        await post(chat, {**made, "_id": "unknown"})
    request = PostByWebhookRequest(actor=alice, token=made["token"], text="x")
    with refused("error-integration-not-found"):
        await chat.messaging.post_by_webhook(request)
    for target in (private["_id"], "#private", "#nowhere", "@nobody", "nonsense"):
        with refused("error-invalid-channel"):
            await post(chat, made, "x", target)
    assert await said(chat, ADMIN, private["_id"]) == []
    # A room that its user may not write in is none for the integration either.
    quiet = await chat.room(ADMIN, "quiet", "alice", read_only=True)
    with refused("error-not-allowed"):
        await post(chat, made, "x", quiet["_id"])
    await save(chat, ADMIN, made["_id"], enabled=False)
    with refused("error-integration-disabled"):
        await post(chat, made)
    outgoing = await save(
        chat,
        ADMIN,
        type=OUTGOING,
        name="out",
        enabled=True,
        username="boss",
        event="sendMessage",
        channel="#general",
        urls=["http://hooks.example.org/"],
        token="chosen",
    )
    with refused("error-integration-not-found"):
        await post(chat, outgoing)
    assert await said(chat, bob, "GENERAL") == []


async def test_tokens_stay_in_the_database(inside: Chat) -> None:
    made = await make(inside)
    (event,) = [
        e for e in await inside.database.list_events(WORKSPACE, 0) if e.WhichOneof("fact") == "integration_saved"
    ]
    assert made["token"].encode() in event.SerializeToString()
    assert made["token"].encode() not in without_secrets(event).SerializeToString()
    assert loaded(without_secrets(event).integration_saved.integration)["name"] == "CI"


async def test_two_at_once_are_both_made(chat: Chat) -> None:
    await asyncio.gather(*(make(chat, name=f"number {n}") for n in range(5)))
    assert len(await names(chat, ADMIN)) == 5
