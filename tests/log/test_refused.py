"""A NATS that does not take this client: why is told, though it hangs up faster than it can be heard."""

import asyncio
import socket
import struct

import pytest

from palaver.errors import Unavailable
from palaver.log import connection
from palaver.log.connection import Connection

_INFO = b'INFO {"server_id":"A","version":"2.11.0","max_payload":1048576,"auth_required":true}\r\n'
# SO_LINGER of no seconds: closing sends a reset, as it does where something that was sent is still unread.
_RESET = struct.pack("ii", 1, 0)


async def _do_nothing() -> None:
    """Nothing is to be mended."""


async def test_the_reason_that_was_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "OPEN_SECONDS", 1.0)
    monkeypatch.setattr(connection, "RETRY_SECONDS", 0.05)
    visits = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1
        writer.write(_INFO)
        await reader.readline()
        if visits == 2:
            writer.write(b"-ERR 'Authorization Violation'\r\n")
            await writer.drain()
        else:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        nats = Connection(f"nats://127.0.0.1:{port}", "log", on_gap=lambda: None, on_reconnect=_do_nothing)
        with pytest.raises(Unavailable, match="Authorization Violation"):
            await nats.open()
    assert visits > 2
