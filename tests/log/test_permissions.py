"""Who may use NATS for what: the permissions that docs/operations.md recommends, and the warning without."""

import asyncio

import pytest

from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from palaver.live.nats import NatsLive
from palaver.log.addresses import Login, find_login, list_open
from palaver.log.jetstream import JetStreamLog
from palaver.v1.event_pb2 import Event
from tests.log.harness import room_event
from tests.servers import nats_server
from tests.waiting import eventually

ROOM = Stream("room", "GENERAL")

_PERMISSIONS = """
authorization {
  users: [
    { user: services, password: one, permissions: {
        publish: ["palaver.work.>", "$JS.API.>", "_INBOX.>"], subscribe: ["palaver.work.>", "_INBOX.>"] } }
    { user: gateway, password: two, permissions: {
        publish: { allow: ["palaver.work.>", "$JS.API.>", "_INBOX.>"],
                   deny: ["palaver.work.room.>", "palaver.work.user.>", "palaver.work.workspace",
                          "palaver.work.told"] },
        subscribe: ["palaver.work.>", "_INBOX.>"] } }
  ]
}
"""


@pytest.mark.needs_servers
async def test_the_permissions_that_are_recommended_are_enough(database: SqliteDatabase) -> None:
    async with nats_server(config=[_PERMISSIONS]) as server:
        urls = [server.url.replace("//", f"//{user}@") for user in ("services:one", "gateway:two")]
        service, gateway = (JetStreamLog(url, "work", database) for url in urls)
        lives = [NatsLive(url, "work") for url in urls]
        logs: list[JetStreamLog | NatsLive] = [service, gateway]
        parts = [*logs, *lives]
        await asyncio.gather(*(part.open() for part in parts))
        heard: list[int] = []

        def hear(event: Event) -> None:
            heard.append(event.seq)

        await gateway.follow_all([ROOM, Stream("user", "alice")], hear)
        await service.publish([room_event(1, also_tell=["alice"])])
        await gateway.show([room_event(2)])  # nobody hears that
        await service.show([room_event(3)])
        await gateway.check_heard(5)
        assert heard == [1, 3]
        for log in (service, gateway):
            for partition in log.list_partitions(["room"]):
                await (await log.read(partition, "")).close()
        told: list[bytes] = []
        for live in lives:
            await live.subscribe("typing", told.append)
            await live.put("key", b"value", 5)
            assert await live.get("key") == b"value"
            assert list(await live.list("")) == ["key"]
            assert await live.acquire("lease", "one", 5)
        await lives[1].publish("typing", b"alice")
        await eventually(lambda: len(told) == 2)
        for opened in parts:
            await opened.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://127.0.0.1:4222", []),
        ("nats://localhost:4222,nats://[::1]", []),
        ("tls://palaver:secret@nats:4222,wss://palaver:secret@nats", []),
        ("nats://nats:4222", ["nats://nats:4222"]),
        ("nats://palaver:secret@nats:4222,nats://localhost", ["nats://nats:4222"]),
        ("tls://nats:4222", ["tls://nats:4222"]),
    ],
)
def test_whoever_might_reach_an_open_nats_is_named(url: str, shown: list[str]) -> None:
    assert list_open(url) == shown


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("nats://a:4222", Login()),
        ("tls://services:a%20b%2F%40@a:4222,tls://b", Login("services", "a b/@")),
        ("nats://a,nats://user%40b:p@c", Login("user@b", "p")),
        ("nats://to%25ken@a", Login(token="to%ken")),
    ],
)
def test_who_connects_is_named_by_the_address_that_quotes_it(url: str, login: Login) -> None:
    assert find_login(url) == login
