"""What simulated pods say of themselves: kwok's nodes run no containers, so their metrics are served here."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# A real page has so much that the operator passes over.
_REST = "".join(
    f'palaver_rest_request_seconds_bucket{{endpoint="/api/v1/endpoint.number{number}",status="200",le="0.{place}"}} 1\n'
    for number in range(100)
    for place in range(10)
)


@asynccontextmanager
async def serving_metrics(
    connections: Callable[[str, str], int], failures: Callable[[str, str], int] = lambda role, name: 0
) -> AsyncIterator[str]:
    """A template of addresses at which each pod has so many connections and failures (by its role and name),
    and nothing to do."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()  # who asked has lost patience
            return
        role, name = request.split(b" ")[1].decode().strip("/").split("/")
        lines = [
            f"palaver_connections {connections(role, name)}",
            "palaver_event_loop_lag_last_seconds 0.001",
            "palaver_outbox_age_seconds 0",
            "palaver_follower_oldest_seconds 0",
            f'palaver_rpc_internal_errors_total{{method="x"}} {failures(role, name)}',
            "process_cpu_seconds_total 1",
        ]
        body = "\n".join([*lines, _REST]).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/{{role}}/{{name}}"
