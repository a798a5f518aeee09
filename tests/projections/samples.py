"""One fact of each kind, documents that were there before, and what events make of them."""

from typing import Any

import orjson

from palaver.database import Document
from palaver.events import STREAM_OF_FACT, user_actor
from palaver.projections import project
from palaver.v1.event_pb2 import (
    CustomStatusDeleted,
    CustomStatusSaved,
    Event,
    IntegrationRemoved,
    IntegrationSaved,
    InviteMade,
    InviteRemoved,
    MediumDeleted,
    MediumSaved,
    MemberChanged,
    MemberJoined,
    MemberLeft,
    MemberRenamed,
    Mention,
    MessageChanged,
    MessageDeleted,
    MessageReported,
    MessageReportsClosed,
    MessageSent,
    MessagesErased,
    MessagesPruned,
    MessageStarred,
    PermissionChanged,
    Remaining,
    RenamedSubscription,
    RoleDeleted,
    RoleSaved,
    RoomChanged,
    RoomCreated,
    RoomDeleted,
    RoomRead,
    SettingChanged,
    SubscriptionPreferred,
    TokenIssued,
    TokensRevoked,
    UploadAdded,
    UserChanged,
    UserCreated,
    UserDeleted,
    UserReported,
    UserReportsClosed,
)

AT = 1_700_000_000_000
STREAM_IDS = {"room": "r1", "user": "u1", "workspace": ""}


def data(document: Any) -> bytes:
    return orjson.dumps(document)


def date(milliseconds: int) -> Document:
    return {"$date": milliseconds}


def sent(message_id: str = "m1", **fields: Any) -> MessageSent:
    """A counted message of u1; `fields` of the fact win."""
    message = {"_id": message_id, "rid": "r1", "msg": "hello", "ts": date(AT), "u": {"_id": "u1"}}
    message.update(fields.pop("message", {}))
    fact: dict[str, Any] = {
        "message_id": message_id,
        "messages": 5,
        "counted": 4,
        "group_mentions": 1,
        "counts": True,
        "sender_subscription_id": "s1",
        "sender_own": 3,
        "sent_at": AT,
    }
    return MessageSent(message=data(message), **(fact | fields))


SAMPLES: dict[str, Any] = {
    "room_created": RoomCreated(
        room=data({"_id": "r1", "t": "c", "name": "general"}),
        subscriptions=[data({"_id": "s1", "rid": "r1"}), data({"_id": "s2", "rid": "r1"})],
    ),
    "room_changed": RoomChanged(set=data({"topic": "new"}), unset=["announcement"], message=sent("m9")),
    "room_deleted": RoomDeleted(),
    "member_joined": MemberJoined(
        user_id="u3", subscription=data({"_id": "s3", "rid": "r1"}), members=3, message=sent("m9")
    ),
    "member_left": MemberLeft(user_id="u1", subscription_id="s1", members=1, message=sent("m9")),
    "member_changed": MemberChanged(
        user_id="u1", subscription_id="s1", set=data({"roles": ["owner"]}), unset=["muted"], message=sent("m9")
    ),
    "message_sent": sent(
        mentions=[Mention(user_id="u2", subscription_id="s2", mentioned=2)],
        thread_root=data({"_id": "m0", "tcount": 1, "tlm": date(AT), "replies": ["u1"], "_updatedAt": date(AT)}),
        new_followers=["u2"],
    ),
    "message_changed": MessageChanged(
        message_id="m1",
        message=data({"_id": "m1", "rid": "r1", "msg": "edited", "ts": date(1), "_updatedAt": date(AT)}),
        is_last=True,
        followed=["u2"],
        unfollowed=["u3"],
        notice=sent("m9", counts=False),
        mentioned=["u2"],
        unmentioned=["u3"],
    ),
    "message_deleted": MessageDeleted(
        message_id="m1",
        sent_at=1,
        thread_id="m0",
        thread_root=data({"_id": "m0", "tcount": 0, "_updatedAt": date(AT)}),
        room_last_message=data({"_id": "m0"}),
        unmentioned=["u2"],
    ),
    "member_renamed": MemberRenamed(
        user_id="u1",
        subscriptions=[
            RenamedSubscription(
                user_id="u1", subscription_id="s1", set=data({"u": {"_id": "u1", "username": "al", "name": "Al"}})
            ),
            RenamedSubscription(user_id="u2", subscription_id="s2", set=data({"name": "al", "fname": "Al"})),
        ],
        room=data({"usernames": ["al", "bob"]}),
    ),
    "messages_erased": MessagesErased(
        user_id="u1",
        message_ids=["m1"],
        upload_ids=["f1"],
        thread_roots=[data({"_id": "m0", "tcount": 0, "_updatedAt": date(AT)})],
        room_last_message=b"null",
    ),
    "upload_added": UploadAdded(upload_id="f2", upload=data({"_id": "f2", "rid": "r1", "expiresAt": date(AT + 9)})),
    "messages_pruned": MessagesPruned(
        message_ids=["m1"],
        upload_ids=["f1"],
        changed=[data({"_id": "m0", "tcount": 0, "_updatedAt": date(AT)})],
        room_last_message=b"null",
        remaining=Remaining(messages=1, gone=1),
    ),
    "invite_made": InviteMade(invite_id="i1", invite=data({"_id": "i1", "rid": "r1"})),
    "invite_removed": InviteRemoved(invite_id="i1"),
    "message_reported": MessageReported(report_id="x1", report=data({"_id": "x1", "kind": "message"})),
    "message_reports_closed": MessageReportsClosed(report_ids=["x1"], moderation=data({"moderatedBy": "u1"})),
    "user_created": UserCreated(user=data({"_id": "u1", "username": "alice"})),
    "user_changed": UserChanged(set=data({"name": "Alice"}), unset=["bio"]),
    "user_deleted": UserDeleted(),
    "token_issued": TokenIssued(hashed_token="h1", expires_at=AT + 5, token=data({"type": "login"})),
    "tokens_revoked": TokensRevoked(hashed_tokens=["h1", "h2"]),
    "room_read": RoomRead(
        room_id="r1", subscription_id="s1", counted=4, own=3, mentioned=2, group_mentions=1, read_at=7, threads=["m0"]
    ),
    "subscription_preferred": SubscriptionPreferred(
        room_id="r1", subscription_id="s1", set=data({"f": True}), unset=["hideUnreadStatus"]
    ),
    "message_starred": MessageStarred(room_id="r1", message_id="m1", starred=True, message=data({"_id": "m1"})),
    "user_reported": UserReported(report_id="x2", report=data({"_id": "x2", "kind": "user"})),
    "user_reports_closed": UserReportsClosed(report_ids=["x2"], moderation=data({"moderatedBy": "u1"})),
    "setting_changed": SettingChanged(setting_id="Site_Name", setting=data({"_id": "Site_Name", "value": "x"})),
    "permission_changed": PermissionChanged(permission_id="p", permission=data({"_id": "p", "roles": ["admin"]})),
    "role_saved": RoleSaved(role_id="boss", role=data({"_id": "boss", "name": "Boss"})),
    "custom_status_saved": CustomStatusSaved(
        status_id="st1", status=data({"_id": "st1", "name": "lunch", "statusType": "away"})
    ),
    "custom_status_deleted": CustomStatusDeleted(status_id="st1"),
    "medium_saved": MediumSaved(
        kind="emoji", medium_id="e1", medium=data({"_id": "e1", "name": "party", "aliases": ["fun"], "file_id": "b1"})
    ),
    "medium_deleted": MediumDeleted(kind="emoji", medium_id="e1"),
    "role_deleted": RoleDeleted(role_id="boss"),
    "integration_saved": IntegrationSaved(
        integration_id="i1", integration=data({"_id": "i1", "name": "CI", "token": "t", "enabled": True})
    ),
    "integration_removed": IntegrationRemoved(integration_id="i1"),
}
BEFORE: dict[tuple[str, str], Document] = {
    ("rooms", "r1"): {"_id": "r1", "name": "general", "announcement": "old", "lastMessage": {"_id": "m1"}},
    ("subscriptions", "s1"): {"_id": "s1", "rid": "r1", "muted": True},
    ("subscriptions", "s2"): {"_id": "s2", "rid": "r1"},
    ("messages", "m0"): {"_id": "m0", "rid": "r1", "msg": "root"},
    ("messages", "m1"): {"_id": "m1", "rid": "r1", "msg": "hello", "reactions": {":+1:": {}}, "ts": date(1)},
    ("uploads", "f1"): {"_id": "f1", "rid": "r1", "expiresAt": date(AT + 9)},
    ("users", "u1"): {"_id": "u1", "username": "alice", "active": True, "emails": [], "services": {}, "bio": "x"},
    ("tokens", "h1"): {"_id": "h1", "user_id": "u1"},
    ("settings", "Site_Name"): {"_id": "Site_Name", "value": "old"},
    ("roles", "boss"): {"_id": "boss", "name": "Old"},
    ("integrations", "i1"): {"_id": "i1", "name": "Old", "token": "t", "enabled": False},
}


def make_event(kind: str, fact: Any = None, *, seq: int = 7) -> Event:
    """An event with the fact of this kind, by u1."""
    stream = STREAM_OF_FACT[kind]
    event = Event(stream_kind=stream, stream_id=STREAM_IDS[stream], seq=seq, at=AT, actor=user_actor("u1"))
    getattr(event, kind).CopyFrom(SAMPLES[kind] if fact is None else fact)
    return event


def apply(documents: dict[tuple[str, str], Document], *events: Event) -> dict[tuple[str, str], Document]:
    """New documents, as the puts say."""
    result = {key: dict(document) for key, document in documents.items()}
    for event in events:
        for put in project(event):
            key = (put.collection, put.id)
            if put.insert is not None:
                result.setdefault(key, dict(put.insert))
            elif key in result:
                result[key].update(put.set)
                for name in put.unset:
                    result[key].pop(name, None)
    return result


def after(kind: str, fact: Any = None) -> dict[tuple[str, str], Document]:
    """What the event makes of BEFORE."""
    return apply(BEFORE, make_event(kind, fact))
