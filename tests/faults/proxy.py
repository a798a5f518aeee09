"""A TCP proxy that can stop forwarding or cut: the network between one process and a server."""

import asyncio
import contextlib


class Proxy:
    """Forwards one port to another, both on this machine, until it is told not to."""

    def __init__(self, port: int) -> None:
        """`port` is the server's."""
        self._to = port
        self._forwarding = asyncio.Event()
        self._forwarding.set()
        self._cut = False
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def stall(self) -> None:
        """Connections stay open and nothing passes, in either direction: a lost network."""
        self._forwarding.clear()

    def cut(self) -> None:
        """Connections end, and new ones end at once: an unreachable server."""
        self._cut = True
        for pump in self._pumps:
            pump.cancel()
        for writer in self._writers:
            writer.transport.abort()

    def heal(self) -> None:
        """Forwards again; what was held back goes on its way."""
        self._cut = False
        self._forwarding.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._cut:
                return
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._to)
            self._writers.add(there)
            try:
                pumps = [
                    asyncio.create_task(self._pump(reader, there)),
                    asyncio.create_task(self._pump(there_reader, writer)),
                ]
                self._pumps.update(pumps)
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                self._pumps.difference_update(pumps)
            finally:
                self._writers.discard(there)
                there.transport.abort()
        except OSError:
            pass  # the server is away
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._forwarding.wait()
                writer.write(data)
                await writer.drain()
