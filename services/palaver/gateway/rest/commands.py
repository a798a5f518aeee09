"""Slash commands: listed and run. The DDP twins are in `ddp/methods/commands.py`."""

import orjson

from palaver.errors import MessageNotFound, RoomNotFound
from palaver.gateway.call import Call
from palaver.gateway.operations import commands, messages
from palaver.gateway.operations.commands import CommandNotFound
from palaver.gateway.operations.rooms import get_room
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, endpoint
from palaver.gateway.rest.errors import Failure, Forbidden
from palaver.gateway.rest.query import matches, page, parse_fields, parse_query, parse_sort, select, sorted_by

_FIELDS = ("command", "params", "description", "clientOnly", "providesPreview", "permission")
_UNKNOWN = "The command provided does not exist (or is disabled)."


class NameQuery(LooseParams):
    command: str = ""


class PreviewQuery(LooseParams, rename="camel"):
    command: str = ""
    params: str = ""
    room_id: str = ""


class RunBody(LooseParams, rename="camel"):
    command: str = ""
    params: str = ""
    room_id: str = ""
    tmid: str | None = None
    trigger_id: str | None = None


class PreviewItem(LooseParams):
    id: str
    type: str
    value: str


class PreviewBody(RunBody, rename="camel"):
    preview_item: PreviewItem | None = None


@endpoint("GET", "commands.get", query=NameQuery)
async def get(call: Call, query: NameQuery) -> Answer:
    if not query.command:
        raise Failure('The query param "command" must be provided.')
    declared = commands.find_command(query.command)
    if declared is None:
        raise Failure(f"There is no command in the system by the name of: {query.command[:100]}")
    return {"command": declared.describe()}


@endpoint("GET", "commands.list", query=Page, lists="commands")
async def list_all(call: Call, query: Page) -> Answer:
    where, fields = parse_query(query.query, _FIELDS), parse_fields(query.fields)
    found = [entry for entry in commands.list_commands() if matches(entry, where)]
    found = sorted_by(found, parse_sort(query.sort, _FIELDS))
    offset, count = page(call, query)
    shown = [select(entry, fields) for entry in found[offset : offset + count if count else None]]
    return {"commands": shown, "offset": offset, "count": len(shown), "total": len(found)}


@endpoint("POST", "commands.run", body=RunBody)
async def run(call: Call, body: RunBody) -> Answer:
    if not body.command:
        raise Failure("You must provide a command to run.")
    if not body.room_id:
        raise Failure("The room's id where to execute this command must be provided and be a string.")
    if body.tmid:
        await _check_thread(call, body.tmid, body.room_id)
    try:
        await commands.run(call, body.command, body.params, body.room_id, thread_id=body.tmid or "")
    except CommandNotFound as error:
        raise Failure(_UNKNOWN) from error
    except RoomNotFound as error:
        raise Forbidden from error
    return {"result": None}


@endpoint("GET", "commands.preview", query=PreviewQuery)
async def preview(call: Call, query: PreviewQuery) -> Answer:
    """None of the commands here has previews: the list of them is empty."""
    if not query.command:
        raise Failure("You must provide a command to get the previews from.")
    await _check_room(call, query.room_id, "The room's id where the previews are being displayed must be provided.")
    try:
        declared = commands.check_previews(query.command)
    except CommandNotFound as error:
        raise Failure(_UNKNOWN) from error
    return {"preview": {"i18nTitle": declared.description, "items": []}}


@endpoint("POST", "commands.preview", body=PreviewBody)
async def run_preview(call: Call, body: PreviewBody) -> Answer:
    """There is none that could be chosen."""
    if not body.command:
        raise Failure("You must provide a command to run the preview item on.")
    if body.preview_item is None:
        raise Failure("The preview item being executed must have an id, a type and a value.")
    await _check_room(call, body.room_id, "The room's id where the preview is executed must be provided.")
    try:
        commands.check_previews(body.command)
    except CommandNotFound as error:
        raise Failure(_UNKNOWN) from error
    raise Failure("The preview item is not one of the command's.")


async def _check_room(call: Call, room_id: str, missing: str) -> None:
    if not room_id:
        raise Failure(missing)
    try:
        await get_room(call, room_id=room_id)
    except RoomNotFound as error:
        raise Forbidden from error


async def _check_thread(call: Call, thread_id: str, room_id: str) -> None:
    """Raises Failure unless the thread is one of the room's."""
    try:
        first = orjson.loads(await messages.get_message(call, thread_id))
    except MessageNotFound as error:
        raise Failure("Invalid thread.") from error
    if first["rid"] != room_id:
        raise Failure("Invalid thread.")
