"""The rooms of a team: added, removed, listed, and who sees them."""

import orjson
import pytest

from palaver.errors import RoomNotFound
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import (
    CheckAccessRequest,
    ListHearingRequest,
    ListRoomsRequest,
    RoomRequest,
    SpotlightRequest,
)
from palaver.v1.team_pb2 import (
    ListTeamRoomsRequest,
    UpdateTeamRequest,
)
from tests.messaging.helpers import ADMIN, Chat, loaded, refused, until
from tests.messaging.teams import Teams
from tests.messaging.test_discussions import discuss


@pytest.fixture
def teams(chat: Chat) -> Teams:
    return Teams(chat)


async def test_rooms_come_to_a_team_and_leave_it(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    team_id = await teams.create(ann, "crew", "bob", "eve")
    dev = (await chat.room(ann, "dev"))["_id"]
    inner = (await chat.room(ann, "inner", "bob", type="p"))["_id"]
    theirs = (await chat.room(eve, "theirs"))["_id"]
    shown = await teams.add_rooms(ann, team_id, dev, inner)
    assert [(room["name"], room["teamId"]) for room in shown] == [("dev", team_id), ("inner", team_id)]
    with refused("room-already-on-team"):
        await teams.add_rooms(ann, team_id, dev)
    with refused("error-no-owner-channel"):
        await teams.add_rooms(ann, team_id, theirs)
    with refused("unauthorized"):
        await teams.add_rooms(bob, team_id, theirs)
    with refused("invalid-room"):
        await teams.add_rooms(ann, team_id, "unknown")
    with refused("missing-rooms"):
        await teams.add_rooms(ann, team_id)
    assert await teams.rooms(ann, team_id) == ["dev", "inner"]
    assert await teams.rooms(bob, team_id) == ["dev", "inner"]
    assert await teams.rooms(eve, team_id) == ["dev"]
    assert (await teams.get(ann, team_id))["rooms"] == 2
    assert (await chat.subscription(bob, inner))["teamId"] == team_id
    room = await teams.remove_room(ann, team_id, inner)
    assert "teamId" not in room
    with refused("room-not-on-that-team"):
        await teams.remove_room(ann, team_id, inner)
    with refused("unauthorized"):
        await teams.remove_room(bob, team_id, dev)
    await chat.messaging.delete_room(RoomRequest(actor=ann, room_id=dev))

    async def is_told() -> bool:
        return await chat.notices(ann, team_id) == [
            ("user-added-room-to-team", "dev"),
            ("user-added-room-to-team", "inner"),
            ("user-removed-room-from-team", "inner"),
            ("user-deleted-room-from-team", "dev"),
        ]

    await until(is_told)
    made = await chat.room(ann, "made", extra=orjson.dumps({"teamId": team_id}))
    assert await teams.rooms(ann, team_id) == ["made"]
    assert made["teamId"] == team_id
    with refused("error-not-allowed"):
        await chat.room(eve, "more", extra=orjson.dumps({"teamId": team_id}))
    with refused("invalid-team"):
        await chat.room(eve, "more", extra=orjson.dumps({"teamId": theirs}))


async def test_public_rooms_of_a_private_team_are_its_members(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    team_id = await teams.create(ann, "crew", "bob", private=True)
    room = await chat.room(ann, "dev")
    assert (await chat.get_room(eve, room["_id"]))["name"] == "dev"
    await teams.add_rooms(ann, team_id, room["_id"])
    await chat.send(ann, room["_id"], "for us")

    async def finds(actor: Actor) -> tuple[bool, bool]:
        request = ListRoomsRequest(actor=actor, scope=ListRoomsRequest.PUBLIC)
        listed = [loaded(data)["name"] for data in (await chat.messaging.list_rooms(request)).rooms]
        spotlight = await chat.messaging.spotlight(SpotlightRequest(actor=actor, text="dev", rooms=True))
        return "dev" in listed, bool(spotlight.rooms)

    async def may_hear() -> list[bool]:
        request = ListHearingRequest()
        for actor in (ann, bob, eve):
            request.listeners.add(room_id=room["_id"], user_id=actor.id)
        return list((await chat.messaging.list_hearing(request)).allowed)

    assert await may_hear() == [True, True, False]
    assert [await finds(bob), await finds(eve)] == [(True, True), (False, False)]
    own_id = (await chat.room(eve, "outside"))["_id"]
    assert (await chat.send(eve, own_id, "is there a #dev?"))["channels"] == []
    access = await chat.messaging.check_access(CheckAccessRequest(actor=bob, room_id=room["_id"]))
    assert (access.allowed, access.member, access.parent_id) == (True, False, team_id)
    with refused("error-room-not-found"):
        await chat.get_room(eve, room["_id"])
    with refused("error-room-not-found"):
        await chat.join(eve, room["_id"])
    assert (await discuss(chat, ann, room))["t"] == "p"
    await chat.join(bob, room["_id"])
    await chat.messaging.update_team(UpdateTeamRequest(actor=ann, room_id=team_id, private=False))

    async def is_open() -> bool:
        return await finds(eve) == (True, True)

    await until(is_open)
    await chat.join(eve, room["_id"])
    await chat.leave(eve, room["_id"])
    await chat.messaging.update_team(UpdateTeamRequest(actor=ann, room_id=team_id, private=True, name="gang"))

    async def is_closed() -> bool:
        return await finds(eve) == (False, False)

    await until(is_closed)
    assert (await teams.get(ann, team_id))["type"] == 1
    assert await chat.notices(bob, team_id) == [
        ("user-added-room-to-team", "dev"),
        ("room_changed_privacy", "public"),
        ("r", "gang"),
        ("room_changed_privacy", "private"),
    ]
    await teams.remove_room(ann, team_id, room["_id"])
    assert await finds(eve) == (True, True)


async def test_discussions_go_with_the_room_that_comes_to_a_private_team(chat: Chat, teams: Teams) -> None:
    """Who sees the room they are beside sees them, and nobody else: whenever they were made."""
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    team_id = await teams.create(ann, "crew", "bob", private=True)
    room = await chat.room(ann, "dev")
    talk = await discuss(chat, ann, room)
    assert talk["t"] == "c"
    await chat.send(ann, talk["_id"], "among us")

    async def who_sees() -> list[bool]:
        """Whether Bob and Eve do; whether Eve finds it; and whether they hear it."""
        seen = []
        for actor in (bob, eve):
            try:
                seen.append((await chat.get_room(actor, talk["_id"]))["_id"] == talk["_id"])
            except RoomNotFound:
                seen.append(False)
        request = ListRoomsRequest(actor=eve, scope=ListRoomsRequest.PUBLIC)
        listed = [loaded(data)["_id"] for data in (await chat.messaging.list_rooms(request)).rooms]
        hearing = ListHearingRequest()
        for actor in (bob, eve):
            hearing.listeners.add(room_id=talk["_id"], user_id=actor.id)
        allowed = (await chat.messaging.list_hearing(hearing)).allowed
        return [*seen, talk["_id"] in listed, *allowed]

    async def is_closed() -> bool:
        return await who_sees() == [True, False, False, True, False]

    async def is_open() -> bool:
        return await who_sees() == [True, True, True, True, True]

    assert await is_open()
    await teams.add_rooms(ann, team_id, room["_id"])
    assert await is_closed()
    with refused("error-room-not-found"):
        await chat.join(eve, talk["_id"])
    await chat.messaging.update_team(UpdateTeamRequest(actor=ann, room_id=team_id, private=False))
    await until(is_open)
    await chat.messaging.update_team(UpdateTeamRequest(actor=ann, room_id=team_id, private=True))
    await until(is_closed)
    await chat.join(bob, talk["_id"])
    await teams.remove_room(ann, team_id, room["_id"])
    assert await is_open()


async def test_discussions_of_a_team_that_becomes_private(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    team_id = await teams.create(ann, "crew", "bob")
    talk = await discuss(chat, ann, await chat.get_room(ann, team_id))
    assert (await chat.get_room(eve, talk["_id"]))["t"] == "c"
    await chat.messaging.update_team(UpdateTeamRequest(actor=ann, room_id=team_id, private=True))

    async def is_closed() -> bool:
        try:
            await chat.get_room(eve, talk["_id"])
        except RoomNotFound:
            return True
        return False

    await until(is_closed)
    assert (await chat.get_room(bob, talk["_id"]))["_id"] == talk["_id"]


async def test_the_children_of_a_team(chat: Chat, teams: Teams) -> None:
    ann, bob = await chat.users("ann", "bob")
    team_id = await teams.create(ann, "crew", "bob")
    await teams.add_rooms(ann, team_id, (await chat.room(ann, "dev"))["_id"])
    await teams.add_rooms(ann, team_id, (await chat.room(ann, "inner", type="p"))["_id"])
    await discuss(chat, ann, await chat.get_room(ann, team_id), "lunch")
    assert await teams.rooms(ann, team_id, "CHANNELS") == ["crew", "dev", "inner"]
    assert await teams.rooms(bob, team_id, "CHANNELS") == ["crew", "dev"]
    assert await teams.rooms(bob, team_id, "DISCUSSIONS") == ["lunch"]
    every = {"sort": orjson.dumps([["fname", -1]])}
    assert await teams.rooms(ann, team_id, "CHILDREN", **every) == ["lunch", "inner", "dev", "crew"]
    assert await teams.rooms(ann, team_id, "CHILDREN", offset=1, count=2, **every) == ["inner", "dev"]
    assert await teams.rooms(ann, team_id, "CHILDREN", filter=orjson.dumps({"fname": {"$contains": "UN"}})) == ["lunch"]


async def test_the_rooms_of_one_member(chat: Chat, teams: Teams) -> None:
    ann, bob = await chat.users("ann", "bob")
    team_id = await teams.create(ann, "crew", "bob")
    own = (await chat.room(ann, "own", "bob"))["_id"]
    alone = (await chat.room(bob, "alone", type="p"))["_id"]
    await teams.add_rooms(ann, team_id, own)
    await teams.add_rooms(ADMIN, team_id, (await chat.room(ann, "other"))["_id"])
    with refused("invalid-room"):
        await teams.add_rooms(ADMIN, team_id, alone)
    await chat.set_role(ann, own, bob.id, "owner")
    assert await teams.rooms(ann, team_id, user_id=bob.id) == ["own"]
    assert await teams.rooms(ann, team_id, user_id=ann.id, only_deletable=True) == ["other", "own"]
    request = ListTeamRoomsRequest(actor=ann, room_id=team_id, user_id=ann.id)
    await chat.join(bob, (await chat.get_room(ann, own))["_id"])
    found = [loaded(data) for data in (await chat.messaging.list_team_rooms(request)).documents]
    assert [(room["name"], room["isLastOwner"]) for room in found] == [("other", False), ("own", False)]
    await chat.set_role(ann, own, bob.id, "owner", granted=False)
    found = [loaded(data) for data in (await chat.messaging.list_team_rooms(request)).documents]
    assert [(room["name"], room["isLastOwner"]) for room in found] == [("other", False), ("own", True)]
