"""Errors to HTTP answers: the one table of the REST surface."""

from typing import Any

import msgspec

from palaver.errors import (
    InvalidInput,
    LoginFailed,
    LoginRequired,
    NotAllowed,
    NotBuilt,
    NotFound,
    PalaverError,
    TooManyRequests,
    Unavailable,
)

LOGIN_MESSAGE = "You must be logged in to do this."


class Unauthorized(NotAllowed):
    """A permission that the endpoint itself declares is missing."""

    code = "error-unauthorized"
    reason = "User does not have the permissions required for this action"


class Failure(InvalidInput):
    """Answers 400 with just this text, as many of the endpoints do."""

    code = ""


def answer_for(error: PalaverError) -> tuple[int, dict[str, Any]]:
    """The status and body for an error of the tree."""
    text = f"{error.error_reason} [{error.error_code}]" if error.error_reason else f"[{error.error_code}]"
    body: dict[str, Any] = {"success": False, "error": text, "errorType": error.error_code}
    if error.details:
        body["details"] = error.details
    match error:
        case LoginFailed():
            return 401, _login_failed(error)
        case LoginRequired():
            return 401, {"status": "error", "message": LOGIN_MESSAGE}
        case Unauthorized():
            return 403, {"success": False, "error": text}
        case NotAllowed() if error.error_code == "unauthorized":
            return 403, {"success": False, "error": "unauthorized"}
        case Failure():
            return 400, {"success": False, "error": error.error_reason}
        case NotFound() if error.error_code == NotFound.code:
            return 404, {"success": False, "error": "Resource not found"}
        case TooManyRequests():
            return 429, {"success": False, "error": f"{error.error_reason} [error-too-many-requests]"}
        case NotBuilt():
            return 501, body
        case Unavailable():
            return 503, body
    return 400, body


def _login_failed(error: LoginFailed) -> dict[str, Any]:
    code: Any = int(error.error_code) if error.error_code.isdigit() else error.error_code
    kind = error.details.get("kind")
    body: dict[str, Any] = {"status": "error", "error": code, "message": error.error_reason}
    if kind == "unknown-user":
        body = {"status": "error", "error": "Unauthorized", "message": "Unauthorized"}
    elif kind == "wrong-password":
        body = {"status": "error", "error": code, "message": "Incorrect password"}
    elif error.details:
        body["details"] = error.details
    return body


def invalid_params(error: msgspec.ValidationError) -> InvalidInput:
    """A validation error in the words that clients know from ajv: "must have required property 'x'", …"""
    text, _, path = str(error).partition(" - at `$")
    where = path.rstrip("`").replace("[...]", "/0").replace(".", "/")
    if text.startswith("Object missing required field"):
        said = f"must have required property {text.split('`')[1]!r}"
    elif text.startswith("Object contains unknown field"):
        said = "must NOT have additional properties"
    elif text.startswith("Expected"):
        expected = text.split("`")[1].split(" | ")[0]
        names = {"str": "string", "int": "integer", "bool": "boolean", "float": "number", "array": "array"}
        said = f"{where} must be {names.get(expected, expected)}".lstrip()
    elif text.startswith("Invalid enum value"):
        said = f"{where} must be equal to one of the allowed values".lstrip()
    else:
        said = f"{where} {text}".strip()
    return InvalidInput(said)
