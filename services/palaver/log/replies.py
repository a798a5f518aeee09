"""What NATS answers: a message, JetStream's JSON, or that nobody listens. Used where NATS is asked for something."""

from typing import Any

import orjson
from nats.aio.msg import Msg

from palaver.errors import Unavailable


class NoResponders(Unavailable):
    """Nobody answers on that subject: there is no such stream (any more, or yet)."""


class ApiError(Unavailable):
    """JetStream refuses. `number` is its own error code."""

    def __init__(self, description: str, number: int) -> None:
        super().__init__(f"NATS: {description}")
        self.number = number


def answered(message: Msg) -> Msg:
    """The message itself. Raises NoResponders when it only says that nobody listens."""
    if not message.data and message.headers and message.headers.get("Status") == "503":
        raise NoResponders("NATS: nobody answers (is JetStream on?)")
    return message


def parse_reply(message: Msg) -> dict[str, Any]:
    """The JSON answer of JetStream. Raises ApiError, NoResponders, or Unavailable for what is no answer."""
    try:
        reply = orjson.loads(answered(message).data)
    except orjson.JSONDecodeError as error:
        raise Unavailable(f"NATS: not an answer: {message.data[:100]!r}") from error
    if not isinstance(reply, dict):
        raise Unavailable(f"NATS: not an answer: {message.data[:100]!r}")
    if "error" in reply:
        raise ApiError(str(reply["error"].get("description")), int(reply["error"].get("err_code", 0)))
    return reply
