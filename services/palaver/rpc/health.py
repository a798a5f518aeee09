"""grpc.health.v1: whether this process serves, for each of its services and (the empty name) altogether.

Clients watch it (replicas.py). As soon as this process says that it stops they call others, and leave: who has left
will not call any more. Owned by server.py.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)

_Context = grpc.aio.ServicerContext[Any, Any]


class Health:
    """Answers for these services, all of them alike."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._watchers = 0
        self._left = asyncio.Event()
        self._left.set()

    async def stop(self, seconds: float) -> None:
        """Says that nothing is served any more. Returns when every client that watches has left, or time is up."""
        self._stopping.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._left.wait()

    def end(self) -> None:
        """Ends what is still watched."""
        self._stopping.set()
        self._ended.set()

    async def Check(self, request: HealthCheckRequest, context: _Context) -> HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service here")
        return self._response(request.service)

    async def List(self, request: HealthListRequest, context: _Context) -> HealthListResponse:
        return HealthListResponse(statuses={service: self._response(service) for service in self._services})

    async def Watch(self, request: HealthCheckRequest, context: _Context) -> AsyncIterator[HealthCheckResponse]:
        yield self._response(request.service)
        if self._stopping.is_set():
            return
        self._watchers += 1
        self._left.clear()
        try:
            await self._stopping.wait()
            yield self._response(request.service)
            await self._ended.wait()
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._left.set()

    def _response(self, service: str) -> HealthCheckResponse:
        if service not in self._services:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        stopping = self._stopping.is_set()
        return HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING if stopping else HealthCheckResponse.SERVING)
