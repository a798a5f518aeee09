"""Commands that say something in the room: the text behind their name, made up."""

from palaver.gateway.slash.command import Given, command

_OPTIONAL = "your_message_optional"


@command("me", "your_message", "Displays_action_text")
async def me(given: Given) -> None:
    if given.text:
        await given.send(f"_{given.text}_")


@command("gimme", _OPTIONAL, "Slash_Gimme_Description")
async def gimme(given: Given) -> None:
    await given.send(f"༼ つ ◕_◕ ༽つ {given.text}".rstrip())


@command("lennyface", _OPTIONAL, "Slash_LennyFace_Description")
async def lennyface(given: Given) -> None:
    await given.send(f"{given.text} ( ͡° ͜ʖ ͡°)".lstrip())


@command("shrug", _OPTIONAL, "Slash_Shrug_Description")
async def shrug(given: Given) -> None:
    await given.send(f"{given.text} ¯\\\\_(ツ)_/¯".lstrip())


@command("tableflip", _OPTIONAL, "Slash_Tableflip_Description")
async def tableflip(given: Given) -> None:
    await given.send(f"{given.text} (╯°□°）╯︵ ┻━┻".lstrip())


@command("unflip", _OPTIONAL, "Slash_TableUnflip_Description")
async def unflip(given: Given) -> None:
    await given.send(f"{given.text} ┬─┬ ノ( ゜-゜ノ)".lstrip())
