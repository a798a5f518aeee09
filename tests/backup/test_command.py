"""`palaver backup` and `palaver restore` as commands, beside servers that run, and killed at any moment."""

import asyncio
import contextlib
import os
import random
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from palaver.blobs.files import FileBlobs
from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from palaver.ids import new_id
from palaver.projections import project
from palaver.v1.event_pb2 import Event
from tests.backup.workspace import Storage, check_same
from tests.children import die_with_parent
from tests.e2e.process import ADMIN, PalaverProcess
from tests.servers import S3Server, mongodb_server, nats_server, s3_server

_ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PALAVER_")}
    return subprocess.Popen(
        [sys.executable, "-m", "palaver", *map(str, arguments)],
        env={**inherited, "PYTHONPATH": str(_ROOT / "services"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    )


async def run(*arguments: str | Path, **environment: str) -> str:
    """What a command says that does what it was asked."""
    status, output, errors = await _finish(start(*arguments, **environment))
    assert status == 0, errors
    return output


async def fail(status: int, *arguments: str | Path, **environment: str) -> str:
    """What a command says that ends with this status."""
    found, _, errors = await _finish(start(*arguments, **environment))
    assert found == status, errors
    assert "Traceback" not in errors
    return errors


async def die(when: str | float, *arguments: str | Path, **environment: str) -> None:
    """A command that is killed at a failpoint, or after some seconds."""
    failpoint = when if isinstance(when, str) else ""
    process = start(*arguments, PALAVER_FAILPOINTS=failpoint, **environment)
    ended = asyncio.create_task(_finish(process))
    if isinstance(when, float):
        await asyncio.sleep(when)
        process.kill()
    status, _, _ = await ended
    assert status == -9 or not failpoint, "the failpoint was not reached"


async def _finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = await asyncio.to_thread(process.communicate, timeout=240)
    return process.returncode, output, errors


def data_of(folder: Path) -> dict[str, str]:
    return {"PALAVER_DATA_DIR": str(folder)}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[PalaverProcess]:
    server = PalaverProcess(tmp_path / "source")
    await server.start()
    yield server
    server.stop()


class Talk:
    """Somebody writes to a server, message after message, until told to stop, and notes what was acknowledged."""

    def __init__(self, server: PalaverProcess, headers: dict[str, str]) -> None:
        self._server = server
        self._headers = headers
        self.acknowledged: list[str] = []
        self._task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        async with httpx.AsyncClient(base_url=self._server.url, headers=self._headers, timeout=60) as http:
            for number in range(100_000):
                message = {"_id": new_id(), "rid": "GENERAL", "msg": f"message {number}"}
                answer = await http.post("/api/v1/chat.sendMessage", json={"message": message})
                assert answer.status_code == 200, answer.text
                self.acknowledged.append(message["_id"])
                if number % 5 == 0:
                    file = {"file": ("a.txt", f"file {number}".encode() * 1000)}
                    answer = await http.post("/api/v1/rooms.upload/GENERAL", files=file)
                    assert answer.status_code == 200, answer.text

    async def wait_for(self, messages: int) -> None:
        wanted = len(self.acknowledged) + messages
        async with asyncio.timeout(60):
            while len(self.acknowledged) < wanted:
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def history(server: PalaverProcess, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Every message of GENERAL that somebody wrote."""
    found: list[dict[str, Any]] = []
    while True:
        params = {"roomId": "GENERAL", "count": 100, "offset": len(found)}
        page = (await server.request("GET", "channels.history", params=params, headers=headers))["messages"]
        found += page
        if len(page) < 100:
            return [message for message in found if "t" not in message]


async def test_a_running_server_is_backed_up_and_made_again(server: PalaverProcess, tmp_path: Path) -> None:
    headers = await server.login()
    talk = Talk(server, headers)
    backups = tmp_path / "backups"
    await talk.wait_for(30)
    acknowledged = set(talk.acknowledged)
    report_file = tmp_path / "report"
    said = await run(
        "backup", backups, "--verify", "--keep", "3", "--report", report_file, **data_of(server.folder / "data")
    )
    await talk.stop()
    report = orjson.loads(report_file.read_bytes())
    assert report["archive"] in said
    assert report["verified"] is True
    assert report["missing_uploads"] == report["damaged_uploads"] == 0
    assert report["uploads"] >= 6
    assert report["documents"] > len(acknowledged)
    assert report["bytes"] == sum(
        file.stat().st_size for file in Path(report["archive"], "parts").iterdir() if file.name != "manifest"
    )
    for file in Path(report["archive"]).rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, "password hashes are nobody else's to read"
    assert "verified" in await run("backup", "verify", backups)

    # nothing of it is disturbed by what becomes of the source
    server.kill()
    again = PalaverProcess(tmp_path / "again")
    restored = await run("restore", backups, "--report", report_file, **data_of(again.folder / "data"))
    assert "of workspace default is restored" in restored
    assert orjson.loads(report_file.read_bytes())["events"] == report["events"]
    await again.start()
    messages = await history(again, headers)  # the login stands
    ids = [message["_id"] for message in messages]
    assert len(ids) == len(set(ids))
    assert acknowledged <= set(ids)
    async with httpx.AsyncClient(base_url=again.url, headers=headers, timeout=60) as http:
        for message in messages:
            if "file" in message:
                content = await http.get(message["attachments"][0]["title_link"])
                assert content.status_code == 200
                assert len(content.content) == message["file"]["size"]
    assert (await again.login(ADMIN["user"], ADMIN["password"]))["X-User-Id"] == headers["X-User-Id"]
    assert again.stop() == 0
    refusal = await fail(1, "restore", backups, **data_of(again.folder / "data"))
    assert "There is a workspace already" in refusal
    said = await run("restore", backups, "--if-empty", **data_of(again.folder / "data"))
    assert said == "There is a workspace already: nothing is restored.\n"
    nothing = await run("restore", tmp_path / "nothing", "--if-empty", **data_of(again.folder / "data"))
    assert nothing == said, "whatever the place keeps by now"


async def test_a_server_that_runs_keeps_a_restore_out(server: PalaverProcess, tmp_path: Path) -> None:
    await run("backup", tmp_path / "backups", **data_of(server.folder / "data"))
    refusal = await fail(1, "restore", tmp_path / "backups", **data_of(server.folder / "data"))
    assert "is in use by another Palaver" in refusal


async def test_a_backup_that_is_killed_leaves_no_archive_and_no_trouble(server: PalaverProcess, tmp_path: Path) -> None:
    talk = Talk(server, await server.login())
    await talk.wait_for(20)
    backups, data = tmp_path / "backups", data_of(server.folder / "data")
    await die("backup.after_part:1", "backup", backups, "--name", "first", **data)
    assert (backups / "first" / "parts" / "events000001").exists()
    assert "is no archive" in await fail(1, "backup", "verify", backups)
    assert "is no archive" in await fail(1, "restore", backups / "first", **data_of(tmp_path / "again"))
    assert not (tmp_path / "again" / "palaver.db").exists()
    # the same once more, into what is left of it; and a third time nothing is done
    await run("backup", backups, "--name", "first", "--verify", **data)
    made = (backups / "first" / "parts" / "manifest").read_bytes()
    await talk.wait_for(5)
    await run("backup", backups, "--name", "first", "--verify", **data)
    assert (backups / "first" / "parts" / "manifest").read_bytes() == made
    await talk.stop()
    for number in range(3):
        await die(random.uniform(0.3, 1.5), "backup", backups, "--name", f"later{number}", **data)
    assert "verified" in await run("backup", "verify", backups)


@pytest.mark.parametrize("failpoint", ["restore.after_batch:1", "restore.after_batch:3", "restore.after_upload:2", ""])
async def test_a_restore_that_is_killed_is_finished_by_the_next(
    server: PalaverProcess, tmp_path: Path, failpoint: str
) -> None:
    talk = Talk(server, await server.login())
    await talk.wait_for(20)
    await talk.stop()
    assert server.stop() == 0
    backups, folder = tmp_path / "backups", tmp_path / "again"
    await run("backup", backups, **data_of(server.folder / "data"))
    await die(failpoint or random.uniform(0.5, 1.5), "restore", backups, **data_of(folder))
    if failpoint:
        refusal = await fail(1, "serve", PALAVER_PORT="0", **data_of(folder))
        assert "is being restored here" in refusal
    status, _, errors = await _finish(start("restore", backups, **data_of(folder)))
    # killed at any time, it may have been at the end already
    assert status == 0 or (not failpoint and "There is a workspace already" in errors)
    async with contextlib.AsyncExitStack() as stack:
        storages = []
        for data in (server.folder / "data", folder):
            storage = Storage(SqliteDatabase(data / "palaver.db"), FileBlobs(data / "uploads"))
            await storage.database.open()
            stack.push_async_callback(storage.database.close)
            storages.append(storage)
        await check_same(*storages)


# -- other places ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def bucket() -> AsyncIterator[tuple[S3Server, dict[str, str]]]:
    async with s3_server() as server:
        server.make_bucket("backups")
        yield (
            server,
            {
                "PALAVER_BACKUP_S3_ENDPOINT": server.endpoint,
                "PALAVER_BACKUP_S3_ACCESS_KEY": server.access_key,
                "PALAVER_BACKUP_S3_SECRET_KEY": server.secret_key,
                "PALAVER_BACKUP_S3_REGION": server.region,
            },
        )


@pytest.mark.needs_servers
async def test_one_computer_moves_to_a_cluster_through_a_bucket(
    server: PalaverProcess, tmp_path: Path, bucket: tuple[S3Server, dict[str, str]]
) -> None:
    """An embedded workspace into MongoDB, a server on that and NATS, and from there into files again."""
    _, keys = bucket
    headers = await server.login()
    talk = Talk(server, headers)
    await talk.wait_for(20)
    await talk.stop()
    before = {message["_id"] for message in await history(server, headers)}
    await run("backup", "s3://backups/chat", **keys, **data_of(server.folder / "data"))
    assert server.stop() == 0
    workspace = f"test{new_id()}"
    async with mongodb_server() as mongodb, nats_server() as nats:
        cluster = {"PALAVER_MONGODB_URL": mongodb, "PALAVER_WORKSPACE": workspace}
        try:
            moved = PalaverProcess(tmp_path / "moved", PALAVER_NATS_URL=nats.url, **cluster)
            await run("restore", "s3://backups/chat", **keys, **cluster, **data_of(moved.folder / "data"))
            await moved.start()
            assert {message["_id"] for message in await history(moved, headers)} == before
            talk = Talk(moved, headers)
            await talk.wait_for(10)
            said = await run(
                "backup", "s3://backups/chat", "--keep", "1", "--verify", **keys, **cluster,
                **data_of(moved.folder / "data"),
            )  # fmt: skip
            await talk.stop()
            assert "removed" not in said, "the other archive is of another workspace"
            assert moved.stop() == 0
            refusal = await fail(1, "restore", "s3://backups/chat", **keys, **cluster, **data_of(tmp_path / "x"))
            assert "archives of several workspaces" in refusal
            name = re.search(r"s3://backups/chat/\w+", said)
            assert name is not None
            refusal = await fail(1, "restore", name[0], **keys, **cluster, **data_of(tmp_path / "x"))
            assert "There is a workspace already" in refusal
        finally:
            client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(mongodb)
            await client.drop_database(f"palaver_{workspace}")
            client.close()
    back = PalaverProcess(tmp_path / "back")
    await run("restore", name[0], **keys, **data_of(back.folder / "data"))
    await back.start()
    assert before < {message["_id"] for message in await history(back, headers)}
    assert back.stop() == 0


# -- memory ------------------------------------------------------------------------------------------------------------


async def make_workspace(folder: Path, *, users: int, changes: int, upload_mib: int) -> None:
    """A database with users, one of whom has changed very often, and one upload."""
    database, uploads = SqliteDatabase(folder / "palaver.db"), FileBlobs(folder / "uploads")
    await database.open()
    await uploads.open()

    async def commit(events: list[Event]) -> None:
        stream = Stream(events[0].stream_kind, events[0].stream_id)
        await database.commit(stream, events, [project(event) for event in events])

    def made(seq: int, id: str) -> Event:
        event = Event(stream_kind="user", stream_id=id, seq=seq, command_id=f"c{seq}", at=1_700_000_000_000)
        if seq == 1:
            event.user_created.user = orjson.dumps({"_id": id, "username": id, "username_lower": id})
        else:
            event.user_changed.set = orjson.dumps({"bio": new_id() * 20})
        return event

    for start_at in range(0, users, 500):
        await asyncio.gather(*(commit([made(1, f"user{n}")]) for n in range(start_at, min(start_at + 500, users))))
    await commit([made(1, "restless")])
    for start_at in range(2, changes, 500):
        await commit([made(seq, "restless") for seq in range(start_at, start_at + 500)])

    async def content() -> AsyncIterator[bytes]:
        for _ in range(upload_mib):
            yield os.urandom(MIB)

    digest = await uploads.put("files/large", content(), max_size=upload_mib * MIB)
    event = Event(stream_kind="room", stream_id="r", seq=1, command_id="u", at=1_700_000_000_000)
    event.upload_added.upload_id = "large"
    upload = {"_id": "large", "rid": "r", "size": digest.size, "sha256": digest.sha256}
    event.upload_added.upload = orjson.dumps(upload)
    await commit([event])
    await database.close()


async def measure(*arguments: str | Path, **environment: str) -> int:
    """The most memory (bytes) that a command has had."""
    process = start(*arguments, **environment)
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        await asyncio.to_thread(pipe.read)
        pipe.close()
    _, status, usage = await asyncio.to_thread(os.wait4, process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


async def test_memory_does_not_grow_with_the_workspace(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    await make_workspace(small, users=500, changes=500, upload_mib=1)
    await make_workspace(large, users=5_000, changes=10_000, upload_mib=120)
    most: dict[str, list[int]] = {"backup": [], "verify": [], "restore": []}
    for folder in (small, large):
        backups = tmp_path / f"backups of {folder.name}"
        most["backup"].append(await measure("backup", backups, **data_of(folder)))
        most["verify"].append(await measure("backup", "verify", backups))
        most["restore"].append(await measure("restore", backups, **data_of(tmp_path / f"again {folder.name}")))
    grown = {name: (after - before) // MIB for name, (before, after) in most.items()}
    print(f"at most {most} bytes")
    assert max(grown.values()) < 40, f"{grown} MiB more for 15,000 events and 120 MiB of uploads"


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("backup",), "the following arguments are required: TO"),
        (("backup", "a", "b"), "unrecognized arguments: b"),
        (("backup", "a", "--keep", "-1"), "--keep"),
        (("backup", "a", "--name", "../a"), "--name"),
        (("backup", "http://a"), "a folder or s3://bucket/prefix is wanted"),
        (("backup", "s3://a"), "PALAVER_BACKUP_S3_ENDPOINT"),
        (("backup", "a"), "there is no database here"),
        (("restore",), "the following arguments are required: FROM"),
    ],
)
async def test_what_can_not_be_is_refused(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in await fail(2, *arguments, **data_of(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()


async def test_a_full_place_is_told(server: PalaverProcess, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    refusal = await fail(1, "backup", tmp_path / "file", **data_of(server.folder / "data"))
    assert "can't be stored" in refusal
