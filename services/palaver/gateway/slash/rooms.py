"""Commands about rooms: made, entered, left, hidden, closed for writing, and what they are about."""

import orjson

from palaver.errors import RoomNotFound
from palaver.gateway.operations import rooms, subscriptions
from palaver.gateway.slash.command import Document, Given, command


@command("create", "#channel", "Create_A_New_Channel", permissions=("create-c", "create-p"))
async def create(given: Given) -> None:
    """A public room; a private one with the word `private` behind its name."""
    words = [word.lstrip("#") for word in given.words]
    if not words or not words[0]:
        await given.tell("Usage: /create #channel [private]")
        return
    await rooms.create_room(given.call, "p" if "private" in words[1:] else "c", rooms.NewRoom(name=words[0]))


@command("join", "#channel", "Join_the_given_channel", permissions=("view-c-room",))
async def join(given: Given) -> None:
    room = await _find(given, ("c",))
    if room is None:
        return
    if await rooms.is_member(given.call, room["_id"], given.call.me.id):
        await given.tell("You are already in that channel.")
        return
    await rooms.join(given.call, room["_id"])


@command("leave", "", "Leave_the_current_channel", permissions=("leave-c", "leave-p"))
@command("part", "", "Leave_the_current_channel", permissions=("leave-c", "leave-p"))
async def leave(given: Given) -> None:
    await rooms.leave(given.call, given.room["_id"])


@command("hide", "#room", "Hide_room")
async def hide(given: Given) -> None:
    """This room, or the one that is named; `@username` for a direct one."""
    room = await _find(given) if given.text else given.room
    if room is not None:
        await subscriptions.prefer(given.call, room["_id"], open=False)


@command("open", "room name", "Opens_a_channel_group_or_direct_message", client_only=True)
async def open_room(given: Given) -> None:
    """Clients go to the room; for who only asks the server, it is in their list again."""
    room = await _find(given)
    if room is not None:
        await subscriptions.prefer(given.call, room["_id"], open=True)


@command("topic", "Slash_Topic_Params", "Slash_Topic_Description", permissions=("edit-room",))
async def topic(given: Given) -> None:
    await rooms.update_room(given.call, given.room["_id"], topic=given.text)


@command("archive", "#channel", "Archive", permissions=("archive-room",))
async def archive(given: Given) -> None:
    await _set_archived(given, archived=True)


@command("unarchive", "#channel", "Unarchive", permissions=("unarchive-room",))
async def unarchive(given: Given) -> None:
    await _set_archived(given, archived=False)


async def _set_archived(given: Given, *, archived: bool) -> None:
    """This room, or the one that is named."""
    room = await _find(given, ("c", "p")) if given.text else given.room
    if room is None:
        return
    name, state = room.get("name", ""), "archived" if archived else "unarchived"
    if bool(room.get("archived")) == archived:
        await given.tell(f"Channel with name `#{name}` is already {state}!")
        return
    await rooms.update_room(given.call, room["_id"], archived=archived)
    await given.tell(f"Channel with name `#{name}` has been {state} successfully!")


async def _find(given: Given, types: tuple[str, ...] = ()) -> Document | None:
    """The room that is named, among those that the caller may see; they are told when there is none."""
    name = given.text.strip()
    if name.startswith("@"):
        types = ("d",)
    try:
        reply = await rooms.get_room(given.call, id_or_name=name.lstrip("#@"), types=types)
    except RoomNotFound:
        await given.tell(f"No channel with name `{name}` was found!")
        return None
    room: Document = orjson.loads(reply.room)
    return room
