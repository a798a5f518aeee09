"""A web server that is somebody else's: what the server meets at addresses that users gave.

async with outside({"/hook": answer}) as site:
    await http.fetch("webhook", f"{site.url}/hook")
    site.requests[0].body

`answer` is an Answer, or an async function of a Request that returns one. Real sockets on loopback.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Site = Mapping[str, Answer | Callable[[Request], Awaitable[Answer]]]


@dataclass(slots=True)
class Outside:
    """A running server. `requests` are those that came, in order."""

    url: str
    port: int
    requests: list[Request] = field(default_factory=list)


@asynccontextmanager
async def outside(site: Site, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Outside]:
    """Serves `site` (by path, without the query) on a port of loopback."""
    running = Outside("", 0)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await _serve(reader, writer)
        writer.close()

    async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method, target, headers, body)
        running.requests.append(request)
        answer = site.get(target.partition("?")[0], Answer(404))
        if not isinstance(answer, Answer):
            answer = await answer(request)
        head = f"HTTP/1.1 {answer.status} Whatever\r\nContent-Length: {len(answer.body)}\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        writer.write(head.encode() + b"\r\n" + answer.body)
        await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    running.port = server.sockets[0].getsockname()[1]
    running.url = f"{'https' if tls else 'http'}://127.0.0.1:{running.port}"
    try:
        yield running
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
