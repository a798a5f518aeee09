"""What a slash command is: its entry in clients' lists, who may give it, and what it does.

    @command("topic", "Slash_Topic_Params", "Slash_Topic_Description", permissions=("edit-room",))
    async def topic(given: Given) -> None: ...

`parameters` and `description` are names of texts that clients translate. A command that is refused tells who gave it
why, in the room; nobody else sees that.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isfunction
from types import ModuleType
from typing import Any, TypeVar

from palaver.gateway.call import Call
from palaver.gateway.ephemeral import tell_caller
from palaver.gateway.operations import messages
from palaver.gateway.operations.messages import SentMessage

Document = dict[str, Any]
Handler = Callable[["Given"], Awaitable[None]]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Given:
    """A command as somebody gave it: in which room (and thread), and what stood behind its name."""

    call: Call
    name: str
    room: Document
    text: str
    thread_id: str = ""
    message_id: str = ""  # that the client has shown it under meanwhile

    @property
    def words(self) -> list[str]:
        return self.text.split()

    async def tell(self, text: str) -> None:
        """Answers who gave the command, and nobody else."""
        await tell_caller(self.call, self.room["_id"], text, self.thread_id)

    async def send(self, text: str) -> None:
        """Says something in the room, as who gave the command."""
        message = SentMessage(id=self.message_id or None, rid=self.room["_id"], msg=text, tmid=self.thread_id or None)
        await messages.send(self.call, message)


@dataclass(frozen=True, slots=True)
class Command:
    """A declared command. Any one of `permissions` is needed, in the workspace or in the room; none: everybody may."""

    name: str
    parameters: str
    description: str
    permissions: tuple[str, ...]
    client_only: bool
    run: Handler

    def describe(self) -> Document:
        """The command as clients list it."""
        found: Document = {
            "command": self.name,
            "params": self.parameters,
            "description": self.description,
            "clientOnly": self.client_only,
            "providesPreview": False,
        }
        if self.permissions:
            found["permission"] = list(self.permissions)
        return found


def command(
    name: str, parameters: str, description: str, *, permissions: tuple[str, ...] = (), client_only: bool = False
) -> Callable[[H], H]:
    """Declares `run` as a command; once for each of its names."""

    def declare(run: H) -> H:
        declared: list[Command] = getattr(run, "commands", [])
        declared.append(Command(name, parameters, description, permissions, client_only, run))
        run.commands = declared  # type: ignore[attr-defined]
        return run

    return declare


def commands_of(*modules: ModuleType) -> dict[str, Command]:
    """Every command that the modules declare, by name."""
    found: dict[str, Command] = {}
    for module in modules:
        for value in vars(module).values():
            for declared in getattr(value, "commands", ()) if isfunction(value) else ():
                if isinstance(declared, Command) and value.__module__ == module.__name__:
                    if declared.name in found:
                        raise ValueError(f"the command {declared.name} is declared twice")
                    found[declared.name] = declared
    return dict(sorted(found.items()))
