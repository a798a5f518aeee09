"""Sending, repeating, editing, deleting and reacting; and what each does to whoever else is in the room."""

import asyncio
from typing import Any

import orjson
import pytest
from prometheus_client import REGISTRY

from palaver.errors import PalaverError
from palaver.v1.event_pb2 import Actor
from tests.messaging.helpers import ADMIN, Chat, make_room, refused


def _plain(text: str) -> dict[str, str]:
    return {"type": "PLAIN_TEXT", "value": text}


async def test_a_message_as_it_is_sent_and_stored(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    sent = await chat.send(ann, room_id, "hello @bob, see #general and http://a.org/x")
    assert sent == {
        "_id": sent["_id"],
        "rid": room_id,
        "msg": "hello @bob, see #general and http://a.org/x",
        "ts": sent["ts"],
        "u": {"_id": "annId", "username": "ann", "name": "Ann"},
        "_updatedAt": sent["ts"],
        "urls": [{"url": "http://a.org/x"}],
        "mentions": [{"_id": "bobId", "username": "bob", "name": "Bob", "type": "user"}],
        "channels": [{"_id": "GENERAL", "name": "general"}],
        "md": [
            {
                "type": "PARAGRAPH",
                "value": [
                    _plain("hello "),
                    {"type": "MENTION_USER", "value": _plain("bob")},
                    _plain(", see "),
                    {"type": "MENTION_CHANNEL", "value": _plain("general")},
                    _plain(" and "),
                    {"type": "LINK", "value": {"src": _plain("http://a.org/x"), "label": [_plain("http://a.org/x")]}},
                ],
            }
        ],
    }
    assert await chat.message(bob, sent["_id"]) == sent
    room = await chat.get_room(bob, room_id)
    assert (room["lastMessage"], room["lm"], room["msgs"]) == (sent, sent["ts"], 1)


async def test_the_markup_that_the_settings_allow(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    text = "color:#f00 *a* :) $x$ \\(y\\) go.corp"

    def kinds(message: dict[str, Any]) -> list[str]:
        return [node["type"] for node in message["md"][0]["value"] if node["type"] != "PLAIN_TEXT"]

    sent = await chat.send(ann, room_id, text)
    assert kinds(sent) == ["BOLD", "EMOJI", "INLINE_KATEX"]  # a color before a space is none
    await chat.set_setting("Katex_Dollar_Syntax", True)
    await chat.set_setting("Message_CustomDomain_AutoLink", "intranet, Corp")
    text = text.replace("f00 ", "f00")
    sent = await chat.edit(ann, sent["_id"], text)
    assert kinds(sent) == ["COLOR", "BOLD", "EMOJI", "INLINE_KATEX", "INLINE_KATEX", "LINK"]
    await chat.set_setting("Katex_Enabled", False)
    await chat.set_setting("HexColorPreview_Enabled", False)
    assert kinds(await chat.send(ann, room_id, text)) == ["BOLD", "EMOJI", "LINK"]


async def test_descriptions_of_attachments_have_trees(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    bold = [{"type": "PARAGRAPH", "value": [{"type": "BOLD", "value": [_plain("a")]}]}]
    attachments = [{"description": "*a*"}, {"text": "*b*", "descriptionMd": ["forged"]}, {"description": "c" * 5000}]
    sent = await chat.send(ann, room_id, extra={"attachments": attachments})
    described = [{"description": "*a*", "descriptionMd": bold}, {"text": "*b*"}, {"description": "c" * 5000}]
    assert sent["attachments"] == described
    assert (await chat.edit(ann, sent["_id"], "other"))["attachments"] == described
    changed = await chat.edit(ann, sent["_id"], "new", extra=orjson.dumps({"attachments": [{"description": "*a*"}]}))
    assert changed["attachments"] == [{"description": "*a*", "descriptionMd": bold}]
    encrypted = {"t": "e2e", "attachments": [{"description": "*a*"}]}
    assert (await chat.send(ann, room_id, extra=encrypted))["attachments"] == [{"description": "*a*"}]


async def test_both_sides_of_a_conversation(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    await chat.send(ann, room_id, "one")
    await chat.send(ann, room_id, "@bob two")
    assert await chat.counters(ann, room_id) == (0, 0, 0, False)
    assert await chat.counters(bob, room_id) == (1, 1, 0, True)
    await chat.read(bob, room_id)
    assert await chat.counters(bob, room_id) == (0, 0, 0, False)
    await chat.send(bob, room_id, "@all three")
    assert await chat.counters(ann, room_id) == (1, 0, 1, True)
    assert await chat.counters(bob, room_id) == (0, 0, 0, False)
    await chat.send(ann, room_id, "four")
    assert await chat.counters(bob, room_id) == (0, 0, 0, True), "an own @all is nobody else's"
    await chat.set_setting("Unread_Count", "all_messages")
    assert await chat.counters(ann, room_id) == (1, 0, 1, True)
    assert await chat.counters(bob, room_id) == (1, 0, 0, True)


async def test_direct_messages_all_count(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.direct(ann, "bob"))["_id"]
    await chat.send(ann, room_id)
    await chat.send(ann, room_id)
    assert await chat.counters(bob, room_id) == (2, 0, 0, True)
    await chat.set_setting("Unread_Count_DM", "mentions_only")
    assert await chat.counters(bob, room_id) == (0, 0, 0, True)


async def test_a_repeated_command_is_one_message(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    sent = await chat.send(ann, room_id, "first", message_id="mine")
    again = await asyncio.gather(*(chat.send(ann, room_id, "first", message_id="mine") for _ in range(5)))
    assert again == [sent] * 5
    assert (await chat.get_room(ann, room_id))["msgs"] == 1
    with refused("error-invalid-message-id"):
        await chat.send(bob, room_id, "first", message_id="mine")
    other = await chat.room(ann, "other")
    with refused("error-invalid-message-id"):
        await chat.send(ann, other["_id"], "first", message_id="mine")
    await chat.delete(ann, "mine")
    with refused("error-invalid-message-id"):
        await chat.send(ann, room_id, "first", message_id="mine")


@pytest.mark.parametrize("message_id", ["Abcdefghij2345678", "mine"])
async def test_an_id_sent_to_two_rooms_at_once_is_one_message(chat: Chat, message_id: str) -> None:
    ann = await chat.user("ann")
    ids = [(await chat.room(ann, name))["_id"] for name in ("one", "two")]
    works = [chat.send(ann, room_id, message_id=message_id) for room_id in ids * 2]
    answers = await asyncio.gather(*works, return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, PalaverError)]
    assert [refusal.error_code for refusal in refusals] == ["error-invalid-message-id"] * 2
    room_id = (await chat.message(ann, message_id))["rid"]
    assert [answer["rid"] for answer in answers if isinstance(answer, dict)] == [room_id] * 2
    assert {id: (await chat.get_room(ann, id))["msgs"] for id in ids} == {id: int(id == room_id) for id in ids}
    with refused("error-not-allowed"):
        await chat.send(ADMIN, ids[0], message_id="free")
    await chat.send(ann, ids[1], message_id="free")


async def test_an_id_whose_sending_is_in_doubt_goes_to_no_other_room(local: Chat) -> None:
    ann = await local.user("ann")
    ids = [(await local.room(ann, name))["_id"] for name in ("one", "two")]
    message_id = "Abcdefghij2345678"
    sending = asyncio.create_task(local.send(ann, ids[0], message_id=message_id))
    for _ in range(3):
        await asyncio.sleep(0)
    sending.cancel()
    with refused("error-invalid-message-id"):
        await local.send(ann, ids[1], message_id=message_id)
    await local.send(ann, ids[0], message_id=message_id)


async def test_messages_and_refusals_are_measured(local: Chat) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    sent = value("palaver_messages_sent_total", room_type="c")
    refusals = value("palaver_commands_refused_total", method="send_message", error="RoomNotFound")
    for _ in range(2):
        await local.send(ADMIN, "GENERAL", message_id="once")
    with refused("error-room-not-found"):
        await local.send(ADMIN, "unknown")
    assert value("palaver_messages_sent_total", room_type="c") == sent + 1
    assert value("palaver_commands_refused_total", method="send_message", error="RoomNotFound") == refusals + 1


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
async def test_an_empty_message_is_none(local: Chat, text: str) -> None:
    with refused("error-invalid-message"):
        await local.send(ADMIN, "GENERAL", text)
    sent = await local.send(ADMIN, "GENERAL", text, extra={"attachments": [{"text": "but this"}]})
    assert sent["attachments"] == [{"text": "but this"}]
    written = await local.send(ADMIN, "GENERAL")
    with refused("error-invalid-message"):
        await local.edit(ADMIN, written["_id"], text)
    assert (await local.edit(ADMIN, sent["_id"], "with words", extra=b'{"attachments":[]}'))["attachments"] == []


async def test_a_message_has_a_largest_size(chat: Chat) -> None:
    await chat.set_setting("Message_MaxAllowedSize", 5)
    sent = await chat.send(ADMIN, "GENERAL", "12345")
    with refused("error-message-size-exceeded"):
        await chat.send(ADMIN, "GENERAL", "123456")
    with refused("error-message-size-exceeded"):
        await chat.edit(ADMIN, sent["_id"], "123456")


async def test_what_a_client_may_add(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    sent = await chat.send(
        ann, room_id, "see http://a.org", extra={"groupable": False, "parseUrls": False, "bot": {"i": "x"}}
    )
    assert (sent["groupable"], sent["parseUrls"], sent["bot"], sent["urls"]) == (False, False, {"i": "x"}, [])
    wrong: tuple[dict[str, Any], ...] = (
        {"u": {}},
        {"_hidden": True},
        {"ts": 1},
        {"attachments": "x"},
        {"attachments": ["x"]},
        {"t": "uj"},
    )
    for extra in wrong:
        with refused("invalid-params"):
            await chat.send(ann, room_id, extra=extra)
    for extra in ({"alias": "x"}, {"avatar": "http://x"}):
        with refused("error-not-allowed", "Not enough permission"):
            await chat.send(ann, room_id, extra=extra)
    for extra in ({"emoji": ":x:"}, {"alias": "", "avatar": ""}):  # these make nobody of the sender
        assert (await chat.send(ann, room_id, extra=extra))["u"]["username"] == "ann"
    await chat.grant("message-impersonate", "owner")
    assert (await chat.send(ann, room_id, extra={"alias": "x"}))["alias"] == "x"
    for message_id in ("", "x" * 65):
        with refused("error-invalid-message-id"):
            await chat.send(ann, room_id, message_id=message_id)


async def test_what_a_message_has_besides_its_text_is_limited(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    large, larger = {"text": "x" * 40_000}, {"text": "x" * 70_000}
    extra: Any
    for extra in ({"blocks": [larger]}, {"attachments": [large], "content": large}):
        with refused("error-message-size-exceeded"):
            await chat.send(ann, room_id, extra=extra)
    sent = await chat.send(ann, room_id, extra={"attachments": [large]})
    for extra in ({"blocks": [large]}, {"attachments": [larger]}):  # what is replaced does not count, what stays does
        with refused("error-message-size-exceeded"):
            await chat.edit(ann, sent["_id"], "more", extra=orjson.dumps(extra))
    edited = await chat.edit(ann, sent["_id"], "other", extra=orjson.dumps({"attachments": [{"text": "y" * 50_000}]}))
    assert edited["msg"] == "other"
    for changes in ({"customFields": larger}, {"sysMes": ["x" * 70_000]}):
        with refused("error-invalid-params"):
            await chat.update_room(ann, room_id, **changes)


async def test_only_members_write(chat: Chat) -> None:
    room_id, (_, bob) = await make_room(chat, "ann", "bob")
    eve = await chat.user("eve")
    with refused("error-not-allowed"):
        await chat.send(eve, room_id)
    with refused("error-room-not-found"):
        await chat.send(eve, "unknown")
    with refused("error-invalid-user"):
        await chat.send(Actor(kind=Actor.USER, id="nobody"), room_id)
    await chat.send(bob, room_id)


async def test_read_only_rooms_are_for_some(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    before = await chat.send(bob, room_id)
    await chat.update_room(ann, room_id, ro=True)
    await chat.send(ann, room_id)
    readonly = "You can't send messages because the room is readonly."
    with refused("error-not-allowed", readonly):
        await chat.send(bob, room_id)
    with refused("error-not-allowed", readonly):
        await chat.edit(bob, before["_id"], "x")
    with refused("error-not-allowed"):
        await chat.react(bob, before["_id"], "x")
    with refused("error-not-allowed"):
        await chat.delete(bob, before["_id"])
    await chat.update_room(ann, room_id, reactWhenReadOnly=True)
    await chat.react(bob, before["_id"], "x")
    await chat.update_room(ann, room_id, unmute="bob")
    await chat.send(bob, room_id)


async def test_a_broadcast_rooms_members_listen(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "news", "bob", extra=b'{"broadcast":true}'))["_id"]
    with refused("error-not-allowed"):
        await chat.send(bob, room_id)
    with refused("error-not-allowed"):
        await chat.members(bob, room_id)
    await chat.send(ann, room_id)


async def test_an_encrypted_room_may_be_for_encrypted_messages_only(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    await chat.set_setting("E2E_Enable", True)
    await chat.update_room(ann, room_id, encrypted=True)
    await chat.send(ann, room_id, "the settings allow it")
    await chat.set_setting("E2E_Enable", False)
    await chat.set_setting("E2E_Allow_Unencrypted_Messages", False)
    await chat.send(ann, room_id, "nothing is encrypted here at all")
    await chat.set_setting("E2E_Enable", True)
    with refused("error-not-allowed"):
        await chat.send(ann, room_id, "anybody can read it")
    assert (await chat.send(ann, room_id, "x1y2", extra={"t": "e2e"}))["t"] == "e2e"
    await chat.send(ann, (await chat.room(ann, "open"))["_id"], "a room like any other")


async def test_everybody_is_mentioned_by_those_who_may(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    assert (await chat.send(ann, room_id, "@here"))["mentions"] == [{"_id": "here", "username": "here"}]
    await chat.grant("mention-all", "owner")
    with refused("error-action-not-allowed"):
        await chat.send(bob, room_id, "@all")
    await chat.send(ann, room_id, "@all")
    assert await chat.counters(bob, room_id) == (2, 0, 2, True)
    await chat.set_setting("Message_MaxAll", 1)
    assert (await chat.send(ann, room_id, "@all"))["mentions"] == []
    assert await chat.counters(bob, room_id) == (2, 0, 2, True)


async def test_who_is_no_member_is_named_and_not_counted(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    await chat.user("eve")
    sent = await chat.send(ann, room_id, "@eve @nobody @ann")
    assert [mention["username"] for mention in sent["mentions"]] == ["eve", "ann"]
    assert await chat.counters(ann, room_id) == (0, 0, 0, False)


async def test_private_rooms_are_not_resolved(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    await chat.room(ADMIN, "secret", type="p")
    assert (await chat.send(ann, room_id, "#secret #dev #nothing"))["channels"] == [{"_id": room_id, "name": "dev"}]


async def test_reactions(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    sent = await chat.send(ann, room_id)
    assert (await chat.react(ann, sent["_id"], ":smile:"))["reactions"] == {":smile:": {"usernames": ["ann"]}}
    reacted = await chat.react(bob, sent["_id"], "smile", True)
    assert reacted["reactions"] == {":smile:": {"usernames": ["ann", "bob"]}}
    assert await chat.react(bob, sent["_id"], "smile", True) == reacted
    assert (await chat.get_room(bob, room_id))["lastMessage"]["reactions"] == reacted["reactions"]
    await chat.react(ann, sent["_id"], "smile")
    assert "reactions" not in await chat.react(bob, sent["_id"], "smile", False)
    assert "reactions" not in await chat.message(ann, sent["_id"])
    assert await chat.counters(bob, room_id) == (0, 0, 0, True)
    for emoji in ("", "a b", "$inc", "a.b"):
        with refused("error-not-allowed", "Invalid emoji provided."):
            await chat.react(ann, sent["_id"], emoji)
    eve = await chat.user("eve")
    with refused("error-not-allowed"):
        await chat.react(eve, sent["_id"], "x")
