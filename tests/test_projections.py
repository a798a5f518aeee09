"""What each event makes of the documents."""

from typing import Any

import orjson
import pytest

from palaver.database import STREAM_COLLECTIONS, Document, Put
from palaver.database.schema import COLLECTIONS
from palaver.errors import Unavailable
from palaver.events import STREAM_OF_FACT, SYSTEM, user_actor
from palaver.projections import project
from palaver.projections.messages import CHANGING_MESSAGE_FIELDS
from palaver.v1.event_pb2 import (
    CustomStatusDeleted,
    CustomStatusSaved,
    Event,
    IntegrationRemoved,
    IntegrationSaved,
    InviteMade,
    InviteRemoved,
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


def test_every_fact_has_a_sample() -> None:
    assert set(SAMPLES) == set(STREAM_OF_FACT)


@pytest.mark.parametrize("kind", SAMPLES)
def test_puts_are_such_as_the_database_takes(kind: str) -> None:
    event = make_event(kind)
    puts = project(event)
    assert puts
    for put in puts:
        assert isinstance(put, Put)
        assert put.collection in COLLECTIONS
        assert put.id
        assert put.insert is None or (put.insert["_id"] == put.id and not put.set and not put.unset)
        names = [*put.set, *put.unset, *(put.insert or ())]
        assert not {name for name in names if not name or "." in name or name.startswith("$")}
        assert not {"applied_seq", "room_seq", "user_seq", "workspace_seq"} & set(names)
        assert "_id" not in put.set
        assert "_id" not in put.unset
        assert not set(put.set) & set(put.unset)
        if put.collection == STREAM_COLLECTIONS[event.stream_kind]:
            assert put.id == event.stream_id


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("documents", [{}, BEFORE], ids=["nothing", "something"])
def test_projecting_twice_is_projecting_once(kind: str, documents: dict[tuple[str, str], Document]) -> None:
    event = make_event(kind)
    once = apply(documents, event)
    assert apply(documents, event, event) == once
    assert apply(once, event) == once


@pytest.mark.parametrize("kind", SAMPLES)
def test_an_event_is_only_read(kind: str) -> None:
    event = make_event(kind)
    copy = Event.FromString(event.SerializeToString())
    assert project(event) == project(event)
    assert event == copy


@pytest.mark.parametrize("kind", SAMPLES)
def test_an_empty_fact_is_no_reason_to_crash(kind: str) -> None:
    """A later version may leave out what this one wants: only what it needs to name documents is needed."""
    if kind in {"room_created", "member_joined", "user_created"}:
        return
    fact = type(SAMPLES[kind])()
    for name in ("message", "setting", "permission", "role", "set", "token"):
        if name in fact.DESCRIPTOR.fields_by_name and isinstance(getattr(fact, name), bytes):
            setattr(fact, name, data({"_id": "x", "ts": date(AT)}) if name == "message" else b"{}")
    assert isinstance(project(make_event(kind, fact)), list)


def test_an_unknown_fact_is_refused() -> None:
    with pytest.raises(Unavailable):
        project(Event(stream_kind="room", stream_id="r1", seq=1))


def test_a_room_begins_with_its_members() -> None:
    documents = apply({}, make_event("room_created"))
    assert set(documents) == {("rooms", "r1"), ("subscriptions", "s1"), ("subscriptions", "s2")}
    assert documents["rooms", "r1"] == {"_id": "r1", "t": "c", "name": "general"}


def test_a_change_of_a_room_may_speak_of_itself() -> None:
    documents = after("room_changed")
    room = documents["rooms", "r1"]
    assert room["topic"] == "new"
    assert "announcement" not in room
    assert room["changed_at"] == date(AT)
    assert room["msgs"] == 5
    assert ("messages", "m9") in documents
    silent = after("room_changed", RoomChanged(set=data({"topic": "new"})))
    assert silent.keys() == BEFORE.keys()


def test_a_deleted_room_frees_its_name_and_is_marked() -> None:
    room = after("room_deleted")["rooms", "r1"]
    assert room["deleted_at"] == date(AT)
    assert "name" not in room


def test_members_come_change_and_go() -> None:
    documents = after("member_joined")
    assert documents["subscriptions", "s3"] == {"_id": "s3", "rid": "r1"}
    assert documents["rooms", "r1"]["usersCount"] == 3
    documents = after("member_changed")
    assert documents["subscriptions", "s1"]["roles"] == ["owner"]
    assert "muted" not in documents["subscriptions", "s1"]
    documents = after("member_left")
    assert documents["subscriptions", "s1"]["left_at"] == date(AT)
    assert documents["rooms", "r1"]["usersCount"] == 1


def test_a_member_is_called_something_else_wherever_the_room_names_them() -> None:
    documents = after("member_renamed")
    assert documents["subscriptions", "s1"]["u"] == {"_id": "u1", "username": "al", "name": "Al"}
    assert (documents["subscriptions", "s2"]["name"], documents["subscriptions", "s2"]["fname"]) == ("al", "Al")
    assert documents["rooms", "r1"]["usernames"] == ["al", "bob"]
    for changed in (("subscriptions", "s1"), ("subscriptions", "s2"), ("rooms", "r1")):
        assert documents[changed]["changed_at"] == date(AT)


def test_a_message_moves_the_counters() -> None:
    documents = after("message_sent")
    assert documents["messages", "m1"] == BEFORE["messages", "m1"]  # it was there: an insert changes nothing
    room = documents["rooms", "r1"]
    assert (room["msgs"], room["counted"], room["group_mentions"]) == (5, 4, 1)
    assert room["lastMessage"]["msg"] == "hello"
    assert room["lm"] == date(AT)
    assert documents["subscriptions", "s1"]["own"] == 3
    assert documents["subscriptions", "s2"]["mentioned"] == 2
    assert documents["messages", "m0"]["tcount"] == 1
    for follower in ("u1", "u2"):
        assert documents["thread_reads", f"{follower}/m0"]["following"] is True


def test_a_message_costs_the_same_in_every_room() -> None:
    assert len(project(make_event("message_sent", sent()))) == 3


def test_a_backfilled_message_moves_only_the_number_of_messages() -> None:
    documents = after("message_sent", sent("m2", backfilled=True, counts=False, sender_subscription_id=""))
    assert ("messages", "m2") in documents
    assert documents["rooms", "r1"] == BEFORE["rooms", "r1"] | {"msgs": 5}


def test_a_system_message_of_nobody_starts_no_thread_record() -> None:
    event = make_event("message_sent", sent("m2", thread_root=data({"_id": "m0", "tcount": 1})))
    event.actor.CopyFrom(SYSTEM)
    assert not [put for put in project(event) if put.collection == "thread_reads"]


def test_a_changed_message_is_replaced_but_for_what_never_changes() -> None:
    documents = after("message_changed")
    message = documents["messages", "m1"]
    assert message["msg"] == "edited"
    assert "reactions" not in message
    assert message["ts"] == date(1)
    assert documents["rooms", "r1"]["lastMessage"]["msg"] == "edited"
    assert documents["thread_reads", "u2/m1"]["following"] is True
    assert ("thread_reads", "u3/m1") not in documents
    again = apply(
        documents,
        make_event(
            "message_changed", MessageChanged(message_id="m1", message=data({"msg": "edited"}), unfollowed=["u2"])
        ),
    )
    assert again["thread_reads", "u2/m1"]["following"] is False
    assert "lastMessage" in again["rooms", "r1"]


def test_what_may_change_of_a_message_does_not_say_who_wrote_it() -> None:
    assert not {"_id", "rid", "ts", "u", "t", "tmid"} & set(CHANGING_MESSAGE_FIELDS)


def test_a_deleted_message_leaves_nothing_to_read() -> None:
    documents = after("message_deleted")
    message = documents["messages", "m1"]
    assert message["_hidden"] is True
    assert message["deleted_at"] == date(AT)
    assert message["msg"] == ""
    assert "reactions" not in message
    assert documents["messages", "m0"]["tcount"] == 0
    assert documents["rooms", "r1"]["lastMessage"] == {"_id": "m0"}


def test_the_last_message_of_a_room_may_go() -> None:
    room = after("message_deleted", MessageDeleted(message_id="m1", room_last_message=b"null"))["rooms", "r1"]
    assert "lastMessage" not in room
    room = after("message_deleted", MessageDeleted(message_id="m1"))["rooms", "r1"]
    assert room == BEFORE["rooms", "r1"]


def test_users_come_change_and_go() -> None:
    assert apply({}, make_event("user_created"))["users", "u1"] == {"_id": "u1", "username": "alice"}
    user = after("user_changed")["users", "u1"]
    assert user["name"] == "Alice"
    assert "bio" not in user
    user = after("user_deleted")["users", "u1"]
    assert user["active"] is False
    assert user["deleted_at"] == date(AT)
    assert not {"emails", "services", "bio", "username", "name"} & set(user)


def test_logins_end_with_their_user() -> None:
    tokens = apply({}, make_event("token_issued"))
    gone = apply(tokens, make_event("user_deleted", UserDeleted(erasure="Keep", hashed_tokens=["h1"])))
    assert gone["tokens", "h1"]["revoked_at"] == date(AT)


def test_erased_messages_are_gone_or_somebody_elses() -> None:
    gone = after("messages_erased")
    assert gone["messages", "m1"]["_hidden"] is True
    assert gone["messages", "m1"]["msg"] == ""
    assert gone["messages", "m0"]["tcount"] == 0
    assert "lastMessage" not in gone["rooms", "r1"]
    fact = MessagesErased(user_id="u1", message_ids=["m1"], author=data({"_id": "bot"}), alias="Somebody")
    unlinked = after("messages_erased", fact)["messages", "m1"]
    assert (unlinked["u"], unlinked["alias"]) == ({"_id": "bot"}, "Somebody")
    assert unlinked["msg"] == BEFORE["messages", "m1"]["msg"]


def test_tokens_are_issued_and_revoked() -> None:
    token = apply({}, make_event("token_issued"))["tokens", "h1"]
    assert token == {
        "_id": "h1",
        "type": "login",
        "user_id": "u1",
        "issued_at": date(AT),
        "expires_at": date(AT + 5),
    }
    forever = TokenIssued(hashed_token="h1", token=data({"_id": "another", "user_id": "another"}))
    token = apply({}, make_event("token_issued", forever))["tokens", "h1"]
    assert token == {"_id": "h1", "user_id": "u1", "issued_at": date(AT)}
    assert after("tokens_revoked")["tokens", "h1"]["revoked_at"] == date(AT)


def test_reading_a_room_remembers_its_ordinals() -> None:
    subscription = after("room_read")["subscriptions", "s1"]
    assert subscription["read"] == {"counted": 4, "own": 3, "mentioned": 2, "group_mentions": 1}
    assert subscription["ls"] == date(7)


def test_reading_a_thread_leaves_the_room_unread() -> None:
    record = {("thread_reads", "u1/m0"): {"_id": "u1/m0"}}
    fact = RoomRead(room_id="r1", subscription_id="s1", read_at=7, thread_id="m0")
    documents = apply(BEFORE | record, make_event("room_read", fact))
    assert "read" not in documents["subscriptions", "s1"]
    assert documents["thread_reads", "u1/m0"]["read_at"] == date(7)


def test_what_users_prefer() -> None:
    assert after("subscription_preferred")["subscriptions", "s1"]["f"] is True


@pytest.mark.parametrize("documents", [{}, BEFORE], ids=["from the defaults", "stored before"])
def test_the_workspaces_documents_are_saved(documents: dict[tuple[str, str], Document]) -> None:
    events = [make_event(kind) for kind in ("setting_changed", "permission_changed", "role_saved")]
    saved = apply(documents, *events)
    assert saved["settings", "Site_Name"]["value"] == "x"
    assert saved["permissions", "p"]["roles"] == ["admin"]
    assert saved["roles", "boss"]["name"] == "Boss"


def test_a_deleted_role_may_come_back() -> None:
    gone = after("role_deleted")
    assert gone["roles", "boss"]["deleted_at"] == date(AT)
    assert "deleted_at" not in apply(gone, make_event("role_saved"))["roles", "boss"]


def test_a_file_is_kept_by_its_message_and_goes_with_it() -> None:
    key = ("uploads", "f1")
    kept = after("message_sent", sent(upload_id="f1"))
    assert kept[key] == {"_id": "f1", "rid": "r1", "message_id": "m1"}
    deleted = apply(kept, make_event("message_deleted", MessageDeleted(message_id="m1", sent_at=1, upload_id="f1")))
    assert deleted[key]["deleted_at"] == date(AT)
    assert after("upload_added")["uploads", "f2"]["expiresAt"] == date(AT + 9)


def test_stars_and_mentions_come_and_go() -> None:
    starred = after("message_starred")["stars", "u1/m1"]
    assert starred == {"_id": "u1/m1", "user_id": "u1", "rid": "r1", "message_id": "m1", "starred": True}
    event = make_event("message_starred", MessageStarred(room_id="r1", message_id="m1", starred=False))
    assert apply({("stars", "u1/m1"): starred}, event)["stars", "u1/m1"]["starred"] is False
    mention = after("message_sent")["mentions", "u2/m1"]
    assert (mention["user_id"], mention["rid"], mention["message_id"]) == ("u2", "r1", "m1")
    assert (
        apply({("mentions", "u2/m1"): mention}, make_event("message_deleted"))["mentions", "u2/m1"]["removed"] is True
    )


def test_reports_are_made_and_closed() -> None:
    for made, closed, report_id in (
        ("message_reported", "message_reports_closed", "x1"),
        ("user_reported", "user_reports_closed", "x2"),
    ):
        report = after(made)["reports", report_id]
        assert "closed_at" not in report
        documents = apply({("reports", report_id): report}, make_event(closed))
        assert documents["reports", report_id]["moderationInfo"] == {"moderatedBy": "u1"}
        assert documents["reports", report_id]["closed_at"]


def test_a_removed_integration_keeps_no_token() -> None:
    saved = after("integration_saved")[("integrations", "i1")]
    assert (saved["name"], saved["token"], saved["enabled"]) == ("CI", "t", True)
    gone = after("integration_removed")[("integrations", "i1")]
    assert "token" not in gone
    assert (gone["deleted_at"], gone["enabled"]) == (date(AT), False)
