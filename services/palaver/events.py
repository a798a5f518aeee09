"""The typed event table: streams, facts, and the little that everybody needs to know of an event.

The facts themselves are documented in proto/palaver/v1/event.proto; what each does to the documents is
`projections`.
"""

from palaver.database import Stream
from palaver.v1.event_pb2 import Actor, Event

WORKSPACE = Stream("workspace", "")

ROOM_READ = "rooms.read"
"""The live subject that says until when everybody has read a room, where read receipts are on: JSON, `rid`, `until`
(epoch milliseconds) and, of a thread, `tmid`."""

SYSTEM = Actor(kind=Actor.SYSTEM)


def user_actor(user_id: str) -> Actor:
    """The actor for a logged-in user."""
    return Actor(kind=Actor.USER, id=user_id)


def room_stream(room_id: str) -> Stream:
    return Stream("room", room_id)


def user_stream(user_id: str) -> Stream:
    return Stream("user", user_id)


def stream_of(event: Event) -> Stream:
    return Stream(event.stream_kind, event.stream_id)


def event_id(event: Event) -> str:
    """Unique in the workspace: what the log deduplicates by."""
    return f"{event.stream_kind}/{event.stream_id}/{event.seq}"


# Which kind of stream each fact belongs to. A test checks that this table and the proto agree.
STREAM_OF_FACT: dict[str, str] = {
    "room_created": "room",
    "room_changed": "room",
    "room_deleted": "room",
    "member_joined": "room",
    "member_left": "room",
    "member_changed": "room",
    "message_sent": "room",
    "message_changed": "room",
    "message_deleted": "room",
    "member_renamed": "room",
    "upload_added": "room",
    "messages_erased": "room",
    "invite_made": "room",
    "invite_removed": "room",
    "message_reported": "room",
    "message_reports_closed": "room",
    "messages_pruned": "room",
    "user_created": "user",
    "user_changed": "user",
    "user_deleted": "user",
    "token_issued": "user",
    "tokens_revoked": "user",
    "room_read": "user",
    "subscription_preferred": "user",
    "message_starred": "user",
    "user_reported": "user",
    "user_reports_closed": "user",
    "setting_changed": "workspace",
    "permission_changed": "workspace",
    "role_saved": "workspace",
    "role_deleted": "workspace",
    "custom_status_saved": "workspace",
    "custom_status_deleted": "workspace",
    "integration_saved": "workspace",
    "integration_removed": "workspace",
    "medium_saved": "workspace",
    "medium_deleted": "workspace",
}
