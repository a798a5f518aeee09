"""What every process answers over HTTP: alive, ready, metrics; and the HTTP server that every process has.

Everything is on one port, unless PALAVER_HEALTH_PORT gives this file's part a port of its own: gateways that share
the public port can each be asked there, and the outside sees no metrics. Called by node.py.
"""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from palaver import __version__
from palaver.config import Config
from palaver.errors import Unavailable

Send = Callable[[dict[str, Any]], Awaitable[None]]

MAX_FRAME_BYTES = 2 * 1024 * 1024
_NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # a kind of addresses that this machine has none of
_BACKLOG = 4096
KEEP_ALIVE_SECONDS = 75
"""How long a connection may wait for its next request: longer than proxies keep theirs (nginx, and most that balance
loads: 60 s), so that it is they who close one, and nobody sends a request into a connection that just ends here."""


def health_routes(node: Any, *, metrics: bool) -> list[Route]:
    """`/healthz` (this process runs), `/readyz` (it can serve; what it is).

    With `metrics`, `/metrics` (Prometheus), and in `/readyz` what is wrong although it serves.
    """

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        ready = node.ready and not node.stopping.is_set()
        status = "ready" if ready else "not ready"
        body: dict[str, Any] = {"status": status, "version": __version__, "roles": list(node.roles)}
        if metrics and node.problems:
            body["problems"] = node.problems
        return JSONResponse(body, 200 if ready else 503)

    async def prometheus(request: Request) -> Response:
        return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes = [Route("/healthz", healthz), Route("/health", healthz), Route("/readyz", readyz)]
    return [*routes, Route("/metrics", prometheus)] if metrics else routes


def health_app(node: Any) -> Starlette:
    """The application of a health port, and of a process without a gateway."""
    return Starlette(routes=health_routes(node, metrics=True))


class HttpServer:
    """uvicorn without its own ideas about signals: the node decides when to stop. `stopped` is set when it has."""

    def __init__(self, app: Any, config: Config, *, health: bool = False) -> None:
        """`health`: on the health port, instead of the one that users reach."""
        self._host = config.host
        self._port = config.health_port if health else config.port
        self._share_port = config.share_port and not health
        self._listening: list[socket.socket] = []
        self._app = app
        self._leaving = False
        self.port = 0  # as it is bound
        self.stopped = asyncio.Event()
        self._server = _Server(
            uvicorn.Config(
                self._serve,
                interface="asgi3",
                ws="websockets-sansio",
                loop="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                ws_per_message_deflate=False,
                ws_ping_interval=None,  # DDP has its own heartbeat
                ws_max_size=MAX_FRAME_BYTES,
                timeout_graceful_shutdown=int(config.drain_seconds) + 1,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                backlog=_BACKLOG,
            )
        )

    async def run(self, started: "asyncio.Future[int]") -> None:
        """Serves until `stop`; sets `started` to the port. Raises OSError when the address is taken."""
        try:
            self._listening = await self._listen()
        except OSError as error:
            raise OSError(f"can't listen on {self._host}:{self._port}: {error.strerror}") from error
        self.port = self._listening[0].getsockname()[1]
        started.set_result(self.port)
        try:
            await self._server.serve(self._listening)
        finally:
            self.stopped.set()

    async def _listen(self) -> list[socket.socket]:
        """One socket for each address that the host's name has. `::` stands for all addresses, of whichever kind the
        machine has; those of IPv4 have a socket of their own, by which callers are called as they are called there.
        """
        loop = asyncio.get_running_loop()
        host, port = None if self._host in ("", "::") else self._host, self._port
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        listening: list[socket.socket] = []
        with contextlib.ExitStack() as undo:
            for family, _, _, _, address in dict.fromkeys(found):
                at = (address[0], port, *address[2:])
                try:
                    bound = socket.create_server(at, family=family, backlog=_BACKLOG, reuse_port=self._share_port)
                except OSError as error:
                    if host is None and error.errno in _NOT_HERE:
                        continue
                    raise
                undo.callback(bound.close)
                bound.setblocking(False)
                listening.append(bound)
                port = bound.getsockname()[1]
            if not listening:
                raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
            undo.pop_all()
        return listening

    async def _serve(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        closing = self._leaving and scope["type"] == "http"
        try:
            await self._app(scope, receive, _closing(send) if closing else send)
        except asyncio.CancelledError:
            # By uvicorn, when a request is not answered in the time that stopping may take. Websockets are closed.
            if not self._leaving:
                raise
            if scope["type"] == "http":
                await _give_up(send)

    def leave(self) -> None:
        """From now on every response ends its connection, so that clients go elsewhere by themselves."""
        self._leaving = True

    async def refuse(self) -> None:
        """Takes no new connections. Those that the kernel has accepted in our name are taken over first."""
        listening, self._listening = self._listening, []
        taken = [connection for bound in listening for connection in _take_waiting(bound)]
        for server in self._server.servers:
            server.close()
        for bound in listening:
            bound.close()
        loop = asyncio.get_running_loop()
        for connection in taken:
            with contextlib.suppress(OSError):  # gone meanwhile
                await loop.connect_accepted_socket(self._server.make_protocol, connection)

    def stop(self) -> None:
        """Refuses new connections, and ends the others when their requests are answered; `run` returns then."""
        self._server.should_exit = True


def _closing(send: Send) -> Send:
    async def send_closing(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return send_closing


async def _give_up(send: Send) -> None:
    """Answers that nobody knows what became of the request, unless its answer has begun."""
    body = {"success": False, "error": f"{Unavailable.reason} [{Unavailable.code}]", "errorType": Unavailable.code}
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    with contextlib.suppress(RuntimeError):
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": orjson.dumps(body)})


def _take_waiting(bound: socket.socket) -> Iterator[socket.socket]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield bound.accept()[0]


class _Server(uvicorn.Server):
    def make_protocol(self) -> asyncio.Protocol:
        """Serves one connection; what uvicorn gives to its own listeners."""
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(config=self.config, server_state=self.server_state, app_state={})
        return protocol

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
