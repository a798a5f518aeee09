"""Lists of rooms and subscriptions, what changed since, and the answers for gateways."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import orjson
import pytest

from palaver.database import Document, Put
from palaver.events import SYSTEM, room_stream
from palaver.v1.auth_pb2 import SetUserActiveRequest
from palaver.v1.event_pb2 import Actor, Event
from palaver.v1.messaging_pb2 import (
    CheckAccessRequest,
    GetRoomHeadsRequest,
    ListHearingRequest,
    ListJoinsRequest,
    ListMembershipsRequest,
    ListRoomEventsRequest,
    ListRoomsReply,
    ListRoomsRequest,
    ListSubscriptionsRequest,
    RoomRequest,
    SpotlightRequest,
)
from tests.messaging.helpers import ADMIN, Chat, loaded, refused


async def rooms(chat: Chat, actor: Actor, **fields: object) -> ListRoomsReply:
    request = ListRoomsRequest(actor=actor, **{"updated_since": -1, **fields})  # type: ignore[arg-type]
    return await chat.messaging.list_rooms(request)


def names(reply: ListRoomsReply) -> list[str]:
    return [loaded(data).get("name", "?") for data in reply.rooms]


async def test_which_rooms_somebody_sees(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    await chat.room(ann, "beta", type="p")
    await chat.room(ann, "alpha")
    await chat.room(bob, "gamma")
    await chat.direct(ann, "bob")
    sort = b'[["name",1]]'
    assert names(await rooms(chat, ann, sort=sort)) == ["?", "alpha", "beta"]
    assert names(await rooms(chat, ann, sort=sort, types=["c", "p"])) == ["alpha", "beta"]
    assert names(await rooms(chat, ann, sort=b'[["name",-1]]', types=["c", "p"], count=1)) == ["beta"]
    assert names(await rooms(chat, ann, filter=b'{"name":{"$contains":"ET"}}')) == ["beta"]
    public = await rooms(chat, ann, scope=ListRoomsRequest.PUBLIC)
    assert (names(public), public.total) == (["alpha", "gamma", "general"], 3)
    page = await rooms(chat, ann, scope=ListRoomsRequest.PUBLIC, offset=1, count=1)
    assert (names(page), page.total) == (["gamma"], 3)
    with refused("error-not-allowed"):
        await rooms(chat, ann, scope=ListRoomsRequest.EVERYTHING)
    everything = await rooms(chat, ADMIN, scope=ListRoomsRequest.EVERYTHING, sort=sort)
    assert sorted(names(everything)) == ["?", "alpha", "beta", "gamma", "general"]
    with refused("error-invalid-query"):
        await rooms(chat, ann, filter=b'{"join_code":"x"}')
    await chat.grant("view-c-room", "admin")
    with refused("error-not-allowed"):
        await rooms(chat, ann, scope=ListRoomsRequest.PUBLIC)
    await chat.grant("view-joined-room", "user")
    assert names(await rooms(chat, ann, scope=ListRoomsRequest.PUBLIC)) == ["alpha"]


async def test_what_changed_since(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    ids = [(await chat.room(ann, name, "bob"))["_id"] for name in ("one", "two", "three", "four")]
    since = max([(await chat.get_room(ann, id))["_updatedAt"]["$date"] for id in ids])
    await asyncio.sleep(0.002)
    assert names(await rooms(chat, bob, updated_since=since)) == []
    assert await chat.subscriptions(bob, since) == {}
    await chat.send(ann, ids[0])
    await chat.leave(bob, ids[1])
    await chat.messaging.delete_room(RoomRequest(actor=ann, room_id=ids[2]))
    changed = await rooms(chat, bob, updated_since=since)
    assert names(changed) == ["one"]
    assert {loaded(data)["_id"] for data in changed.removed} == {ids[1], ids[2]}
    assert set(await chat.subscriptions(bob, since)) == {ids[0]}
    reply = await chat.messaging.list_subscriptions(ListSubscriptionsRequest(actor=bob, updated_since=since))
    assert len(reply.removed) == 2
    assert all("_deletedAt" in loaded(data) for data in reply.removed)
    later = max(
        (await chat.subscription(bob, ids[0]))["_updatedAt"]["$date"], loaded(reply.removed[0])["_deletedAt"]["$date"]
    )
    await chat.read(bob, ids[0])
    await chat.prefer(bob, ids[3], f=True)
    assert set(await chat.subscriptions(bob, later)) == {ids[0], ids[3]}


async def test_who_came_back_has_not_left(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    since = (await chat.get_room(ann, room_id))["_updatedAt"]["$date"]
    await chat.leave(bob, room_id)
    await chat.join(bob, room_id)
    changed = await rooms(chat, bob, updated_since=since)
    assert (names(changed), list(changed.removed)) == (["dev"], [])


async def test_gateways_ask_for_the_members_of_a_room(chat: Chat) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    room_id = (await chat.room(ann, "dev", "bob", "eve"))["_id"]
    root = await chat.send(ann, room_id, "@bob hello")
    await chat.send(bob, room_id, "reply", thread_id=root["_id"])
    request = ListSubscriptionsRequest(
        actor=SYSTEM, updated_since=-1, room_ids=[room_id], user_ids=[bob.id, ann.id, "nobody", ADMIN.id]
    )
    reply = await chat.messaging.list_subscriptions(request)
    shown = {subscription["u"]["_id"]: subscription for subscription in map(loaded, reply.subscriptions)}
    assert shown == {actor.id: await chat.subscription(actor, room_id) for actor in (ann, bob)}
    assert shown[bob.id]["userMentions"] == 1
    assert shown[ann.id]["tunread"] == [root["_id"]]
    request.actor.CopyFrom(ann)
    with refused("error-not-allowed"):
        await chat.messaging.list_subscriptions(request)
    assert (await chat.messaging.list_memberships(ListMembershipsRequest(user_id=eve.id))).room_ids == [room_id]


async def test_gateways_ask_for_what_a_user_has_chosen(chat: Chat) -> None:
    ann, _ = await chat.users("ann", "bob")
    chosen, usual = (await chat.room(ann, "chosen"))["_id"], (await chat.room(ann, "usual"))["_id"]
    request = ListMembershipsRequest(user_id=ann.id, with_choices=True)
    assert list((await chat.messaging.list_memberships(request)).choices) == []
    await chat.prefer(ann, chosen, desktopNotifications="mentions", muteGroupMentions=True, f=True)
    reply = await chat.messaging.list_memberships(request)
    assert set(reply.room_ids) == {chosen, usual}
    [choice] = map(loaded, reply.choices)
    assert choice == {"rid": chosen, "desktopNotifications": "mentions", "muteGroupMentions": True}
    assert list((await chat.messaging.list_memberships(ListMembershipsRequest(user_id=ann.id))).choices) == []


async def test_gateways_ask_for_events_and_heads(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    for _ in range(3):
        await chat.send(ann, room_id)
    reply = await chat.messaging.list_room_events(ListRoomEventsRequest(room_id=room_id, after=1, limit=2))
    assert ([event.seq for event in reply.events], reply.head) == ([2, 3], 4)
    reply = await chat.messaging.list_room_events(ListRoomEventsRequest(room_id=room_id, after=3))
    assert ([event.seq for event in reply.events], reply.head) == ([4], 4)
    heads = await chat.messaging.get_room_heads(GetRoomHeadsRequest(room_ids=["unknown", room_id]))
    assert [*heads.heads, *heads.applied] == [0, 4, 0, 4]


async def test_an_event_that_is_not_projected_is_beyond_what_is_applied(
    local: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is for a moment with MongoDB, or for longer when a process dies."""
    get_many = local.database.get_many

    async def lagging(collection: str, ids: Sequence[str]) -> dict[str, Document]:
        return {id: {**found, "applied_seq": 1} for id, found in (await get_many(collection, ids)).items()}

    ann = await local.user("ann")
    room_id = (await local.room(ann, "dev"))["_id"]
    await local.send(ann, room_id)
    monkeypatch.setattr(local.database, "get_many", lagging)
    heads = await local.messaging.get_room_heads(GetRoomHeadsRequest(room_ids=[room_id]))
    assert [*heads.heads, *heads.applied] == [2, 1]


async def test_a_deleted_room_is_nobodys(chat: Chat) -> None:
    ann = await chat.user("ann")
    ids = [(await chat.room(ann, name))["_id"] for name in ("one", "two")]
    direct = (await chat.direct(ann, "boss"))["_id"]
    for room_id in (ids[0], direct):
        await chat.messaging.delete_room(RoomRequest(actor=ADMIN, room_id=room_id))
    reply = await chat.messaging.list_memberships(ListMembershipsRequest(user_id=ann.id))
    assert list(reply.room_ids) == [ids[1]]
    await chat.direct(ann, "boss")
    reply = await chat.messaging.list_memberships(ListMembershipsRequest(user_id=ann.id))
    assert set(reply.room_ids) == {ids[1], direct}


async def test_what_was_said_last_is_for_who_may_read_it(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "public"))["_id"]
    await chat.send(ann, room_id, "said")

    async def seen(actor: Actor) -> list[bool]:
        """Whether what was said last is shown in the list of public rooms, in the room, and in what spotlight finds."""
        reply = await rooms(chat, actor, scope=ListRoomsRequest.PUBLIC)
        [listed] = [room for room in map(loaded, reply.rooms) if room["_id"] == room_id]
        [found] = map(loaded, (await chat.messaging.spotlight(SpotlightRequest(actor=actor, text="public"))).rooms)
        return ["lastMessage" in room for room in (listed, await chat.get_room(actor, room_id), found)]

    assert await seen(bob) == [True, True, True]
    await chat.grant("preview-c-room")
    assert await seen(bob) == [False, False, False]
    assert await seen(ann) == [True, True, True]
    await chat.join(bob, room_id)
    assert await seen(bob) == [True, True, True]


async def test_rooms_keep_no_last_message_where_the_settings_say_so(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id, other = (await chat.room(ann, "dev"))["_id"], (await chat.room(ann, "other"))["_id"]
    for id in (room_id, other):
        await chat.send(ann, id, "said")
    await chat.set_setting("Store_Last_Message", False)
    sent = await chat.send(ann, room_id, "unseen")
    stored = await chat.database.get("rooms", room_id)
    assert stored is not None
    assert ("lastMessage" in stored, stored["lm"]) == (False, sent["ts"])
    shown = [*map(loaded, (await rooms(chat, ann)).rooms), await chat.get_room(ann, other)]
    assert not [room["name"] for room in shown if "lastMessage" in room], "nor is what was kept before shown"
    await chat.edit(ann, sent["_id"], "edited")
    await chat.delete(ann, sent["_id"])
    stored = await chat.database.get("rooms", room_id)
    assert stored is not None
    assert "lastMessage" not in stored
    await chat.set_setting("Store_Last_Message", True)
    await chat.send(ann, room_id, "seen")
    assert (await chat.get_room(ann, room_id))["lastMessage"]["msg"] == "seen"


async def test_who_administers_rooms_does_not_read_them(chat: Chat) -> None:
    ann, _ = await chat.users("ann", "bob")
    public = (await chat.room(ann, "public"))["_id"]
    private = (await chat.room(ann, "private", type="p"))["_id"]
    own = (await chat.room(ann, "own", "boss", type="p"))["_id"]
    direct = (await chat.direct(ann, "bob"))["_id"]
    for room_id in (public, private, own, direct):
        await chat.send(ann, room_id, "said")
    for where in (b"", orjson.dumps({"_id": {"$in": [public, private, own, direct]}})):
        reply = await rooms(chat, ADMIN, scope=ListRoomsRequest.EVERYTHING, filter=where)
        found = {room["_id"]: room for room in map(loaded, reply.rooms)}
        assert {id for id in (public, private, own, direct) if "lastMessage" in found[id]} == {public, own}
        assert found[direct]["usernames"] == ["ann", "bob"]
    for room_id in (private, direct):
        assert "lastMessage" not in await chat.update_room(ADMIN, room_id, description="x")
    assert "lastMessage" in await chat.update_room(ADMIN, own, description="x")
    assert "lastMessage" in await chat.update_room(ann, private, description="y")


async def test_who_joined_a_moment_ago(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    first = await chat.messaging.list_joins(ListJoinsRequest())
    room_id = (await chat.room(ann, "dev", "bob", type="p"))["_id"]
    direct = (await chat.direct(bob, "ann"))["_id"]
    await chat.messaging.leave_room(RoomRequest(actor=bob, room_id=room_id))
    reply = await chat.messaging.list_joins(ListJoinsRequest(since=first.as_of))
    joins = {(join.user_id, join.room_id) for join in reply.joins}
    assert {(ann.id, room_id), (ann.id, direct), (bob.id, direct)} <= joins
    assert (bob.id, room_id) not in joins
    assert reply.as_of >= first.as_of
    later = await chat.messaging.list_joins(ListJoinsRequest(since=reply.as_of + 10 * 60_000))
    assert not later.joins


async def test_access_after_a_change_that_was_not_told_here(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev"))["_id"]
    request = CheckAccessRequest(actor=bob, room_id=room_id, user_changed=True)
    assert (await chat.messaging.check_access(request)).allowed


async def test_access_of_a_connection(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev"))["_id"]
    reply = await chat.messaging.check_access(CheckAccessRequest(actor=bob, room_id=room_id))
    assert (reply.allowed, reply.member, reply.type, reply.name) == (True, False, "c", "dev")
    await chat.grant("preview-c-room", "admin")
    assert not (await chat.messaging.check_access(CheckAccessRequest(actor=bob, room_id=room_id))).allowed
    assert (await chat.messaging.check_access(CheckAccessRequest(actor=ann, room_id=room_id))).member


async def test_a_user_of_many_rooms_costs_no_more_reads(local: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lists of a user with 200 rooms take as many reads of the database as those of a user with one."""
    ann = await local.user("ann")
    reads: list[str] = []

    def counted(name: str) -> Callable[..., Awaitable[object]]:
        method = getattr(local.database, name)

        async def read(*arguments: object, **named: object) -> object:
            reads.append(name)
            return await method(*arguments, **named)

        return read

    await local.subscriptions(ann)  # who is asked for the first time is read first
    for name in ("get", "get_many", "find", "find_one", "count"):
        monkeypatch.setattr(local.database, name, counted(name))
    before: list[str] = []
    for index in range(200):
        room_id = f"room{index}"
        room = {"_id": room_id, "t": "c", "name": room_id, "counted": 5, "ts": {"$date": 1}, "_updatedAt": {"$date": 1}}
        subscription = {
            "_id": f"s{index}",
            "rid": room_id,
            "u": {"_id": ann.id, "username": "ann"},
            "t": "c",
            "name": room_id,
            "ts": {"$date": 1},
            "read": {"counted": 3},
        }
        event = Event(stream_kind="room", stream_id=room_id, seq=1, command_id=room_id)
        puts = [Put("rooms", room_id, insert=room), Put("subscriptions", f"s{index}", insert=subscription)]
        await local.database.commit(room_stream(room_id), [event], [puts])
        if index in (0, 199):
            reads.clear()
            shown = await local.subscriptions(ann)
            listed = await rooms(local, ann)
            assert (len(shown), len(listed.rooms)) == (index + 1, index + 1)
            assert all(subscription["alert"] for subscription in shown.values())
            assert reads
            before = before or list(reads)
    assert reads == before


async def test_subscriptions_of_somebody_else(chat: Chat) -> None:
    """Whether the actor may see them is decided here, and whether the other one may act does not matter."""
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", type="p"))["_id"]

    async def list_of(actor: Actor, user_id: str) -> list[str]:
        request = ListSubscriptionsRequest(actor=actor, user_id=user_id, updated_since=-1)
        reply = await chat.messaging.list_subscriptions(request)
        return [loaded(data)["rid"] for data in reply.subscriptions]

    assert await list_of(ann, ann.id) == [room_id]
    with refused("error-not-allowed"):
        await list_of(bob, ann.id)
    await chat.running.services.auth.set_user_active(SetUserActiveRequest(actor=ADMIN, user_id=ann.id, active=False))
    assert await list_of(ADMIN, ann.id) == [room_id]
    with refused("error-invalid-user"):
        await list_of(ADMIN, "unknown")


async def test_access_of_many_listeners(chat: Chat) -> None:
    """The same as one by one, whoever they are many of."""
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    rooms = [(await chat.room(ann, name, "bob", type=type))["_id"] for name, type in (("open", "c"), ("inner", "p"))]
    gone = (await chat.room(ann, "gone", "bob"))["_id"]
    await chat.messaging.delete_room(RoomRequest(actor=ann, room_id=gone))
    await chat.leave(bob, rooms[0])
    people = [ann.id, bob.id, eve.id, "nobody", ""]
    pairs = [(room_id, user_id) for room_id in (*rooms, gone, "unknown") for user_id in people]
    others = [(f"unknown{number}", eve.id) for number in range(10)]

    async def heard(asked: list[tuple[str, str]]) -> list[bool]:
        listeners = [ListHearingRequest.Listener(room_id=room_id, user_id=user_id) for room_id, user_id in asked]
        request = ListHearingRequest(listeners=listeners, users_changed=True)
        return list((await chat.messaging.list_hearing(request)).allowed)

    async def check(*expected: tuple[str, str]) -> None:
        for asked in (pairs, pairs + others, [pair for pair in pairs if pair[1] == eve.id]):
            assert await heard(asked) == [pair in expected for pair in asked]

    members = [(rooms[0], ann.id), (rooms[1], ann.id), (rooms[1], bob.id)]
    await check(*members, (rooms[0], bob.id), (rooms[0], eve.id))
    await chat.set_setting("Accounts_AllowAnonymousRead", True)
    await check(*members, (rooms[0], bob.id), (rooms[0], eve.id), (rooms[0], ""))
    await chat.set_setting("Accounts_AllowAnonymousRead", False)
    await chat.grant("preview-c-room", "admin")
    await check(*members)
    await chat.running.services.auth.set_user_active(SetUserActiveRequest(actor=ADMIN, user_id=ann.id, active=False))
    await check((rooms[1], bob.id))
