"""A proxy before a MongoDB that breaks connections: after a write is done and before its answer, or before the write.

Messages are not understood, only recognized: a command's name and its collection stand in them as they are.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Meanwhile = Callable[[], Awaitable[None]]

_COMMANDS = (b"insert", b"update")


class LossyProxy:
    """Made by `lossy_proxy`. Passes everything on until it is told to lose something."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("mongodb://").rstrip("/").rpartition(":")
        self._server_address = (host, int(port))
        self.url = ""
        self.lost = 0
        self._times = 0
        self._collection = b""
        self._meanwhile: Meanwhile | None = None

    def lose_answer_to_write_of(self, collection: bytes, times: int = 1) -> None:
        """The next so many writes of the collection are done, and nobody hears of it."""
        self._collection, self._times, self._meanwhile = collection, times, None

    def lose_request_to_write_of(self, collection: bytes, meanwhile: Meanwhile) -> None:
        """The next write of the collection is not done; something else is, before its sender knows."""
        self._collection, self._times, self._meanwhile = collection, 1, meanwhile

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: the driver has one request under way on each."""
        server_reader, server_writer = await asyncio.open_connection(*self._server_address)
        try:
            while True:
                request = await _read_message(reader)
                loses = self._takes(request)
                if loses and self._meanwhile is not None:
                    await self._meanwhile()
                    break
                server_writer.write(request)
                answer = await _read_message(server_reader)
                if loses:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # one of them has gone
        finally:
            for end in (server_writer, writer):
                end.close()
                with suppress(ConnectionError):
                    await end.wait_closed()

    def _takes(self, request: bytes) -> bool:
        names = (b"\x02" + command + b"\0" + _string(self._collection) for command in _COMMANDS)
        if not self._times or not any(name in request for name in names):
            return False
        self._times -= 1
        self.lost += 1
        return True


def _string(text: bytes) -> bytes:
    return (len(text) + 1).to_bytes(4, "little") + text + b"\0"


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(4)
    return size + await reader.readexactly(int.from_bytes(size, "little") - 4)


@asynccontextmanager
async def lossy_proxy(url: str) -> AsyncIterator[LossyProxy]:
    """A proxy on a free port, before the server at `url`."""
    proxy = LossyProxy(url)
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await proxy.serve(reader, writer)
        finally:
            connections.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.url = f"mongodb://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
