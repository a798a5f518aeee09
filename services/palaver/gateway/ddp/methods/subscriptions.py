"""Methods of the caller's own subscriptions. Their REST twins are in `rest/subscriptions.py` and `rest/rooms.py`."""

from typing import Any

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import Date, method
from palaver.gateway.ejson import fragments
from palaver.gateway.operations import messages, subscriptions


class Message(msgspec.Struct):
    id: str = msgspec.field(name="_id")


class Ignored(msgspec.Struct, rename="camel"):
    rid: str
    user_id: str
    ignore: bool | None = True


@method("subscriptions/get", Date | None, anonymous=True)
async def list_own(call: Call, since: Date | None) -> Any:
    """All of the caller's; with a date what changed. Nobody has none."""
    if call.user is None:
        return [] if since is None else {"update": [], "remove": []}
    reply = await subscriptions.list_subscriptions(call, -1 if since is None else max(0, since.milliseconds))
    if since is None:
        return fragments(reply.subscriptions)
    return {"update": fragments(reply.subscriptions), "remove": fragments(reply.removed)}


@method("readMessages", str, bool | None)
async def read_messages(call: Call, room_id: str, with_threads: bool | None) -> None:
    await subscriptions.mark_read(call, room_id, with_threads=bool(with_threads))


@method("readThreads", str)
async def read_thread(call: Call, thread_id: str) -> None:
    room_id = await messages.get_room_of(call, thread_id)
    await subscriptions.mark_read(call, room_id, thread_id=thread_id)


@method("unreadMessages", Message | None, str | None)
async def unread_messages(call: Call, message: Message | None, room_id: str | None) -> None:
    await subscriptions.mark_unread(
        call, room_id="" if message else room_id or "", message_id=message.id if message else ""
    )


@method("hideRoom", str)
async def hide_room(call: Call, room_id: str) -> int:
    """Takes a room from the caller's list; answers how many subscriptions that changed."""
    await subscriptions.prefer(call, room_id, open=False)
    return 1


@method("openRoom", str)
async def open_room(call: Call, room_id: str) -> int:
    await subscriptions.prefer(call, room_id, open=True)
    return 1


@method("toggleFavorite", str, bool | None)
async def toggle_favorite(call: Call, room_id: str, favorite: bool | None) -> int:
    await subscriptions.prefer(call, room_id, f=bool(favorite))
    return 1


@method("saveNotificationSettings", str, str, str)
async def save_notifications(call: Call, room_id: str, name: str, value: str) -> bool:
    await subscriptions.save_notifications(call, room_id, {name: value})
    return True


@method("ignoreUser", Ignored)
async def ignore_user(call: Call, ignored: Ignored) -> bool:
    await subscriptions.ignore_user(call, ignored.rid, ignored.user_id, ignore=ignored.ignore is not False)
    return True
