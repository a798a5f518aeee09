"""The names that a `sub` may give: the streams, and what there is to hear on those that are nobody's in particular.

Used by `streams.py` and, for metrics, by `server.py`.
"""

NOTIFY_ROOM_EVENTS = frozenset(
    {
        "user-activity",
        "typing",
        "deleteMessage",
        "deleteMessageBulk",
        "messagesRead",
        "messagesImported",
        "e2e.keyRequest",
        "videoconf",
        "webrtc",
    }
)
# Streams whose events concern everybody who is logged in, or everybody at all.
LOGGED_STREAMS = frozenset({"stream-notify-logged", "stream-roles"})
OPEN_STREAMS = frozenset({"stream-notify-all", "stream-apps", "stream-importers"})
# Streams of features that are not built: known to clients, and refused.
CLOSED_STREAMS = frozenset(
    {
        "stream-notify-room-users",
        "stream-room-data",
        "stream-stdout",
        "stream-canned-responses",
        "stream-livechat-room",
        "stream-livechat-inquiry-queue-observer",
        "stream-integrationHistory",
        "stream-apps-engine",
        "stream-local",
    }
)
# Subscriptions of Meteor's own that carry no documents here.
EMPTY_PUBLICATIONS = frozenset({"meteor.loginServiceConfiguration", "meteor_autoupdate_clientVersions", "activeUsers"})
PUBLICATIONS = (
    LOGGED_STREAMS
    | OPEN_STREAMS
    | CLOSED_STREAMS
    | EMPTY_PUBLICATIONS
    | {"stream-room-messages", "stream-notify-user", "stream-notify-room", "stream-user-presence"}
)
"""Every name that a `sub` may give without being unknown."""

TOPICS = {
    "stream-notify-all": frozenset(
        {"public-settings-changed", "public-info", "updateCustomSound", "deleteCustomSound", "license"}
    ),
    "stream-notify-logged": frozenset(
        {
            "user-status",
            "updateAvatar",
            "Users:NameChanged",
            "Users:Deleted",
            "roles-change",
            "permissions-changed",
            "private-settings-changed",
            "updateEmojiCustom",
            "deleteEmojiCustom",
            "updateCustomUserStatus",
            "deleteCustomUserStatus",
            "banner-changed",
            "new-banner",
            "voip.statuschanged",
            "omnichannel.priority-changed",
        }
    ),
    "stream-roles": frozenset({"roles"}),
    "stream-apps": frozenset({"apps"}),
    "stream-importers": frozenset({"progress"}),
}
