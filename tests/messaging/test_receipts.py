"""Read receipts: who has read a message follows from when they last read the room."""

from typing import Any

from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import MessageRequest
from tests.messaging.helpers import Chat, loaded, make_room, refused


async def switch_on(chat: Chat) -> None:
    await chat.set_setting("Message_Read_Receipt_Enabled", True)
    await chat.set_setting("Message_Read_Receipt_Store_Users", True)


async def receipts(chat: Chat, actor: Actor, message: dict[str, Any]) -> list[dict[str, Any]]:
    request = MessageRequest(actor=actor, message_id=message["_id"])
    return [loaded(data) for data in (await chat.messaging.list_read_receipts(request)).documents]


async def readers(chat: Chat, actor: Actor, message: dict[str, Any]) -> list[str]:
    return sorted(receipt["user"]["username"] for receipt in await receipts(chat, actor, message))


async def test_who_has_read_a_message(chat: Chat) -> None:
    await switch_on(chat)
    room_id, (ann, bob, eve) = await make_room(chat, "ann", "bob", "eve")
    first = await chat.send(ann, room_id, "first")
    assert first["unread"] is True
    assert await readers(chat, bob, first) == ["ann"]
    await chat.read(bob, room_id)
    second = await chat.send(ann, room_id, "second")
    assert await readers(chat, ann, first) == ["ann", "bob"]
    assert await readers(chat, ann, second) == ["ann"]
    [own, his] = await receipts(chat, ann, first)
    assert (own["ts"], own["userId"], his["userId"]) == (first["ts"], "annId", "bobId")
    assert (his["messageId"], his["roomId"], his["user"]["name"]) == (first["_id"], room_id, "Bob")
    assert his["ts"]["$date"] > first["ts"]["$date"]
    late = await chat.user("late")
    await chat.join(late, room_id)
    await chat.read(late, room_id)
    assert await readers(chat, ann, second) == ["ann"], "who came later was not there to read it"
    await chat.read(eve, room_id)
    assert await readers(chat, ann, second) == ["ann", "eve"]
    await chat.leave(eve, room_id)
    assert await readers(chat, ann, second) == ["ann"]


async def test_a_message_is_unread_until_everybody_has_read_it(chat: Chat) -> None:
    await switch_on(chat)
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    sent = await chat.send(ann, room_id)
    await chat.read(ann, room_id)
    assert (await chat.message(ann, sent["_id"]))["unread"] is True
    await chat.read(bob, room_id)
    assert "unread" not in await chat.message(ann, sent["_id"])
    later = await chat.send(ann, room_id)
    assert (await chat.message(ann, later["_id"]))["unread"] is True
    await chat.set_setting("Message_Read_Receipt_Enabled", False)
    assert "unread" not in await chat.message(ann, later["_id"])
    assert "unread" not in await chat.send(ann, room_id)


async def test_a_reply_is_read_with_its_thread(chat: Chat) -> None:
    await switch_on(chat)
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    root = await chat.send(bob, room_id, "root")
    reply = await chat.send(ann, room_id, "reply", thread_id=root["_id"])
    await chat.read(bob, room_id)
    assert await readers(chat, ann, reply) == ["ann"]
    await chat.read(bob, room_id, thread_id=root["_id"])
    assert await readers(chat, ann, reply) == ["ann", "bob"]


async def test_what_the_settings_do_not_tell(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    sent = await chat.send(ann, room_id)
    await chat.read(bob, room_id)
    assert await readers(chat, ann, sent) == []
    await chat.set_setting("Message_Read_Receipt_Enabled", True)
    assert await readers(chat, ann, sent) == []
    await chat.set_setting("Message_Read_Receipt_Store_Users", True)
    assert await readers(chat, ann, sent) == ["ann", "bob"]
    secret = (await chat.room(ann, "secret", type="p"))["_id"]
    hidden = await chat.send(ann, secret)
    with refused("error-invalid-message"):
        await receipts(chat, bob, hidden)
