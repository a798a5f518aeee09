"""The other end of a call: who may make it, what is answered, and how a process stops answering.

`RpcServer` answers with the service objects of this process. When it stops, its health service says so, what still
comes is refused in a way that lets clients ask another replica, and what runs is finished.

Made by node.py.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1.health_pb2 import DESCRIPTOR as HEALTH
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from prometheus_client import Counter, Histogram

from palaver.causality import Causality, Told
from palaver.errors import InvalidInput, PalaverError, Unavailable
from palaver.rpc.health import Health
from palaver.rpc.identity import Certificates, list_roles
from palaver.rpc.wire import (
    MAX_METADATA_BYTES,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    REFUSED_KEY,
    REQUEST_ID_KEY,
    TRACE_KEY,
    error_metadata,
    method_name,
    status_of,
)
from palaver.telemetry import request_id, resumed_span

logger = logging.getLogger(__name__)

ANSWER_SECONDS = Histogram(
    "palaver_rpc_answer_seconds", "Calls answered for other processes", ["service", "method", "code"]
)
INTERNAL_ERRORS = Counter(
    "palaver_rpc_internal_errors_total", "Answers that failed unexpectedly", ["service", "method"]
)
REFUSED = Counter(
    "palaver_rpc_calls_refused_total", "Calls that were not begun: wrong identity, or stopping", ["service", "reason"]
)

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", MAX_REPLY_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.so_reuseport", 0),  # two processes on one port are a mistake
    # A client that is frozen or gone takes its calls with it.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Clients ask every second of silence whether this process is there (rpc/replicas.py).
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    # Connections end after a while, so that clients find processes that have been added behind a balancing address.
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
]
# How long a process that stops waits for its clients to call others.
_LEAVE_SECONDS = 1.0
# How long calls that are on their way all the same are still taken, to be refused, before connections end.
_TURN_AWAY_SECONDS = 0.1
# What gRPC itself still has to write of answers that have been given.
_FLUSH_SECONDS = 1.0

Callers = Mapping[str, frozenset[str]]
"""By the full name of a service: the roles that may call it."""


class RpcServer:
    """Answers calls for the services of this process.

    With `certificates`, only for clients that prove to be of one of the roles that `callers` names for a service.
    No call begins before `causality` knows what its caller knows.
    `port` 0 is any that is free; `reflection` lets tools ask which services there are. Raises OSError when the
    address is taken.
    """

    def __init__(
        self,
        services: Mapping[ServiceDescriptor, Any],
        host: str,
        port: int,
        *,
        certificates: Certificates | None = None,
        callers: Callers | None = None,
        causality: Causality | None = None,
        reflection: bool = False,
    ) -> None:
        self._server = grpc.aio.server(options=_OPTIONS)
        self._causality = causality
        self._callers = (callers or {}) if certificates is not None else None
        self._health = Health(descriptor.full_name for descriptor in services)
        self._stopping = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        for descriptor, service in services.items():
            handlers: dict[str, Any] = {
                method.name: grpc.unary_unary_rpc_method_handler(
                    self._make_answer(descriptor, method, service),
                    request_deserializer=_make_deserializer(GetMessageClass(method.input_type)),
                    response_serializer=lambda reply: reply.SerializeToString(),
                )
                for method in descriptor.methods
            }
            self._server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(descriptor.full_name, handlers)]
            )
        add_HealthServicer_to_server(self._health, self._server)
        if reflection:
            _enable_reflection(self._server, services)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if certificates is None:
                self.port: int = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, certificates.server_credentials())
        except RuntimeError as error:
            raise OSError(f"can't listen on {address}") from error

    async def __aenter__(self) -> "RpcServer":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(0)

    async def start(self) -> None:
        """Answers from now on."""
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Takes no new calls, and gives running ones `grace` seconds to finish."""
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._health.stop(_LEAVE_SECONDS)
                await asyncio.sleep(_TURN_AWAY_SECONDS)
                await self._idle.wait()
        self._health.end()
        await self._server.stop(_FLUSH_SECONDS if self._idle.is_set() and grace else 0)

    def _make_answer(
        self, service: ServiceDescriptor, method: MethodDescriptor, implementation: Any
    ) -> "Callable[[Message | None, grpc.aio.ServicerContext[Any, Any]], Awaitable[Message]]":
        step = f"{service.name}.{method.name}"
        run: Callable[[Message], Awaitable[Message]] = getattr(implementation, method_name(method))
        causality = self._causality
        allowed = None if self._callers is None else self._callers.get(service.full_name, frozenset())

        async def answer(request: Message | None, context: "grpc.aio.ServicerContext[Any, Any]") -> Message:
            started = time.perf_counter()
            code = grpc.StatusCode.OK
            told = Told() if causality is None else causality.begin()
            self._running += 1
            self._idle.clear()
            try:
                if allowed is not None and allowed.isdisjoint(roles := list_roles(context)):
                    code = grpc.StatusCode.PERMISSION_DENIED
                    await _refuse_peer(context, service, allowed, roles)
                if self._stopping:
                    code = grpc.StatusCode.UNAVAILABLE
                    await _refuse_stopping(context, service)
                trace = ""
                for key, value in context.invocation_metadata() or ():
                    if key == REQUEST_ID_KEY:
                        request_id.set(str(value))
                    elif key == TRACE_KEY:
                        trace = str(value)
                if request is None:
                    raise InvalidInput("The request is no message of this method")
                with resumed_span(step, "server", (trace,)):
                    if causality is not None and (ignorant := await _precede(causality, context)) is not None:
                        code = status_of(ignorant)
                        context.set_trailing_metadata((error_metadata(ignorant), (REFUSED_KEY, "behind")))
                        await context.abort(code, ignorant.error_code)
                    reply = await run(request)
                if changes := told.describe():
                    context.set_trailing_metadata(changes)
                return reply
            except PalaverError as error:
                code = status_of(error)
                context.set_trailing_metadata((error_metadata(error), *told.describe()))
                await context.abort(code, error.error_code)
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except grpc.aio.AbortError:
                raise
            except Exception:
                code = grpc.StatusCode.INTERNAL
                INTERNAL_ERRORS.labels(service.name, method.name).inc()
                logger.exception("%s.%s failed", service.name, method.name)
                await context.abort(code, "internal error")
            finally:
                self._running -= 1
                if not self._running:
                    self._idle.set()
                ANSWER_SECONDS.labels(service.name, method.name, code.name).observe(time.perf_counter() - started)

        return answer


async def _refuse_peer(
    context: "grpc.aio.ServicerContext[Any, Any]", service: ServiceDescriptor, allowed: frozenset[str], roles: set[str]
) -> NoReturn:
    REFUSED.labels(service.name, "identity").inc()
    shown = ", ".join(sorted(roles)) or "no role"
    logger.warning(
        "refused a call of %s: the certificate of %s is for %s, and only %s may call it",
        service.name,
        context.peer(),
        shown,
        ", ".join(sorted(allowed)) or "nobody",
    )
    await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"a certificate for {shown} may not call {service.name}")


async def _precede(causality: Causality, context: "grpc.aio.ServicerContext[Any, Any]") -> Unavailable | None:
    """Why this process can't know what the caller of a call knows. Another replica may: nothing is begun here."""
    try:
        await causality.precede(context.invocation_metadata() or ())
    except Unavailable as error:
        return error
    return None


async def _refuse_stopping(context: "grpc.aio.ServicerContext[Any, Any]", service: ServiceDescriptor) -> NoReturn:
    REFUSED.labels(service.name, "stopping").inc()
    context.set_trailing_metadata(((REFUSED_KEY, "stopping"),))
    await context.abort(grpc.StatusCode.UNAVAILABLE, "this process is stopping")


def _make_deserializer(cls: type[Message]) -> Callable[[bytes], Message | None]:
    def deserialize(data: bytes) -> Message | None:
        try:
            return cls.FromString(data)
        except DecodeError:
            return None

    return deserialize


def _enable_reflection(server: grpc.aio.Server, services: Mapping[ServiceDescriptor, Any]) -> None:
    from grpc_reflection.v1alpha import reflection

    names = [descriptor.full_name for descriptor in services]
    names += [descriptor.full_name for descriptor in HEALTH.services_by_name.values()]
    reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
