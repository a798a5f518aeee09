"""Slash commands, given: by REST (`rest/commands.py`) or DDP (`ddp/methods/commands.py`)."""

from typing import Any

import orjson

from palaver.errors import (
    InternalError,
    InvalidInput,
    LoginRequired,
    NotAllowed,
    PalaverError,
    RoomNotFound,
    TooManyRequests,
    Unavailable,
)
from palaver.gateway.call import Call
from palaver.gateway.operations.rooms import get_room
from palaver.gateway.operations.subscriptions import find_subscription
from palaver.gateway.slash import COMMANDS
from palaver.gateway.slash.command import Command, Given

Document = dict[str, Any]

_MAX_TEXT = 10_000
# What is told to the caller's program rather than to the caller.
_RAISED = (LoginRequired, TooManyRequests, Unavailable, InternalError)


class CommandNotFound(InvalidInput):
    code = "error-invalid-command"
    reason = "Invalid Command Provided"


class CommandNotAllowed(NotAllowed):
    code = "unauthorized"
    reason = "You are not authorized to run this command"


def list_commands() -> list[Document]:
    """Every command, by name, as clients list them."""
    return [declared.describe() for declared in COMMANDS.values()]


def find_command(name: str) -> Command | None:
    """The command with this name, in whatever case."""
    return COMMANDS.get(name.lower())


async def run(call: Call, name: str, text: str, room_id: str, *, thread_id: str = "", message_id: str = "") -> None:
    """Does what a command says, for the caller in a room that they may see.

    What the command itself refuses is told to the caller in the room. Raises CommandNotFound, RoomNotFound,
    CommandNotAllowed.
    """
    declared = find_command(name)
    if declared is None:
        raise CommandNotFound
    if len(text) > _MAX_TEXT:
        raise InvalidInput("The command's parameters are too long", code="error-invalid-params")
    if not room_id:
        raise RoomNotFound
    room: Document = orjson.loads((await get_room(call, room_id=room_id)).room)
    await _check_permission(call, declared, room_id)
    given = Given(call, declared.name, room, text.strip(), thread_id, message_id)
    try:
        await declared.run(given)
    except _RAISED:
        raise
    except PalaverError as error:
        await given.tell(error.error_reason or error.error_code)


def check_previews(name: str) -> Command:
    """The command whose previews are asked for. None of those that are built in has any. Raises CommandNotFound."""
    declared = find_command(name)
    if declared is None:
        raise CommandNotFound
    return declared


async def _check_permission(call: Call, declared: Command, room_id: str) -> None:
    """Raises CommandNotAllowed unless one of the caller's roles, also of those in this room, may give the command."""
    if not declared.permissions or any(call.may(permission) for permission in declared.permissions):
        return
    subscription = await find_subscription(call, room_id)
    roles = orjson.loads(subscription).get("roles", ()) if subscription else ()
    if not any(call.access.may(call.me, permission, roles) for permission in declared.permissions):
        raise CommandNotAllowed
