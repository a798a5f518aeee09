"""The collections: which fields can be filtered and sorted by, and the indexes that make it cheap.

SQLite extracts the declared fields into real columns (a "list" of strings into a table of its own); MongoDB needs
only the indexes. A field may be dotted ("u._id"). Comparing a "list" field with one string asks whether it holds it.
Changing anything here needs a migration (`migrations.py`).
"""

from dataclasses import dataclass
from typing import Literal

FieldType = Literal["text", "number", "date", "boolean", "list"]


@dataclass(frozen=True, slots=True)
class Index:
    """An index over declared fields; ("ts", "_id") sorts by both. `where`: only documents that have this field."""

    fields: tuple[str, ...]
    unique: bool = False
    where: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """Declared fields with their types, indexes, and the field that "$text" searches (if any)."""

    fields: dict[str, FieldType]
    indexes: tuple[Index, ...] = ()
    text: str = ""


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
            "changed_at": "date",
            "avatarETag": "text",
        },
        (
            Index(("t", "name")),
            Index(("name",)),
            Index(("members_key",), where="members_key"),
            Index(("default",), where="default"),
            Index(("avatarETag",), where="avatarETag"),
            Index(("deleted_at",), where="deleted_at"),
            Index(("prid",), where="prid"),
        ),
    ),
    # `left_at` marks a membership that has ended; a user who comes back has a new subscription.
    "subscriptions": Collection(
        {
            "rid": "text",
            "u._id": "text",
            "u.username": "text",
            "t": "text",
            "name": "text",
            "left_at": "date",
            "ts": "date",
            "changed_at": "date",
            "read_changed_at": "date",
            "f": "boolean",
            "ls": "date",
        },
        (
            Index(("u._id", "left_at", "rid")),
            Index(("rid", "left_at", "u.username")),
            Index(("rid", "u._id", "left_at")),
            Index(("ts",)),
            Index(("rid", "left_at", "ls")),
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
            Index(("rid", "ts", "_id")),
            Index(("tmid", "ts", "_id"), where="tmid"),
            Index(("rid", "tlm"), where="tlm"),
            Index(("rid", "_updatedAt")),
            Index(("rid", "deleted_at"), where="deleted_at"),
            Index(("u._id", "_id")),
            Index(("rid", "drid"), where="drid"),
            Index(("rid", "pinned", "ts", "_id"), where="pinned"),
        ),
        text="msg",
    ),
    # A file of a room. `expiresAt`: no message is of it yet; `deleted_at`: its message was deleted.
    "uploads": Collection({"rid": "text", "uploadedAt": "date"}, (Index(("rid", "uploadedAt")),)),
    # Links that let people into rooms. `removed_at`: one that no longer does.
    "invites": Collection(
        {"rid": "text", "userId": "text", "createdAt": "date", "removed_at": "date"},
        (Index(("rid", "userId")), Index(("createdAt",))),
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
            "ts": "date",
            "closed_at": "date",
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
            Index(("username",)),
            Index(("username_lower",)),
            Index(("name",)),
            Index(("createdAt",)),
            Index(("lastLogin",), where="lastLogin"),
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
            Index(("revoked_at", "issued_at")),
        ),
    ),
    "settings": Collection({"public": "boolean"}),
    "permissions": Collection({}),
    "roles": Collection({"scope": "text"}),
    "custom_statuses": Collection({"name": "text", "deleted_at": "date"}, (Index(("name",), where="name"),)),
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
        (Index(("type", "deleted_at", "_createdAt")), Index(("_createdBy._id", "deleted_at"))),
    ),
    "workspace": Collection({}),
}
