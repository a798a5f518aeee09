"""What the live port does when NATS is away, comes back empty or freezes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from palaver.config import ConfigError
from palaver.errors import Unavailable
from palaver.live.nats import NatsLive
from palaver.log import connection
from tests.log.harness import without_waiting_for_answers
from tests.servers import NatsServer, nats_server
from tests.waiting import eventually

pytestmark = pytest.mark.needs_servers


@pytest_asyncio.fixture
async def server() -> AsyncIterator[NatsServer]:
    """A server of the test's own, which it may stop."""
    async with nats_server() as server:
        yield server


@pytest_asyncio.fixture
async def live(server: NatsServer) -> AsyncIterator[NatsLive]:
    live = NatsLive(server.url, "work")
    await live.open()
    yield live
    await live.close()


async def test_everything_is_unavailable_while_nats_is_away(
    server: NatsServer, live: NatsLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    gaps: list[bool] = []
    live.on_gap(lambda: gaps.append(True))
    await live.subscribe("a.>", heard.append)
    subscription = await live.subscribe("b", heard.append)
    assert await live.acquire("sweeper", "one", 60)
    await live.put("key", b"value", 60)
    await server.stop()
    await eventually(lambda: not live._connection._client.is_connected)
    async with without_waiting_for_answers(monkeypatch):
        for away in (
            live.publish("a.b", b""),
            live.subscribe("a", heard.append),
            live.acquire("sweeper", "one", 60),
            live.release("sweeper", "one"),
            live.put("key", b"value", 60),
            live.get("key"),
            live.delete("key"),
            live.list(""),
        ):
            with pytest.raises(Unavailable):
                await away
        await subscription.stop()
    await server.start()
    await eventually(lambda: live._connection._client.is_connected)
    await eventually(lambda: gaps)
    # Its memory is gone, and everything works again without anybody's help.
    assert await live.get("key") is None
    assert await live.list("") == {}
    assert await live.acquire("sweeper", "two", 60)
    assert not await live.acquire("sweeper", "one", 60)
    await live.put("key", b"again", 60)
    assert await live.list("") == {"key": b"again"}
    await live.publish("b", b"nobody")
    await live.publish("a.b", b"somebody")
    await eventually(lambda: heard)
    assert heard == [b"somebody"]


async def test_streams_that_are_gone_are_declared_again(live: NatsLive) -> None:
    for call in ("acquire", "put", "get", "delete", "list", "release"):
        for stream in live._streams:
            await live._connection.api(f"STREAM.DELETE.{stream.name}", {})
        match call:
            case "acquire":
                assert await live.acquire("sweeper", "one", 60)
            case "put":
                await live.put("key", b"value", 60)
            case "get":
                assert await live.get("key") is None
            case "delete":
                await live.delete("key")
            case "list":
                assert await live.list("") == {}
            case "release":
                await live.release("sweeper", "one")


async def test_a_frozen_server_is_unavailable_in_bounded_time(
    server: NatsServer, live: NatsLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pause()
    with monkeypatch.context() as impatient:
        impatient.setattr(connection, "REPLY_SECONDS", 0.3)
        async with asyncio.timeout(30):
            for frozen in (
                live.get("key"),
                live.list(""),
                live.acquire("sweeper", "one", 60),
                live.subscribe("a", print),
            ):
                with pytest.raises(Unavailable):
                    await frozen
    server.resume()
    assert await live.acquire("sweeper", "one", 60)


async def test_opening_without_nats(monkeypatch: pytest.MonkeyPatch, server: NatsServer) -> None:
    monkeypatch.setattr(connection, "OPEN_SECONDS", 0.3)
    with pytest.raises(Unavailable, match="does not answer"):
        await NatsLive("nats://127.0.0.1:1", "work").open()
    monkeypatch.setattr(connection, "MINIMUM_VERSION", (99, 0))
    with pytest.raises(ConfigError, match="too old"):
        await NatsLive(server.url, "work").open()


async def test_workspaces_do_not_mix(server: NatsServer, live: NatsLive) -> None:
    other = NatsLive(server.url, "work.too")
    await other.open()
    heard: list[bytes] = []
    await other.subscribe(">", heard.append)
    assert await live.acquire("sweeper", "one", 60)
    assert await other.acquire("sweeper", "two", 60)
    await live.put("key", b"value", 60)
    assert await other.list("") == {}
    await live.publish("a", b"theirs")
    await other.publish("a", b"ours")
    await eventually(lambda: heard)
    assert heard == [b"ours"]
    await other.close()
