"""Every error that a caller can be told of, as one tree.

    PalaverError                      code, reason, details
    ├── InvalidInput                  what was sent can't be right
    ├── LoginRequired                 nobody is logged in
    │   └── LoginFailed               a token that is none, a blocked address, an account that is not active, …
    │       ├── WrongCredentials      no such user, or not their password: nobody learns which
    │       └── SecondFactorRequired
    ├── NotAllowed                    somebody is logged in, and may not
    ├── NotFound                      RoomNotFound, TeamNotFound, UserNotFound, MessageNotFound, …
    ├── Conflict                      it exists already, or changed meanwhile
    ├── TooManyRequests
    ├── NotBuilt                      a known name that this server does not offer (yet)
    ├── Unavailable                   a part of the system does not answer
    └── InternalError                 another process has failed unexpectedly, and has logged why

`code` is the machine-readable name that clients of Rocket.Chat know (`error-invalid-room`); `reason` is for people.
Raised anywhere, translated only at the edges: `STATUS` here is the one table from a class to gRPC, the gateway's
`rest/errors.py` and `ddp/errors.py` are the tables to HTTP and DDP.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class PalaverError(Exception):
    """An error with a code, a reason and optional details (JSON values)."""

    code: ClassVar[str] = "error"
    reason: ClassVar[str] = ""

    def __init__(
        self, reason: str | None = None, *, code: str | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        self.error_code: str = code or self.code
        self.error_reason: str = self.reason if reason is None else reason
        self.details: dict[str, Any] = dict(details or {})
        super().__init__(f"{self.error_reason} [{self.error_code}]".strip())


class InvalidInput(PalaverError):
    code = "invalid-params"


class LoginRequired(PalaverError):
    code = "error-invalid-user"
    reason = "You must be logged in to do this."


class LoginFailed(LoginRequired):
    code = "403"
    reason = "The login failed"


class WrongCredentials(LoginFailed):
    reason = "User not found or incorrect password"


class SecondFactorRequired(LoginFailed):
    code = "totp-required"
    reason = "TOTP Required"


class NotAllowed(PalaverError):
    code = "error-not-allowed"
    reason = "Not allowed"


class NotFound(PalaverError):
    code = "error-not-found"
    reason = "Not found"


class RoomNotFound(NotFound):
    code = "error-room-not-found"
    reason = 'The required "roomId" or "roomName" param provided does not match any channel'


class TeamNotFound(NotFound):
    code = "team-does-not-exist"
    reason = ""


class UserNotFound(NotFound):
    code = "error-invalid-user"
    reason = 'The required "userId" or "username" param provided does not match any users'


class MessageNotFound(NotFound):
    code = "error-message-not-found"
    reason = "Message not found"


class Conflict(PalaverError):
    code = "error-conflict"
    reason = "It exists already"


class TooManyRequests(PalaverError):
    code = "too-many-requests"
    reason = "Error, too many requests. Please slow down."


class NotBuilt(PalaverError):
    code = "error-not-implemented"
    reason = "This server does not offer that yet"


class Unavailable(PalaverError):
    code = "error-unavailable"
    reason = "A part of the server does not answer; try again"


class InternalError(PalaverError):
    """At the edges it is answered as what fails unexpectedly in their own process."""

    code = "error-internal"
    reason = "Internal server error"


def error_classes() -> dict[str, type[PalaverError]]:
    """Every class of the tree by its name: how an error finds its class again behind a network."""
    found: dict[str, type[PalaverError]] = {}
    pending: list[type[PalaverError]] = [PalaverError]
    while pending:
        cls = pending.pop()
        found[cls.__name__] = cls
        pending.extend(cls.__subclasses__())
    return found
