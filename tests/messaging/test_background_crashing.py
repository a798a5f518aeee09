"""What is done in the background (takeouts, exports, retention) is done once, whatever dies on the way."""

from pathlib import Path

import pytest

from palaver.commit import now
from palaver.events import room_stream
from palaver.messaging import exports, pruning, retention
from palaver.messaging.exports import KIND
from palaver.messaging.retention import RUNS
from palaver.v1.messaging_pb2 import RequestTakeoutRequest
from tests.commit.harness import get_applied, read_log
from tests.database.harness import MongoHarness, SqliteHarness
from tests.messaging.crashing import Crash, dying
from tests.messaging.helpers import ADMIN, Chat, loaded, until
from tests.messaging.test_exports import always, ask, content_of, hold
from tests.messaging.test_exports import task_of as exports_of
from tests.messaging.test_retention import DAY, prepare
from tests.messaging.test_retention import task_of as retention_of
from tests.messaging.test_takeouts import made
from tests.services import STORES, Transport, service_nodes
from tests.smtp import smtp_server, use_mail

ROLES = ("auth", "presence", "messaging")
OWN = ("retention.after_room", "prune.between_events", "commit.before_answer")
PLACES = [
    pytest.param(transport, name, marks=marks, id=f"{transport} {name}")
    for transport, places, marks in (
        ("process", SqliteHarness.failpoints, ()),
        ("cluster", MongoHarness.failpoints, pytest.mark.needs_servers),
    )
    for name in (*OWN, *places)
]


@pytest.mark.parametrize("transport", STORES)
@pytest.mark.parametrize("point", ["takeout.before_archive", "takeout.before_done"])
async def test_a_takeout_is_made_by_another_process(
    tmp_path: Path, transport: Transport, cheap_hashes: None, point: str
) -> None:
    async with service_nodes(tmp_path, ROLES, transport) as running:
        chat = Chat(running)
        ann = await chat.user("ann")
        await chat.send(ann, (await chat.room(ann, "dev"))["_id"], "of ann")
        async with dying(point):
            asked = await chat.messaging.request_takeout(RequestTakeoutRequest(actor=ann, full=True))
    async with service_nodes(tmp_path, ROLES, transport) as running:
        chat = Chat(running)
        takeout, archive = await made(chat, ann, full=True)
        assert takeout["_id"] == loaded(asked.takeout)["_id"]
        assert b"of ann" in b"".join(archive.read(name) for name in archive.namelist())
        blobs = running.nodes["messaging"].blobs
        assert [blob.key async for blob in blobs.list("takeouts")] == [f"takeouts/{takeout['_id']}"]
        assert await chat.database.list_records("takeout_due") == []


@pytest.mark.parametrize("transport", STORES)
@pytest.mark.parametrize("point", ["export.after_file", "export.before_end"])
async def test_an_export_is_one_file(
    tmp_path: Path, transport: Transport, cheap_hashes: None, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(exports, "_ROUND_SECONDS", 0.05)
    async with service_nodes(tmp_path, ROLES, transport) as running:
        chat = Chat(running)
        ann = await chat.user("ann")
        room_id = (await chat.room(ann, "dev", "boss"))["_id"]
        await chat.send(ann, room_id, "of ann")
        async with dying(point):
            await ask(chat, ADMIN, room_id)
    async with service_nodes(tmp_path, ROLES, transport) as running:
        chat = Chat(running)

        async def is_done() -> bool:
            return not await chat.database.list_records(KIND)

        await until(is_done)
        direct = await chat.direct(ADMIN, "rocket.cat")
        [said] = map(loaded, (await chat.page(ADMIN, direct["_id"])).messages)
        assert said["msg"] == "Your export of dev is ready."
        assert b"of ann" in (await content_of(chat, said["file"]["_id"])).read("messages.json")
        assert len([blob async for blob in running.nodes["messaging"].blobs.list("files")]) == 1


@pytest.mark.parametrize("transport", STORES)
@pytest.mark.parametrize(("point", "sent"), [("export.before_letter", "ac"), ("export.after_letter", "abc")])
async def test_a_letter_goes_out_once_at_most(
    tmp_path: Path, transport: Transport, cheap_hashes: None, point: str, sent: str
) -> None:
    emails = [f"{name}@example.org" for name in "abc"]
    async with smtp_server() as mailbox, service_nodes(tmp_path, ROLES, transport) as running:
        chat = Chat(running)
        await hold(chat)
        await use_mail(running.services.auth, mailbox)
        await chat.settle(lambda: running.nodes["messaging"].access.setting("SMTP_Host") == "127.0.0.1")
        message = await chat.send(ADMIN, "GENERAL", "hello")
        await ask(chat, ADMIN, "GENERAL", message_ids=[message["_id"]], emails=emails)
        async with dying(point, spared=1):
            with pytest.raises(Crash):
                await exports_of(chat).export_next(now(), always)
        assert await exports_of(chat).export_next(now(), always)
        assert mailbox.recipients == [f"{name}@example.org" for name in sent]
        assert await chat.database.list_records(KIND) == []
        direct = await chat.direct(ADMIN, "rocket.cat")
        assert await chat.texts(ADMIN, direct["_id"]) == [
            "It is not known whether your letter has reached b@example.org: it is not sent again."
        ]


@pytest.mark.parametrize(("transport", "point"), PLACES)
async def test_what_is_old_is_pruned_once(
    tmp_path: Path, cheap_hashes: None, monkeypatch: pytest.MonkeyPatch, transport: Transport, point: str
) -> None:
    monkeypatch.setattr(pruning, "_PER_EVENT", 2)
    monkeypatch.setattr(retention, "_ROUND_SECONDS", 3600.0)  # the test says when
    async with service_nodes(tmp_path, ROLES, transport) as running:
        chat = Chat(running)
        ann, bob = await chat.users("ann", "bob")
        rooms = [(await chat.room(ann, f"room-{number}", "bob"))["_id"] for number in range(2)]
        sent = [(await chat.send(ann, room_id, f"@bob {number}"))["_id"] for room_id in rooms for number in range(5)]
        await prepare(chat)
        later = now() + 31 * DAY
        async with dying(point, spared=1):
            with pytest.raises(Crash):
                await retention_of(chat).prune_due(later)
        run = await chat.database.find_record(RUNS, "run")
        assert run is not None
        assert not run["finished"]
    async with service_nodes(tmp_path, ROLES, transport) as running:
        chat = Chat(running)
        await retention_of(chat).prune_due(later + 60_000)
        gone: list[str] = []
        for room_id in rooms:
            events = await read_log(chat.database, room_stream(room_id))
            assert await get_applied(chat.database, room_stream(room_id)) == len(events)
            for event in events:
                gone += event.messages_pruned.message_ids
            assert await chat.texts(ann, room_id) == []
            assert (await chat.get_room(ann, room_id))["msgs"] == (await chat.page(ann, room_id, with_total=True)).total
            assert await chat.marked(bob, room_id, "MENTIONING", count=1) == ([], 0)
        assert sorted(gone) == sorted(sent)
        run = await chat.database.find_record(RUNS, "run")
        assert run is not None
        assert (run["finished"], run["at"]) == (True, later)
