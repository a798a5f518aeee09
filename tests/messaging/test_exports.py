"""Exports: what is in a file, who gets it, what a letter has, and what becomes of either when things go wrong."""

import io
import zipfile
from typing import Any

import orjson
import pytest

from palaver import mail
from palaver.commit import now
from palaver.database import Document
from palaver.errors import Unavailable
from palaver.messaging import archives, exports
from palaver.messaging.exports import KIND, Exports
from palaver.messaging.role import MessagingService
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import ExportRoomReply, ExportRoomRequest, GetUploadRequest
from tests.messaging.helpers import ADMIN, Chat, loaded, refused
from tests.messaging.test_uploads import add
from tests.services import ADMIN_ID
from tests.smtp import body, smtp_server, use_mail

EVER = 253_402_300_799_999
SOON = 60_000


async def hold(chat: Chat) -> None:
    """The node's own task never has the lease: the tests say when something is done."""
    assert await chat.running.nodes["messaging"].live.acquire("exports", "the tests", 3600.0)


@pytest.fixture
async def held(inside: Chat) -> Chat:
    await hold(inside)
    return inside


def task_of(chat: Chat) -> Exports:
    service = chat.running.nodes["messaging"].roles["messaging"]
    assert isinstance(service, MessagingService)
    return service._exports


async def always() -> bool:
    return True


async def ask(chat: Chat, actor: Actor, room_id: str, **fields: Any) -> ExportRoomReply:
    if "message_ids" not in fields:
        fields = {"format": "json", "latest": EVER, **fields}
    return await chat.messaging.export_room(ExportRoomRequest(actor=actor, room_id=room_id, **fields))


async def work(chat: Chat) -> None:
    """Everything that is due is done."""
    while await task_of(chat).export_next(now() + SOON, always):
        pass


async def received(chat: Chat) -> Document:
    """What rocket.cat has said last to the administrator."""
    direct = await chat.direct(ADMIN, "rocket.cat")
    return loaded((await chat.page(ADMIN, direct["_id"], count=1)).messages[0])


async def content_of(chat: Chat, upload_id: str) -> zipfile.ZipFile:
    blobs = chat.running.nodes["messaging"].blobs
    data = b"".join([piece async for piece in await blobs.read(f"files/{upload_id}")])
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    return archive


async def test_a_room_becomes_a_file(chat: Chat) -> None:
    await hold(chat)
    ann = await chat.user("ann")
    room_id = (await chat.room(ann, "dev", "boss"))["_id"]
    await chat.send(ann, room_id, "hello <b>")
    deleted = await chat.send(ann, room_id, "never said")
    await chat.delete(ann, deleted["_id"])
    upload = await add(chat, ann, room_id, name="../a b?.txt")
    sent = await chat.send(ann, room_id, "see", upload_id=upload["_id"], description="a file")
    await chat.update_room(ann, room_id, topic="x")
    await ask(chat, ADMIN, room_id)
    await work(chat)
    message = await received(chat)
    assert (message["u"]["_id"], message["msg"]) == ("rocket.cat", "Your export of dev is ready.")
    assert message["file"]["name"] == "dev.zip"
    archive = await content_of(chat, message["file"]["_id"])
    path = f"files/{upload['_id']}-.._a b_.txt".replace("-.._", "-_")
    assert archive.namelist() == ["messages.json", path]
    assert archive.read(path) == b"abc"
    said = orjson.loads(archive.read("messages.json"))
    assert [(one.get("t"), one["msg"]) for one in said] == [
        (None, "hello <b>"),
        (None, "see"),
        ("room_changed_topic", "x"),
    ]
    assert said[1]["_id"] == sent["_id"]
    assert said[0]["ts"].endswith("Z")
    assert "md" not in said[0]
    with refused("error-not-allowed"):
        await chat.messaging.get_upload(GetUploadRequest(actor=ann, upload_id=message["file"]["_id"]))
    assert await chat.database.list_records(KIND) == []


async def test_a_page_for_people_is_safe_to_open(held: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_PAGE", 2)
    ann = await held.user("ann")
    room_id = (await held.room(ann, "dev", "boss"))["_id"]
    sent = []
    for number in range(5):
        sent.append(await held.send(ann, room_id, f"<script>{number}\nand more"))
        for _ in range(3 if number == 1 else 0):  # more than a page that is gone
            await held.delete(ann, (await held.send(ann, room_id, "never said"))["_id"])
    upload = await add(held, ann, room_id)
    await held.send(ann, room_id, "see", upload_id=upload["_id"])
    oldest, latest = (sent[number]["ts"]["$date"] for number in (1, 3))
    await ask(held, ADMIN, room_id, format="html", oldest=oldest, latest=latest)
    await task_of(held).export_next(now() + SOON, always)
    html = (await content_of(held, (await received(held))["file"]["_id"])).read("messages.html").decode()
    assert [f"&lt;script&gt;{number}<br>and more" in html for number in range(5)] == [False, True, True, True, False]
    assert "<b>Ann</b>" in html
    await ask(held, ADMIN, room_id, format="html")
    await work(held)
    html = (await content_of(held, (await received(held))["file"]["_id"])).read("messages.html").decode()
    assert html.count("and more") == 5
    assert "never said" not in html
    assert f'<a href="files/{upload["_id"]}-a.txt">a.txt</a>' in html


async def test_who_may_export(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", type="p"))["_id"]
    with refused("error-action-not-allowed"):
        await ask(chat, ann, room_id)
    with refused("error-room-not-found"):
        await ask(chat, bob, room_id)
    with refused("error-room-not-found"):
        await ask(chat, ADMIN, room_id)
    await chat.grant("mail-messages", "owner")
    for wrong, code in (
        ({"format": "pdf"}, "error-invalid-format"),
        ({"oldest": 2, "latest": 1}, "error-invalid-dates"),
        ({"message_ids": ["x"], "emails": ["x@example.org"]}, "error-smtp-not-configured"),
    ):
        with refused(code):
            await ask(chat, ann, room_id, **wrong)
    await ask(chat, ann, room_id)


async def test_rights_count_when_it_is_done(held: Chat) -> None:
    ann = await held.user("ann")
    await held.grant("mail-messages", "owner")
    room_id = (await held.room(ann, "dev"))["_id"]
    at = now() + SOON  # before the node's own task can be faster
    wanted = {"room_id": room_id, "user_id": "annId", "attempts": 0, "due": at, "format": "json"}
    await held.database.put_record(KIND, "1", {**wanted, "oldest": 0, "latest": EVER})
    await held.grant("mail-messages", "admin")
    await task_of(held).export_next(at, always)
    direct = await held.direct(ann, "rocket.cat")
    assert await held.texts(ann, direct["_id"]) == ["Your export could not be made."]
    assert await held.database.list_records(KIND) == []


async def test_another_process_goes_on_where_one_died(held: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await held.user("ann")
    room_id = (await held.room(ann, "dev", "boss"))["_id"]
    await held.send(ann, room_id, "hello")
    at = now() + SOON
    wanted = {"room_id": room_id, "user_id": ADMIN_ID, "attempts": 0, "due": at, "format": "json"}
    ids = {"upload_id": "u" * 17, "message_id": "m" * 17}
    await held.database.put_record(KIND, "1", {**wanted, **ids, "oldest": 0, "latest": EVER})

    async def breaks(kind: str, id: str) -> bool:
        raise Unavailable

    with monkeypatch.context() as broken:
        broken.setattr(held.database, "delete_record", breaks)
        with pytest.raises(Unavailable):
            await task_of(held).export_next(at, always)
    assert await task_of(held).export_next(at, always) is True
    direct = await held.direct(ADMIN, "rocket.cat")
    assert await held.texts(ADMIN, direct["_id"]) == ["Your export of dev is ready."]
    assert await held.database.list_records(KIND) == []


async def test_what_can_not_be_stored_keeps_no_other_waiting(held: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that one export fills says the same as a storage that is away for a moment."""
    at = now() + SOON
    for number in range(2):
        wanted = {"room_id": "GENERAL", "user_id": ADMIN_ID, "attempts": 0, "due": at, "format": "json"}
        ids = {"upload_id": f"upload{number}", "message_id": f"message{number}"}
        await held.database.put_record(KIND, f"{number}", {**wanted, **ids, "oldest": 0, "latest": EVER})
    blobs = held.running.nodes["messaging"].blobs
    put = blobs.put

    async def is_full(key: str, content: Any, *, max_size: int) -> Any:
        if key.endswith("upload0"):
            raise Unavailable
        return await put(key, content, max_size=max_size)

    monkeypatch.setattr(blobs, "put", is_full)
    while await task_of(held).export_next(at, always):
        pass
    [(id, left)] = await held.database.list_records(KIND)
    assert (id, left["attempts"], left["due"]) == ("0", 1, at + 60_000)
    for attempt in range(1, exports._MAX_UNAVAILABLE):
        assert await task_of(held).export_next(at + 2**attempt * 60_000, always) is True
    assert await held.database.list_records(KIND) == []
    direct = await held.direct(ADMIN, "rocket.cat")
    said = await held.texts(ADMIN, direct["_id"])
    assert [text.split()[-1] for text in said] == ["ready.", "made."]


async def test_only_so_many_wait(held: Chat) -> None:
    ann = await held.user("ann")
    room_id = (await held.room(ann, "dev", "boss"))["_id"]
    for number in range(exports._MAX_WAITING_EACH):
        wanted = {"room_id": room_id, "user_id": ADMIN_ID, "attempts": 0, "due": EVER}
        await held.database.put_record(KIND, f"{number}", wanted)
    with refused("too-many-requests"):
        await ask(held, ADMIN, room_id)


async def test_messages_are_sent_by_mail(held: Chat) -> None:
    async with smtp_server() as mailbox:
        await use_mail(held.running.services.auth, mailbox)
        ann = await held.user("ann")
        room_id = (await held.room(ann, "dev", "boss"))["_id"]
        first, second = [await held.send(ann, room_id, text) for text in ("[Site_Name] & co", "two")]
        elsewhere = await held.send(ADMIN, "GENERAL", "not this")
        ids = [second["_id"], first["_id"], elsewhere["_id"]]
        for wrong, code in (
            ({}, "error-invalid-recipient"),
            ({"emails": ["nobody at all"]}, "error-invalid-recipient"),
            ({"emails": ["a@example.org"], "message_ids": [elsewhere["_id"]]}, "error-invalid-messages"),
        ):
            with refused(code):
                await ask(held, ADMIN, room_id, **{"message_ids": ids, **wrong})
        reply = await ask(
            held,
            ADMIN,
            room_id,
            message_ids=ids,
            emails=["friend@example.org"],
            usernames=["ann", "ghost"],
            subject="Read this",
        )
        assert list(reply.missing) == ["ghost"]
        await work(held)
        letters = [await mailbox.next_letter() for _ in range(2)]
        assert {letter["To"] for letter in letters} == {"friend@example.org", "ann@example.org"}
        assert letters[0]["Subject"] == "Read this"
        html = body(letters[0], "html")
        assert html.index("two") < html.index("[Site_Name] &amp; co")
        assert "not this" not in html


async def test_a_letter_that_fails_is_tried_again_for_those_who_lack_it(
    held: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with smtp_server() as mailbox:
        await use_mail(held.running.services.auth, mailbox)
        sent = await held.send(ADMIN, "GENERAL", "hello")
        at = now() + 10 * SOON
        wanted = {"room_id": "GENERAL", "user_id": ADMIN_ID, "attempts": 0, "due": at, "subject": ""}
        emails = ["a@example.org", "b@example.org"]
        await held.database.put_record(KIND, "1", {**wanted, "emails": emails, "message_ids": [sent["_id"]]})
        mailbox.refusal = "451 Later"
        await task_of(held).export_next(at, always)
        record = await held.database.find_record(KIND, "1")
        assert record is not None
        assert (record["attempts"], record["due"], record["emails"]) == (1, at + 60_000, emails)
        mailbox.refusal = ""
        assert await task_of(held).export_next(at, always) is False  # not yet
        assert await task_of(held).export_next(at + 60_000, always) is True
        assert mailbox.recipients == emails
        assert await held.database.list_records(KIND) == []
        mailbox.refusal = "554 Never"
        await held.database.put_record(
            KIND, "2", {**wanted, "attempts": 4, "emails": emails, "message_ids": [sent["_id"]]}
        )
        await task_of(held).export_next(at, always)
        assert await held.database.list_records(KIND) == []
        assert (await received(held))["msg"] == "Your export could not be made."


@pytest.mark.parametrize("asked", [1, 2])
async def test_who_has_lost_the_lease_leaves_letters_to_others(held: Chat, asked: int) -> None:
    answers = [True] * (asked - 1)

    async def is_mine() -> bool:
        return bool(answers and answers.pop())

    async with smtp_server() as mailbox:
        await use_mail(held.running.services.auth, mailbox)
        sent = await held.send(ADMIN, "GENERAL", "hello")
        at = now() + 10 * SOON
        wanted = {"room_id": "GENERAL", "user_id": ADMIN_ID, "attempts": 0, "due": at, "subject": ""}
        wanted |= {"emails": ["a@example.org"], "message_ids": [sent["_id"]]}
        await held.database.put_record(KIND, "1", wanted)
        mailbox.refusal = "451 Later"
        assert await task_of(held).export_next(at, is_mine) is False
        assert mailbox.recipients == []
        left = await held.database.find_record(KIND, "1")
        begun = {"emails": [], "sending": ["a@example.org"], "doubtful": []}
        assert left == (wanted if asked == 1 else {**wanted, **begun})


def test_what_a_letter_can_be_addressed_to() -> None:
    for address, is_one in {
        "a@b.org": True,
        "a": False,
        "": False,
        "a@": False,
        "a b@c": False,
        "a@b\n.c": False,
    }.items():
        assert mail.is_address(address) is is_one, address
