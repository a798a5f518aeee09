"""What each event makes of the documents."""

import pytest

from palaver.database import Document
from palaver.events import SYSTEM
from palaver.projections import project
from palaver.projections.messages import CHANGING_MESSAGE_FIELDS
from palaver.v1.event_pb2 import (
    MediumDeleted,
    MediumSaved,
    MessageChanged,
    MessageDeleted,
    MessagesErased,
    MessageStarred,
    RoomChanged,
    RoomRead,
    TokenIssued,
    UploadAdded,
    UserDeleted,
)
from tests.projections.samples import AT, BEFORE, after, apply, data, date, make_event, sent


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


def test_a_deleted_emoji_has_no_name() -> None:
    saved = after("medium_saved")
    assert saved["emoji", "e1"] == {"_id": "e1", "name": "party", "aliases": ["fun"], "file_id": "b1"}
    gone = apply(saved, make_event("medium_deleted", seq=8))
    assert gone["emoji", "e1"] == {"_id": "e1", "deleted_at": date(AT), "_updatedAt": date(AT)}
    assert project(make_event("medium_saved", MediumSaved(kind="users", medium_id="u1", medium=b"{}"))) == []
    assert project(make_event("medium_deleted", MediumDeleted(kind="users", medium_id="u1"))) == []


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


def test_a_thumbnail_is_kept_and_goes_with_its_picture() -> None:
    fact = UploadAdded(
        upload_id="f2",
        upload=data({"_id": "f2", "rid": "r1", "thumbnail_id": "f3"}),
        thumbnail_id="f3",
        thumbnail=data({"_id": "f3", "rid": "r1", "expiresAt": date(AT + 9)}),
    )
    added = after("upload_added", fact)
    kept = apply(added, make_event("message_sent", sent(upload_id="f2", thumbnail_id="f3"), seq=8))
    assert kept["uploads", "f3"] == {"_id": "f3", "rid": "r1"}
    gone = MessageDeleted(message_id="m1", sent_at=1, upload_id="f2", thumbnail_id="f3")
    deleted = apply(kept, make_event("message_deleted", gone, seq=9))
    assert deleted["uploads", "f2"]["deleted_at"] == deleted["uploads", "f3"]["deleted_at"] == date(AT)


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
