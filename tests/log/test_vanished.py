"""A NATS whose host vanishes while something is unsent: its connection is given up, not waited for."""

import asyncio

import pytest

from palaver.database.sqlite import SqliteDatabase
from palaver.errors import Unavailable
from palaver.log import connection
from palaver.log.connection import Connection
from tests.gateway.proxy import Proxy, proxy_to
from tests.servers import nats_server
from tests.waiting import eventually

pytestmark = pytest.mark.needs_servers


async def _do_nothing() -> None:
    """Nothing is to be mended."""


async def _fill(connection: Connection, proxy: Proxy) -> None:
    """Publishes until something is unsent that will never be read."""
    proxy.silence()
    payload = b"x" * 500_000
    for _ in range(40):
        try:
            async with asyncio.timeout(0.5):
                await connection.publish("anything", payload)
        except (TimeoutError, Unavailable):
            pass
        await asyncio.sleep(0.01)
        socket = connection._find_socket()
        if socket is not None and socket.get_write_buffer_size() > 100_000:
            return
    raise AssertionError("all of it was sent")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("PING_SECONDS", 0.2), ("REPLY_SECONDS", 0.3), ("SILENT_SECONDS", 1.0)):
        monkeypatch.setattr(connection, name, seconds)


async def test_a_connection_with_unsent_bytes_is_given_up(database: SqliteDatabase) -> None:
    async with nats_server() as server, proxy_to(server.port) as proxy:
        back: list[bool] = []

        async def on_reconnect() -> None:
            back.append(True)

        nats = Connection(proxy.url, "log", on_gap=lambda: None, on_reconnect=on_reconnect)
        await nats.open()
        await _fill(nats, proxy)
        old = nats._find_socket()
        await eventually(lambda: nats._find_socket() is not old)
        proxy.resume()  # for the new ones; nobody waits for the old
        await eventually(lambda: back)
        await nats.settle()
        await nats.close()


async def test_closing_a_connection_with_unsent_bytes_ends(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENT_SECONDS", 3600.0)
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.5)
    async with nats_server() as server, proxy_to(server.port) as proxy:
        nats = Connection(proxy.url, "log", on_gap=lambda: None, on_reconnect=_do_nothing)
        await nats.open()
        await _fill(nats, proxy)
        async with asyncio.timeout(30):
            await nats.close()
