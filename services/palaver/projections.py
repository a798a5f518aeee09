"""What each event does to the documents: pure functions from an event to its writes.

One table for all streams, because whoever finds a stream behind its events must be able to project every one of
them, whichever service appended it. Values are absolute, so that projecting twice is projecting once.
"""

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from palaver.database import Document, Put
from palaver.errors import Unavailable
from palaver.v1.event_pb2 import (
    Event,
    MessageReported,
    MessageReportsClosed,
    MessageSent,
    UserReported,
    UserReportsClosed,
)

# Fields of a message that its later events may set or remove.
CHANGING_MESSAGE_FIELDS = (
    "msg",
    "md",
    "urls",
    "mentions",
    "channels",
    "attachments",
    "reactions",
    "replies",
    "tcount",
    "tlm",
    "editedAt",
    "editedBy",
    "pinned",
    "pinnedAt",
    "pinnedBy",
    "customFields",
    "blocks",
    "drid",
    "dcount",
    "dlm",
    "_updatedAt",
)
# What the document of a deleted user must not keep.
_PERSONAL = (
    "avatarETag",
    "avatarOrigin",
    "bio",
    "customFields",
    "e2e",
    "emails",
    "language",
    "lastLogin",
    "leaving_admins",
    "name",
    "nickname",
    "reason",
    "services",
    "settings",
    "statusText",
    "username",
    "username_lower",
    "utcOffset",
)
_CONTENT = (*(name for name in CHANGING_MESSAGE_FIELDS if name not in ("msg", "_updatedAt")), "file", "files")


def project(event: Event) -> list[Put]:
    """The writes of one event, in the order in which they are applied.

    Raises Unavailable for a fact that this version does not know: a newer one has to project it.
    """
    work = _TABLE.get(event.WhichOneof("fact") or "")
    if work is None:
        raise Unavailable(f"event {event.seq} of {event.stream_kind}/{event.stream_id} was made by a newer version")
    return work(event)


def date(milliseconds: int) -> Document:
    return {"$date": milliseconds}


def _json(data: bytes) -> Any:
    return orjson.loads(data) if data else {}


# -- rooms -------------------------------------------------------------------------------------------------------------


def _room_created(event: Event) -> list[Put]:
    fact = event.room_created
    puts = [Put("rooms", event.stream_id, insert=_json(fact.room))]
    subscriptions = [_json(data) for data in fact.subscriptions]
    return puts + [Put("subscriptions", s["_id"], insert=s) for s in subscriptions]


def _room_changed(event: Event) -> list[Put]:
    fact = event.room_changed
    changes = {**_json(fact.set), "changed_at": date(event.at), "_updatedAt": date(event.at)}
    puts = [Put("rooms", event.stream_id, set=changes, unset=tuple(fact.unset))]
    return puts + _system_message(event, fact)


def _room_deleted(event: Event) -> list[Put]:
    return [
        Put("rooms", event.stream_id, set={"deleted_at": date(event.at), "changed_at": date(event.at)}, unset=("name",))
    ]


def _member_joined(event: Event) -> list[Put]:
    fact = event.member_joined
    subscription = _json(fact.subscription)
    puts = [
        Put("subscriptions", subscription["_id"], insert=subscription),
        Put(
            "rooms",
            event.stream_id,
            set={"usersCount": fact.members, "changed_at": date(event.at), "_updatedAt": date(event.at)},
        ),
    ]
    if fact.invite_id:
        used = {"uses": fact.invite_uses, "_updatedAt": date(event.at)}
        puts.append(Put("invites", fact.invite_id, set=used))
    return puts + _system_message(event, fact)


def _member_left(event: Event) -> list[Put]:
    fact = event.member_left
    puts = [
        Put("subscriptions", fact.subscription_id, set={"left_at": date(event.at), "changed_at": date(event.at)}),
        Put(
            "rooms",
            event.stream_id,
            set={"usersCount": fact.members, "changed_at": date(event.at), "_updatedAt": date(event.at)},
        ),
    ]
    return puts + _system_message(event, fact)


def _member_changed(event: Event) -> list[Put]:
    fact = event.member_changed
    changes = {**_json(fact.set), "changed_at": date(event.at)}
    puts = [Put("subscriptions", fact.subscription_id, set=changes, unset=tuple(fact.unset))]
    return puts + _system_message(event, fact)


def _member_renamed(event: Event) -> list[Put]:
    fact = event.member_renamed
    puts = [
        Put("subscriptions", renamed.subscription_id, set={**_json(renamed.set), "changed_at": date(event.at)})
        for renamed in fact.subscriptions
    ]
    if fact.room:
        changes = {**_json(fact.room), "changed_at": date(event.at), "_updatedAt": date(event.at)}
        puts.append(Put("rooms", event.stream_id, set=changes))
    return puts


# -- messages -------------------------------------------------------------------------------------------------------


def _message_sent(event: Event) -> list[Put]:
    return _sent(event, event.message_sent)


def _system_message(event: Event, fact: Any) -> list[Put]:
    return _sent(event, fact.message) if fact.HasField("message") else []


def _sent(event: Event, fact: MessageSent) -> list[Put]:
    message = _json(fact.message)
    puts = [Put("messages", fact.message_id, insert=message)]
    # `seq`: which state of the room a subscription's counters belong to.
    sender: Document = {"own": fact.sender_own, "seq": event.seq}
    if fact.sender_group_mentions:
        sender["own_group_mentions"] = fact.sender_group_mentions
    for mention in fact.mentions:
        changes = {"mentioned": mention.mentioned, "seq": event.seq, "changed_at": date(event.at)}
        puts.append(Put("subscriptions", mention.subscription_id, set=changes))
        puts += _mentioned(event, mention.user_id, message)
    if fact.sender_subscription_id:
        puts.append(Put("subscriptions", fact.sender_subscription_id, set=sender))
    if fact.upload_id:
        puts.append(Put("uploads", fact.upload_id, set={"message_id": fact.message_id}, unset=("expiresAt",)))
    if fact.thread_root:
        puts += _thread_root(event, fact, _json(fact.thread_root))
    if not fact.backfilled:
        room: Document = {
            "msgs": fact.messages,
            "counted": fact.counted,
            "group_mentions": fact.group_mentions,
        }
        if fact.counts:
            room["lm"] = message["ts"]
            room["lastMessage"] = message
            room["changed_at"] = date(event.at)
        room["_updatedAt"] = date(event.at)
        puts.append(Put("rooms", event.stream_id, set=room))
    else:
        puts.append(Put("rooms", event.stream_id, set={"msgs": fact.messages}))
    return puts


def _thread_root(event: Event, fact: MessageSent, root: Document) -> list[Put]:
    """The thread's first message, and one read record for each follower it has gained."""
    puts = [
        Put(
            "messages",
            root["_id"],
            set={name: root[name] for name in ("tcount", "tlm", "replies", "_updatedAt") if name in root},
        )
    ]
    mentioned = {mention.user_id for mention in fact.mentions}
    for user_id in fact.new_followers:
        puts += _follow(event, user_id, root["_id"], mentioned_at=fact.sent_at if user_id in mentioned else 0)
    if event.actor.kind == event.actor.USER:
        puts += _follow(event, event.actor.id, root["_id"], replied_at=fact.sent_at)
    for user_id in sorted(mentioned.difference(fact.new_followers)):
        puts.append(Put("thread_reads", f"{user_id}/{root['_id']}", set={"mentioned_at": date(fact.sent_at)}))
    return puts


def _mentioned(event: Event, user_id: str, message: Document) -> list[Put]:
    """The user's list of what mentions them in the room has the message, for the first time or again."""
    id = message["_id"]
    entry = f"{user_id}/{id}"
    first = {"_id": entry, "user_id": user_id, "rid": event.stream_id, "message_id": id, "ts": message["ts"]}
    return [Put("mentions", entry, insert=first), Put("mentions", entry, unset=("removed",))]


def _kept(data: bytes) -> list[Put]:
    """A message as it was before, which nobody sees but who looks into the history."""
    kept = _json(data)
    return [Put("messages", kept["_id"], insert=kept)] if kept else []


def _unmentioned(user_ids: Iterable[str], message_id: str) -> list[Put]:
    return [Put("mentions", f"{user_id}/{message_id}", set={"removed": True}) for user_id in user_ids]


def _follow(event: Event, user_id: str, thread_id: str, *, replied_at: int = 0, mentioned_at: int = 0) -> list[Put]:
    """The user follows the thread, for the first time or again; what they wrote, they have read until there."""
    record = f"{user_id}/{thread_id}"
    changes: Document = {"following": True}
    if replied_at:
        changes["replied_at"] = date(replied_at)
    if mentioned_at:
        changes["mentioned_at"] = date(mentioned_at)
    first = {"_id": record, "user_id": user_id, "rid": event.stream_id, "thread_id": thread_id, **changes}
    return [Put("thread_reads", record, insert=first), Put("thread_reads", record, set=changes)]


def _message_changed(event: Event) -> list[Put]:
    fact = event.message_changed
    message = _json(fact.message)
    puts = [
        Put(
            "messages",
            fact.message_id,
            set={name: message[name] for name in CHANGING_MESSAGE_FIELDS if name in message},
            unset=tuple(name for name in CHANGING_MESSAGE_FIELDS if name not in message),
        )
    ]
    for user_id in fact.followed:
        puts += _follow(event, user_id, fact.message_id, replied_at=event.at)
    puts += [Put("thread_reads", f"{u}/{fact.message_id}", set={"following": False}) for u in fact.unfollowed]
    for user_id in fact.mentioned:
        puts += _mentioned(event, user_id, message)
    puts += _unmentioned(fact.unmentioned, fact.message_id)
    puts += _kept(fact.kept)
    if fact.is_last:
        puts.append(Put("rooms", event.stream_id, set={"lastMessage": message, "_updatedAt": date(event.at)}))
    if fact.HasField("notice"):
        puts += _sent(event, fact.notice)
    return puts


def _message_deleted(event: Event) -> list[Put]:
    fact = event.message_deleted
    if fact.shown:
        gone = {name: value for name, value in _json(fact.shown).items() if name != "_id"}
        unset = tuple(name for name in _CONTENT if name not in gone)
    else:
        gone = {"_hidden": True, "deleted_at": date(event.at), "msg": "", "_updatedAt": date(event.at)}
        unset = _CONTENT
    puts = [Put("messages", fact.message_id, set=gone, unset=unset)]
    puts += _unmentioned(fact.unmentioned, fact.message_id)
    puts += _kept(fact.kept)
    if fact.upload_id:
        puts.append(Put("uploads", fact.upload_id, set={"deleted_at": date(event.at)}))
    if fact.thread_root:
        root = _json(fact.thread_root)
        puts.append(Put("messages", root["_id"], set={"tcount": root["tcount"], "_updatedAt": root["_updatedAt"]}))
    return puts + _remaining(event, fact) + _last_message(event, fact.room_last_message)


def _messages_pruned(event: Event) -> list[Put]:
    fact = event.messages_pruned
    gone: Document = {"_hidden": True, "deleted_at": date(event.at), "msg": "", "_updatedAt": date(event.at)}
    puts = [Put("messages", message_id, set=gone, unset=_CONTENT) for message_id in fact.message_ids]
    puts += [Put("uploads", upload_id, set={"deleted_at": date(event.at)}) for upload_id in fact.upload_ids]
    fields = ("attachments", "file", "files", "tcount", "_updatedAt")
    for message in map(_json, fact.changed):
        changed = {name: message[name] for name in fields if name in message}
        puts.append(
            Put("messages", message["_id"], set=changed, unset=tuple(name for name in fields if name not in message))
        )
    return puts + _remaining(event, fact) + _last_message(event, fact.room_last_message)


def _remaining(event: Event, fact: Any) -> list[Put]:
    """How many messages the room has from now on, where some are gone; older events don't say."""
    if not fact.HasField("remaining"):
        return []
    counts = {"msgs": fact.remaining.messages, "gone": fact.remaining.gone, "_updatedAt": date(event.at)}
    return [Put("rooms", event.stream_id, set=counts)]


def _messages_erased(event: Event) -> list[Put]:
    fact = event.messages_erased
    gone: Document = {"_hidden": True, "deleted_at": date(event.at), "msg": "", "_updatedAt": date(event.at)}
    upload: Document = {"deleted_at": date(event.at)}
    unset: tuple[str, ...] = _CONTENT
    if fact.author:
        author = _json(fact.author)
        gone = {"u": author, "alias": fact.alias, "_updatedAt": date(event.at)}
        upload = {"userId": author["_id"]}
        unset = ()
    puts = [Put("messages", message_id, set=gone, unset=unset) for message_id in fact.message_ids]
    puts += [Put("uploads", upload_id, set=upload) for upload_id in fact.upload_ids]
    for root in map(_json, fact.thread_roots):
        puts.append(Put("messages", root["_id"], set={"tcount": root["tcount"], "_updatedAt": root["_updatedAt"]}))
    return puts + _remaining(event, fact) + _last_message(event, fact.room_last_message)


def _last_message(event: Event, data: bytes) -> list[Put]:
    """What the room shows as its last message from now on; nothing for no bytes."""
    if not data:
        return []
    last = _json(data)
    change = Put("rooms", event.stream_id, set={"_updatedAt": date(event.at)})
    if last is None:
        change.unset = ("lastMessage",)
    else:
        change.set["lastMessage"] = last
    return [change]


def _upload_added(event: Event) -> list[Put]:
    fact = event.upload_added
    return [Put("uploads", fact.upload_id, insert=_json(fact.upload))]


def _invite_made(event: Event) -> list[Put]:
    fact = event.invite_made
    return [Put("invites", fact.invite_id, insert=_json(fact.invite))]


def _invite_removed(event: Event) -> list[Put]:
    gone = {"removed_at": date(event.at), "_updatedAt": date(event.at)}
    return [Put("invites", event.invite_removed.invite_id, set=gone)]


# -- reports: of messages in the room's stream, of users in that of who is reported ------------------------------------


def _message_reported(event: Event) -> list[Put]:
    return _reported(event.message_reported)


def _user_reported(event: Event) -> list[Put]:
    return _reported(event.user_reported)


def _reported(fact: MessageReported | UserReported) -> list[Put]:
    return [Put("reports", fact.report_id, insert=_json(fact.report))]


def _message_reports_closed(event: Event) -> list[Put]:
    return _reports_closed(event, event.message_reports_closed)


def _user_reports_closed(event: Event) -> list[Put]:
    return _reports_closed(event, event.user_reports_closed)


def _reports_closed(event: Event, fact: MessageReportsClosed | UserReportsClosed) -> list[Put]:
    closed = {"closed_at": date(event.at), "moderationInfo": _json(fact.moderation), "_updatedAt": date(event.at)}
    return [Put("reports", report_id, set=closed) for report_id in fact.report_ids]


# -- users ----------------------------------------------------------------------------------------------------------


def _user_created(event: Event) -> list[Put]:
    return [Put("users", event.stream_id, insert=_json(event.user_created.user))]


def _user_changed(event: Event) -> list[Put]:
    fact = event.user_changed
    changes = {**_json(fact.set), "_updatedAt": date(event.at)}
    return [Put("users", event.stream_id, set=changes, unset=tuple(fact.unset))]


def _user_deleted(event: Event) -> list[Put]:
    at = date(event.at)
    gone = {"deleted_at": at, "active": False, "emails_lower": [], "roles": [], "_updatedAt": at}
    puts = [Put("users", event.stream_id, set=gone, unset=_PERSONAL)]
    return puts + [Put("tokens", hashed, set={"revoked_at": at}) for hashed in event.user_deleted.hashed_tokens]


def _token_issued(event: Event) -> list[Put]:
    fact = event.token_issued
    token = {**_json(fact.token), "_id": fact.hashed_token, "user_id": event.stream_id, "issued_at": date(event.at)}
    if fact.expires_at:
        token["expires_at"] = date(fact.expires_at)
    puts = [Put("tokens", fact.hashed_token, insert=token)]
    if token.get("type") != "personal":  # a personal access token is made, not logged in with
        puts.append(Put("users", event.stream_id, set={"lastLogin": date(event.at)}))
    return puts


def _tokens_revoked(event: Event) -> list[Put]:
    return [Put("tokens", hashed, set={"revoked_at": date(event.at)}) for hashed in event.tokens_revoked.hashed_tokens]


def _room_read(event: Event) -> list[Put]:
    fact = event.room_read
    puts = []
    if not fact.thread_id:
        read = {
            "counted": fact.counted,
            "own": fact.own,
            "mentioned": fact.mentioned,
            "group_mentions": fact.group_mentions,
        }
        changes = {"read": read, "ls": date(fact.read_at), "read_changed_at": date(event.at)}
        puts.append(
            Put("subscriptions", fact.subscription_id, set=changes, unset=("forced_alert", "hidden_at_counted"))
        )
    else:
        puts.append(Put("subscriptions", fact.subscription_id, set={"read_changed_at": date(event.at)}))
    threads = [*fact.threads, *filter(None, [fact.thread_id])]
    read_at = {"read_at": date(fact.read_at)}
    return puts + [Put("thread_reads", f"{event.stream_id}/{thread_id}", set=read_at) for thread_id in threads]


def _subscription_preferred(event: Event) -> list[Put]:
    fact = event.subscription_preferred
    changes = {**_json(fact.set), "read_changed_at": date(event.at)}
    return [Put("subscriptions", fact.subscription_id, set=changes, unset=tuple(fact.unset))]


def _message_starred(event: Event) -> list[Put]:
    fact = event.message_starred
    star = f"{event.stream_id}/{fact.message_id}"
    first = {"_id": star, "user_id": event.stream_id, "rid": fact.room_id, "message_id": fact.message_id}
    return [
        Put("stars", star, insert={**first, "starred": fact.starred}),
        Put("stars", star, set={"starred": fact.starred}),
    ]


# -- the workspace --------------------------------------------------------------------------------------------------


def _saved(collection: str, document_id: str, data: bytes) -> list[Put]:
    """Creates the document or replaces its fields: it may have lived only in the defaults until now."""
    document = _json(data)
    rest = {name: value for name, value in document.items() if name != "_id"}
    return [
        Put(collection, document_id, insert=document),
        Put(collection, document_id, set=rest, unset=("deleted_at",)),
    ]


def _setting_changed(event: Event) -> list[Put]:
    return _saved("settings", event.setting_changed.setting_id, event.setting_changed.setting)


def _permission_changed(event: Event) -> list[Put]:
    return _saved("permissions", event.permission_changed.permission_id, event.permission_changed.permission)


def _role_saved(event: Event) -> list[Put]:
    return _saved("roles", event.role_saved.role_id, event.role_saved.role)


def _role_deleted(event: Event) -> list[Put]:
    return [Put("roles", event.role_deleted.role_id, set={"deleted_at": date(event.at)})]


def _custom_status_saved(event: Event) -> list[Put]:
    return _saved("custom_statuses", event.custom_status_saved.status_id, event.custom_status_saved.status)


def _custom_status_deleted(event: Event) -> list[Put]:
    status_id = event.custom_status_deleted.status_id
    return [Put("custom_statuses", status_id, set={"deleted_at": date(event.at)}, unset=("name",))]


def _integration_saved(event: Event) -> list[Put]:
    return _saved("integrations", event.integration_saved.integration_id, event.integration_saved.integration)


def _integration_removed(event: Event) -> list[Put]:
    gone = {"deleted_at": date(event.at), "enabled": False, "_updatedAt": date(event.at)}
    return [Put("integrations", event.integration_removed.integration_id, set=gone, unset=("token",))]


_TABLE: dict[str, Callable[[Event], list[Put]]] = {
    "room_created": _room_created,
    "room_changed": _room_changed,
    "room_deleted": _room_deleted,
    "member_joined": _member_joined,
    "member_left": _member_left,
    "member_changed": _member_changed,
    "message_sent": _message_sent,
    "message_changed": _message_changed,
    "message_deleted": _message_deleted,
    "member_renamed": _member_renamed,
    "upload_added": _upload_added,
    "messages_erased": _messages_erased,
    "invite_made": _invite_made,
    "invite_removed": _invite_removed,
    "message_reported": _message_reported,
    "message_reports_closed": _message_reports_closed,
    "messages_pruned": _messages_pruned,
    "user_created": _user_created,
    "user_changed": _user_changed,
    "user_deleted": _user_deleted,
    "token_issued": _token_issued,
    "tokens_revoked": _tokens_revoked,
    "room_read": _room_read,
    "subscription_preferred": _subscription_preferred,
    "message_starred": _message_starred,
    "user_reported": _user_reported,
    "user_reports_closed": _user_reports_closed,
    "setting_changed": _setting_changed,
    "permission_changed": _permission_changed,
    "role_saved": _role_saved,
    "role_deleted": _role_deleted,
    "custom_status_saved": _custom_status_saved,
    "custom_status_deleted": _custom_status_deleted,
    "integration_saved": _integration_saved,
    "integration_removed": _integration_removed,
}
