"""A TCP proxy between a process and a server, which a test can silence: the network that everybody fears."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """Passes everything on, until it is silenced: then nothing goes either way, and nothing is closed."""

    def __init__(self) -> None:
        self.url = ""
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def silence(self) -> None:
        self._open.clear()

    def resume(self) -> None:
        """Passes on what has waited, and everything from now on."""
        self._open.set()

    def cut(self) -> None:
        """Closes every connection; what waited in them is lost."""
        for writer in self._writers:
            writer.transport.abort()
        self._open.set()

    async def serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, there_writer}
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def proxy_to(port: int, scheme: str = "nats") -> AsyncIterator[Proxy]:
    """A proxy on a free port to a port of this machine."""
    proxy = Proxy()
    server = await asyncio.start_server(lambda reader, writer: proxy.serve(port, reader, writer), "127.0.0.1", 0)
    proxy.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
