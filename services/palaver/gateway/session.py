"""The users of this gateway: one session for each user with connections here, and the rooms they are members of.

(A login's token is auth's business; a session here is who must be told what.)
"""

from typing import TYPE_CHECKING

from palaver.gateway.feeds import Feed
from palaver.gateway.frames import CHANGED_SUFFIX, changed_prefix, text_frame
from palaver.gateway.highlights import NO_HIGHLIGHTS
from palaver.gateway.once import Once
from palaver.wishes import NO_WISHES

if TYPE_CHECKING:
    from palaver.gateway.ddp.connection import Connection
    from palaver.gateway.fanout import Room

# The events of stream-notify-user, each a bit of `Connection.notify_events`.
NOTIFY_USER_EVENTS = (
    "rooms-changed",
    "subscriptions-changed",
    "message",
    "notification",
    "userData",
    "force_logout",
    "uiInteraction",
    "video-conference",
    "e2ekeyRequest",
    "otr",
    "webrtc",
    "webdav",
    "calendar",
    "banners",
    "updateInvites",
    "departmentAgentData",
    "voip.events",
    "call.hangup",
    "private-settings-changed",
)
NOTIFY_USER_BITS = {name: 1 << index for index, name in enumerate(NOTIFY_USER_EVENTS)}
ROOMS_CHANGED = NOTIFY_USER_BITS["rooms-changed"]
SUBSCRIPTIONS_CHANGED = NOTIFY_USER_BITS["subscriptions-changed"]
NOTIFICATION = NOTIFY_USER_BITS["notification"]
MY_MESSAGES = 1 << len(NOTIFY_USER_EVENTS)
"""`__my_messages__` of stream-room-messages: every message of every room of the user."""

NEEDS_ROOMS = ROOMS_CHANGED | SUBSCRIPTIONS_CHANGED | NOTIFICATION | MY_MESSAGES
"""What only somebody can hear whose rooms this gateway follows."""


class Session(Feed):
    """A user with at least one connection here, and the feed of the user's own stream. Compared by identity."""

    __slots__ = (
        "connections",
        "events",
        "following",
        "highlights",
        "loading",
        "news",
        "rooms",
        "user_id",
        "waiting",
        "wishes",
    )

    def __init__(self, user_id: str) -> None:
        super().__init__(user_id)
        self.user_id = user_id
        self.connections: list[Connection] = []
        self.events = 0  # what at least one of the connections hears, as bits
        self.wishes = NO_WISHES  # of what the user wants notifications where a room says nothing
        self.highlights = NO_HIGHLIGHTS  # the words among these, made ready
        self.following = Once()
        self.rooms: set[Room] = set()  # filled only while somebody listens to what needs them
        self.loading: Once | None = None  # of the rooms; None while nobody needs them
        self.waiting = 0  # how many are about to enter rooms, on what they knew when they began
        self.news: dict[str, bool] = {}  # what they have to know of meanwhile: the user joined (or left) these rooms

    def update_events(self) -> None:
        """After a connection's subscriptions changed."""
        events = 0
        for connection in self.connections:
            events |= connection.notify_events
        self.events = events

    def tell(self, bit: int, arguments: bytes, connections: "list[Connection] | None" = None) -> None:
        """Sends one event of stream-notify-user to the connections (of these) that hear it. `arguments`: JSON without
        brackets."""
        if not self.events & bit:
            return
        event = f"{self.user_id}/{NOTIFY_USER_EVENTS[bit.bit_length() - 1]}"
        data = text_frame(changed_prefix("stream-notify-user", event) + arguments + CHANGED_SUFFIX)
        for connection in self.connections if connections is None else connections:
            if connection.notify_events & bit:
                connection.write(data)
