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
    SecondFactorRequired,
    TooManyRequests,
    Unavailable,
    WrongCredentials,
)
from palaver.gateway.ddp.method import MatchFailed
from palaver.gateway.validation import match_words, parts

LOGIN_MESSAGE = "You must be logged in to do this."


class Unauthorized(NotAllowed):
    """A permission that the endpoint itself declares is missing."""

    code = "error-unauthorized"
    reason = "User does not have the permissions required for this action"


class Forbidden(NotAllowed):
    """A permission that the handler itself looks for is missing."""

    code = "unauthorized"
    reason = "unauthorized"


class Failure(InvalidInput):
    """Answers 400 with just this text (or none), as many of the endpoints do."""

    code = ""


def answer_for(error: PalaverError, *, at_login: bool = False) -> tuple[int, dict[str, Any]]:
    """The status and body for an error of the tree. Only a login itself says why it failed."""
    text = f"{error.error_reason} [{error.error_code}]" if error.error_reason else f"[{error.error_code}]"
    body: dict[str, Any] = {"success": False, "error": text, "errorType": error.error_code}
    if error.details:
        body["details"] = error.details
    match error:
        case LoginFailed() if at_login:
            return 401, _login_failed(error)
        case SecondFactorRequired():
            return 400, body
        case LoginRequired():
            return 401, {"status": "error", "message": LOGIN_MESSAGE}
        case Unauthorized():
            return 403, {"success": False, "error": text}
        case NotAllowed() if error.error_code == "unauthorized":
            return 403, {"success": False, "error": "unauthorized"}
        case MatchFailed():
            return 400, {"success": False, "error": f"Match error: {error.said}"}
        case Failure():
            return 400, {"success": False, **({"error": error.error_reason} if error.error_reason else {})}
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
    body: dict[str, Any] = {"status": "error", "error": code, "message": error.error_reason}
    if isinstance(error, WrongCredentials):
        return {"status": "error", "error": "Unauthorized", "message": "Unauthorized"}
    if error.details:
        body["details"] = error.details
    return body


def check_one_given(**values: object) -> None:
    """For alternatives: raises InvalidInput, in ajv's words, unless exactly one of these is given (not None)."""
    given = sum(value is not None for value in values.values())
    if given == 1:
        return
    wrong = "must NOT have additional properties" if given else "must have required property '{}'"
    lines = [wrong.format(name) for name in values]
    raise InvalidInput("\n ".join([*lines, "must match exactly one schema in oneOf"]))


_AJV_NAMES = {"str": "string", "int": "number", "bool": "boolean", "float": "number"}


def invalid_params(error: msgspec.ValidationError) -> InvalidInput:
    """A validation error in the words that clients know from ajv: "must have required property 'x'", …"""
    text, path = parts(error)
    names = text.split("`")
    if text.startswith("Object missing required field"):
        said = f"must have required property '{names[1]}'"
    elif text.startswith("Object contains unknown field"):
        said = "must NOT have additional properties"
    elif text.startswith("Expected `"):
        # What may be left out may be null here; clients know such a parameter by its type alone.
        expected = [_AJV_NAMES.get(name, name) for name in names[1].split(" | ") if name != "null"]
        said = f"must be {','.join(dict.fromkeys(expected)) or 'null'}"
    elif text.startswith("Invalid enum value"):
        said = "must be equal to one of the allowed values"
    else:
        said = text[:1].lower() + text[1:]
    return InvalidInput(said, details={"field": path} if path else None)


def match_failure(error: msgspec.ValidationError) -> Failure:
    """The same in the words of Meteor's `check`: "Match error: Missing key 'x'", …"""
    return Failure(f"Match error: {match_words(error)}")
