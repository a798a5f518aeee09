"""Pins, stars and mentions: who may set them, who sees them, and the lists of them."""

from tests.messaging.helpers import ADMIN, Chat, loaded, make_room, refused


async def test_a_pin_is_everybodys(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    first = await chat.send(bob, room_id, "first")
    last = await chat.send(bob, room_id, "last")
    with refused("not-authorized"):
        await chat.pin(bob, last["_id"])
    notice = await chat.pin(ann, last["_id"])
    assert (notice["t"], notice["u"]["_id"], notice["rid"]) == ("message_pinned", "annId", room_id)
    assert notice["attachments"] == [
        {"text": "last", "author_name": "bob", "author_icon": "/avatar/bob", "ts": last["ts"]}
    ]
    assert await chat.notices(bob, room_id) == [("message_pinned", "")]
    pinned = await chat.message(bob, last["_id"])
    assert (pinned["pinned"], pinned["pinnedBy"]) == (True, {"_id": "annId", "username": "ann"})
    assert (await chat.get_room(bob, room_id))["lastMessage"]["pinned"] is True
    assert (await chat.pin(ann, last["_id"]))["_id"] == last["_id"], "pinned already: nothing new is told"
    await chat.pin(ann, first["_id"])
    assert await chat.marked(bob, room_id, "PINNED") == (["last", "first"], 2)
    assert await chat.marked(bob, room_id, "PINNED", count=1, offset=1) == (["first"], 2)
    assert await chat.marked(bob, room_id, "PINNED", ascending=True, count=1) == (["first"], 2)
    assert (await chat.pin(ann, first["_id"], pin=False))["pinned"] is False
    assert await chat.marked(bob, room_id, "PINNED") == (["last"], 1)
    await chat.delete(ann, last["_id"])
    assert await chat.marked(bob, room_id, "PINNED") == ([], 0)
    with refused("error-message-not-found"):
        await chat.pin(ann, last["_id"])
    assert len(await chat.notices(bob, room_id)) == 2


async def test_a_pin_shows_quotes_only_so_deep(chat: Chat) -> None:
    room_id, (ann,) = await make_room(chat, "ann")
    quoted = {"text": "far", "author_name": "x", "ts": {"$date": 1}}
    inner = {"text": "near", "author_name": "x", "ts": {"$date": 1}, "attachments": [quoted]}
    picture = {"image_url": "https://a.example/x.png"}
    sent = await chat.send(ann, room_id, "look", extra={"attachments": [inner, picture]})
    [shown] = (await chat.pin(ann, sent["_id"]))["attachments"]
    assert shown["attachments"] == [{"text": "near", "author_name": "x", "ts": {"$date": 1}}, picture]


async def test_what_is_left_of_a_deleted_message_is_neither_marked_nor_reacted_to(chat: Chat) -> None:
    await chat.set_setting("Message_ShowDeletedStatus", True)
    room_id, (ann,) = await make_room(chat, "ann")
    sent = await chat.send(ann, room_id)
    await chat.delete(ann, sent["_id"])
    assert (await chat.message(ann, sent["_id"]))["t"] == "rm"
    for work in (chat.pin(ann, sent["_id"]), chat.star(ann, sent["_id"]), chat.react(ann, sent["_id"], "smile")):
        with refused("error-message-not-found"):
            await work
    assert not {"pinned", "starred", "reactions"} & (await chat.message(ann, sent["_id"])).keys()


async def test_where_nobody_may_pin(chat: Chat) -> None:
    room_id, (ann, _) = await make_room(chat, "ann", "bob")
    sent = await chat.send(ann, room_id)
    eve = await chat.user("eve")
    with refused("error-not-allowed"):
        await chat.pin(eve, sent["_id"])
    await chat.set_setting("Hide_System_Messages", ["message_pinned"])
    assert (await chat.pin(ann, sent["_id"]))["pinned"] is True
    assert await chat.notices(ann, room_id) == []
    await chat.set_setting("Message_AllowPinning", False)
    with refused("error-action-not-allowed", "Message pinning not allowed"):
        await chat.pin(ann, sent["_id"], pin=False)


async def test_a_star_is_ones_own(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    sent = [await chat.send(ann, room_id, text) for text in ("one", "two", "three")]
    for message in (sent[0], sent[2], sent[2]):
        await chat.star(bob, message["_id"])
    assert (await chat.message(bob, sent[0]["_id"]))["starred"] == [{"_id": "bobId"}]
    assert "starred" not in await chat.message(ann, sent[0]["_id"])
    assert await chat.marked(bob, room_id, "STARRED") == (["three", "one"], 2)
    assert await chat.marked(bob, room_id, "STARRED", count=1) == (["three"], 2)
    assert await chat.marked(ann, room_id, "STARRED") == ([], 0)
    history = (await chat.page(bob, room_id, ascending=True)).messages
    assert [message.get("starred") for message in map(loaded, history)] == [
        [{"_id": "bobId"}],
        None,
        [{"_id": "bobId"}],
    ]
    await chat.edit(ann, sent[2]["_id"], "3")
    await chat.star(bob, sent[0]["_id"], star=False)
    assert await chat.marked(bob, room_id, "STARRED") == (["3"], 1)
    await chat.delete(ann, sent[2]["_id"])
    assert await chat.marked(bob, room_id, "STARRED") == ([], 0)


async def test_who_has_left_sees_no_marks(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "secret", "bob", type="p"))["_id"]
    sent = await chat.send(ann, room_id, "@bob look")
    await chat.star(bob, sent["_id"])
    await chat.leave(bob, room_id)
    for mark in ("PINNED", "STARRED", "MENTIONING"):
        with refused("error-room-not-found"):
            await chat.marked(bob, room_id, mark)
    with refused("error-message-not-found"):
        await chat.star(bob, sent["_id"], star=False)
    with refused("error-message-not-found"):
        await chat.pin(ADMIN, sent["_id"])
    await chat.set_setting("Message_AllowStarring", False)
    with refused("error-action-not-allowed", "Message starring not allowed"):
        await chat.star(ann, sent["_id"])


async def test_what_mentions_somebody(chat: Chat) -> None:
    room_id, (ann, bob, eve) = await make_room(chat, "ann", "bob", "eve")
    one = await chat.send(ann, room_id, "@bob one")
    await chat.send(ann, room_id, "nobody")
    await chat.send(ann, room_id, "@all everybody")
    two = await chat.send(eve, room_id, "@bob and @ann two")
    assert await chat.marked(bob, room_id, "MENTIONING") == (["@bob and @ann two", "@bob one"], 2)
    assert await chat.marked(bob, room_id, "MENTIONING", count=1, offset=1) == (["@bob one"], 2)
    assert await chat.marked(bob, room_id, "MENTIONING", count=1, ascending=True) == (["@bob one"], 2)
    await chat.edit(ann, one["_id"], "@eve one")
    assert await chat.marked(bob, room_id, "MENTIONING") == (["@bob and @ann two"], 1)
    assert await chat.marked(eve, room_id, "MENTIONING") == (["@eve one"], 1)
    await chat.edit(ann, one["_id"], "@bob again")
    assert await chat.marked(bob, room_id, "MENTIONING") == (["@bob and @ann two", "@bob again"], 2)
    await chat.delete(eve, two["_id"])
    assert await chat.marked(bob, room_id, "MENTIONING") == (["@bob again"], 1)
    assert await chat.marked(ann, room_id, "MENTIONING") == ([], 0)
