"""Messages that are edited or deleted: by whom, for how long, and what stays of them."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import orjson
import pytest

from palaver.messaging import revisions
from tests.messaging.helpers import Chat, loaded, make_room, refused


async def test_editing_ones_own(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    sent = await chat.send(ann, room_id, "helo")
    edited = await chat.edit(ann, sent["_id"], "hello @bob http://a.org")
    assert (edited["msg"], edited["ts"], edited["editedBy"]) == (
        "hello @bob http://a.org",
        sent["ts"],
        {"_id": "annId", "username": "ann"},
    )
    assert edited["urls"] == [{"url": "http://a.org"}]
    assert [mention["username"] for mention in edited["mentions"]] == ["bob"]
    assert edited["_updatedAt"]["$date"] > sent["_updatedAt"]["$date"]
    assert (await chat.get_room(bob, room_id))["lastMessage"] == edited
    assert await chat.message(bob, sent["_id"]) == edited
    assert await chat.counters(bob, room_id) == (0, 0, 0, True), "an edit counts nothing"
    assert await chat.edit(ann, sent["_id"], "hello @bob http://a.org") == edited, "the same text is no edit"


async def test_who_may_edit(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    sent = await chat.send(bob, room_id)
    eve = await chat.user("eve")
    await chat.join(eve, room_id)
    with refused("error-action-not-allowed"):
        await chat.edit(eve, sent["_id"], "x")
    await chat.edit(ann, sent["_id"], "by the owner")
    with refused("error-invalid-room"):
        await chat.edit(ann, sent["_id"], "x", room_id="GENERAL")
    with refused("error-message-not-found"):
        await chat.edit(ann, "unknown", "x")
    await chat.set_setting("Message_AllowEditing", False)
    with refused("error-action-not-allowed"):
        await chat.edit(bob, sent["_id"], "y")
    notice = loaded((await chat.page(ann, room_id, filter=b'{"t":"uj"}')).messages[0])
    with refused("error-action-not-allowed"):
        await chat.edit(ann, notice["_id"], "nobody joined")


async def test_an_edit_mentions_everybody_as_a_message_does(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    await chat.grant("mention-all", "owner")
    sent, own = await chat.send(bob, room_id, "hello"), await chat.send(ann, room_id, "hello")
    with refused("error-action-not-allowed"):
        await chat.edit(bob, sent["_id"], "@all hello")
    assert (await chat.edit(ann, own["_id"], "@all hello"))["mentions"] == [{"_id": "all", "username": "all"}]
    await chat.set_setting("Message_MaxAll", 1)
    assert (await chat.edit(ann, own["_id"], "@all, hello"))["mentions"] == []


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("Message_AllowEditing_BlockEditInMinutes", "error-message-editing-blocked"),
        ("Message_AllowDeleting_BlockDeleteInMinutes", "error-action-not-allowed"),
    ],
)
async def test_changes_are_blocked_after_a_while(
    local: Chat, monkeypatch: pytest.MonkeyPatch, setting: str, code: str
) -> None:
    room_id, (_, bob) = await make_room(local, "ann", "bob")
    sent = await local.send(bob, room_id)

    def change() -> Awaitable[Any]:
        return local.edit(bob, sent["_id"], "x") if "Editing" in setting else local.delete(bob, sent["_id"])

    monkeypatch.setattr(revisions, "now", lambda: sent["ts"]["$date"] + 6 * 60_000)
    await local.set_setting(setting, 5)
    with refused(code):
        await change()
    await local.set_setting(setting, 7)
    await change()


async def test_deleting(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    first = await chat.send(ann, room_id, "first")
    second = await chat.send(bob, room_id, "@ann second")
    with refused("error-action-not-allowed"):
        await chat.delete(bob, first["_id"])
    with refused("error-invalid-room"):
        await chat.delete(bob, second["_id"], room_id="GENERAL")
    assert await chat.delete(bob, second["_id"]) == second
    assert await chat.texts(ann, room_id) == ["first"]
    for work in (chat.message(bob, second["_id"]), chat.delete(bob, second["_id"]), chat.edit(bob, second["_id"], "x")):
        with refused("error-message-not-found"):
            await work
    assert (await chat.get_room(bob, room_id))["lastMessage"]["_id"] == first["_id"]
    assert await chat.counters(ann, room_id) == (1, 1, 0, True), "deleting does not subtract"
    stored = await chat.database.get("messages", second["_id"])
    assert stored is not None
    assert "second" not in str(stored)
    await chat.delete(ann, first["_id"])
    assert "lastMessage" not in await chat.get_room(bob, room_id)


async def test_who_may_delete(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    mine = await chat.send(bob, room_id)
    await chat.set_setting("Message_AllowDeleting", False)
    with refused("error-action-not-allowed"):
        await chat.delete(bob, mine["_id"])
    await chat.delete(ann, mine["_id"])  # an owner has force-delete-message
    await chat.set_setting("Message_AllowDeleting", True)
    await chat.grant("delete-own-message", "admin")
    mine = await chat.send(bob, room_id)
    with refused("error-action-not-allowed"):
        await chat.delete(bob, mine["_id"])


async def test_the_last_message_is_right_when_it_is_deleted_in_a_crowd(chat: Chat) -> None:
    """Deleting needs what the same batch of commands is about to write."""
    room_id, (ann,) = await make_room(chat, "ann")
    for round_ in range(5):
        ids = [f"m{round_}-{index}" for index in range(4)]
        await asyncio.gather(*(chat.send(ann, room_id, id, message_id=id) for id in ids))
        last = (await chat.get_room(ann, room_id))["lastMessage"]["_id"]
        extra, _ = await asyncio.gather(chat.send(ann, room_id, "extra"), chat.delete(ann, last))
        await chat.delete(ann, extra["_id"])
        texts = await chat.texts(ann, room_id)
        assert (await chat.get_room(ann, room_id))["lastMessage"]["msg"] == texts[-1]
        assert last not in texts


async def test_an_encrypted_message_is_edited_and_deleted_with_its_content(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    first, second = {"algorithm": "a", "ciphertext": "first"}, {"algorithm": "a", "ciphertext": "second"}
    extra = {"t": "e2e", "content": first, "e2eMentions": {"e2eUserMentions": []}}
    sent = await chat.send(ann, room_id, "", extra=extra)
    changes = {"t": "e2e", "content": second, "e2eMentions": {"e2eUserMentions": ["@bob"]}}
    await chat.edit(ann, sent["_id"], "", extra=orjson.dumps(changes))
    shown = await chat.message(ann, sent["_id"])
    assert {name: shown[name] for name in changes} == changes
    assert "md" not in shown
    await chat.delete(ann, sent["_id"])
    stored = await chat.database.get("messages", sent["_id"])
    assert stored is not None
    assert not {"content", "e2eMentions"} & set(stored)


async def test_an_edit_does_not_change_whether_a_message_is_encrypted(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    encrypted = orjson.dumps({"t": "e2e", "content": {"algorithm": "a", "ciphertext": "x"}})
    open_one = await chat.send(ann, room_id, "open")
    await chat.set_setting("E2E_Enable", True)
    await chat.update_room(ann, room_id, encrypted=True)
    closed = await chat.send(ann, room_id, "x1", extra={"t": "e2e"})
    with refused("error-invalid-update-key"):
        await chat.edit(ann, closed["_id"], "for everybody")
    for extra in (encrypted, orjson.dumps({"content": {"ciphertext": "x"}})):
        with refused("error-invalid-update-key"):
            await chat.edit(ann, open_one["_id"], "", extra=extra)
    assert (await chat.edit(ann, open_one["_id"], "still open"))["msg"] == "still open"
    await chat.set_setting("E2E_Allow_Unencrypted_Messages", False)
    with refused("error-not-allowed"):
        await chat.edit(ann, open_one["_id"], "anybody can read it")
    assert (await chat.edit(ann, closed["_id"], "x2", extra=encrypted))["msg"] == "x2"
    assert (await chat.message(ann, open_one["_id"]))["msg"] == "still open"
