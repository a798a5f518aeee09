"""Methods of slash commands. Their REST twins are in `rest/commands.py`."""

from typing import Any

import msgspec

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import commands


class Typed(msgspec.Struct):
    """The message that the client would have sent, were it no command."""

    rid: str
    id: str | None = msgspec.field(name="_id", default=None)
    tmid: str | None = None


class SlashCommand(msgspec.Struct, rename="camel"):
    cmd: str
    msg: Typed
    params: str = ""
    trigger_id: str | None = None


class PreviewItem(msgspec.Struct):
    id: str
    type: str
    value: str


@method("slashCommand", SlashCommand)
async def slash_command(call: Call, given: SlashCommand) -> None:
    message = given.msg
    await commands.run(
        call, given.cmd, given.params, message.rid, thread_id=message.tmid or "", message_id=message.id or ""
    )


@method("getSlashCommandPreviews", SlashCommand)
async def get_previews(call: Call, given: SlashCommand) -> Any:
    """Nothing: none of the commands here has previews."""
    commands.check_previews(given.cmd)


@method("executeSlashCommandPreview", SlashCommand, PreviewItem)
async def execute_preview(call: Call, given: SlashCommand, item: PreviewItem) -> None:
    """There is none that could be chosen."""
    commands.check_previews(given.cmd)
    raise InvalidInput("The preview item is not one of the command's", code="error-invalid-command-preview")
