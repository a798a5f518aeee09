"""What every process answers over HTTP: alive, ready, metrics; and the HTTP server that every process has."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from palaver.config import Config

MAX_FRAME_BYTES = 2 * 1024 * 1024


def health_routes(node: Any) -> list[Route]:
    """`/healthz` (this process runs), `/readyz` (it can serve), `/metrics` (Prometheus)."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        ready = node.ready and not node.stopping.is_set()
        body = {"status": "ready" if ready else "not ready", "roles": list(node.roles)}
        return JSONResponse(body, 200 if ready else 503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [
        Route("/healthz", healthz),
        Route("/health", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]


def health_app(node: Any) -> Starlette:
    """The application of a process without a gateway."""
    return Starlette(routes=health_routes(node))


class HttpServer:
    """uvicorn without its own ideas about signals: the node decides when to stop."""

    def __init__(self, app: Any, config: Config) -> None:
        self._server = _Server(
            uvicorn.Config(
                app,
                host=config.host,
                port=config.port,
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
                backlog=4096,
            )
        )

    async def run(self, started: "asyncio.Future[int]") -> None:
        """Serves until `stop`; sets `started` to the port. Raises OSError when the address is taken."""
        self._server.on_started = started.set_result
        try:
            await self._server.serve()
        except SystemExit as error:  # uvicorn's way to say that the address is taken
            raise OSError(f"can't listen on {self._server.config.host}:{self._server.config.port}") from error

    def stop(self) -> None:
        self._server.should_exit = True


class _Server(uvicorn.Server):
    on_started: Callable[[int], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_started(self.servers[0].sockets[0].getsockname()[1])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
