"""gRPC at both ends, generic over the descriptors: no code for any single method.

`connect` gives an object with a service's methods that calls another process; `RpcServer` answers such calls with the
service objects of this one. The caller of a service can't tell which of the two it has. A request id and a deadline
travel with every call; errors of the tree in `errors.py` arrive as the same class at the other end.

Used by node.py only. Importing this module loads grpc, so a process that neither calls nor answers others never does.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, cast

import grpc
import orjson
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from prometheus_client import Counter, Histogram

from palaver.errors import (
    Conflict,
    InvalidInput,
    LoginRequired,
    NotAllowed,
    NotBuilt,
    NotFound,
    PalaverError,
    TooManyRequests,
    Unavailable,
    error_classes,
)
from palaver.telemetry import request_id

logger = logging.getLogger(__name__)

CALL_SECONDS = Histogram("palaver_rpc_call_seconds", "Calls to other processes", ["service", "method", "code"])
ANSWER_SECONDS = Histogram(
    "palaver_rpc_answer_seconds", "Calls answered for other processes", ["service", "method", "code"]
)
INTERNAL_ERRORS = Counter(
    "palaver_rpc_internal_errors_total", "Answers that failed unexpectedly", ["service", "method"]
)

DEFAULT_DEADLINE = 10.0
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_MAX_METADATA_BYTES = 64 * 1024
_MAX_ERROR_BYTES = 32 * 1024
_ERROR_KEY = "palaver-error-bin"
_REQUEST_ID_KEY = "palaver-request-id"
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]
# Retries stay enabled: without a policy for them, gRPC repeats only what no server has seen, and that is what saves the
# calls which meet the end of an old connection.
_CLIENT_OPTIONS = [
    *_OPTIONS,
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.service_config_disable_resolution", 1),
]
# Connections end after a while, so that clients find processes that have been added.
_SERVER_OPTIONS = [
    *_OPTIONS,
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
]

# The first class that fits, from a class of errors.py to its gRPC status.
_STATUS: tuple[tuple[type[PalaverError], grpc.StatusCode], ...] = (
    (LoginRequired, grpc.StatusCode.UNAUTHENTICATED),
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (NotAllowed, grpc.StatusCode.PERMISSION_DENIED),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (Conflict, grpc.StatusCode.ALREADY_EXISTS),
    (TooManyRequests, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (NotBuilt, grpc.StatusCode.UNIMPLEMENTED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (PalaverError, grpc.StatusCode.FAILED_PRECONDITION),
)
_UNREACHABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


def method_name(descriptor: MethodDescriptor) -> str:
    """The Python name of a method: `SendMessage` is `send_message`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", descriptor.name).lower()


class RemoteService:
    """A service that lives in another process. Its methods are those of the descriptor.

    A call takes `deadline` seconds at most, the wait for a process that is just starting included.
    """

    def __init__(self, descriptor: ServiceDescriptor, address: str, *, deadline: float = DEFAULT_DEADLINE) -> None:
        self._deadline = deadline
        self._channel = grpc.aio.insecure_channel(address, options=_CLIENT_OPTIONS)
        for method in descriptor.methods:
            setattr(self, method_name(method), self._make_call(descriptor, method))

    async def close(self) -> None:
        await self._channel.close(None)

    def _make_call(
        self, service: ServiceDescriptor, method: MethodDescriptor
    ) -> Callable[[Message], Awaitable[Message]]:
        reply_class = GetMessageClass(method.output_type)
        stub: grpc.aio.UnaryUnaryMultiCallable[Message, Message] = self._channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=reply_class.FromString,
        )

        async def call(request: Message) -> Message:
            started = time.perf_counter()
            code = "OK"
            try:
                reply: Message = await stub(
                    request,
                    timeout=self._deadline,
                    metadata=((_REQUEST_ID_KEY, request_id.get()),),
                    wait_for_ready=True,
                )
                return reply
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except grpc.aio.AioRpcError as error:
                code = error.code().name
                raise _error_from(error, f"{service.name}.{method.name}") from error
            finally:
                CALL_SECONDS.labels(service.name, method.name, code).observe(time.perf_counter() - started)

        return call


def _error_from(error: grpc.aio.AioRpcError, what: str) -> PalaverError:
    for key, value in cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ()):
        if key == _ERROR_KEY:
            data = orjson.loads(value)
            known = error_classes()
            cls = next((known[name] for name in data["classes"] if name in known), PalaverError)
            found = cls.__new__(cls)  # whatever its own constructor asks for
            PalaverError.__init__(found, data["reason"], code=data["code"], details=data["details"])
            return found
    if error.code() in _UNREACHABLE:
        return Unavailable(f"{what} does not answer", details={"status": error.code().name})
    return PalaverError(f"{what} failed", code="error-internal", details={"status": error.code().name})


class RpcServer:
    """Answers calls for the services of this process."""

    def __init__(self, services: dict[ServiceDescriptor, Any], host: str, port: int) -> None:
        self._server = grpc.aio.server(options=_SERVER_OPTIONS)
        for descriptor, service in services.items():
            handlers: dict[str, Any] = {
                method.name: grpc.unary_unary_rpc_method_handler(
                    _make_answer(descriptor, method, service),
                    request_deserializer=_make_deserializer(GetMessageClass(method.input_type)),
                    response_serializer=lambda reply: reply.SerializeToString(),
                )
                for method in descriptor.methods
            }
            self._server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(descriptor.full_name, handlers)]
            )
        self.port: int = self._server.add_insecure_port(f"{host}:{port}")

    async def __aenter__(self) -> "RpcServer":
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(0)

    async def stop(self, grace: float) -> None:
        """Takes no new calls, and gives running ones `grace` seconds to finish."""
        await self._server.stop(grace)


def _pack(error: PalaverError) -> bytes:
    """What the other end makes the same error of: its class, or the nearest parent that is known there."""
    data: dict[str, Any] = {
        "classes": [cls.__name__ for cls in type(error).__mro__ if issubclass(cls, PalaverError)],
        "code": error.error_code,
        "reason": error.error_reason,
        "details": error.details,
    }
    try:
        packed = orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:
        packed = b""
    if not packed or len(packed) > _MAX_ERROR_BYTES:  # more than metadata can carry: the core of it
        reason = error.error_reason[:1000].encode(errors="replace").decode()
        packed = orjson.dumps({**data, "reason": reason, "details": {}})
    return packed


def _make_deserializer(cls: type[Message]) -> Callable[[bytes], Message | None]:
    def deserialize(data: bytes) -> Message | None:
        try:
            return cls.FromString(data)
        except DecodeError:
            return None

    return deserialize


def _make_answer(
    service: ServiceDescriptor, method: MethodDescriptor, implementation: Any
) -> Callable[[Message | None, "grpc.aio.ServicerContext[Any, Any]"], Awaitable[Message]]:
    run: Callable[[Message], Awaitable[Message]] = getattr(implementation, method_name(method))

    async def answer(request: Message | None, context: "grpc.aio.ServicerContext[Any, Any]") -> Message:
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        for key, value in context.invocation_metadata() or ():
            if key == _REQUEST_ID_KEY:
                request_id.set(str(value))
        try:
            if request is None:
                raise InvalidInput("The request is no message of this method")
            return await run(request)
        except PalaverError as error:
            code = next(status for cls, status in _STATUS if isinstance(error, cls))
            context.set_trailing_metadata(((_ERROR_KEY, _pack(error)),))
            await context.abort(code, error.error_code)
            raise AssertionError("abort raises") from error
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            INTERNAL_ERRORS.labels(service.name, method.name).inc()
            logger.exception("%s.%s failed", service.name, method.name)
            await context.abort(code, "internal error")
            raise
        finally:
            ANSWER_SECONDS.labels(service.name, method.name, code.name).observe(time.perf_counter() - started)

    return answer
