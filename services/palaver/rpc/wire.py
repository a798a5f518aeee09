"""What both ends of a call must agree on: names, metadata, sizes, and how an error travels."""

import re
from collections.abc import Iterable
from typing import Any, cast

import grpc
import orjson
from google.protobuf.descriptor import MethodDescriptor

from palaver.errors import (
    Conflict,
    InternalError,
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

# A request is what one user sends; a reply may be the whole policy, or everything that one user is a member of.
MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_REPLY_BYTES = 64 * 1024 * 1024
MAX_METADATA_BYTES = 64 * 1024
_MAX_ERROR_BYTES = 32 * 1024

REQUEST_ID_KEY = "palaver-request-id"
TRACE_KEY = "traceparent"
REFUSED_KEY = "palaver-refused"
"""Trailing metadata of a call that was not begun, and of which nothing was done: another replica may be asked."""
_ERROR_KEY = "palaver-error-bin"

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
UNREACHABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
"""The statuses of a call that somebody else, or the same process a little later, may well answer."""


def method_name(descriptor: MethodDescriptor) -> str:
    """The Python name of a method: `SendMessage` is `send_message`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", descriptor.name).lower()


def status_of(error: PalaverError) -> grpc.StatusCode:
    """The gRPC status that an error of the tree is sent with."""
    return next(status for cls, status in _STATUS if isinstance(error, cls))


def error_metadata(error: PalaverError) -> tuple[str, bytes]:
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
    return _ERROR_KEY, packed


def find_error(error: grpc.aio.AioRpcError) -> PalaverError | None:
    """The error that the service raised, or None when something on the way to it failed."""
    for key, value in trailing_of(error):
        if key == _ERROR_KEY:
            data = orjson.loads(value)
            known = error_classes()
            cls = next((known[name] for name in data["classes"] if name in known), PalaverError)
            found = cls.__new__(cls)  # whatever its own constructor asks for
            PalaverError.__init__(found, data["reason"], code=data["code"], details=data["details"])
            return found
    return None


def is_refused(error: grpc.aio.AioRpcError) -> bool:
    """Whether the other end says that it has not begun."""
    return any(key == REFUSED_KEY for key, _ in trailing_of(error))


def failure(error: grpc.aio.AioRpcError, what: str) -> PalaverError:
    """What a caller is told of a call that failed on its way."""
    details = {"status": error.code().name}
    if error.code() in UNREACHABLE:
        return Unavailable(f"{what} does not answer", details=details)
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:  # its process is of an older version
        return NotBuilt(f"{what} is not there yet", details=details)
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return InvalidInput(f"{what}: too much for one message", code="error-message-too-large", details=details)
    return InternalError(f"{what} failed", details=details)


def trailing_of(error: grpc.aio.AioRpcError) -> Iterable[tuple[str, bytes]]:
    """The trailing metadata of a call that failed."""
    return cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ())
