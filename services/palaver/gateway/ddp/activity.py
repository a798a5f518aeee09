"""Who is typing: an activity as a client writes it, and as the others hear it, in its old and its new form."""

from typing import Any

import orjson

from palaver.access import User
from palaver.gateway.fanout import Room
from palaver.gateway.frames import changed_frame
from palaver.gateway.once import Once
from palaver.ids import encode_subject_token
from palaver.live import Live, OnMessage, Subscription
from palaver.v1.presence_pb2 import ActivityChanged

ACTIVITY_EVENTS = ("user-activity", "typing")
_ACTIVITIES = frozenset({"user-typing", "user-recording", "user-uploading", "user-playing"})


def activity_subject(room_id: str) -> str:
    """The live subject of a room's activities."""
    return f"activity.{encode_subject_token(room_id)}"


def parse_written(arguments: list[Any], user: User, connection_id: str, *, real_names: bool) -> ActivityChanged | None:
    """What a client writes to `stream-notify-room`: "<room id>/<event>", the user's own name, and what they do.

    None for what is not understood, or written in somebody else's name.
    """
    if len(arguments) < 2:
        return None
    event, who, *rest = arguments
    if not isinstance(event, str) or not isinstance(who, str):
        return None
    room_id, _, name = event.rpartition("/")
    if name not in ACTIVITY_EVENTS or who not in (user.username, user.name) or not room_id:
        return None
    message = _parse(name, rest)
    message.room_id, message.user_id, message.connection_id = room_id, user.id, connection_id
    message.display_name = user.name if real_names and user.name else user.username
    return message


def _parse(name: str, arguments: list[Any]) -> ActivityChanged:
    """What follows the user's name; what is not understood counts as having stopped."""
    activities: list[str] = []
    if name == "typing":
        activities = ["user-typing"] if arguments and arguments[0] is True else []
    elif arguments and isinstance(arguments[0], list):
        activities = [one for one in arguments[0][:8] if isinstance(one, str) and one in _ACTIVITIES]
    options = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], dict) else {}
    thread_id = options.get("tmid")
    return ActivityChanged(activities=activities, thread_id=thread_id if isinstance(thread_id, str) else "")


def tell_activity(room: Room, message: ActivityChanged) -> None:
    """Sends it to the room's other connections."""
    extra = {"tmid": message.thread_id} if message.thread_id else {}
    arguments = {
        "user-activity": [message.display_name, list(message.activities), extra],
        "typing": [message.display_name, "user-typing" in message.activities],
    }
    for name, values in arguments.items():
        if connections := room.events.get(name):
            data = changed_frame("stream-notify-room", f"{room.id}/{name}", orjson.dumps(values)[1:-1])
            for connection in list(connections):
                if connection.id != message.connection_id:
                    connection.write(data)


class Activity:
    """One interest of this gateway in who is typing in a room, however many listen."""

    __slots__ = ("_once", "_stopped", "_subscription")

    def __init__(self) -> None:
        self._once = Once()
        self._subscription: Subscription | None = None
        self._stopped = False

    async def listen(self, live: Live, room_id: str, on_activity: OnMessage) -> None:
        async def work() -> None:
            subscription = await live.subscribe(activity_subject(room_id), on_activity)
            if self._stopped:
                await subscription.stop()
            else:
                self._subscription = subscription

        await self._once.run(work)

    async def stop(self) -> None:
        self._stopped = True
        if self._subscription is not None:
            await self._subscription.stop()
