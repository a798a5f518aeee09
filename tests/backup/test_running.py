"""A backup of a workspace that people write to: what it is true of, whatever happens meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from palaver.database import Stream
from palaver.messaging.role import MessagingService
from tests.backup.conftest import MakeStorage
from tests.backup.workspace import (
    Storage,
    back_up,
    claims,
    contents,
    documents,
    events,
    restore,
    storage_of,
    update_user,
    upload,
)
from tests.messaging.helpers import Chat


class Writers:
    """People who write, read, send files and change their names until they are told to stop."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.acknowledged: list[str] = []
        self.uploads: list[str] = []

    async def start(self, rooms: int = 4) -> None:
        people = await self._chat.users(*(f"user{number}" for number in range(rooms)))
        names = [f"user{number}" for number in range(rooms)]
        ids = [(await self._chat.room(people[0], f"room{number}", *names[1:]))["_id"] for number in range(rooms)]
        self._tasks = [asyncio.create_task(self._write(actor, ids)) for actor in people]

    async def wait_for(self, messages: int) -> None:
        """Until so many more messages are acknowledged."""
        wanted = len(self.acknowledged) + messages
        async with asyncio.timeout(60):
            while len(self.acknowledged) < wanted:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _write(self, actor: Any, rooms: list[str]) -> None:
        number = 0
        while not self._stopping:
            number += 1
            room_id = rooms[number % len(rooms)]
            self.acknowledged.append((await self._chat.send(actor, room_id, f"{actor.id} {number}"))["_id"])
            if number % 3 == 0:
                await self._chat.read(actor, room_id)
            if number % 7 == 0:
                await self._chat.prefer(actor, room_id, open=False)
            if number % 10 == 0:
                id = await upload(self._chat, actor, room_id, f"{actor.id} {number}".encode() * 500)
                await self._chat.send(actor, room_id, "", upload_id=id)
                self.uploads.append(id)
            if number % 15 == 0:
                await update_user(self._chat, actor.id, username=f"{actor.id.lower()}.{number}")


async def test_what_was_acknowledged_before_is_in_the_archive(
    chat: Chat, tmp_path: Path, make_storage: MakeStorage, adapter: str
) -> None:
    writers = Writers(chat)
    await writers.start()
    target = await make_storage("sqlite")
    for round in range(3):
        await writers.wait_for(60)
        acknowledged, uploads = set(writers.acknowledged), set(writers.uploads)
        making = asyncio.create_task(back_up(storage_of(chat), tmp_path / f"archive{round}", part_bytes=2000))
        await writers.wait_for(20)
        manifest = await making
        target = await make_storage("sqlite" if round else adapter)
        done = await restore(tmp_path / f"archive{round}", target)
        restored = await documents(target.database)
        assert acknowledged <= restored["messages"].keys()
        assert uploads <= restored["uploads"].keys()
        assert {f"files/{id}" for id in restored["uploads"]} == (await contents(target)).keys()
        assert (manifest.uploads.missing, manifest.uploads.gone, done.doubled_names) == (0, 0, [])
        await check_whole(target)
        await check_prefix(storage_of(chat), target)
    await writers.stop()


async def check_whole(target: Storage) -> None:
    """Nothing in a restored workspace speaks of what is not in it."""
    found = await documents(target.database)
    assert all(holder is not None for holder in (await claims(target.database)).values())
    for room in found["rooms"].values():
        sent = [m for m in found["messages"].values() if m["rid"] == room["_id"]]
        assert room["msgs"] == len(sent)
        assert room["usersCount"] == sum(s["rid"] == room["_id"] for s in found["subscriptions"].values())
    for message in found["messages"].values():
        assert message["u"]["_id"] in found["users"]
    for subscription in found["subscriptions"].values():
        room = found["rooms"][subscription["rid"]]
        assert subscription["u"]["_id"] in found["users"]
        assert subscription.get("read", {}).get("counted", 0) <= room.get("counted", 0)
        assert subscription.get("hidden_at_counted", 0) <= room.get("counted", 0)


async def check_prefix(source: Storage, target: Storage) -> None:
    """Every stream of a restored workspace is the beginning of the same stream."""
    stored = await events(source.database)
    for stream, restored in (await events(target.database)).items():
        assert stored[stream][: len(restored)] == restored


class Interrupted:
    """The database itself; what is to happen between two steps of a backup happens before this call of it."""

    def __init__(self, database: Any, method: str, where: Callable[..., bool], work: Callable[[], Awaitable[None]]):
        self._database = database
        self._method = method
        self._where = where
        self._work = work
        self._is_done = False

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            return getattr(self._database, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            if not self._is_done and self._where(*arguments, **named):
                self._is_done = True
                await self._work()
            return await getattr(self._database, name)(*arguments, **named)

        return call


async def test_who_read_what_came_after_the_rooms_finds_it_unread(
    chat: Chat, tmp_path: Path, make_storage: MakeStorage
) -> None:
    ann, bob, cid = await chat.users("ann", "bob", "cid")
    dev = (await chat.room(ann, "dev", "bob", "cid"))["_id"]
    await chat.send(ann, dev, "before")
    await chat.read(bob, dev)

    async def between_rooms_and_users() -> None:
        await chat.send(ann, dev, "between")
        await chat.read(bob, dev)
        await update_user(chat, "bobId", bio="after that")
        await chat.prefer(cid, dev, f=True)
        await chat.prefer(cid, dev, open=False)

    source, target = storage_of(chat), await make_storage("sqlite")
    database: Any = Interrupted(
        source.database, "list_streams", lambda kind, **_: kind == "user", between_rooms_and_users
    )
    manifest = await back_up(Storage(database, source.uploads), tmp_path / "archive")
    done = await restore(tmp_path / "archive", target)
    assert done.left_out == 3
    found = await documents(target.database)
    assert [m["msg"] for m in found["messages"].values() if "t" not in m] == ["before"]
    subscriptions = {s["u"]["_id"]: s for s in found["subscriptions"].values() if s["rid"] == dev}
    assert subscriptions["bobId"]["read"]["counted"] == 1
    assert "hidden_at_counted" not in subscriptions["cidId"]
    assert subscriptions["cidId"]["f"] is True
    assert "bio" not in found["users"]["bobId"]
    assert sum(manifest.events.values()) == done.left_out + sum(map(len, (await events(target.database)).values()))
    await check_whole(target)
    await check_prefix(source, target)


async def test_a_name_of_a_room_is_one_that_its_archive_knows(
    chat: Chat, tmp_path: Path, make_storage: MakeStorage
) -> None:
    """Users who come, and members who are renamed, between the cut of the rooms and the users'."""
    ann, _ = await chat.users("ann", "bob")
    dev = (await chat.room(ann, "dev", "bob"))["_id"]

    async def between_rooms_and_users() -> None:
        new = await chat.user("new")
        await chat.room(new, "later", "bob")
        await update_user(chat, "bobId", username="robert")

    source, target = storage_of(chat), await make_storage("sqlite")
    database: Any = Interrupted(
        source.database, "list_streams", lambda kind, **_: kind == "user", between_rooms_and_users
    )
    await back_up(Storage(database, source.uploads), tmp_path / "archive")
    await restore(tmp_path / "archive", target)
    found = await documents(target.database)
    assert found["users"]["bobId"]["username"] == "robert"
    assert "newId" in found["users"]
    assert not await target.database.find("rooms", {"name": "later"})
    assert dev in found["rooms"]
    # the old name is free, and the follower that brings the new one to the rooms is told again
    assert await target.database.find_claim("username:bob") is None
    told = await target.database.list_unpublished(1 << 62)
    assert any(event.stream_id == "bobId" and event.HasField("user_changed") for event in told)


async def test_what_is_deleted_meanwhile_is_in_the_archive(
    local: Chat, tmp_path: Path, make_storage: MakeStorage
) -> None:
    ann = await local.user("ann")
    dev = (await local.room(ann, "dev"))["_id"]
    id = await upload(local, ann, dev, b"soon deleted")
    message = await local.send(ann, dev, "", upload_id=id)
    sent_at = message["ts"]["$date"]
    service = local.running.nodes["messaging"].roles["messaging"]
    assert isinstance(service, MessagingService)

    async def before_the_uploads() -> None:
        await local.delete(ann, message["_id"])
        await service._uploads.clean(sent_at + 23 * 3_600_000)

    source, target = storage_of(local), await make_storage("sqlite")
    database: Any = Interrupted(
        source.database, "list_events", lambda stream, *_: stream == Stream("workspace", ""), before_the_uploads
    )
    await back_up(Storage(database, source.uploads), tmp_path / "archive")
    await restore(tmp_path / "archive", target)
    assert await contents(target) == {f"files/{id}": b"soon deleted"}
    assert "deleted_at" not in (await documents(target.database))["uploads"][id]
