"""Quotes: what the server makes of links to its own messages, and of custom fields, histories and deletions."""

from typing import Any

import orjson
import pytest

from palaver.messaging.erasure import Erasure
from palaver.messaging.quotes import linked_id
from palaver.messaging.store import Store
from tests.messaging.helpers import Chat, loaded, make_room, refused
from tests.messaging.test_uploads import add

SITE = "http://chat.example.org"


def link(message: dict[str, Any], name: str = "channel/dev") -> str:
    return f"{SITE}/{name}?msg={message['_id']}"


async def test_a_link_to_a_message_quotes_it(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    first = await chat.send(ann, room_id, "first")
    sent = await chat.send(bob, room_id, f"[ ]({link(first)}) indeed")
    assert sent["attachments"] == [
        {
            "text": "first",
            "author_name": "ann",
            "author_icon": "/avatar/ann",
            "ts": first["ts"],
            "message_link": link(first),
            "md": first["md"],
        }
    ]
    assert sent["urls"] == [{"url": link(first), "ignoreParse": True}]
    edited = await chat.edit(bob, sent["_id"], f"{link(sent)} of myself")
    assert [attachment["message_link"] for attachment in edited["attachments"]] == [link(sent)]
    assert await chat.message(ann, sent["_id"]) == edited


async def test_an_edit_quotes_what_its_text_links_to(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    first, second = await chat.send(ann, room_id, "first"), await chat.send(ann, room_id, "second")
    own = {"text": "my own", "message_link": "https://elsewhere.example"}
    sent = await chat.send(bob, room_id, "nothing", extra={"attachments": [own]})

    async def quoted_after(text: str) -> list[str]:
        await chat.edit(bob, sent["_id"], text)
        shown = await chat.message(ann, sent["_id"])
        return [attachment["text"] for attachment in shown["attachments"]]

    assert await quoted_after(f"{link(first)} {link(second)}") == ["first", "second", "my own"]
    assert await quoted_after(f"only {link(second)}") == ["second", "my own"]
    await chat.delete(ann, second["_id"])
    assert await quoted_after(f"still {link(second)}") == ["second", "my own"], "a quote is a copy"
    assert await quoted_after("none") == ["my own"]
    odd = orjson.dumps({"attachments": [{"text": "odd", "message_link": {}}]})
    assert [one["text"] for one in (await chat.edit(bob, sent["_id"], "x", extra=odd))["attachments"]] == ["odd"]
    alone = await chat.send(bob, room_id, f"[ ]({link(first)})")
    with refused("error-invalid-message"):
        await chat.edit(bob, alone["_id"], " ")


async def test_quotes_within_each_other_are_limited(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    message = await chat.send(ann, room_id, "0")
    for number in range(1, 4):
        message = await chat.send(ann, room_id, f"{link(message)} {number}")

    def depth(shown: dict[str, Any]) -> int:
        return 1 + max(map(depth, shown.get("attachments", ())), default=-1)

    assert depth(message) == 2
    await chat.set_setting("Message_QuoteChainLimit", 1)
    assert depth(await chat.send(ann, room_id, link(message))) == 1
    await chat.set_setting("Message_QuoteChainLimit", 0)
    assert "attachments" not in await chat.send(ann, room_id, link(message))


async def test_quotes_have_trees_as_long_as_there_is_room(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    dense = await chat.send(ann, room_id, "*a* " * 1200)
    assert len(orjson.dumps(dense["md"])) > 64 * 1024
    [quoted] = (await chat.send(ann, room_id, link(dense)))["attachments"]
    assert quoted["text"] == dense["msg"]
    assert "md" not in quoted


async def test_a_file_may_be_sent_with_a_quote(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    first = await chat.send(ann, room_id, "first")
    upload = await add(chat, ann, room_id)
    sent = await chat.send(ann, room_id, link(first), upload_id=upload["_id"], description="*so*")
    quoted, file = sent["attachments"]
    assert quoted["text"] == "first"
    assert file["descriptionMd"][0]["value"][0]["type"] == "BOLD"


async def test_nobody_quotes_what_they_may_not_read(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    secret = (await chat.room(ann, "secret", type="p"))["_id"]
    hidden = await chat.send(ann, secret, "hush")
    for text in (
        link(hidden, "group/secret"),
        f"https://evil.example/channel/dev?msg={hidden['_id']}",
        f"{SITE}/?msg=",
    ):
        assert "attachments" not in await chat.send(bob, room_id, text)
    assert (await chat.send(ann, room_id, link(hidden, "group/secret")))["attachments"][0]["text"] == "hush"


@pytest.mark.parametrize(
    ("address", "id"),
    [
        (f"{SITE}/channel/a?msg=abc", "abc"),
        (f"{SITE}/direct/x?y=1&msg=a.b%2Fc", "a.b/c"),
        (f"{SITE}/channel/a?msg=abc)text", "abc"),
        (f"{SITE}/channel/a?msg=a&msg=b", ""),
        (f"{SITE}/channel/a", ""),
        ("http://[", ""),
    ],
)
def test_ids_in_links(address: str, id: str) -> None:
    assert linked_id(address) == id


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "must have required property 'priority'"),
        ({"priority": "urgent"}, "customFields/priority must match enum"),
        ({"priority": 5}, "customFields/priority must match type"),
        ({"priority": "low", "other": 1}, "must NOT have additional properties"),
    ],
)
async def test_custom_fields_follow_the_setting(local: Chat, fields: dict[str, Any], reason: str) -> None:
    room_id, (ann,) = await make_room(local, "ann")
    with refused("error-invalid-params", "Custom fields not enabled"):
        await local.send(ann, room_id, extra={"customFields": {"priority": "low"}})
    await local.set_setting("Message_CustomFields_Enabled", True)
    sent = await local.send(ann, room_id, extra={"customFields": {"priority": "low"}})
    assert sent["customFields"] == {"priority": "low"}
    with refused("error-invalid-params", reason):
        await local.send(ann, room_id, extra={"customFields": fields})


@pytest.mark.parametrize("schema", ["{", "[]", '{"anyOf": []}', '{"properties": {"a": {"type": "odd"}}}'])
async def test_a_schema_that_is_none_lets_nothing_pass(local: Chat, schema: str) -> None:
    room_id, (ann,) = await make_room(local, "ann")
    await local.set_setting("Message_CustomFields_Enabled", True)
    await local.set_setting("Message_CustomFields", schema)
    with refused("error-invalid-params"):
        await local.send(ann, room_id, extra={"customFields": {"a": "b"}})


async def test_history_is_kept_where_it_is_asked_for(local: Chat) -> None:
    room_id, (ann, bob) = await make_room(local, "ann", "bob")
    sent = await local.send(ann, room_id, "one")
    await local.edit(ann, sent["_id"], "two")
    await local.set_setting("Message_KeepHistory", True)
    await local.edit(ann, sent["_id"], "three")
    await local.delete(ann, sent["_id"])
    stored = await local.database.find("messages", {"rid": room_id, "_hidden": True}, sort=[("_updatedAt", 1)])
    copies = [message for message in stored if message.get("parent") == sent["_id"]]
    assert [(copy["msg"], copy["editedBy"]["_id"]) for copy in copies] == [("two", "annId"), ("three", "annId")]
    assert await local.texts(bob, room_id) == []
    assert (await local.page(bob, room_id, updated_since=1)).messages == []
    for copy in copies:
        with refused("error-message-not-found"):
            await local.message(ann, copy["_id"])


async def test_a_deleted_message_leaves_its_status(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    await chat.set_setting("Message_ShowDeletedStatus", True)
    first = await chat.send(ann, room_id, "first")
    sent = await chat.send(ann, room_id, "secret", extra={"attachments": [{"text": "of mine"}]})
    await chat.react(bob, sent["_id"], ":+1:")
    await chat.delete(ann, sent["_id"])
    shown = await chat.message(bob, sent["_id"])
    assert (shown["t"], shown["msg"], shown["u"]["_id"], shown["editedBy"]["_id"]) == ("rm", "", "annId", "annId")
    assert shown["attachments"] == []
    assert "reactions" not in shown
    assert "md" not in shown
    page = await chat.page(bob, room_id, updated_since=sent["ts"]["$date"])
    assert [loaded(data)["_id"] for data in page.messages] == [sent["_id"]]
    assert page.deleted == []
    assert (await chat.get_room(bob, room_id))["lastMessage"]["_id"] == first["_id"]
    with refused("error-message-not-found"):
        await chat.delete(ann, sent["_id"])
    with refused("error-message-not-found"):
        await chat.edit(ann, sent["_id"], "again")


async def test_history_is_erased_with_its_author(local: Chat) -> None:
    room_id, (ann, bob) = await make_room(local, "ann", "bob")
    await local.set_setting("Message_KeepHistory", True)
    sent = await local.send(ann, room_id, "one")
    await local.edit(ann, sent["_id"], "two")
    his = await local.send(bob, room_id, "his")
    await local.edit(bob, his["_id"], "his own")
    picture = await local.send(ann, room_id, "", extra={"attachments": [{"text": "of ann"}]})
    await local.edit(ann, picture["_id"], "said later")
    node = local.running.nodes["messaging"]
    await Erasure(node, Store(local.database)).erase("annId", unlink=False)
    stored = await local.database.find("messages", {"rid": room_id})
    assert sorted(message["msg"] for message in stored) == ["", "", "", "", "his", "his own"]
    assert not any(message.get("attachments") for message in stored)
