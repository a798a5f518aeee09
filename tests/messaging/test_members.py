"""Who is in a room: joining, leaving, inviting, removing, roles; and direct rooms, whose members are who they are."""

from typing import Any

import pytest

from palaver.v1.auth_pb2 import SetUserActiveRequest
from palaver.v1.messaging_pb2 import (
    GetRoomRequest,
    ListMembersRequest,
    MarkUnreadRequest,
    OpenDirectRoomRequest,
    RoomRequest,
)
from tests.messaging.helpers import ADMIN, Chat, loaded, refused


async def test_joining_and_leaving_tells_and_counts(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev"))["_id"]
    assert (await chat.join(bob, room_id))["usersCount"] == 2
    assert (await chat.join(bob, room_id))["usersCount"] == 2
    await chat.leave(bob, room_id)
    assert await chat.subscription(bob, room_id) == {}
    assert (await chat.get_room(ann, room_id))["usersCount"] == 1
    with refused("error-user-not-in-room"):
        await chat.leave(bob, room_id)
    assert await chat.notices(ann, room_id) == [("uj", "bob"), ("ul", "bob")]
    assert await chat.counters(ann, room_id) == (0, 0, 0, False), "system messages are nobody's to read"


async def test_who_comes_back_begins_anew(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    await chat.send(bob, room_id)
    first = (await chat.subscription(bob, room_id))["_id"]
    await chat.leave(bob, room_id)
    await chat.send(ann, room_id, "while away")
    await chat.join(bob, room_id)
    shown = await chat.subscription(bob, room_id)
    assert shown["_id"] != first
    assert await chat.counters(bob, room_id) == (0, 0, 0, False)
    await chat.send(ann, room_id, "now @bob")
    assert await chat.counters(bob, room_id) == (1, 1, 0, True)


async def test_private_rooms_are_not_joined(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", type="p"))["_id"]
    with refused("error-room-not-found"):
        await chat.join(bob, room_id)
    await chat.invite(ann, room_id, "bob")
    assert (await chat.get_room(bob, room_id))["usersCount"] == 2
    assert await chat.notices(bob, room_id) == [("au", "bob")]


async def test_a_join_code_is_asked_for(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev"))["_id"]
    room = await chat.update_room(ann, room_id, joinCode="sesame")
    assert room["joinCodeRequired"] is True
    assert "sesame" not in str(room)
    with refused("error-code-invalid"):
        await chat.join(bob, room_id)
    with refused("error-code-invalid"):
        await chat.join(bob, room_id, "Sesame")
    await chat.join(bob, room_id, "sesame")
    await chat.join(ADMIN, room_id)  # join-without-join-code
    assert "joinCodeRequired" not in await chat.update_room(ann, room_id, joinCode="")


async def test_inviting_needs_its_permission(chat: Chat) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    with refused("error-not-allowed"):
        await chat.invite(bob, room_id, "eve")
    with refused("error-not-allowed"):
        await chat.invite(eve, room_id, "eve")
    with refused("error-invalid-user"):
        await chat.invite(ann, room_id, "nobody")
    with refused("invalid-user-invite-list"):
        await chat.invite(ann, room_id)
    await chat.invite(ADMIN, room_id, "eve", "bob")  # no member, but add-user-to-any-c-room
    assert await chat.notices(ann, room_id) == [("au", "eve")]
    hidden = (await chat.room(ann, "secret", type="p"))["_id"]
    with refused("error-room-not-found"):
        await chat.invite(ADMIN, hidden, "eve")


async def test_everybody_may_be_invited_at_once(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.room(ADMIN, "dev"))["_id"]
    assert (await chat.invite(ADMIN, room_id, everybody=True))["usersCount"] == 3
    with refused("error-not-allowed"):
        await chat.invite(ann, room_id, everybody=True)
    await chat.set_setting("API_User_Limit", 2)
    with refused("error-user-limit-exceeded"):
        await chat.invite(ADMIN, room_id, everybody=True)


async def test_a_removed_member_can_do_nothing(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    for room_type in ("c", "p"):
        room_id = (await chat.room(ann, f"dev-{room_type}", "bob", type=room_type))["_id"]
        mine = await chat.send(bob, room_id, message_id=f"mine{room_type}")
        await chat.remove(ann, room_id, "bob")
        assert await chat.notices(ann, room_id) == [("ru", "bob")]
        code = "error-room-not-found" if room_type == "p" else "error-not-allowed"
        message_code = "error-message-not-found" if room_type == "p" else "error-not-allowed"
        with refused(code):
            await chat.send(bob, room_id)
        with refused(message_code):
            await chat.react(bob, mine["_id"], "x")
        with refused(message_code):
            await chat.edit(bob, mine["_id"], "changed")
        with refused("error-room-not-found"):
            await chat.read(bob, room_id)
        with refused("error-user-not-in-room"):
            await chat.remove(ann, room_id, "bob")


async def test_removing_needs_its_permission(chat: Chat) -> None:
    ann, bob, _ = await chat.users("ann", "bob", "eve")
    room_id = (await chat.room(ann, "dev", "bob", "eve"))["_id"]
    with refused("error-not-allowed"):
        await chat.remove(bob, room_id, "eve")
    await chat.set_role(ann, room_id, "bobId", "moderator")
    await chat.remove(bob, room_id, "eve")
    with refused("error-you-are-last-owner"):
        await chat.remove(ADMIN, room_id, "ann")  # kick-user-from-any-c-room


async def test_the_last_owner_stays_while_others_do(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    with refused("error-you-are-last-owner"):
        await chat.leave(ann, room_id)
    with refused("error-remove-last-owner"):
        await chat.set_role(ann, room_id, "annId", "owner", False)
    await chat.set_role(ann, room_id, "bobId", "owner")
    await chat.leave(ann, room_id)
    await chat.leave(bob, room_id)  # alone: the room may be empty


async def test_roles_in_a_room(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    with refused("error-not-allowed"):
        await chat.set_role(bob, room_id, "bobId", "owner")
    await chat.set_role(ann, room_id, "bobId", "moderator")
    assert (await chat.subscription(bob, room_id))["roles"] == ["moderator"]
    with refused("error-user-already-moderator"):
        await chat.set_role(ann, room_id, "bobId", "moderator")
    with refused("error-user-not-leader"):
        await chat.set_role(ann, room_id, "bobId", "leader", False)
    with refused("error-invalid-role"):
        await chat.set_role(ann, room_id, "bobId", "admin")
    with refused("error-user-not-in-room"):
        await chat.set_role(ann, room_id, "rocket.cat", "leader")
    await chat.set_role(ann, room_id, "bobId", "moderator", False)
    assert await chat.notices(bob, room_id) == [
        ("subscription-role-added", "bob"),
        ("subscription-role-removed", "bob"),
    ]


async def test_members_are_listed_in_pages(chat: Chat) -> None:
    ann, *_ = await chat.users("ann", "bob", "eve")
    room_id = (await chat.room(ann, "dev", "bob", "eve"))["_id"]
    assert [member["username"] for member in await chat.members(ann, room_id)] == ["ann", "bob", "eve"]
    assert [member["username"] for member in await chat.members(ann, room_id, offset=1, count=1)] == ["bob"]
    assert [member["username"] for member in await chat.members(ann, room_id, term="V")] == ["eve"]
    assert [m["username"] for m in await chat.members(ann, room_id, sort=b'[["username",-1]]')] == ["eve", "bob", "ann"]
    first = (await chat.members(ann, room_id))[0]
    assert (first["name"], first["roles"], first["status"]) == ("Ann", ["owner"], "offline")
    assert await chat.members(ann, room_id, status=["online"]) == []
    assert len(await chat.members(ann, room_id, status=["offline"])) == 3


async def test_members_are_found_by_username_or_name(chat: Chat) -> None:
    ann = await chat.user("ann")
    await chat.user("x17", name="Zoë Bell")
    await chat.user("bella", name="Isabel")
    room_id = (await chat.room(ann, "dev", "x17", "bella"))["_id"]
    assert [member["username"] for member in await chat.members(ann, room_id, term="BELL")] == ["bella", "x17"]
    offline = await chat.members(ann, room_id, term="zoë", status=["offline"])
    assert [member["username"] for member in offline] == ["x17"]


async def test_who_has_a_role_is_found_among_others(chat: Chat) -> None:
    names = ("ann", "bob", "cid", "dan", "eve")
    ann = (await chat.users(*names))[0]
    room_id = (await chat.room(ann, "dev", *names[1:]))["_id"]
    await chat.set_role(ann, room_id, "eveId", "moderator")
    reply = await chat.messaging.list_members(ListMembersRequest(actor=ann, room_id=room_id, with_roles=True, count=1))
    assert (reply.total, [loaded(data)["username"] for data in reply.documents]) == (2, ["ann"])
    [eve] = await chat.members(ann, room_id, with_roles=True, offset=1)
    assert (eve["username"], eve["roles"]) == ("eve", ["moderator"])


async def test_members_are_found_by_their_roles(chat: Chat) -> None:
    ann, bob, *_ = await chat.users("ann", "bob", "eve", "joe")
    room_id = (await chat.room(ann, "dev", "bob", "eve", "joe"))["_id"]
    other_id = (await chat.room(bob, "other", "ann"))["_id"]
    for name in ("eve", "bob"):
        await chat.set_role(ann, room_id, f"{name}Id", "moderator")
    await chat.set_role(ann, room_id, "bobId", "leader")

    async def page(room_id: str, **fields: Any) -> tuple[list[str], int]:
        request = ListMembersRequest(actor=ann, room_id=room_id, **fields)
        reply = await chat.messaging.list_members(request)
        return [loaded(data)["username"] for data in reply.documents], reply.total

    assert await page(room_id, with_roles=True) == (["ann", "bob", "eve"], 3)
    assert await page(room_id, role="moderator") == (["bob", "eve"], 2)
    assert await page(room_id, role="moderator", offset=1, count=1) == (["eve"], 2)
    assert await page(room_id, role="moderator", term="b") == (["bob"], 1)
    assert await page(other_id, role="moderator") == ([], 0)
    await chat.set_role(ann, room_id, "eveId", "moderator", False)
    await chat.leave(bob, room_id)
    assert await page(room_id, with_roles=True) == (["ann"], 1)
    await chat.join(bob, room_id)
    assert await page(room_id, with_roles=True) == (["ann"], 1)


async def test_direct_rooms_are_the_same_for_the_same_people(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room = await chat.direct(ann, "bob")
    assert room["_id"] == "annIdbobId"
    assert (room["t"], sorted(room["usernames"]), room["usersCount"]) == ("d", ["ann", "bob"], 2)
    assert (await chat.direct(bob, "ann"))["_id"] == room["_id"]
    hers, his = await chat.subscription(ann, room["_id"]), await chat.subscription(bob, room["_id"])
    assert (hers["name"], hers["fname"], hers["open"]) == ("bob", "Bob", True)
    assert (his["name"], his["fname"]) == ("ann", "Ann")
    myself = await chat.direct(ann, "ann")
    assert (myself["_id"], myself["usersCount"]) == ("annIdannId", 1)
    found = await chat.messaging.get_room(GetRoomRequest(actor=ann, name="bob", types=["d"]))
    assert loaded(found.room)["_id"] == room["_id"]


async def test_a_direct_room_opens_for_the_other_when_somebody_writes(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.direct(ann, "bob"))["_id"]
    assert (await chat.subscription(bob, room_id))["open"] is False
    await chat.send(ann, room_id)
    assert (await chat.subscription(bob, room_id))["open"] is True
    assert await chat.counters(bob, room_id) == (1, 0, 0, True)
    await chat.prefer(bob, room_id, open=False)
    assert (await chat.subscription(bob, room_id))["open"] is False
    await chat.direct(bob, "ann")
    assert (await chat.subscription(bob, room_id))["open"] is True


async def test_direct_rooms_of_a_few(chat: Chat) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    room = await chat.direct(ann, "bob", "eve")
    assert (await chat.direct(eve, "ann", "bob"))["_id"] == room["_id"]
    assert room["usersCount"] == 3
    assert (await chat.subscription(bob, room["_id"]))["name"] == "ann, eve"
    assert (await chat.direct(eve, "ann", "bob", "eve", exclude_self=True))["_id"] == room["_id"]
    await chat.set_setting("DirectMesssage_maxUsers", 2)
    with refused("error-direct-message-max-user-exceeded"):
        await chat.direct(ann, "bob", "eve")


async def test_a_channel_named_like_somebody_hides_no_direct_room(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.direct(ann, "bob"))["_id"]
    channel_id = (await chat.room(bob, "bob"))["_id"]

    async def find(**which: str) -> dict[str, str]:
        found = {}
        for kind in ("c", "d"):
            reply = await chat.messaging.get_room(GetRoomRequest(actor=ann, types=[kind], **which))
            found[kind] = loaded(reply.room)["_id"]
        return found

    assert await find(name="bob") == await find(id_or_name="bob") == {"c": channel_id, "d": room_id}


async def test_direct_rooms_have_no_other_members(chat: Chat) -> None:
    ann, _, _ = await chat.users("ann", "bob", "eve")
    room_id = (await chat.direct(ann, "bob"))["_id"]
    for work in (chat.invite(ann, room_id, "eve"), chat.remove(ann, room_id, "bob"), chat.leave(ann, room_id)):
        with refused("error-not-allowed"):
            await work
    with refused("error-not-allowed"):
        await chat.update_room(ann, room_id, name="x")


async def test_who_may_open_a_direct_room(chat: Chat) -> None:
    ann = await chat.user("ann")
    with refused("error-invalid-user"):
        await chat.direct(ann, "nobody")
    with refused("error-invalid-user"):
        await chat.messaging.open_direct_room(OpenDirectRoomRequest(actor=ann, user_ids=["nobody"]))
    await chat.set_setting("Message_AllowDirectMessagesToYourself", False)
    with refused("error-invalid-user"):
        await chat.direct(ann, "ann")
    await chat.grant("create-d", "admin")
    with refused("error-not-allowed"):
        await chat.direct(ann, "boss")


async def test_a_deleted_direct_room_comes_back_empty(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.direct(ann, "boss"))["_id"]
    old = await chat.send(ann, room_id, "old")
    await chat.messaging.delete_room(RoomRequest(actor=ADMIN, room_id=room_id))
    assert (await chat.direct(ann, "boss"))["_id"] == room_id
    await chat.send(ann, room_id, "new")
    assert await chat.texts(ADMIN, room_id) == ["new"]
    with refused("error-message-not-found"):
        await chat.message(ann, old["_id"])


async def test_an_outsider_learns_nothing_of_a_direct_room(chat: Chat) -> None:
    """Who opens one for others gets its id if it is new, and else nothing."""
    ann, _, eve = await chat.users("ann", "bob", "eve")
    made = await chat.direct(eve, "ann", "bob", exclude_self=True)
    assert made == {"_id": "annIdbobId", "t": "d"}
    assert (await chat.direct(ann, "bob"))["_id"] == made["_id"]
    await chat.send(ann, made["_id"], "secret")
    for outsider in (eve, ADMIN):
        with refused("error-not-allowed"):
            await chat.direct(outsider, "ann", "bob", exclude_self=True)
    assert (await chat.direct(ann, "ann", "bob", exclude_self=True))["lastMessage"]["msg"] == "secret"
    few = await chat.direct(ADMIN, "ann", "bob", "eve", exclude_self=True)
    assert few.keys() == {"_id", "t"}
    assert (await chat.direct(eve, "ann", "bob"))["_id"] == few["_id"]


async def test_an_outsider_neither_makes_nor_gets_notes_to_oneself(chat: Chat) -> None:
    ann, eve = await chat.users("ann", "eve")
    for _ in range(2):
        with refused("error-not-allowed"):
            await chat.direct(eve, "ann", exclude_self=True)
        notes = await chat.direct(ann, "ann", exclude_self=True)
        await chat.send(ann, notes["_id"], "note")


async def test_an_outsider_brings_no_deleted_direct_room_back(chat: Chat) -> None:
    ann, _, eve = await chat.users("ann", "bob", "eve")
    room_id = (await chat.direct(ann, "bob"))["_id"]
    await chat.messaging.delete_room(RoomRequest(actor=ADMIN, room_id=room_id))
    with refused("error-not-allowed"):
        await chat.direct(eve, "ann", "bob", exclude_self=True)
    with refused("error-room-not-found"):
        await chat.get_room(ann, room_id)


async def test_nothing_reaches_what_was_deleted_with_a_direct_room(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.direct(ann, "boss"))["_id"]
    root = (await chat.send(ADMIN, room_id, "old"))["_id"]
    reply = (await chat.send(ann, room_id, "old too", thread_id=root))["_id"]
    assert await chat.threads(ann, room_id) == [root]
    await chat.messaging.delete_room(RoomRequest(actor=ADMIN, room_id=room_id))
    await chat.direct(ann, "boss")
    for kind in ("", "following", "unread"):
        assert await chat.threads(ann, room_id, type=kind) == []
    for id in (root, reply):
        for work in (
            chat.message(ADMIN, id),
            chat.edit(ADMIN, id, "x"),
            chat.delete(ADMIN, id),
            chat.react(ADMIN, id, "x"),
            chat.follow(ADMIN, id),
            chat.page(ADMIN, room_id, around_id=id),
        ):
            with refused("error-message-not-found"):
                await work
    with refused("error-invalid-message"):
        await chat.send(ann, room_id, "again", thread_id=root)
    for request in (MarkUnreadRequest(room_id=room_id), MarkUnreadRequest(first_unread_id=root)):
        request.actor.CopyFrom(ann)
        with refused("error-no-message-for-unread"):
            await chat.messaging.mark_unread(request)
    new = await chat.send(ann, room_id, "new")
    await chat.delete(ann, new["_id"])
    assert "lastMessage" not in await chat.get_room(ann, room_id)


@pytest.mark.parametrize("count", [1, 2])
async def test_muted_members_listen(chat: Chat, count: int) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    sent = await chat.send(bob, room_id)
    for _ in range(count):
        await chat.update_room(ann, room_id, mute="bob")
    with refused("error-not-allowed", "You_have_been_muted"):
        await chat.send(bob, room_id)
    with refused("error-not-allowed", "You_have_been_muted"):
        await chat.react(bob, sent["_id"], "x")
    await chat.update_room(ann, room_id, unmute="bob")
    await chat.send(bob, room_id)
    assert await chat.notices(bob, room_id) == [("user-muted", "bob"), ("user-unmuted", "bob")]
    with refused("error-user-not-in-room"):
        await chat.update_room(ann, room_id, mute="rocket.cat")


async def test_deactivated_users_are_not_invited(chat: Chat) -> None:
    ann, bob, _ = await chat.users("ann", "bob", "eve")
    room_id = (await chat.room(ann, "dev"))["_id"]
    await chat.running.services.auth.set_user_active(SetUserActiveRequest(actor=ADMIN, user_id=bob.id, active=False))
    chat.running.nodes["messaging"].access.forget_user(bob.id)
    with refused("error-user-is-not-activated"):
        await chat.invite(ann, room_id, "bob")
    assert (await chat.invite(ann, room_id, "bob", "eve"))["usersCount"] == 2
    assert [member["username"] for member in await chat.members(ann, room_id)] == ["ann", "eve"]
