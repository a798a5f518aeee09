"""Lists of messages: pages, bounds, what surrounds, what changed, what is hidden, who sees stars."""

import orjson
import pytest

from palaver.messaging import paging
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import ListMessagesReply, ListRoomEventsRequest, ListThreadsRequest
from tests.messaging.helpers import ADMIN, Chat, Document, loaded, refused


async def make_room(chat: Chat, count: int) -> tuple[str, Actor, list[Document]]:
    ann = await chat.user("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    return room_id, ann, [await chat.send(ann, room_id, f"m{index}") for index in range(count)]


def texts(reply: ListMessagesReply) -> list[str]:
    return [loaded(data)["msg"] for data in reply.messages]


async def test_pages(chat: Chat) -> None:
    room_id, ann, _ = await make_room(chat, 7)
    first = await chat.page(ann, room_id, count=3, with_total=True)
    assert (texts(first), first.total, first.more_before) == (["m6", "m5", "m4"], 7, True)
    last = await chat.page(ann, room_id, count=3, offset=6, with_total=True, thread_messages=True)
    assert (texts(last), last.total, last.more_before, last.more_after) == (["m0"], 7, False, True)
    oldest = await chat.page(ann, room_id, count=2, ascending=True)
    assert (texts(oldest), oldest.more_after, oldest.more_before) == (["m0", "m1"], True, False)
    assert texts(await chat.page(ann, room_id)) == [f"m{index}" for index in reversed(range(7))]
    assert texts(await chat.page(ann, room_id, sort=b'[["ts",1]]', count=1)) == ["m0"]


async def test_the_order_of_arrival_is_the_order_of_history(chat: Chat) -> None:
    room_id, ann, messages = await make_room(chat, 60)
    assert texts(await chat.page(ann, room_id, ascending=True)) == [message["msg"] for message in messages]
    times = [message["ts"]["$date"] for message in messages]
    assert times == sorted(set(times))


async def test_the_total_is_what_one_would_count(chat: Chat) -> None:
    room_id, ann, messages = await make_room(chat, 6)
    await chat.send(ann, room_id, "reply", thread_id=messages[0]["_id"])
    await chat.delete(ann, messages[2]["_id"])
    await chat.join(ADMIN, room_id)
    for thread_messages in (False, True):
        everything = await chat.page(ann, room_id, thread_messages=thread_messages)
        page = await chat.page(ann, room_id, thread_messages=thread_messages, count=2, with_total=True)
        assert page.total == len(everything.messages)


@pytest.mark.parametrize(
    ("after", "before", "inclusive", "expected"),
    [
        (1, 4, False, ["m2", "m3"]),
        (1, 4, True, ["m1", "m2", "m3", "m4"]),
        (3, None, False, ["m4", "m5"]),
        (None, 2, True, ["m0", "m1", "m2"]),
    ],
)
async def test_bounds(local: Chat, after: int | None, before: int | None, inclusive: bool, expected: list[str]) -> None:
    room_id, ann, messages = await make_room(local, 6)
    at = [message["ts"]["$date"] for message in messages]
    fields = {"after": 0 if after is None else at[after], "before": 0 if before is None else at[before]}
    assert await local.texts(ann, room_id, inclusive=inclusive, **fields) == expected
    page = await local.page(ann, room_id, inclusive=inclusive, count=1, with_total=True, **fields)
    assert page.total == len(expected)


async def test_what_surrounds_a_message(chat: Chat) -> None:
    room_id, ann, messages = await make_room(chat, 9)
    around = await chat.page(ann, room_id, around_id=messages[4]["_id"], count=4, ascending=True)
    assert texts(around) == ["m2", "m3", "m4", "m5", "m6"]
    assert (around.more_before, around.more_after) == (True, True)
    around = await chat.page(ann, room_id, around_id=messages[0]["_id"], count=20)
    assert texts(around) == [f"m{index}" for index in reversed(range(9))]
    assert (around.more_before, around.more_after) == (False, False)
    for id in ("unknown", (await chat.send(ADMIN, "GENERAL"))["_id"]):
        with refused("error-message-not-found"):
            await chat.page(ann, room_id, around_id=id)


async def test_the_first_unread_message(chat: Chat) -> None:
    room_id, ann, messages = await make_room(chat, 8)
    seen = messages[2]["ts"]["$date"]
    page = await chat.page(ann, room_id, count=2, with_unread=True, last_seen=seen)
    assert loaded(page.first_unread)["msg"] == "m3"
    assert page.unread_not_loaded == 3
    page = await chat.page(ann, room_id, count=7, with_unread=True, last_seen=seen)
    assert (page.first_unread, page.unread_not_loaded) == (b"", 0)


async def test_what_a_client_missed(chat: Chat) -> None:
    room_id, ann, messages = await make_room(chat, 5)
    since = messages[2]["ts"]["$date"]
    await chat.edit(ann, messages[0]["_id"], "edited")
    await chat.delete(ann, messages[1]["_id"])
    missed = await chat.page(ann, room_id, updated_since=since)
    assert sorted(texts(missed)) == ["edited", "m3", "m4"]
    assert [loaded(data)["_id"] for data in missed.deleted] == [messages[1]["_id"]]
    assert "_deletedAt" in loaded(missed.deleted[0])
    later = loaded(missed.deleted[0])["_deletedAt"]["$date"]
    assert (await chat.page(ann, room_id, updated_since=later)) == ListMessagesReply()


async def test_a_list_that_is_too_large_for_one_answer_goes_on(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes and goes between two parts of it moves no other message out of it."""
    room_id, ann, messages = await make_room(chat, 7)
    since = messages[0]["ts"]["$date"] - 1
    monkeypatch.setattr(paging, "MAX_BYTES", len(orjson.dumps(messages[0])) * 2)
    monkeypatch.setattr(paging, "_PART", 3)
    for ask, expected in (
        ({}, ["m6", "m5", "m4", "m3", "m2", "m1", "m0"]),
        ({"ascending": True}, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]),
        ({"updated_since": since}, ["m6", "m5", "m4", "m3", "m2", "m1", "m0"]),
        ({"updated_since": since, "ascending": True}, ["m0", "m1", "m2", "m3", "m4", "m5", "m6"]),
        ({"sort": b'[["_updatedAt",-1]]', "offset": 2}, ["m4", "m3", "m2", "m1", "m0"]),
    ):
        found: list[str] = []
        reply = await chat.page(ann, room_id, **ask)
        assert reply.next
        found += texts(reply)
        while reply.next:
            reply = await chat.page(ann, room_id, start=reply.next, **ask)
            assert len(reply.messages) <= 2
            found += texts(reply)
        assert found == expected
    first = await chat.page(ann, room_id)
    await chat.send(ann, room_id, "m7")
    await chat.delete(ann, messages[6]["_id"])
    assert texts(await chat.page(ann, room_id, start=first.next)) == ["m4", "m3"]
    around = await chat.page(ann, room_id, around_id=messages[3]["_id"], count=10, ascending=True)
    assert (texts(around), around.more_before, around.more_after) == (["m1", "m2", "m3", "m4", "m5"], True, True)
    with refused("invalid-params"):
        await chat.page(ann, room_id, start="nowhere")


async def test_a_thread_list_goes_on(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    room_id, ann, messages = await make_room(chat, 3)
    for message in messages:
        await chat.send(ann, room_id, "reply", thread_id=message["_id"])
    monkeypatch.setattr(paging, "MAX_BYTES", 1)
    found = []
    request = ListThreadsRequest(actor=ann, room_id=room_id)
    for left in (True, True, False):
        reply = await chat.messaging.list_threads(request)
        found += [loaded(data)["msg"] for data in reply.documents]
        assert (bool(reply.next), reply.total) == (left, 3)
        request.start = reply.next
    assert found == ["m2", "m1", "m0"]


async def test_no_member_makes_a_room_unreadable(chat: Chat) -> None:
    """A list ends before it is more than an answer can have, as long as the administrator lets them say so much."""
    await chat.set_setting("Message_MaxAllowedSize", 4_000_000)
    room_id, ann, _ = await make_room(chat, 0)
    for number in range(10):  # 44 MB; the tests' database puts no more than 48 into one answer, and never divides one
        await chat.send(ann, room_id, str(number) + "x" * 2_200_000)
    reply = await chat.page(ann, room_id, count=10)
    found = texts(reply)
    assert 0 < len(found) < 10
    while reply.next:
        reply = await chat.page(ann, room_id, count=10, start=reply.next)
        found += texts(reply)
    assert [text[0] for text in found] == list("9876543210")
    heard: list[int] = []
    events = await chat.messaging.list_room_events(ListRoomEventsRequest(room_id=room_id))
    while events.events:
        heard += [event.seq for event in events.events]
        events = await chat.messaging.list_room_events(ListRoomEventsRequest(room_id=room_id, after=heard[-1]))
    assert heard == list(range(1, events.head + 1))


async def test_filters_know_their_fields(chat: Chat) -> None:
    room_id, ann, _ = await make_room(chat, 2)
    await chat.join(ADMIN, room_id)
    await chat.send(ADMIN, room_id, "by the boss")
    assert await chat.texts(ann, room_id, filter=b'{"u._id":"theAdmin"}') == ["by the boss"]
    with refused("error-invalid-query"):
        await chat.page(ann, room_id, filter=b'{"secret":1}')
    with refused("error-invalid-sort"):
        await chat.page(ann, room_id, sort=b'[["secret",1]]')


async def test_only_those_who_may_read_do(chat: Chat) -> None:
    room_id, ann, messages = await make_room(chat, 1)
    bob = await chat.user("bob")
    assert await chat.texts(bob, room_id) == ["m0"]
    await chat.grant("preview-c-room", "admin")
    with refused("error-not-allowed"):
        await chat.page(bob, room_id)
    with refused("error-message-not-found"):
        await chat.message(bob, messages[0]["_id"])
    await chat.grant("view-c-room", "admin")
    with refused("error-room-not-found"):
        await chat.page(bob, room_id)
    assert await chat.texts(ann, room_id) == ["m0"], "a member reads on"
