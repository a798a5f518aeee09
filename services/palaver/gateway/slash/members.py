"""Commands about other people: who is in the room, who may speak, and a message to somebody."""

import orjson

from palaver.access import User
from palaver.errors import RoomNotFound
from palaver.gateway.operations import messages, rooms
from palaver.gateway.operations.messages import SentMessage
from palaver.gateway.operations.presence import set_status
from palaver.gateway.slash.command import Document, Given, command

_ADDING = ("add-user-to-joined-room", "add-user-to-any-c-room", "add-user-to-any-p-room")


@command("invite", "@username", "Invite_user_to_join_channel", permissions=_ADDING)
async def invite(given: Given) -> None:
    """Several users at once, if they are named."""
    wanted = [name for name in (word.lstrip("@") for word in given.text.replace(",", " ").split()) if name]
    found = await given.call.access.find_users_by_name(wanted)
    invited = []
    for name in dict.fromkeys(wanted):
        if name not in found:
            await given.tell(f"No user with username `{name}` was found!")
        elif await rooms.is_member(given.call, given.room["_id"], found[name].id):
            await given.tell(f"`{name}` is already in here.")
        else:
            invited.append(name)
    if invited:
        await rooms.invite(given.call, given.room["_id"], usernames=invited)


@command("kick", "@username", "Remove_someone_from_room", permissions=("remove-user",))
async def kick(given: Given) -> None:
    user = await _find_user(given)
    if user is None:
        return
    if not await rooms.is_member(given.call, given.room["_id"], user.id):
        await given.tell(f"`{user.username}` is not in this room.")
        return
    await rooms.remove(given.call, given.room["_id"], user_id=user.id)


@command("mute", "@username", "Mute_someone_in_room", permissions=("mute-user",))
async def mute(given: Given) -> None:
    if (user := await _find_user(given)) is not None:
        await rooms.update_room(given.call, given.room["_id"], mute=user.username)


@command("unmute", "@username", "Unmute_someone_in_room", permissions=("mute-user",))
async def unmute(given: Given) -> None:
    if (user := await _find_user(given)) is not None:
        await rooms.update_room(given.call, given.room["_id"], unmute=user.username)


@command("msg", "@username <message>", "Direct_message_someone", permissions=("create-d",))
async def msg(given: Given) -> None:
    """Names one user, whose direct room with the caller is made if there is none."""
    _, _, text = given.text.partition(" ")
    user = await _find_user(given)
    if user is None:
        return
    if not text.strip():
        await given.tell("Usage: /msg @username message")
        return
    reply = await rooms.open_direct_room(given.call, [user.username])
    await messages.send(given.call, SentMessage(rid=orjson.loads(reply.room)["_id"], msg=text.strip()))


@command("invite-all-to", "#room", "Invite_user_to_join_channel_all_to", permissions=_ADDING)
async def invite_all_to(given: Given) -> None:
    """Everybody in here to another room, which is made if there is none."""
    name = given.text.lstrip("#").strip()
    if (members := await _list_names(given, given.room)) is None or not name:
        return
    target = await _find_room(given, name)
    if target is not None:
        await rooms.invite(given.call, target["_id"], usernames=members)
        await given.tell("Users added.")
        return
    if given.room["t"] not in ("c", "p"):
        await given.tell(f"No channel with name `{name}` was found!")
        return
    await rooms.create_room(given.call, given.room["t"], rooms.NewRoom(name=name, members=members))
    await given.tell(f"Channel `#{name}` was created, and everybody was added.")


@command("invite-all-from", "#room", "Invite_user_to_join_channel_all_from", permissions=_ADDING)
async def invite_all_from(given: Given) -> None:
    """Everybody in another room to this one."""
    name = given.text.lstrip("#").strip()
    source = await _find_room(given, name) if name else None
    if source is None:
        await given.tell(f"No channel with name `{name}` was found!")
        return
    if (members := await _list_names(given, source)) is not None:
        await rooms.invite(given.call, given.room["_id"], usernames=members)
        await given.tell("Users added.")


@command("status", "Slash_Status_Params", "Slash_Status_Description")
async def status(given: Given) -> None:
    await set_status(given.call, text=given.text)
    await given.tell("Status message updated successfully!")


async def _find_user(given: Given) -> User | None:
    """The user whom the first word names; who gave the command is told when there is none."""
    name = given.words[0].lstrip("@") if given.words else ""
    user = (await given.call.access.find_users_by_name([name])).get(name) if name else None
    if user is None:
        await given.tell(f"No user with username `{name}` was found!")
    return user


async def _find_room(given: Given, name: str) -> Document | None:
    try:
        room: Document = orjson.loads((await rooms.get_room(given.call, name=name, types=("c", "p"))).room)
    except RoomNotFound:
        return None
    return room


async def _list_names(given: Given, room: Document) -> list[str] | None:
    """The usernames of a room's members; None, and a word about it, when they are too many for a command."""
    most = int(given.call.setting("API_User_Limit"))
    members, total = await rooms.list_members(given.call, room["_id"], count=most)
    if total > most:
        await given.tell(f"A room with more than {most} members is too large for this.")
        return None
    return [orjson.loads(member)["username"] for member in members]
