"""The collections: which fields can be filtered and sorted by, and the indexes that make it cheap.

SQLite extracts the declared fields into real columns (a "list" of strings into a table of its own); MongoDB needs
only the indexes. A field may be dotted ("u._id"). Comparing a "list" field with one string asks whether it holds it.
A "short list" is one that nobody is looked up by alone: what an index has found of a room, say, is narrowed by it. In
SQLite it is one column, absent where the list holds nothing, so documents without cost nothing.
Changing anything here needs a migration (`migrations.py`).
"""

from dataclasses import dataclass
from typing import Literal

FieldType = Literal["text", "number", "date", "boolean", "list", "short list"]


@dataclass(frozen=True, slots=True)
class Index:
    """An index over declared fields; ("ts", "_id") sorts by both. `where`: only documents that have this field.

    `absent`: for lists of the documents that do not have this field, which is what they all ask for. MongoDB has it as
    the index's first field; SQLite leaves the other documents out, as it would else look there for a few known ids.
    `parts`: texts that are asked for a part of them ("$contains") in this order. The index has them, too, so that no
    document is read but those that have the part; SQLite has them without regard to case.
    """

    fields: tuple[str, ...]
    unique: bool = False
    where: str = ""
    absent: str = ""
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Collection:
    """Declared fields with their types, indexes, and the field that "$text" searches (if any)."""

    fields: dict[str, FieldType]
    indexes: tuple[Index, ...] = ()
    text: str = ""


# What a search for people may look into: Accounts_SearchFields chooses of these.
SEARCHED_OF_USERS = ("username", "name", "nickname", "bio")

# What members choose to be told of a room: fields of their subscriptions, absent where nothing was chosen.
CHOICES = ("desktopNotifications", "disableNotifications", "muteGroupMentions", "ignored")

COLLECTIONS: dict[str, Collection] = {
    "rooms": Collection(
        {
            "t": "text",
            "name": "text",
            "fname": "text",
            "default": "boolean",
            "deleted_at": "date",
            "members_key": "text",
            "lm": "date",
            "ts": "date",
            "msgs": "number",
            "usersCount": "number",
            "prid": "text",
            "teamId": "text",
            "teamMain": "boolean",
            "teamDefault": "boolean",
            "team_private": "boolean",
            "changed_at": "date",
            "avatarETag": "text",
        },
        (
            # Lists of rooms are of one kind or of all, and in one of the orders that clients offer.
            Index(("t", "name", "_id"), absent="deleted_at", parts=("name", "fname")),
            Index(("t", "usersCount", "_id"), absent="deleted_at"),
            Index(("t", "ts", "_id"), absent="deleted_at"),
            Index(("t", "lm", "_id"), absent="deleted_at"),
            Index(("name", "_id"), absent="deleted_at", parts=("name", "fname")),
            Index(("usersCount", "_id"), absent="deleted_at"),
            Index(("ts", "_id"), absent="deleted_at"),
            Index(("name",)),
            Index(("members_key",), where="members_key"),
            Index(("default",), where="default"),
            Index(("avatarETag",), where="avatarETag"),
            Index(("deleted_at",), where="deleted_at"),
            Index(("prid", "deleted_at", "fname", "_id"), where="prid"),
            Index(("teamId", "name"), where="teamId"),
            Index(("teamId", "_id"), where="teamId"),
            Index(("teamMain", "name"), where="teamMain"),
        ),
    ),
    # `left_at` marks a membership that has ended; a user who comes back has a new subscription.
    "subscriptions": Collection(
        {
            "rid": "text",
            "u._id": "text",
            "u.username": "text",
            "u.name": "text",
            "t": "text",
            "name": "text",
            "left_at": "date",
            "ts": "date",
            "changed_at": "date",
            "read_changed_at": "date",
            "f": "boolean",
            "ls": "date",
            "roles": "short list",
            "desktopNotifications": "text",
            "disableNotifications": "boolean",
            "muteGroupMentions": "boolean",
            "ignored": "short list",
        },
        (
            Index(("u._id", "left_at", "rid")),
            Index(("rid", "left_at", "u.username")),
            Index(("rid", "u._id", "left_at")),
            Index(("ts",)),
            Index(("rid", "left_at", "ls", "_id")),
            # Few members have roles: nobody else is in it, and no message touches it.
            Index(("rid", "left_at", "u.username", "roles"), where="roles"),
            # Few choose what they are told of a room, and each gateway asks for that whenever somebody connects.
            *(Index(("u._id", "left_at", choice), where=choice) for choice in CHOICES),
        ),
    ),
    # `_hidden` marks a deleted message (its text is gone) or one that only the history of edits keeps.
    "messages": Collection(
        {
            "rid": "text",
            "ts": "date",
            "u._id": "text",
            "t": "text",
            "tmid": "text",
            "tcount": "number",
            "tlm": "date",
            "tshow": "boolean",
            "_hidden": "boolean",
            "deleted_at": "date",
            "_updatedAt": "date",
            "drid": "text",
            "pinned": "boolean",
        },
        (
            # What is gone is not in it: the newest that is there is found at once, however many went after it.
            Index(("rid", "ts", "_id"), absent="_hidden"),
            Index(("rid", "tmid", "ts", "_id"), where="tmid"),
            Index(("rid", "tmid", "_updatedAt", "_id"), where="tmid"),
            Index(("rid", "tlm", "_id"), where="tlm"),
            Index(("rid", "_updatedAt", "_id")),
            Index(("rid", "deleted_at", "_id"), where="deleted_at"),
            Index(("u._id", "_id")),
            Index(("rid", "drid"), where="drid"),
            Index(("rid", "ts", "_id", "drid"), where="drid", absent="_hidden"),
            Index(("rid", "pinned", "ts", "_id"), where="pinned"),
        ),
        text="msg",
    ),
    # A file of a room. `message_id`: the message that is of it; `expiresAt`: there is none yet; `deleted_at`: that was
    # deleted.
    "uploads": Collection(
        {
            "rid": "text",
            "uploadedAt": "date",
            "name": "text",
            "type": "text",
            "typeGroup": "text",
            "userId": "text",
            "message_id": "text",
            "deleted_at": "date",
        },
        (
            Index(("rid", "deleted_at", "uploadedAt", "_id")),
            Index(("rid", "deleted_at", "name", "_id")),
            Index(("rid", "deleted_at", "typeGroup", "uploadedAt", "_id")),
        ),
    ),
    # Links that let people into rooms. `removed_at`: one that no longer does.
    "invites": Collection(
        {"rid": "text", "userId": "text", "createdAt": "date", "removed_at": "date"},
        (Index(("rid", "userId")), Index(("createdAt", "_id"), absent="removed_at")),
    ),
    # What a user has read of a thread: _id is "<user id>/<thread id>".
    "thread_reads": Collection(
        {"user_id": "text", "rid": "text", "thread_id": "text"}, (Index(("user_id", "rid")), Index(("thread_id",)))
    ),
    # What a user has starred, and what mentions a user directly: _id is "<user id>/<message id>".
    # `removed`: the message was deleted, or mentions them no longer.
    "stars": Collection(
        {"user_id": "text", "rid": "text", "message_id": "text", "starred": "boolean"},
        (Index(("user_id", "rid", "starred", "message_id")),),
    ),
    "mentions": Collection(
        {"user_id": "text", "rid": "text", "ts": "date", "removed": "boolean"},
        (Index(("user_id", "rid", "removed", "ts", "_id")),),
    ),
    # What moderators were told: `kind` is "message" (`user_id`: its author) or "user"; `closed_at`: they dealt with it.
    "reports": Collection(
        {
            "kind": "text",
            "user_id": "text",
            "message_id": "text",
            "rid": "text",
            "ts": "date",
            "closed_at": "date",
            "description": "text",
            "message.msg": "text",
            "message.u.username": "text",
            "message.u.name": "text",
            "reportedUser.username": "text",
            "reportedUser.name": "text",
            "reportedBy.username": "text",
        },
        (
            Index(("kind", "closed_at", "ts", "_id")),
            Index(("user_id", "kind", "closed_at", "ts")),
            Index(("message_id", "closed_at", "ts"), where="message_id"),
        ),
    ),
    "users": Collection(
        {
            "username": "text",
            "username_lower": "text",
            "name": "text",
            "nickname": "text",
            "bio": "text",
            "emails_lower": "list",
            "active": "boolean",
            "type": "text",
            "createdAt": "date",
            "deleted_at": "date",
            "lastLogin": "date",
            "avatarETag": "text",
            "roles": "list",
        },
        (
            Index(("username_lower",)),
            # Lists of users: without those that are deleted, in one of the orders that clients offer.
            Index(("username", "_id"), absent="deleted_at", parts=SEARCHED_OF_USERS),
            Index(("name", "_id"), absent="deleted_at"),
            Index(("createdAt", "_id"), absent="deleted_at"),
            Index(("active", "username", "_id"), absent="deleted_at", parts=SEARCHED_OF_USERS),
            Index(("lastLogin", "username", "_id"), absent="deleted_at"),
            Index(("type", "active", "username", "_id"), absent="deleted_at"),
            Index(("avatarETag",), where="avatarETag"),
            Index(("deleted_at",), where="deleted_at"),
        ),
    ),
    # Login tokens: _id is base64(sha256(token)). `revoked_at` marks one that no longer works. What others may know a
    # login by is its `session_id`; a personal access token has a `name` instead.
    "tokens": Collection(
        {
            "user_id": "text",
            "revoked_at": "date",
            "expires_at": "date",
            "issued_at": "date",
            "session_id": "text",
            "name": "text",
        },
        (
            Index(("user_id", "revoked_at")),
            Index(("session_id",), where="session_id"),
            Index(("issued_at", "expires_at", "session_id"), absent="revoked_at"),
        ),
    ),
    "settings": Collection({"public": "boolean"}),
    "permissions": Collection({}),
    "roles": Collection({"scope": "text"}),
    "custom_statuses": Collection(
        {"name": "text", "deleted_at": "date"}, (Index(("name", "_id"), absent="deleted_at"),)
    ),
    # The workspace's own emoji and sounds. `file_id`: the blob of one; `deleted_at`: one that is no more.
    "emoji": Collection(
        {
            "name": "text",
            "aliases": "list",
            "extension": "text",
            "file_id": "text",
            "deleted_at": "date",
            "_updatedAt": "date",
        },
        (
            Index(("name",), where="name"),
            Index(("name", "_id"), absent="deleted_at"),
            Index(("file_id",), where="file_id"),
            Index(("deleted_at",), where="deleted_at"),
        ),
    ),
    "sounds": Collection(
        {"name": "text", "extension": "text", "file_id": "text", "deleted_at": "date", "_updatedAt": "date"},
        (
            Index(("name",), where="name"),
            Index(("name", "_id"), absent="deleted_at"),
            Index(("file_id",), where="file_id"),
            Index(("deleted_at",), where="deleted_at"),
        ),
    ),
    # Webhooks. `deleted_at` marks one that is no more.
    "integrations": Collection(
        {
            "type": "text",
            "name": "text",
            "enabled": "boolean",
            "event": "text",
            "username": "text",
            "userId": "text",
            "channel": "list",
            "urls": "list",
            "_createdBy._id": "text",
            "_createdAt": "date",
            "deleted_at": "date",
        },
        (
            Index(("type", "deleted_at", "_createdAt")),
            Index(("_createdBy._id", "deleted_at")),
            Index(("_createdAt", "_id"), absent="deleted_at"),
            Index(("name", "_id"), absent="deleted_at"),
            Index(("username", "_id"), absent="deleted_at"),
        ),
    ),
    "workspace": Collection({}),
}

# The kinds of records, and whether a backup has them. It has those that nothing else tells; not how far somebody is
# with what they do, and not what can be asked for again.
RECORDS: dict[str, bool] = {
    "dead_letters": True,
    "replays": True,
    "statistics": True,
    "webhook_deliveries": True,
    "webhook_due": True,
    "exports": False,
    "link_previews": False,
    "takeouts": False,
    "takeout_due": False,
    "followers": False,
    "nats_servers": False,
    "retentions": False,
    "retention-rooms": False,
}
