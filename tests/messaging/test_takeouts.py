"""Users' own data to take away: what is in it, who gets it, and how long it is kept."""

import asyncio
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from palaver.commit import now
from palaver.documents import with_iso_dates
from palaver.errors import NotFound, Unavailable
from palaver.messaging.takeouts import catalogue, working
from palaver.messaging.takeouts.archive import Shelf
from palaver.messaging.takeouts.catalogue import KEPT_MILLISECONDS
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import GetTakeoutRequest, RequestTakeoutRequest, SendMessageRequest, TakeoutReply
from tests.messaging.helpers import Chat, Document, loaded, refused, until
from tests.messaging.test_uploads import add
from tests.smtp import Mailbox, body, smtp_server, use_mail


async def request(chat: Chat, actor: Actor, *, full: bool = False) -> TakeoutReply:
    return await chat.messaging.request_takeout(RequestTakeoutRequest(actor=actor, full=full))


async def get(chat: Chat, actor: Actor, takeout_id: str) -> Document:
    return loaded((await chat.messaging.get_takeout(GetTakeoutRequest(actor=actor, takeout_id=takeout_id))).takeout)


async def made(chat: Chat, actor: Actor, *, full: bool = False) -> tuple[Document, zipfile.ZipFile]:
    """The takeout that the user asks for, and what is in it."""
    takeout = loaded((await request(chat, actor, full=full)).takeout)
    async with asyncio.timeout(60):
        while takeout["status"] in ("pending", "exporting"):
            await asyncio.sleep(0.05)
            takeout = loaded((await request(chat, actor, full=full)).takeout)
    assert takeout["status"] == "completed"
    blobs = chat.running.nodes["messaging"].blobs
    data = b"".join([piece async for piece in await blobs.read(f"takeouts/{takeout['_id']}")])
    assert len(data) == takeout["size"]
    return takeout, zipfile.ZipFile(io.BytesIO(data))


def names(archive: zipfile.ZipFile, folder: str) -> list[str]:
    return sorted(name for name in archive.namelist() if name.startswith(folder))


async def test_what_somebody_wrote_in_the_order_of_its_time(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev-ops", "bob"))["_id"]
    other = (await chat.room(ann, "secret", type="p"))["_id"]
    for number in range(7):
        await chat.send(ann, room_id, f"<b>{number}</b>")
    gone = await chat.send(ann, room_id, "gone")
    await chat.delete(ann, gone["_id"])
    await chat.send(bob, room_id, "of bob")
    await chat.send(ann, other, "elsewhere")
    await chat.set_setting("UserData_MessageLimitPerRequest", 2)
    _, archive = await made(chat, ann, full=True)
    assert archive.testzip() is None
    user = json.loads(archive.read("user.json"))
    assert (user["username"], "argon2" in str(user)) == ("ann", False)
    assert {room["name"] for room in json.loads(archive.read("rooms.json"))} >= {"dev-ops", "secret"}
    found = {
        room["room"]["name"]: room["messages"] for room in map(json.loads, map(archive.read, names(archive, "mes")))
    }
    assert [message["msg"] for message in found["dev-ops"]] == [f"<b>{number}</b>" for number in range(7)]
    assert [message["msg"] for message in found["secret"]] == ["elsewhere"]
    assert found["secret"][0]["ts"].endswith("Z")
    _, pages = await made(chat, ann)
    text = "".join(pages.read(name).decode() for name in pages.namelist())
    assert "&lt;b&gt;6&lt;/b&gt;" in text
    assert not {"<b>6", "of bob", "gone"} & {part for part in ("<b>6", "of bob", "gone") if part in text}


async def test_the_files_that_somebody_sent(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    for who, name in ((ann, "../her file.txt"), (bob, "his.txt")):
        upload = await add(chat, who, room_id, name=name)
        await chat.messaging.send_message(
            SendMessageRequest(actor=who, room_id=room_id, message_id=f"of{upload['_id']}", upload_id=upload["_id"])
        )
    _, archive = await made(chat, ann, full=True)
    [name] = names(archive, "files/")
    assert name.endswith("_her_file.txt")
    assert ".." not in name.replace("-.._", "")
    assert archive.read(name) == b"abc"


async def test_it_is_the_users_alone_and_for_a_week(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = await chat.users("ann", "bob")
    takeout, _ = await made(chat, ann)
    assert (await get(chat, ann, takeout["_id"]))["expiresAt"]["$date"] == takeout["createdAt"][
        "$date"
    ] + KEPT_MILLISECONDS
    for actor, takeout_id in ((bob, takeout["_id"]), (ann, "ghost"), (ann, ""), (ann, "../x")):
        with pytest.raises(NotFound):
            await get(chat, actor, takeout_id)
    again = await request(chat, ann)
    assert (again.requested, loaded(again.takeout)["_id"]) == (False, takeout["_id"])
    other, _ = await made(chat, ann, full=True)  # it takes the first one's place
    with pytest.raises(NotFound):
        await get(chat, ann, takeout["_id"])
    node = chat.running.nodes["messaging"]
    service: Any = node.roles["messaging"]
    assert [blob.key async for blob in node.blobs.list("takeouts")] == [f"takeouts/{other['_id']}"]
    await service._takeouts.catalogue.clean(now())
    await get(chat, ann, other["_id"])
    await service._takeouts.catalogue.clean(now() + KEPT_MILLISECONDS + 60_000)
    assert [blob.key async for blob in node.blobs.list("takeouts")] == []
    with pytest.raises(NotFound):
        await get(chat, ann, other["_id"])


async def test_who_asks_when_there_are_none(chat: Chat) -> None:
    (ann,) = await chat.users("ann")
    await chat.set_setting("UserData_EnableDownload", False)
    with refused("error-not-allowed"):
        await request(chat, ann)
    with refused("error-invalid-user"):
        await chat.messaging.request_takeout(RequestTakeoutRequest(actor=Actor(kind=Actor.USER, id="ghost")))


async def test_who_asks_for_one_kind_and_the_other_in_turns_gets_a_few_in_a_day(chat: Chat) -> None:
    ann = await chat.user("ann")
    for number in range(5):
        await made(chat, ann, full=bool(number % 2))
    with refused("too-many-requests"):
        await request(chat, ann, full=True)
    assert loaded((await request(chat, ann)).takeout)["status"] == "completed"


async def test_a_letter_says_where_it_is(chat: Chat) -> None:
    (ann,) = await chat.users("ann")
    async with smtp_server() as mailbox:
        await use_mail(chat.running.services.auth, mailbox)
        letter = await told(chat, ann, mailbox)
    assert letter[0] == "ann@example.org"
    assert f"http://chat.example.org/data-export/{letter[1]}" in letter[2]


async def told(chat: Chat, actor: Actor, mailbox: Mailbox) -> tuple[str, str, str]:
    takeout, _ = await made(chat, actor)
    letter = await mailbox.next_letter()
    return letter["To"], takeout["_id"], body(letter)


async def test_what_fails_is_said_and_holds_up_nothing(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = await inside.users("ann", "bob")
    service: Any = inside.running.node.roles["messaging"]
    compose = service._takeouts.packer._archive.compose

    def fail(user_id: str, *, full: bool) -> Any:
        if user_id == "annId":
            raise ValueError("a bad document")
        return compose(user_id, full=full)

    monkeypatch.setattr(service._takeouts.packer._archive, "compose", fail)
    await request(inside, ann)
    await made(inside, bob)
    takeout = await inside.running.node.database.find_record("takeouts", "annId")
    assert takeout is not None
    assert takeout["status"] == "failed"
    monkeypatch.setattr(service._takeouts.packer._archive, "compose", compose)
    await made(inside, ann)


async def test_a_process_that_died_has_a_successor(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it had done: the record says that it is under way, and the work is begun again."""
    (ann,) = await inside.users("ann")
    monkeypatch.setattr(working, "_ROUND_SECONDS", 0.05)
    service: Any = inside.running.node.roles["messaging"]
    real = service._takeouts.packer._make

    async def die(takeout: Document) -> None:
        await service._takeouts.catalogue.change(takeout, status="exporting")
        monkeypatch.setattr(service._takeouts.packer, "_make", real)
        raise asyncio.CancelledError

    monkeypatch.setattr(service._takeouts.packer, "_make", die)
    await made(inside, ann)


async def test_who_died_before_it_was_to_be_done_is_asked_again(inside: Chat) -> None:
    (ann,) = await inside.users("ann")
    date = {"$date": now()}
    left = {"_id": "left", "userId": "annId", "status": "pending", "fullExport": False, "createdAt": date}
    await inside.running.node.database.put_record("takeouts", "annId", left)
    takeout, _ = await made(inside, ann)
    assert takeout["_id"] == "left"


async def test_what_can_not_be_stored_holds_up_nothing(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that one takeout fills says the same as a storage that is away for a moment."""
    ann, bob = await inside.users("ann", "bob")
    monkeypatch.setattr(working, "_ROUND_SECONDS", 0.05)
    service, database = cast(Any, inside.running.node.roles["messaging"]), inside.running.node.database
    compose, tries = service._takeouts.packer._archive.compose, 0

    def fill(user_id: str, *, full: bool) -> Any:
        nonlocal tries
        if user_id == "annId":
            tries += 1
            raise Unavailable
        return compose(user_id, full=full)

    monkeypatch.setattr(service._takeouts.packer._archive, "compose", fill)
    await request(inside, ann)
    await made(inside, bob)
    [(key, due)] = await database.list_records("takeout_due")
    assert (due["attempts"], due["not_before"] > now()) == (1, True)
    assert loaded((await request(inside, ann)).takeout)["status"] == "exporting"
    monkeypatch.setattr(catalogue, "_PAUSE", 0)
    await database.put_record("takeout_due", key, {**due, "not_before": 0})

    async def is_given_up() -> bool:
        return not await database.list_records("takeout_due")

    await until(is_given_up)
    takeout = await database.find_record("takeouts", "annId")
    assert takeout is not None
    assert (tries, takeout["status"]) == (catalogue._MAX_ATTEMPTS, "failed")


def test_dates_are_readable() -> None:
    assert with_iso_dates({"a": [{"$date": 1700000000123}, 1]}) == {"a": ["2023-11-14T22:13:20.123Z", 1]}


async def test_a_shelf_is_closed_behind_whoever_is_still_at_it(tmp_path: Path) -> None:
    """Closing it under the thread of somebody who was cancelled could end the process."""
    shelf = Shelf(tmp_path / "messages.db")
    begun, go_on = threading.Event(), threading.Event()

    def messages() -> Iterator[Document]:
        begun.set()
        go_on.wait(30)
        yield {"_id": "m", "rid": "r", "ts": {"$date": 1}, "msg": "hi", "u": {"_id": "u", "username": "u"}}

    adding = asyncio.create_task(asyncio.to_thread(shelf.add, messages()))
    await asyncio.to_thread(begun.wait, 30)
    closing = asyncio.create_task(asyncio.to_thread(shelf.close))
    await asyncio.sleep(0.1)
    assert not closing.done()
    go_on.set()
    await adding
    await closing
