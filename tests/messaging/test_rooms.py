"""Rooms: created, found, changed, deleted; names are unique; what one may not see is unknown."""

import asyncio
from pathlib import Path

import pytest

from palaver.errors import PalaverError
from palaver.events import SYSTEM
from palaver.v1.auth_pb2 import SetUserActiveRequest
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import (
    CheckAccessRequest,
    GetCountersRequest,
    GetRoomRequest,
    JoinDefaultRoomsRequest,
    ListMembersRequest,
    ListMessagesRequest,
    ListThreadsRequest,
    MarkReadRequest,
    MembersRequest,
    RoomRequest,
    SearchMessagesRequest,
    SendMessageRequest,
    SetSubscriptionRequest,
    UpdateRoomRequest,
)
from tests.messaging.helpers import ADMIN, Chat, error_of, loaded, refused
from tests.services import ADMIN_ID, service_nodes


async def test_a_new_room_has_its_owner_and_its_members(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room = await chat.room(ann, "dev", "bob", "nobody")
    assert room == {
        "_id": room["_id"],
        "t": "c",
        "name": "dev",
        "fname": "dev",
        "u": {"_id": "annId", "username": "ann", "name": "Ann"},
        "msgs": 0,
        "usersCount": 2,
        "ro": False,
        "ts": room["ts"],
        "_updatedAt": room["ts"],
    }
    assert (await chat.subscription(ann, room["_id"]))["roles"] == ["owner"]
    shown = await chat.subscription(bob, room["_id"])
    assert "roles" not in shown
    assert (shown["unread"], shown["alert"], shown["open"]) == (0, False, True)
    assert await chat.notices(ann, room["_id"]) == []


async def test_what_a_room_may_begin_with(chat: Chat) -> None:
    ann = await chat.user("ann")
    room = await chat.room(
        ann, "dev", type="p", read_only=True, custom_fields=b'{"a":1}', extra=b'{"topic":"t","broadcast":true}'
    )
    assert (room["t"], room["ro"], room["topic"], room["customFields"]) == ("p", True, "t", {"a": 1})
    with refused("error-action-not-allowed"):
        await chat.room(ann, "vault", extra=b'{"encrypted":true}')
    await chat.room(ann, "vault", extra=b'{"encrypted":false}')
    with refused("invalid-params"):
        await chat.room(ann, "dev2", extra=b'{"counted":5}')
    with refused("invalid-params"):
        await chat.room(ann, "dev2", extra=b'{"topic":{"$ne":1}}')
    empty = await chat.room(ann, "without-me", exclude_self=True)
    assert empty["usersCount"] == 0
    await chat.grant("create-c", "admin")
    with refused("error-not-allowed"):
        await chat.room(ann, "dev3")


@pytest.mark.parametrize("name", ["a b", "ünï", "a/b", "#x", "x" * 201])
async def test_names_follow_the_settings_pattern(local: Chat, name: str) -> None:
    with refused("error-invalid-room-name"):
        await local.room(ADMIN, name)
    with refused("error-invalid-name"):
        await local.room(ADMIN, "  ")


async def test_names_of_any_characters_where_the_settings_allow(local: Chat) -> None:
    await local.set_setting("UI_Allow_room_names_with_special_chars", True)
    room = await local.room(ADMIN, "Über uns!")
    assert (room["name"], room["fname"]) == ("Uber-uns", "Über uns!")
    with refused("error-duplicate-channel-name"):
        await local.room(ADMIN, "uber uns")
    for shown, name in (
        ("Отдел 1", "Отдел-1"),
        ("Команда 1", "Команда-1"),
        ("हिन्दी & 日本!", "हिन्दी-日本"),
        ("!?", "!?"),
    ):
        room = await local.room(ADMIN, shown)
        assert (room["name"], room["fname"]) == (name, shown)


async def test_there_is_one_room_of_a_name(chat: Chat) -> None:
    ann = await chat.user("ann")
    room = await chat.room(ann, "dev")
    with refused("error-duplicate-channel-name", "A channel with name 'DEV' exists"):
        await chat.room(ann, "DEV")
    with refused("error-duplicate-channel-name"):
        await chat.room(ann, "general", type="p")
    await chat.update_room(ann, room["_id"], name="ops")
    again = await chat.room(ann, "dev")
    with refused("error-duplicate-channel-name"):
        await chat.update_room(ann, again["_id"], name="ops")
    with refused("error-duplicate-channel-name"):
        await chat.room(ann, "dev")
    await chat.messaging.delete_room(RoomRequest(actor=ADMIN, room_id=again["_id"]))
    await chat.room(ann, "dev")


async def test_of_many_who_want_a_name_at_once_one_gets_it(chat: Chat) -> None:
    made = await asyncio.gather(*(chat.room(ADMIN, "dev") for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(room, dict) for room in made) == 1
    assert {e.error_code for e in made if isinstance(e, PalaverError)} == {"error-duplicate-channel-name"}


async def test_a_name_that_a_crash_left_claimed_is_free_after_a_moment(local: Chat) -> None:
    await local.database.claim("room:dev", "neverCreated")
    room = await local.room(ADMIN, "dev")
    await local.database.claim("room:old", room["_id"])  # a rename that did not get to freeing the old name
    await local.room(ADMIN, "old")


async def test_a_renamed_room_tells_it_and_shows_it_to_everybody(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room = await chat.room(ann, "dev", "bob")
    assert (await chat.update_room(ann, room["_id"], name="ops"))["name"] == "ops"
    assert await chat.notices(bob, room["_id"]) == [("r", "ops")]
    assert (await chat.subscription(bob, room["_id"]))["name"] == "ops"
    found = await chat.messaging.get_room(GetRoomRequest(actor=bob, name="ops"))
    assert loaded(found.room)["_id"] == room["_id"]
    with refused("error-room-not-found"):
        await chat.messaging.get_room(GetRoomRequest(actor=bob, name="dev"))


async def test_changes_need_their_permission_and_tell_of_themselves(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    for changes in ({"topic": "x"}, {"ro": True}, {"t": "p"}, {"archived": True}, {"default": True}, {"mute": "ann"}):
        with refused("error-not-allowed" if changes.keys() & {"archived", "mute"} else "error-action-not-allowed"):
            await chat.update_room(bob, room_id, **changes)
    with refused("error-action-not-allowed"):
        await chat.update_room(ann, room_id, topic="not without the other", default=True)
    changed = await chat.update_room(
        ann, room_id, topic="T", description="D", announcement="A", customFields={"a": 1}, ro=True, t="p"
    )
    assert (changed["topic"], changed["description"], changed["announcement"]) == ("T", "D", "A")
    assert (changed["ro"], changed["t"], changed["customFields"]) == (True, "p", {"a": 1})
    await chat.update_room(ann, room_id, ro=True)  # nothing new: nothing told
    await chat.update_room(ann, room_id, ro=False)
    assert await chat.notices(ann, room_id) == [
        ("room_changed_topic", "T"),
        ("room_changed_description", "D"),
        ("room_changed_announcement", "A"),
        ("room-set-read-only", ""),
        ("room_changed_privacy", "private"),
        ("room-removed-read-only", ""),
    ]
    with refused("invalid-params"):
        await chat.update_room(ann, room_id, counted=0)
    with refused("error-invalid-room-topic"):
        await chat.update_room(ann, room_id, topic={"$gt": ""})
    assert (await chat.update_room(ADMIN, room_id, topic="by an admin who is no member"))["topic"] != "T"


async def test_a_room_with_hidden_notices_writes_none(local: Chat) -> None:
    ann = await local.user("ann")
    room_id = (await local.room(ADMIN, "dev"))["_id"]
    await local.update_room(ADMIN, room_id, sysMes=["uj", "ul"])
    await local.join(ann, room_id)
    await local.update_room(ADMIN, room_id, topic="x")
    assert await local.notices(ADMIN, room_id) == [("room_changed_topic", "x")]
    await local.set_setting("Hide_System_Messages", ["room_changed_topic"])
    await local.update_room(ADMIN, room_id, topic="y")
    assert (await local.get_room(ADMIN, room_id))["msgs"] == 1


async def test_an_archived_room_is_silent(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev"))["_id"]
    sent = await chat.send(ann, room_id)
    await chat.update_room(ann, room_id, archived=True)
    for work in (
        chat.send(ann, room_id),
        chat.join(bob, room_id),
        chat.react(ann, sent["_id"], "x"),
        chat.edit(ann, sent["_id"], "y"),
        chat.update_room(ann, room_id, topic="x"),
    ):
        with refused("error-room-archived"):
            await work
    assert (await chat.subscription(ann, room_id))["archived"] is True
    with refused("error-archived-duplicate-name"):
        await chat.room(ann, "dev")
    await chat.update_room(ADMIN, room_id, archived=False)
    await chat.send(ann, room_id)


async def test_a_deleted_room_is_unknown(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room = await chat.room(ann, "dev", "bob")
    sent = await chat.send(ann, room["_id"])
    with refused("error-not-allowed"):
        await chat.messaging.delete_room(RoomRequest(actor=bob, room_id=room["_id"]))
    await chat.messaging.delete_room(RoomRequest(actor=ann, room_id=room["_id"]))
    for actor in (ann, bob, ADMIN):
        with refused("error-room-not-found"):
            await chat.get_room(actor, room["_id"])
        with refused("error-room-not-found"):
            await chat.send(actor, room["_id"])
        with refused("error-message-not-found"):
            await chat.message(actor, sent["_id"])
    assert room["_id"] not in await chat.subscriptions(ann)


async def test_a_forbidden_room_answers_as_an_unknown_one(chat: Chat) -> None:
    """Whatever is asked of it, the error says nothing: class, code, words and details are the same."""
    ann, spy = await chat.users("ann", "spy")
    hidden = (await chat.room(ann, "secret", type="p"))["_id"]
    direct = (await chat.direct(ann, "boss"))["_id"]
    sent = await chat.send(ann, hidden)
    m = chat.messaging

    def ask(room_id: str, actor: Actor) -> list[object]:
        return [
            m.get_room(GetRoomRequest(actor=actor, room_id=room_id)),
            m.get_room(GetRoomRequest(actor=actor, name="secret" if room_id != "unknown" else "unknown")),
            m.get_room(GetRoomRequest(actor=actor, id_or_name=room_id)),
            m.send_message(SendMessageRequest(actor=actor, room_id=room_id, text="x", message_id="x")),
            m.list_messages(ListMessagesRequest(actor=actor, room_id=room_id)),
            m.list_members(ListMembersRequest(actor=actor, room_id=room_id)),
            m.list_threads(ListThreadsRequest(actor=actor, room_id=room_id)),
            m.search_messages(SearchMessagesRequest(actor=actor, room_id=room_id, text="x")),
            m.update_room(UpdateRoomRequest(actor=actor, room_id=room_id, set=b'{"topic":"x"}')),
            m.delete_room(RoomRequest(actor=actor, room_id=room_id)),
            m.leave_room(RoomRequest(actor=actor, room_id=room_id)),
            m.get_subscription(RoomRequest(actor=actor, room_id=room_id)),
            m.check_access(CheckAccessRequest(actor=actor, room_id=room_id)),
            m.mark_read(MarkReadRequest(actor=actor, room_id=room_id)),
            m.set_subscription(SetSubscriptionRequest(actor=actor, room_id=room_id, set=b'{"f":true}')),
            m.get_counters(GetCountersRequest(actor=actor, room_id=room_id)),
            m.invite_members(MembersRequest(actor=actor, room_id=room_id, usernames=["spy"])),
            m.remove_member(MembersRequest(actor=actor, room_id=room_id, usernames=["ann"])),
        ]

    unknown = [await error_of(work) for work in ask("unknown", spy)]  # type: ignore[arg-type]
    assert {error[0] for error in unknown} == {"RoomNotFound"}
    for room_id in (hidden, direct):
        assert [await error_of(work) for work in ask(room_id, spy)] == unknown  # type: ignore[arg-type]
    expected = await error_of(chat.message(spy, "unknown"))
    for id in (sent["_id"], "unknown"):
        assert await error_of(chat.message(spy, id)) == expected
        assert await error_of(chat.edit(spy, id, "x")) == expected
        assert await error_of(chat.delete(spy, id)) == expected
        assert await error_of(chat.react(spy, id, "x")) == expected
        assert await error_of(chat.follow(spy, id)) == expected


async def test_who_is_nobody_is_not_the_system(chat: Chat) -> None:
    """A request without an actor must not be taken for an internal one."""
    hidden = (await chat.room(ADMIN, "secret", type="p"))["_id"]
    assert (await chat.messaging.check_access(CheckAccessRequest(actor=SYSTEM, room_id=hidden))).allowed
    with refused("error-invalid-user"):
        await chat.messaging.check_access(CheckAccessRequest(room_id=hidden))
    with refused("error-invalid-user"):
        await chat.messaging.get_room(GetRoomRequest(room_id="GENERAL"))
    with refused("error-invalid-user"):
        await chat.messaging.send_message(SendMessageRequest(room_id="GENERAL", text="x", message_id="x"))


async def test_anonymous_reading_where_the_settings_allow(chat: Chat) -> None:
    hidden = (await chat.room(ADMIN, "secret", type="p"))["_id"]
    await chat.set_setting("Accounts_AllowAnonymousRead", True)
    nobody = Actor(kind=Actor.USER)
    assert (await chat.messaging.check_access(CheckAccessRequest(room_id="GENERAL"))).allowed
    assert await chat.texts(nobody, "GENERAL") == []
    with refused("error-room-not-found"):
        await chat.messaging.check_access(CheckAccessRequest(room_id=hidden))
    with refused("error-invalid-user"):
        await chat.send(nobody, "GENERAL")


async def test_general_is_there_from_the_beginning(chat: Chat) -> None:
    room = await chat.get_room(ADMIN, "GENERAL")
    assert (room["name"], room["t"], room["default"], room["usersCount"]) == ("general", "c", True, 2)
    assert {member["_id"] for member in await chat.members(ADMIN, "GENERAL")} == {ADMIN_ID, "rocket.cat"}
    ann = await chat.user("ann")
    assert await chat.subscription(ann, "GENERAL") == {}
    for _ in range(2):
        await chat.messaging.join_default_rooms(JoinDefaultRoomsRequest(actor=ann))
    assert (await chat.get_room(ADMIN, "GENERAL"))["usersCount"] == 3
    assert await chat.notices(ann, "GENERAL") == [("uj", "ann")]


async def test_who_makes_users_adds_them_to_the_default_rooms(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")

    async def add(actor: Actor, user_id: str) -> None:
        await chat.messaging.join_default_rooms(JoinDefaultRoomsRequest(actor=actor, user_id=user_id))

    with refused("error-not-allowed"):
        await add(ann, bob.id)
    assert await chat.subscription(bob, "GENERAL") == {}
    await add(ADMIN, bob.id)
    assert await chat.notices(bob, "GENERAL") == [("uj", "bob")]
    await chat.running.services.auth.set_user_active(SetUserActiveRequest(actor=ADMIN, user_id=ann.id, active=False))
    for nobody in (ann.id, "unknown"):
        with refused("error-invalid-user"):
            await add(ADMIN, nobody)


async def test_a_restart_leaves_general_alone(tmp_path: Path, cheap_hashes: None) -> None:
    roles = ("auth", "presence", "messaging")
    async with service_nodes(tmp_path, roles, "process") as running:
        chat = Chat(running)
        await chat.update_room(ADMIN, "GENERAL", name="lobby")
        await chat.send(ADMIN, "GENERAL")
    async with service_nodes(tmp_path, roles, "process") as running:
        chat = Chat(running)
        room = await chat.get_room(ADMIN, "GENERAL")
        assert (room["name"], room["usersCount"]) == ("lobby", 2)
        assert await chat.texts(ADMIN, "GENERAL") == ["hello"]
