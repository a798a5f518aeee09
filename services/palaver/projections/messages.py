"""Messages, with what hangs on them: threads, mentions, uploads, and the room's counters."""

from collections.abc import Iterable
from typing import Any

from palaver.database import Document, Put
from palaver.projections.values import date, loaded
from palaver.v1.event_pb2 import Event, MessageSent

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
    "content",
    "e2e",
    "e2eMentions",
    "drid",
    "dcount",
    "dlm",
    "_updatedAt",
)
# What a deleted message must not keep.
_CONTENT = (
    *(name for name in CHANGING_MESSAGE_FIELDS if name not in ("msg", "_updatedAt")),
    "file",
    "files",
    "location",
)


def message_sent(event: Event) -> list[Put]:
    return _sent(event, event.message_sent)


def system_message(event: Event, fact: Any) -> list[Put]:
    return _sent(event, fact.message) if fact.HasField("message") else []


def _sent(event: Event, fact: MessageSent) -> list[Put]:
    message = loaded(fact.message)
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
    if fact.thumbnail_id:
        puts.append(Put("uploads", fact.thumbnail_id, unset=("expiresAt",)))
    if fact.thread_root:
        puts += _thread_root(event, fact, loaded(fact.thread_root))
    if not fact.backfilled:
        room: Document = {
            "msgs": fact.messages,
            "counted": fact.counted,
            "group_mentions": fact.group_mentions,
        }
        if fact.counts:
            room["lm"] = message["ts"]
            if not fact.without_last:
                room["lastMessage"] = message
            room["changed_at"] = date(event.at)
        room["_updatedAt"] = date(event.at)
        unset = ("lastMessage",) if fact.without_last else ()
        puts.append(Put("rooms", event.stream_id, set=room, unset=unset))
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
    kept = loaded(data)
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


def message_changed(event: Event) -> list[Put]:
    fact = event.message_changed
    message = loaded(fact.message)
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


def message_deleted(event: Event) -> list[Put]:
    fact = event.message_deleted
    if fact.shown:
        gone = {name: value for name, value in loaded(fact.shown).items() if name != "_id"}
        unset = tuple(name for name in _CONTENT if name not in gone)
    else:
        gone = {"_hidden": True, "deleted_at": date(event.at), "msg": "", "_updatedAt": date(event.at)}
        unset = _CONTENT
    puts = [Put("messages", fact.message_id, set=gone, unset=unset)]
    puts += _unmentioned(fact.unmentioned, fact.message_id)
    puts += _kept(fact.kept)
    for upload_id in filter(None, (fact.upload_id, fact.thumbnail_id)):
        puts.append(Put("uploads", upload_id, set={"deleted_at": date(event.at)}))
    if fact.thread_root:
        root = loaded(fact.thread_root)
        puts.append(Put("messages", root["_id"], set={"tcount": root["tcount"], "_updatedAt": root["_updatedAt"]}))
    return puts + _remaining(event, fact) + _last_message(event, fact.room_last_message)


def messages_pruned(event: Event) -> list[Put]:
    fact = event.messages_pruned
    gone: Document = {"_hidden": True, "deleted_at": date(event.at), "msg": "", "_updatedAt": date(event.at)}
    puts = [Put("messages", message_id, set=gone, unset=_CONTENT) for message_id in fact.message_ids]
    puts += [Put("uploads", upload_id, set={"deleted_at": date(event.at)}) for upload_id in fact.upload_ids]
    for gone_with in fact.unmentioned:
        puts += _unmentioned(gone_with.user_ids, gone_with.message_id)
    fields = ("attachments", "file", "files", "tcount", "_updatedAt")
    for message in map(loaded, fact.changed):
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


def messages_erased(event: Event) -> list[Put]:
    fact = event.messages_erased
    gone: Document = {"_hidden": True, "deleted_at": date(event.at), "msg": "", "_updatedAt": date(event.at)}
    upload: Document = {"deleted_at": date(event.at)}
    unset: tuple[str, ...] = _CONTENT
    if fact.author:
        author = loaded(fact.author)
        gone = {"u": author, "alias": fact.alias, "_updatedAt": date(event.at)}
        upload = {"userId": author["_id"]}
        unset = ()
    puts = [Put("messages", message_id, set=gone, unset=unset) for message_id in fact.message_ids]
    puts += [Put("uploads", upload_id, set=upload) for upload_id in fact.upload_ids]
    for gone_with in fact.unmentioned:
        puts += _unmentioned(gone_with.user_ids, gone_with.message_id)
    for root in map(loaded, fact.thread_roots):
        puts.append(Put("messages", root["_id"], set={"tcount": root["tcount"], "_updatedAt": root["_updatedAt"]}))
    return puts + _remaining(event, fact) + _last_message(event, fact.room_last_message)


def _last_message(event: Event, data: bytes) -> list[Put]:
    """What the room shows as its last message from now on; nothing for no bytes."""
    if not data:
        return []
    last = loaded(data)
    change = Put("rooms", event.stream_id, set={"_updatedAt": date(event.at)})
    if last is None:
        change.unset = ("lastMessage",)
    else:
        change.set["lastMessage"] = last
    return [change]


def upload_added(event: Event) -> list[Put]:
    fact = event.upload_added
    puts = [Put("uploads", fact.upload_id, insert=loaded(fact.upload))]
    if fact.thumbnail_id:
        puts.append(Put("uploads", fact.thumbnail_id, insert=loaded(fact.thumbnail)))
    return puts
