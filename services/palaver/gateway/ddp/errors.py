"""Errors to DDP: the one table of that surface."""

from typing import Any

from palaver.errors import PalaverError, RoomNotFound, UserNotFound


def error_object(error: BaseException) -> dict[str, Any]:
    """The `error` of a result or nosub frame. What is not of the tree says nothing of itself."""
    if not isinstance(error, PalaverError):
        return {
            "isClientSafe": True,
            "error": 500,
            "reason": "Internal server error",
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
