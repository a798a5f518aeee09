"""Slash commands: what somebody types into a room that is no message. Run by `operations/commands.py`."""

from palaver.gateway.slash import members, rooms, texts
from palaver.gateway.slash.command import Command, Given, command, commands_of


@command("help", "", "Show_the_keyboard_shortcut_list")
async def list_commands(given: Given) -> None:
    """Everything that can be typed, as one message for who asks."""
    lines = [f"`/{name}` {declared.parameters}".rstrip() for name, declared in COMMANDS.items()]
    await given.tell("\n".join(lines))


COMMANDS: dict[str, Command] = commands_of(members, rooms, texts)
COMMANDS |= {declared.name: declared for declared in list_commands.commands}  # type: ignore[attr-defined]
COMMANDS = dict(sorted(COMMANDS.items()))
