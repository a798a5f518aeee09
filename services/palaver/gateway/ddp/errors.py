"""Errors to DDP: the one table of that surface."""

import logging
from typing import Any

from prometheus_client import Counter

from palaver.errors import InternalError, PalaverError, RoomNotFound, UserNotFound
from palaver.telemetry import request_id

logger = logging.getLogger(__name__)

FAILED = Counter("palaver_ddp_errors_total", "DDP methods and subscriptions that failed unexpectedly", ["name"])


def is_failure(error: Exception) -> bool:
    """Whether this is nobody's mistake but the server's: something failed unexpectedly, here or in another process."""
    return not isinstance(error, PalaverError) or isinstance(error, InternalError)


def error_object(error: Exception, name: str) -> dict[str, Any]:
    """The `error` of a result or nosub frame. `name` of the method or stream, from a bounded set.

    A failure is counted and logged, and says nothing of itself but the request's id: by that its log lines are found.
    """
    if not isinstance(error, PalaverError) or is_failure(error):
        FAILED.labels(name).inc()
        logger.error("%s failed", name, exc_info=error)
        return {
            "isClientSafe": True,
            "error": 500,
            "reason": "Internal server error",
            "details": {"requestId": request_id.get()},
            "message": "Internal server error [500]",
            "errorType": "Meteor.Error",
        }
    code: Any = int(error.error_code) if error.error_code.isdigit() else error.error_code
    reason = error.error_reason
    if isinstance(error, RoomNotFound) and code == RoomNotFound.code:
        # The class speaks of parameters of REST, which methods don't have.
        code, reason = "error-invalid-room", "Invalid room"
    elif isinstance(error, UserNotFound) and reason == UserNotFound.reason:
        reason = "Invalid user"
    found: dict[str, Any] = {"isClientSafe": True, "error": code, "reason": reason}
    if error.details and error.error_code != "403":
        found["details"] = error.details
    found["message"] = f"{reason} [{code}]"
    found["errorType"] = "Meteor.Error"
    return found
