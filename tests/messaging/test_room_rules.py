"""What a room's settings do: who may write, who may change what, and what is told of it."""

from typing import Any

import pytest

from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import GetRoomRequest, JoinDefaultRoomsRequest, ListMessagesRequest
from tests.messaging.helpers import ADMIN, Chat, loaded, refused
from tests.messaging.teams import Teams

READ_ONLY = "You can't send messages because the room is readonly."


async def test_in_a_read_only_room_some_write(chat: Chat) -> None:
    ann, bob, cat = await chat.users("ann", "bob", "cat")
    room_id = (await chat.room(ann, "dev", "bob", "cat", read_only=True))["_id"]
    sent = await chat.send(ann, room_id)  # post-readonly, as its owner
    for work in (chat.send(bob, room_id), chat.send(bob, room_id, thread_id=sent["_id"])):
        with refused("error-not-allowed", READ_ONLY):
            await work
    with refused("error-not-allowed"):
        await chat.react(bob, sent["_id"], "x")
    with refused("error-action-not-allowed"):
        await chat.update_room(bob, room_id, reactWhenReadOnly=True)
    await chat.update_room(ann, room_id, reactWhenReadOnly=True)
    await chat.react(bob, sent["_id"], "x")
    room = await chat.update_room(ann, room_id, unmute="bob")
    assert room["unmuted"] == ["bob"]
    await chat.send(bob, room_id)
    room = await chat.update_room(ann, room_id, mute="bob")
    assert (room.get("unmuted"), room["muted"]) == (None, ["bob"])
    with refused("error-not-allowed"):
        await chat.send(bob, room_id)
    await chat.set_role(ann, room_id, "catId", "moderator")
    await chat.send(cat, room_id)
    await chat.update_room(ann, room_id, ro=False, reactWhenReadOnly=False)
    with refused("error-not-allowed", "You_have_been_muted"):
        await chat.send(bob, room_id)
    assert await chat.notices(ann, room_id) == [
        ("room-allowed-reacting", ""),
        ("user-unmuted", "bob"),
        ("user-muted", "bob"),
        ("subscription-role-added", "cat"),
        ("room-removed-read-only", ""),
        ("room-disallowed-reacting", ""),
    ]


async def test_in_a_broadcast_room_few_write(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room = await chat.room(ann, "news", "bob", extra=b'{"broadcast":true}')
    assert (room["broadcast"], room["ro"]) == (True, True)
    sent = await chat.send(ann, room["_id"])
    with refused("error-not-allowed", READ_ONLY):
        await chat.send(bob, room["_id"])
    assert (await chat.subscription(bob, room["_id"]))["broadcast"] is True
    with refused("error-not-allowed"):
        await chat.members(bob, room["_id"])  # view-broadcast-member-list
    direct = (await chat.direct(bob, "ann"))["_id"]  # that is where one answers
    answer = await chat.send(bob, direct, f"[ ](http://chat.example.org/channel/news?msg={sent['_id']}) thanks")
    assert [quoted["text"] for quoted in answer["attachments"]] == ["hello"]


@pytest.mark.parametrize(
    ("changes", "notice"),
    [
        ({"topic": "x"}, ("room_changed_topic", "x")),
        ({"description": "x"}, ("room_changed_description", "x")),
        ({"announcement": "x"}, ("room_changed_announcement", "x")),
        ({"name": "new-name"}, ("r", "new-name")),
        ({"t": "p"}, ("room_changed_privacy", "private")),
        ({"ro": True}, ("room-set-read-only", "")),
        ({"reactWhenReadOnly": True}, ("room-allowed-reacting", "")),
        ({"archived": True}, ("room-archived", "")),
        ({"mute": "bob"}, ("user-muted", "bob")),
    ],
)
async def test_each_change_is_told_in_its_form(local: Chat, changes: dict[str, Any], notice: tuple[str, str]) -> None:
    ann, bob = await local.users("ann", "bob")
    room_id = (await local.room(ann, "dev", "bob"))["_id"]
    own_act = changes.keys() & {"archived", "mute"}
    with refused("error-not-allowed" if own_act else "error-action-not-allowed"):
        await local.update_room(bob, room_id, **changes)
    await local.update_room(ann, room_id, **changes)
    reply = await local.messaging.list_messages(ListMessagesRequest(actor=ann, room_id=room_id))
    (told,) = map(loaded, reply.messages)
    assert (told["t"], told["msg"]) == notice
    assert told["u"] == {"_id": "annId", "username": "ann", "name": "Ann"}
    assert told["groupable"] is False


async def test_what_a_room_hides_is_not_told_there(local: Chat) -> None:
    ann, _ = await local.users("ann", "bob")
    room_id = (await local.room(ann, "dev", "bob"))["_id"]
    with refused("error-invalid-room-sysMes"):
        await local.update_room(ann, room_id, sysMes=["uj", 1])
    await local.update_room(ann, room_id, sysMes=["mute_unmute"])
    await local.update_room(ann, room_id, mute="bob")
    await local.update_room(ann, room_id, topic="x")
    assert await local.notices(ann, room_id) == [("room_changed_topic", "x")]
    await local.update_room(ann, room_id, sysMes=False)
    await local.update_room(ann, room_id, topic="y")
    assert await local.notices(ann, room_id) == [("room_changed_topic", "x")]


async def join_code(chat: Chat, actor: Actor, room_id: str) -> str | None:
    reply = await chat.messaging.get_room(GetRoomRequest(actor=actor, room_id=room_id))
    return reply.join_code if reply.HasField("join_code") else None


async def test_a_join_code_is_shown_to_those_who_may_view_it(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    assert [await join_code(chat, actor, room_id) for actor in (ADMIN, ann)] == ["", None]
    await chat.update_room(ann, room_id, joinCode="sesame")
    assert [await join_code(chat, actor, room_id) for actor in (ADMIN, ann, bob)] == ["sesame", None, None]
    await chat.grant("view-join-code", "owner")
    assert [await join_code(chat, actor, room_id) for actor in (ADMIN, ann, bob)] == [None, "sesame", None]


async def test_who_enters_a_default_room_may_have_it_as_a_favourite(chat: Chat) -> None:
    ann = await chat.user("ann")
    with refused("error-action-not-allowed"):
        await chat.update_room(ann, (await chat.room(ann, "own"))["_id"], favorite=True)
    room_id = (await chat.room(ADMIN, "welcome"))["_id"]
    await chat.update_room(ADMIN, room_id, default=True, favorite=True)
    await chat.messaging.join_default_rooms(JoinDefaultRoomsRequest(actor=ann, silently=True))
    assert (await chat.subscription(ann, room_id))["f"] is True
    assert await chat.notices(ADMIN, room_id) == []
    bob = await chat.user("bob")
    await chat.join(bob, room_id)
    assert "f" not in await chat.subscription(bob, room_id)


async def test_a_room_has_a_retention_of_its_own(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    with refused("error-action-not-allowed"):
        await chat.update_room(ann, room_id, retention={"enabled": True})  # edit-room-retention-policy
    await chat.update_room(ADMIN, room_id, retention={"enabled": True, "maxAge": 30})
    room = await chat.update_room(ADMIN, room_id, retention={"overrideGlobal": True, "maxAge": 7})
    assert room["retention"] == {"enabled": True, "maxAge": 7, "overrideGlobal": True}
    for wrong in ({"maxAge": 0}, {"maxAge": "7"}, {"maxAge": True}, {"enabled": 1}, {"other": True}, {"maxAge": 10**9}):
        with refused("error-invalid-room-retention"):
            await chat.update_room(ADMIN, room_id, retention=wrong)
    direct = (await chat.direct(ADMIN, "ann"))["_id"]
    assert (await chat.update_room(ADMIN, direct, retention={"enabled": False}))["retention"] == {"enabled": False}


async def test_only_a_team_has_a_side_panel(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    with refused("error-action-not-allowed"):
        await chat.update_room(ann, room_id, sidepanel={"items": ["channels"]})
    team = await Teams(chat).create(ann, "team")
    for wrong in ({}, {"items": "channels"}, {"items": ["x"]}, {"items": ["channels"] * 2}, {"items": [], "more": 1}):
        with refused("error-invalid-room-sidepanel"):
            await chat.update_room(ann, team, sidepanel=wrong)
    room = await chat.update_room(ann, team, sidepanel={"items": ["channels", "discussions"]})
    assert room["sidepanel"] == {"items": ["channels", "discussions"]}


async def test_who_blocks_somebody_ends_their_talk(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.direct(ann, "bob"))["_id"]

    async def shown(actor: Actor) -> tuple[bool, bool]:
        subscription = await chat.subscription(actor, room_id)
        return subscription.get("blocker", False), subscription.get("blocked", False)

    await chat.update_room(ann, room_id, block="bobId")
    assert (await shown(ann), await shown(bob)) == ((True, False), (False, True))
    for actor in (ann, bob):
        with refused("error-not-allowed", "room_is_blocked"):
            await chat.send(actor, room_id)
    await chat.update_room(bob, room_id, block="annId")
    assert (await shown(ann), await shown(bob)) == ((True, True), (True, True))
    await chat.update_room(ann, room_id, unblock="bobId")
    assert (await shown(ann), await shown(bob)) == ((False, True), (True, False))
    with refused("error-not-allowed", "room_is_blocked"):
        await chat.send(ann, room_id)
    await chat.update_room(bob, room_id, unblock="annId")
    assert (await shown(ann), await shown(bob)) == ((False, False), (False, False))
    await chat.send(ann, room_id)
    assert "blockers" not in await chat.get_room(ann, room_id)


async def test_blocking_is_for_the_two_of_a_direct_room(chat: Chat) -> None:
    ann, *_ = await chat.users("ann", "bob", "cat")
    room_id = (await chat.direct(ann, "bob"))["_id"]
    with refused("error-invalid-room"):
        await chat.update_room(ADMIN, room_id, block="bobId")
    for wrong in ("annId", "catId", ""):
        with refused("error-invalid-room"):
            await chat.update_room(ann, room_id, block=wrong)
    several = (await chat.direct(ann, "bob", "cat"))["_id"]
    with refused("error-invalid-room"):
        await chat.update_room(ann, several, block="bobId")
    channel = (await chat.room(ann, "dev", "bob"))["_id"]
    with refused("error-invalid-room"):
        await chat.update_room(ann, channel, block="bobId")


async def test_administrators_read_direct_rooms_where_the_settings_let_them(chat: Chat) -> None:
    ann, _ = await chat.users("ann", "bob")
    room_id = (await chat.direct(ann, "bob"))["_id"]
    await chat.send(ann, room_id, "psst")
    with refused("error-endpoint-disabled"):
        await chat.page(ADMIN, room_id, of_others=True)
    await chat.set_setting("API_Enable_Direct_Message_History_EndPoint", True)
    assert [loaded(data)["msg"] for data in (await chat.page(ADMIN, room_id, of_others=True)).messages] == ["psst"]
    with refused("error-not-allowed"):
        await chat.page(ann, room_id, of_others=True)
    with refused("error-room-not-found"):
        await chat.page(ADMIN, (await chat.room(ann, "hidden", type="p"))["_id"], of_others=True)
    with refused("error-room-not-found"):
        await chat.page(ADMIN, room_id)
