"""What each event does to the documents: pure functions from an event to its writes.

One table for all streams, because whoever finds a stream behind its events must be able to project every one of
them, whichever service appended it. Values are absolute, so that projecting twice is projecting once.
"""

from collections.abc import Callable

from palaver.database import Put
from palaver.errors import Unavailable
from palaver.projections import messages, reports, rooms, users, workspace
from palaver.v1.event_pb2 import Event


def project(event: Event) -> list[Put]:
    """The writes of one event, in the order in which they are applied.

    Raises Unavailable for a fact that this version does not know: a newer one has to project it.
    """
    work = _TABLE.get(event.WhichOneof("fact") or "")
    if work is None:
        raise Unavailable(f"event {event.seq} of {event.stream_kind}/{event.stream_id} was made by a newer version")
    return work(event)


_TABLE: dict[str, Callable[[Event], list[Put]]] = {
    "room_created": rooms.room_created,
    "room_changed": rooms.room_changed,
    "room_deleted": rooms.room_deleted,
    "member_joined": rooms.member_joined,
    "member_left": rooms.member_left,
    "member_changed": rooms.member_changed,
    "message_sent": messages.message_sent,
    "message_changed": messages.message_changed,
    "message_deleted": messages.message_deleted,
    "member_renamed": rooms.member_renamed,
    "upload_added": messages.upload_added,
    "messages_erased": messages.messages_erased,
    "invite_made": rooms.invite_made,
    "invite_removed": rooms.invite_removed,
    "message_reported": reports.message_reported,
    "message_reports_closed": reports.message_reports_closed,
    "messages_pruned": messages.messages_pruned,
    "user_created": users.user_created,
    "user_changed": users.user_changed,
    "user_deleted": users.user_deleted,
    "token_issued": users.token_issued,
    "tokens_revoked": users.tokens_revoked,
    "room_read": users.room_read,
    "subscription_preferred": users.subscription_preferred,
    "message_starred": users.message_starred,
    "user_reported": reports.user_reported,
    "user_reports_closed": reports.user_reports_closed,
    "setting_changed": workspace.setting_changed,
    "permission_changed": workspace.permission_changed,
    "role_saved": workspace.role_saved,
    "role_deleted": workspace.role_deleted,
    "custom_status_saved": workspace.custom_status_saved,
    "custom_status_deleted": workspace.custom_status_deleted,
    "medium_saved": workspace.medium_saved,
    "medium_deleted": workspace.medium_deleted,
    "integration_saved": workspace.integration_saved,
    "integration_removed": workspace.integration_removed,
}
