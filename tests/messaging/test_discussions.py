"""Discussions: made beside their parent, which tells of them; seen by those who see it; gone with it."""

from typing import Any

import orjson
import pytest

from palaver.errors import InternalError
from palaver.events import room_stream
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import (
    CheckAccessRequest,
    CreateDiscussionRequest,
    ListDiscussionsRequest,
    ListHearingRequest,
    ListRoomsRequest,
    RoomRequest,
)
from tests.messaging.helpers import ADMIN, Chat, Document, loaded, refused, until


async def discuss(chat: Chat, actor: Actor, parent: Document, name: str = "Lunch?", **fields: Any) -> Document:
    request = CreateDiscussionRequest(actor=actor, room_id=parent["_id"], name=name, **fields)
    return loaded((await chat.messaging.create_discussion(request)).room)


async def told(chat: Chat, actor: Actor, parent: Document, **fields: Any) -> list[Document]:
    """The parent's messages that tell of discussions."""
    request = ListDiscussionsRequest(actor=actor, room_id=parent["_id"], **fields)
    return [loaded(data) for data in (await chat.messaging.list_discussions(request)).documents]


async def listed(chat: Chat, actor: Actor, parent: Document) -> list[str]:
    request = ListRoomsRequest(actor=actor, scope=ListRoomsRequest.DISCUSSIONS, parent_id=parent["_id"])
    return sorted(loaded(data)["fname"] for data in (await chat.messaging.list_rooms(request)).rooms)


async def test_a_discussion_stands_beside_its_parent(chat: Chat) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    parent = await chat.room(ann, "dev", "bob")
    room = await discuss(chat, ann, parent, " Lunch? ", members=["bob", "nobody"], reply="who comes?")
    assert (room["t"], room["prid"], room["fname"], room["name"]) == ("c", parent["_id"], "Lunch?", room["_id"])
    assert (room["topic"], room["usersCount"], room["u"]["username"]) == ("dev", 2, "ann")
    assert "parent_message_id" not in room
    assert await chat.texts(bob, room["_id"]) == ["who comes?"]
    assert (await chat.subscription(ann, room["_id"]))["roles"] == ["owner"]
    assert (await chat.subscription(bob, room["_id"]))["prid"] == parent["_id"]
    assert await chat.notices(bob, parent["_id"]) == [("discussion-created", "Lunch?")]
    (message,) = await told(chat, bob, parent)
    assert (message["drid"], message["u"]["username"]) == (room["_id"], "ann")
    assert await listed(chat, eve, parent) == ["Lunch?"]
    assert [m["_id"] for m in await told(chat, eve, parent, text="lun")] == [message["_id"]]
    assert await told(chat, eve, parent, text="dinner") == []
    with refused("error-search-text-too-long"):
        await told(chat, eve, parent, text="dinner " * 1000)


async def test_the_parent_shows_how_much_is_said_and_what_it_is_called(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    parent = await chat.room(ann, "dev", "bob")
    room = await discuss(chat, ann, parent, members=["bob"])
    sent = [await chat.send(bob, room["_id"], f"{number}") for number in range(3)]

    async def shows(count: int, last: Document, name: str) -> bool:
        (message,) = await told(chat, ann, parent)
        return (message["dcount"], message.get("dlm"), message["msg"]) == (count, last["ts"], name)

    await until(lambda: shows(3, sent[-1], "Lunch?"))
    renamed = await chat.update_room(ann, room["_id"], name="Dinner, then?")
    assert (renamed["fname"], renamed["name"]) == ("Dinner, then?", room["_id"])
    await until(lambda: shows(4, sent[-1], "Dinner, then?"))
    again = await discuss(chat, bob, parent, "Dinner, then?")
    assert again["_id"] != room["_id"]
    await chat.messaging.delete_room(RoomRequest(actor=ADMIN, room_id=room["_id"]))

    async def is_told_no_longer() -> bool:
        return [message["drid"] for message in await told(chat, ann, parent)] == [again["_id"]]

    await until(is_told_no_longer)


async def test_a_discussion_of_a_message_quotes_it(chat: Chat) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    parent = await chat.room(ann, "dev", "bob", type="p")
    message = await chat.send(bob, parent["_id"], "we could **eat**")
    room = await discuss(chat, ann, parent, message_id=message["_id"])
    assert room["t"] == "p"
    assert (await chat.subscription(bob, room["_id"]))["rid"] == room["_id"]
    (quoting,) = [loaded(data) for data in (await chat.page(ann, room["_id"])).messages]
    (quote,) = quoting["attachments"]
    assert (quote["text"], quote["author_name"], quote["ts"]) == ("we could **eat**", "bob", message["ts"])
    assert quote["message_link"].endswith(f"/group/dev?msg={message['_id']}")
    (announced,) = await told(chat, bob, parent)
    assert announced["attachments"][0]["text"] == "we could **eat**"
    elsewhere = await chat.room(eve, "elsewhere")
    for wrong in ("unknown", (await chat.send(eve, elsewhere["_id"]))["_id"]):
        with refused("error-invalid-message"):
            await discuss(chat, ann, parent, message_id=wrong)


async def test_who_sees_the_parent_sees_the_discussion(chat: Chat) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    parent = await chat.room(ann, "dev", "bob", type="p")
    room = await discuss(chat, ann, parent, reply="secret")
    assert await chat.texts(bob, room["_id"]) == ["secret"]
    with refused("error-not-allowed"):
        await chat.send(bob, room["_id"])

    async def may_hear() -> list[bool]:
        request = ListHearingRequest()
        for actor in (ann, bob, eve):
            request.listeners.add(room_id=room["_id"], user_id=actor.id)
        return list((await chat.messaging.list_hearing(request)).allowed)

    assert await may_hear() == [True, True, False]
    access = await chat.messaging.check_access(CheckAccessRequest(actor=bob, room_id=room["_id"]))
    assert (access.allowed, access.member, access.parent_id) == (True, False, parent["_id"])
    with refused("error-room-not-found"):
        await chat.get_room(eve, room["_id"])
    with refused("error-room-not-found"):
        await chat.join(eve, room["_id"])
    await chat.join(bob, room["_id"])
    await chat.send(bob, room["_id"], "here")
    await chat.leave(bob, room["_id"])
    await chat.leave(bob, parent["_id"])
    with refused("error-room-not-found"):
        await chat.texts(bob, room["_id"])
    assert await may_hear() == [True, False, False]


async def test_discussions_go_with_a_room_that_becomes_private(chat: Chat) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    parent = await chat.room(ann, "dev", "bob")
    early = await discuss(chat, ann, parent, reply="early")
    assert (early["t"], await chat.texts(eve, early["_id"])) == ("c", ["early"])

    async def who_hears() -> list[bool]:
        request = ListHearingRequest()
        for actor in (ann, bob, eve):
            request.listeners.add(room_id=early["_id"], user_id=actor.id)
        return list((await chat.messaging.list_hearing(request)).allowed)

    async def is_closed() -> bool:
        return await who_hears() == [True, True, False]

    async def is_open() -> bool:
        return await who_hears() == [True, True, True]

    async def is_listed() -> bool:
        request = ListRoomsRequest(actor=eve, scope=ListRoomsRequest.PUBLIC)
        listed = (await chat.messaging.list_rooms(request)).rooms
        return early["_id"] in [loaded(data)["_id"] for data in listed]

    assert await is_open()
    assert await is_listed()
    await chat.update_room(ann, parent["_id"], t="p")
    await until(is_closed)
    assert not await is_listed()
    with refused("error-room-not-found"):
        await chat.get_room(eve, early["_id"])
    with refused("error-room-not-found"):
        await chat.join(eve, early["_id"])
    assert await chat.texts(bob, early["_id"]) == ["early"]
    assert (await discuss(chat, ann, parent))["t"] == "p"
    await chat.update_room(ann, parent["_id"], t="c")
    await until(is_open)
    await until(is_listed)


async def test_who_may_start_one(chat: Chat) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    parent = await chat.room(ann, "dev", "bob")
    theirs = await chat.send(bob, parent["_id"])
    room = await discuss(chat, ann, parent)
    with refused("error-nested-discussion"):
        await discuss(chat, ann, room)
    with refused("error-not-allowed"):
        await discuss(chat, eve, parent)
    with refused("error-invalid-room"):
        await discuss(chat, eve, {"_id": "unknown"})
    with refused("error-invalid-name"):
        await discuss(chat, ann, parent, "  ")
    with refused("error-invalid-arguments"):
        await discuss(chat, ann, parent, encrypted=True, reply="x")
    with refused("error-action-not-allowed"):
        await discuss(chat, ann, parent, encrypted=True)
    await chat.set_setting("E2E_Enable", True)
    assert (await discuss(chat, ann, parent, encrypted=True))["encrypted"] is True
    await chat.grant("start-discussion-other-user", "admin")
    with refused("error-action-not-allowed"):
        await discuss(chat, ann, parent, message_id=theirs["_id"])
    await discuss(chat, bob, parent, message_id=theirs["_id"])
    await chat.update_room(ann, parent["_id"], ro=True)
    with refused("error-not-allowed"):
        await discuss(chat, bob, parent)
    await chat.set_setting("Discussion_enabled", False)
    with refused("error-action-not-allowed"):
        await discuss(chat, ann, parent)


async def test_a_deleted_parent_takes_its_discussions_with_it(chat: Chat) -> None:
    ann = await chat.user("ann")
    parent = await chat.room(ann, "dev")
    room = await discuss(chat, ann, parent)
    await chat.messaging.delete_room(RoomRequest(actor=ADMIN, room_id=parent["_id"]))

    async def is_gone() -> bool:
        stored = await chat.database.get("rooms", room["_id"])
        return stored is not None and "deleted_at" in stored

    await until(is_gone)


async def test_what_a_crash_left_untold_is_told(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room is made, and the process dies before the parent has heard: the follower tells it."""
    ann = await inside.user("ann")
    parent = await inside.room(ann, "dev")
    discussions = inside.running.nodes["messaging"].roles["messaging"]._discussions  # type: ignore[attr-defined]
    announce = discussions._announce

    async def die(room: Document) -> None:
        monkeypatch.setattr(discussions, "_announce", announce)
        raise RuntimeError("dead")

    monkeypatch.setattr(discussions, "_announce", die)
    with pytest.raises((RuntimeError, InternalError)):  # as a caller in the process hears of it, or one elsewhere
        await discuss(inside, ann, parent)

    async def is_told() -> bool:
        return [message["msg"] for message in await told(inside, ann, parent)] == ["Lunch?"]

    await until(is_told)
    events = await inside.database.list_events(room_stream(parent["_id"]), 0)
    notices = [event for event in events if event.WhichOneof("fact") == "message_sent"]
    assert [orjson.loads(event.message_sent.message)["t"] for event in notices] == ["discussion-created"]


async def test_a_room_that_hides_such_messages_tells_nothing(inside: Chat) -> None:
    ann = await inside.user("ann")
    parent = await inside.room(ann, "dev")
    await inside.update_room(ann, parent["_id"], sysMes=["discussion-created"])
    room = await discuss(inside, ann, parent, reply="hello")
    assert await told(inside, ann, parent) == []
    assert await inside.texts(ann, room["_id"]) == ["hello"]
    assert await listed(inside, ann, parent) == ["Lunch?"]
