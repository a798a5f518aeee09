"""What a user does to their own subscriptions: reading, marking unread, hiding, preferring."""

import asyncio
from typing import Any

import pytest

from palaver.events import user_stream
from palaver.messaging import reads
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import GetCountersRequest, MarkUnreadRequest, SetSubscriptionRequest
from tests.messaging.helpers import ADMIN, Chat, refused


async def make_room(chat: Chat) -> tuple[str, Actor, Actor]:
    ann, bob = await chat.users("ann", "bob")
    return (await chat.room(ann, "dev", "bob"))["_id"], ann, bob


async def unread(chat: Chat, actor: Actor, **fields: str) -> None:
    await chat.messaging.mark_unread(MarkUnreadRequest(actor=actor, **fields))


async def test_reading_tells_when(chat: Chat) -> None:
    room_id, ann, bob = await make_room(chat)
    assert "ls" not in await chat.subscription(bob, room_id)
    sent = await chat.send(ann, room_id)
    await chat.read(bob, room_id)
    assert (await chat.subscription(bob, room_id))["ls"]["$date"] >= sent["ts"]["$date"]
    with refused("error-room-not-found"):
        await chat.read(ADMIN, room_id)


async def test_reading_again_writes_nothing(local: Chat) -> None:
    room_id, ann, bob = await make_room(local)
    await local.send(ann, room_id)
    await local.read(bob, room_id)
    written = local.database.documents_written
    for _ in range(3):
        await local.read(bob, room_id)
        await local.read(bob, room_id, with_threads=True)
        await local.read(bob, room_id, thread_id="no thread")
    assert local.database.documents_written == written
    await local.send(ann, room_id)
    await local.read(bob, room_id)
    assert local.database.documents_written > written


async def test_reading_is_an_event_of_the_user(local: Chat) -> None:
    """It never waits for the room, nor makes a message wait."""
    room_id, ann, bob = await make_room(local)
    await local.send(ann, room_id)
    await local.read(bob, room_id)
    events = await local.database.list_events(user_stream(bob.id), 0)
    assert [event.WhichOneof("fact") for event in events][-1] == "room_read"


async def test_marked_as_unread(chat: Chat) -> None:
    room_id, ann, bob = await make_room(chat)
    with refused("error-no-message-for-unread"):
        await unread(chat, bob, room_id=room_id)
    mine = await chat.send(bob, room_id)
    with refused("error-no-message-for-unread"):
        await unread(chat, bob, room_id=room_id)
    with refused("error-action-not-allowed"):
        await unread(chat, bob, first_unread_id=mine["_id"])
    sent = await chat.send(ann, room_id)
    await chat.read(bob, room_id)
    await chat.prefer(bob, room_id, open=False)
    for fields in ({"room_id": room_id}, {"first_unread_id": sent["_id"]}):
        await unread(chat, bob, **fields)
        shown = await chat.subscription(bob, room_id)
        assert (shown["alert"], shown["unread"], shown["open"], shown["ls"]) == (True, 0, True, sent["ts"])
        await chat.read(bob, room_id)
        assert (await chat.subscription(bob, room_id))["alert"] is False
    for fields in ({"room_id": room_id}, {"first_unread_id": sent["_id"]}, {"first_unread_id": "unknown"}):
        with refused("error-room-not-found"):
            await unread(chat, ADMIN, **fields)


async def test_hiding_until_somebody_writes(chat: Chat) -> None:
    room_id, ann, bob = await make_room(chat)
    await chat.prefer(bob, room_id, open=False)
    assert (await chat.subscription(bob, room_id))["open"] is False
    await chat.join(ADMIN, room_id)
    assert (await chat.subscription(bob, room_id))["open"] is False
    await chat.send(ann, room_id)
    assert (await chat.subscription(bob, room_id))["open"] is True
    await chat.prefer(bob, room_id, open=False)
    await chat.prefer(bob, room_id, open=True)
    assert (await chat.subscription(bob, room_id))["open"] is True


async def test_preferences(chat: Chat) -> None:
    room_id, ann, bob = await make_room(chat)
    await chat.prefer(bob, room_id, f=True, desktopNotifications="mentions", muteGroupMentions=True, ignored=["x"])
    shown = await chat.subscription(bob, room_id)
    assert (shown["f"], shown["desktopNotifications"], shown["desktopPrefOrigin"]) == (True, "mentions", "subscription")
    await chat.send(ann, room_id, "@all")
    assert await chat.counters(bob, room_id) == (0, 0, 0, True)
    await chat.prefer(bob, room_id, desktopNotifications="default", muteGroupMentions=False, ignored=None)
    shown = await chat.subscription(bob, room_id)
    assert "desktopNotifications" not in shown
    assert "ignored" not in shown
    assert await chat.counters(bob, room_id) == (1, 0, 1, True)
    assert "f" not in await chat.subscription(ann, room_id)


@pytest.mark.parametrize(
    "changes",
    [{"read": {}}, {"own": 5}, {"rid": "x"}, {"f": "yes"}, {"open": 1}, {"desktopNotifications": "loud"}],
    ids=str,
)
async def test_what_is_no_preference(local: Chat, changes: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="invalid"):
        await local.prefer(ADMIN, "GENERAL", **changes)


async def test_counters_of_a_room(chat: Chat) -> None:
    room_id, ann, bob = await make_room(chat)
    await chat.send(ann, room_id)
    last = await chat.send(ann, room_id, "@bob")
    reply = await chat.messaging.get_counters(GetCountersRequest(actor=bob, room_id=room_id))
    assert (reply.joined, reply.members, reply.unreads, reply.messages, reply.latest, reply.user_mentions) == (
        True,
        2,
        2,
        2,
        last["ts"]["$date"],
        1,
    )
    with refused("unauthorized"):
        await chat.messaging.get_counters(GetCountersRequest(actor=bob, room_id=room_id, user_id=ann.id))
    reply = await chat.messaging.get_counters(GetCountersRequest(actor=ADMIN, room_id=room_id, user_id=bob.id))
    assert (reply.joined, reply.unreads) == (True, 2)
    assert not (await chat.messaging.get_counters(GetCountersRequest(actor=ADMIN, room_id=room_id))).joined


async def test_reading_while_others_write_loses_nothing(chat: Chat) -> None:
    """However reads and messages meet: after a last read all is read, and what comes then is unread."""
    await chat.set_setting("Unread_Count", "all_messages")
    room_id, ann, bob = await make_room(chat)

    async def write(actor: Actor) -> None:
        for index in range(30):
            await chat.send(actor, room_id, f"{index} @ann" if index % 5 == 0 else str(index))

    async def read() -> None:
        for _ in range(40):
            await chat.read(bob, room_id)
            unread_now = (await chat.subscription(bob, room_id))["unread"]
            assert 0 <= unread_now <= 30

    await asyncio.gather(write(ann), write(bob), read())
    await chat.read(bob, room_id)
    assert await chat.counters(bob, room_id) == (0, 0, 0, False)
    await chat.send(ann, room_id)
    assert await chat.counters(bob, room_id) == (1, 0, 0, True)
    assert (await chat.counters(ann, room_id))[0] == 30


async def test_users_that_are_ignored_at_once_are_all_ignored(chat: Chat) -> None:
    room_id, _, bob = await make_room(chat)

    async def change(**fields: Any) -> None:
        await chat.messaging.set_subscription(SetSubscriptionRequest(actor=bob, room_id=room_id, **fields))

    names = [f"user{number}" for number in range(8)]
    await asyncio.gather(*(change(ignored=name) for name in names))
    assert sorted((await chat.subscription(bob, room_id))["ignored"]) == names
    await asyncio.gather(change(unignored="user0"), change(unignored="user1"), change(ignored="user2"))
    assert sorted((await chat.subscription(bob, room_id))["ignored"]) == names[2:]
    with refused("error-room-not-found"):
        await chat.messaging.set_subscription(SetSubscriptionRequest(actor=ADMIN, room_id=room_id, ignored="x"))


async def test_there_is_a_limit_to_ignoring(local: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    room_id, _, bob = await make_room(local)
    monkeypatch.setattr(reads, "_MAX_IGNORED", 1)
    for _ in range(2):
        await local.messaging.set_subscription(SetSubscriptionRequest(actor=bob, room_id=room_id, ignored="one"))
    with refused("error-too-many-ignored-users"):
        await local.messaging.set_subscription(SetSubscriptionRequest(actor=bob, room_id=room_id, ignored="two"))


async def test_favourites_by_the_settings(chat: Chat) -> None:
    room_id, _, bob = await make_room(chat)
    await chat.prefer(bob, room_id, f=True)
    await chat.set_setting("Favorite_Rooms", False)
    with refused("error-action-not-allowed"):
        await chat.prefer(bob, room_id, f=True)
    await chat.prefer(bob, room_id, f=False)
    assert (await chat.subscription(bob, room_id))["f"] is False
