"""Pruning: what is old is gone, with its uploads; what the room counts and shows is right afterwards."""

import contextlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from palaver.errors import RoomNotFound
from palaver.events import room_stream
from palaver.ids import new_id
from palaver.messaging import pruning, revisions
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import (
    CreateDiscussionRequest,
    PruneMessagesReply,
    PruneMessagesRequest,
    UploadRequest,
)
from tests.messaging.crashing import dying
from tests.messaging.helpers import ADMIN, Chat, Document, loaded, refused, until
from tests.services import Transport, service_nodes

ALWAYS = 253_402_300_799_999


async def owners_may(chat: Chat) -> None:
    await chat.grant("clean-channel-history", "admin", "owner")


async def prune(chat: Chat, actor: Actor, room: Document, **fields: Any) -> PruneMessagesReply:
    fields = {"oldest": 0, "latest": ALWAYS, **fields}
    return await chat.messaging.prune_messages(PruneMessagesRequest(actor=actor, room_id=room["_id"], **fields))


async def send_file(chat: Chat, actor: Actor, room: Document) -> Document:
    upload_id = new_id()
    await chat.messaging.add_upload(
        UploadRequest(
            actor=actor, room_id=room["_id"], upload_id=upload_id, name="a.txt", type="text/plain", size=3, sha256="0"
        )
    )
    return await chat.send(actor, room["_id"], "see", upload_id=upload_id)


async def count(chat: Chat, actor: Actor, room: Document) -> tuple[int, int]:
    """What the room says that it has, and what a list of all counts."""
    page = await chat.page(actor, room["_id"], thread_messages=True, with_total=True, count=1)
    return (await chat.get_room(actor, room["_id"]))["msgs"], page.total


async def test_what_is_within_the_bounds_is_gone(chat: Chat) -> None:
    await owners_may(chat)
    ann, bob = await chat.users("ann", "bob")
    room = await chat.room(ann, "dev", "bob")
    sent = [await chat.send(bob if number == 1 else ann, room["_id"], f"{number}") for number in range(6)]
    times = [message["ts"]["$date"] for message in sent]
    with refused("error-not-allowed"):
        await prune(chat, bob, room)
    await chat.delete(ann, sent[0]["_id"])
    assert await count(chat, ann, room) == (5, 5)
    assert (await prune(chat, ann, room, oldest=times[1], latest=times[3])).count == 1
    assert await chat.texts(ann, room["_id"]) == ["1", "3", "4", "5"]
    assert (await prune(chat, ann, room, oldest=times[3], latest=times[4], inclusive=True, limit=1)).count == 1
    assert await chat.texts(ann, room["_id"]) == ["1", "4", "5"]
    assert (await prune(chat, ADMIN, room, usernames=["ann"], oldest=times[5], inclusive=True)).count == 1
    shown = await chat.get_room(ann, room["_id"])
    assert shown["lastMessage"]["msg"] == "4"
    assert await count(chat, ann, room) == (2, 2)
    assert (await prune(chat, ann, room, usernames=["nobody"])).count == 0
    assert (await prune(chat, ann, room)).count == 2
    assert "lastMessage" not in await chat.get_room(ann, room["_id"])
    assert await count(chat, ann, room) == (0, 0)


async def test_threads_lose_replies_and_may_be_left_alone(chat: Chat) -> None:
    await owners_may(chat)
    ann = await chat.user("ann")
    room = await chat.room(ann, "dev")
    root = await chat.send(ann, room["_id"], "root")
    replies = [await chat.send(ann, room["_id"], f"{number}", thread_id=root["_id"]) for number in range(3)]
    await chat.send(ann, room["_id"], "alone")
    assert (await prune(chat, ann, room, ignore_threads=True)).count == 1
    latest = replies[1]["ts"]["$date"]
    assert (await prune(chat, ann, room, oldest=root["ts"]["$date"], latest=latest, inclusive=False)).count == 1
    assert (await chat.message(ann, root["_id"]))["tcount"] == 2
    assert (await prune(chat, ann, room)).count == 3
    assert await chat.threads(ann, room["_id"]) == []


async def test_files_go_with_their_messages_or_alone(chat: Chat) -> None:
    await owners_may(chat)
    ann = await chat.user("ann")
    room = await chat.room(ann, "dev")
    first, second = await send_file(chat, ann, room), await send_file(chat, ann, room)
    await chat.send(ann, room["_id"], "no file")
    until = first["ts"]["$date"]
    assert (await prune(chat, ann, room, files_only=True, latest=until, inclusive=True)).count == 1
    kept = await chat.message(ann, first["_id"])
    assert (kept["msg"], "file" in kept, "files" in kept) == ("see", False, False)
    assert kept["attachments"] == [{"color": "#FD745E", "text": "_File removed by prune_"}]
    uploads = [await chat.database.get("uploads", message["file"]["_id"]) for message in (first, second)]
    assert [upload is not None and "deleted_at" in upload for upload in uploads] == [True, False]
    assert await count(chat, ann, room) == (3, 3)
    assert (await prune(chat, ann, room)).count == 3
    upload = await chat.database.get("uploads", second["file"]["_id"])
    assert upload is not None
    assert "deleted_at" in upload


async def test_a_file_goes_with_its_message_whoever_else_claims_it(chat: Chat) -> None:
    await owners_may(chat)
    ann = await chat.user("ann")
    room = await chat.room(ann, "dev")
    upload_id = (await send_file(chat, ann, room))["file"]["_id"]
    await chat.send(ann, room["_id"], "mine", extra={"file": {"_id": upload_id}})
    assert (await prune(chat, ann, room)).count == 2
    upload = await chat.database.get("uploads", upload_id)
    assert upload is not None
    assert "deleted_at" in upload


async def test_discussions_go_with_what_tells_of_them_unless_left_alone(chat: Chat) -> None:
    await owners_may(chat)
    ann = await chat.user("ann")
    room = await chat.room(ann, "dev")
    made = await chat.messaging.create_discussion(CreateDiscussionRequest(actor=ann, room_id=room["_id"], name="Lunch"))
    discussion = loaded(made.room)["_id"]
    assert (await prune(chat, ann, room, ignore_discussions=True)).count == 0
    await chat.get_room(ann, discussion)
    assert (await prune(chat, ann, room)).count == 1

    async def is_gone() -> bool:
        with contextlib.suppress(RoomNotFound):
            await chat.get_room(ann, discussion)
            return False
        return True

    await until(is_gone)


async def test_a_crash_after_the_event_leaves_no_discussion(
    tmp_path: Path, transport: Transport, cheap_hashes: None
) -> None:
    roles = ("auth", "presence", "messaging")
    async with service_nodes(tmp_path, roles, transport) as running:
        chat = Chat(running)
        await owners_may(chat)
        ann = await chat.user("ann")
        room = await chat.room(ann, "dev")
        request = CreateDiscussionRequest(actor=ann, room_id=room["_id"], name="Lunch")
        discussion = loaded((await chat.messaging.create_discussion(request)).room)["_id"]
        async with dying("discussion.before_deletion"):
            assert (await prune(chat, ann, room)).count == 1
        assert (await chat.get_room(ann, discussion))["prid"] == room["_id"]
    async with service_nodes(tmp_path, roles, transport) as running:
        chat = Chat(running)

        async def is_gone() -> bool:
            return "deleted_at" in (await running.nodes["messaging"].database.get("rooms", discussion) or {})

        await until(is_gone)


async def test_what_is_pruned_mentions_nobody(chat: Chat) -> None:
    await owners_may(chat)
    ann, bob = await chat.users("ann", "bob")
    room = await chat.room(ann, "dev", "bob")
    sent = [await chat.send(ann, room["_id"], f"@bob and @ann {number}") for number in range(3)]
    assert (await chat.marked(bob, room["_id"], "MENTIONING", count=1))[1] == 3
    assert (await prune(chat, ann, room, latest=sent[2]["ts"]["$date"])).count == 2
    assert await chat.marked(bob, room["_id"], "MENTIONING", count=1) == (["@bob and @ann 2"], 1)


async def test_what_is_gone_already_is_not_looked_at(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms may have millions of these: the index has none of them."""
    await owners_may(inside)
    monkeypatch.setattr(pruning, "_LOOKED_AT", 3)
    ann = await inside.user("ann")
    room = await inside.room(ann, "dev")
    for number in range(7):
        await inside.send(ann, room["_id"], f"{number}")
        if number == 5:
            reply = await prune(inside, ann, room)
            while reply.next:
                reply = await prune(inside, ann, room, start=reply.next)
    start = ""
    counts: list[int] = []
    while start or not counts:
        reply = await prune(inside, ann, room, start=start)
        start = reply.next
        counts.append(reply.count)
    assert counts == [1]


async def test_an_event_is_no_larger_than_a_database_takes(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the first messages of threads as they are afterwards, and each may be large."""
    await owners_may(inside)
    monkeypatch.setattr(revisions, "_MAX_EVENT_BYTES", 20_000)
    ann = await inside.user("ann")
    room = await inside.room(ann, "dev")
    roots = [await inside.send(ann, room["_id"], "*a* " * 50) for _ in range(9)]
    for root in roots:
        await inside.send(ann, room["_id"], "reply", thread_id=root["_id"])
    oldest = roots[-1]["ts"]["$date"]
    assert (await prune(inside, ann, room, oldest=oldest)).count == 9
    assert await count(inside, ann, room) == (9, 9)
    shown = [await inside.message(ann, root["_id"]) for root in roots]
    assert [root["tcount"] for root in shown] == [0] * 9
    events = await inside.database.list_events(room_stream(room["_id"]), 0)
    pruned = [event for event in events if event.WhichOneof("fact") == "messages_pruned"]
    assert len(pruned) > 1
    assert max(event.messages_pruned.ByteSize() for event in pruned) <= 20_000


async def test_very_many_are_pruned_a_part_at_a_time(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    await owners_may(inside)
    monkeypatch.setattr(pruning, "_LOOKED_AT", 5)
    monkeypatch.setattr(pruning, "_PER_EVENT", 2)
    ann = await inside.user("ann")
    room = await inside.room(ann, "dev")
    for number in range(12):
        await inside.send(ann, room["_id"], f"{number}")
    reply = await prune(inside, ann, room)
    counts = [reply.count]
    while reply.next:
        reply = await prune(inside, ann, room, start=reply.next)
        counts.append(reply.count)
    assert counts == [5, 5, 2]
    assert await inside.texts(ann, room["_id"]) == []
    events = await inside.database.list_events(room_stream(room["_id"]), 0)
    pruned = [event.messages_pruned for event in events if event.WhichOneof("fact") == "messages_pruned"]
    assert [len(fact.message_ids) for fact in pruned] == [2, 2, 1, 2, 2, 1, 2]
    assert orjson.loads(pruned[0].asked)["ts"] == {"$gt": {"$date": 0}, "$lt": {"$date": ALWAYS}}
