"""Teams as such: made, named, seen, changed, ended."""

import asyncio

import orjson
import pytest

from palaver.v1.messaging_pb2 import (
    RoomRequest,
)
from palaver.v1.team_pb2 import (
    GetTeamRequest,
    UpdateTeamRequest,
)
from tests.messaging.helpers import ADMIN, Chat, loaded, refused, until
from tests.messaging.teams import Teams


@pytest.fixture
def teams(chat: Chat) -> Teams:
    return Teams(chat)


async def test_a_team_is_its_main_room(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    team_id = await teams.create(ann, "crew", "bob", eve.id, "nobody", extra=orjson.dumps({"topic": "all of it"}))
    team = await teams.get(bob, team_id)
    assert (team["name"], team["type"], team["roomId"]) == ("crew", 0, team_id)
    assert team["createdBy"] == {"_id": ann.id, "username": "ann"}
    assert (team["rooms"], team["numberOfUsers"]) == (0, 3)
    main = await chat.get_room(bob, team_id)
    assert (main["t"], main["name"], main["topic"], main["teamMain"], main["teamId"]) == (
        "c",
        "crew",
        "all of it",
        True,
        team_id,
    )
    assert not {"team_created", "team_private"} & main.keys()
    assert (await chat.subscription(bob, team_id))["teamMain"] is True
    assert await teams.members(eve, team_id) == {"ann": ["owner"], "bob": [], "eve": []}
    request = GetTeamRequest(actor=bob, name="crew")
    assert loaded((await chat.messaging.get_team(request)).team)["_id"] == team_id
    await chat.update_room(ann, team_id, name="gang")
    assert (await teams.get(bob, team_id))["name"] == "gang"


async def test_a_name_is_given_once(chat: Chat, teams: Teams) -> None:
    ann, bob = await chat.users("ann", "bob")
    await chat.room(ann, "dev")
    made = await asyncio.gather(
        teams.create(ann, "crew"), teams.create(bob, "crew", private=True), return_exceptions=True
    )
    assert sorted(isinstance(one, str) for one in made) == [False, True]
    for name, code in (
        ("crew", "team-name-already-exists"),
        ("bob", "team-name-already-exists"),
        ("dev", "room-name-already-exists"),
    ):
        with refused(code):
            await teams.create(ann, name)
    with refused("error-duplicate-channel-name"):
        await chat.room(ann, "crew")
    with refused("error-invalid-room-name"):
        await teams.create(ann, "no way")
    with refused("error-action-not-allowed"):
        await teams.create(ann, "vault", extra=b'{"encrypted":true}')
    await chat.grant("create-team", "admin")
    with refused("unauthorized"):
        await teams.create(ann, "more")


async def test_somebody_else_may_own_a_new_team(chat: Chat, teams: Teams) -> None:
    ann, bob = await chat.users("ann", "bob")
    team_id = await teams.create(ann, "crew", owner=bob.id)
    assert await teams.members(bob, team_id) == {"bob": ["owner"]}
    with refused("invalid-user"):
        await teams.create(ann, "gang", owner="nobody")


async def test_a_private_team_is_nothing_to_the_outside(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    secret = await teams.create(ann, "secret", "bob", private=True)
    await teams.create(eve, "open")
    assert (await teams.get(bob, secret))["type"] == 1
    assert (await teams.get(ADMIN, secret))["name"] == "secret"
    with refused("team-does-not-exist"):
        await teams.get(eve, secret)
    with refused("team-does-not-exist"):
        await teams.members(eve, secret)
    with refused("team-does-not-exist"):
        await teams.rooms(eve, secret)
    assert await teams.names(bob, "VISIBLE") == ["open", "secret"]
    assert await teams.names(eve, "VISIBLE") == ["open"]
    assert await teams.names(bob, "OWN") == ["secret"]
    assert await teams.names(eve, "OF_USER", user_id=ann.id) == []
    assert await teams.names(bob, "OF_USER", user_id=ann.id) == ["secret"]
    assert await teams.names(ADMIN, "ALL") == ["open", "secret"]
    assert await teams.names(ADMIN, "ALL", sort=orjson.dumps([["name", -1]]), count=1) == ["secret"]
    with refused("unauthorized"):
        await teams.names(ann, "ALL")
    with refused("invalid-user"):
        await teams.names(ann, "OF_USER", user_id="nobody")


async def test_a_team_is_changed_by_who_may(chat: Chat, teams: Teams) -> None:
    ann, bob = await chat.users("ann", "bob")
    team_id = await teams.create(ann, "crew", "bob")
    await chat.room(ann, "dev")
    with refused("unauthorized"):
        await chat.messaging.update_team(UpdateTeamRequest(actor=bob, room_id=team_id, name="ours"))
    for name, code in (("dev", "room-name-already-exists"), ("bob", "team-name-already-exists")):
        with refused(code):
            await chat.messaging.update_team(UpdateTeamRequest(actor=ann, room_id=team_id, name=name))
    await chat.grant("create-p", "admin")
    await chat.grant("edit-room", "admin")
    reply = await chat.messaging.update_team(UpdateTeamRequest(actor=ann, room_id=team_id, name="gang", private=True))
    assert (loaded(reply.team)["name"], loaded(reply.team)["type"]) == ("gang", 1)


async def test_a_room_becomes_a_team_and_a_room_again(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    room = (await chat.room(ann, "dev", "bob", type="p"))["_id"]
    with refused("unauthorized"):
        await chat.messaging.convert_to_team(RoomRequest(actor=bob, room_id=room))
    with refused("error-room-not-found"):
        await chat.messaging.convert_to_team(RoomRequest(actor=eve, room_id=room))
    team = loaded((await chat.messaging.convert_to_team(RoomRequest(actor=ann, room_id=room))).team)
    assert (team["_id"], team["name"], team["type"], team["createdBy"]["username"]) == (room, "dev", 1, "ann")
    with refused("error-invalid-room"):
        await chat.messaging.convert_to_team(RoomRequest(actor=ann, room_id=room))
    gone, stays = [(await chat.room(ann, name))["_id"] for name in ("gone", "stays")]
    await teams.add_rooms(ann, room, gone, stays)
    with refused("unauthorized"):
        await teams.end(bob, room, keeps_room=True)
    await teams.end(ann, room, gone, "unknown", keeps_room=True)
    assert not {"teamId", "teamMain"} & (await chat.get_room(bob, room)).keys()
    assert not {"teamId", "team_private"} & (await chat.get_room(eve, stays)).keys()
    with refused("error-room-not-found"):
        await chat.get_room(ann, gone)
    with refused("team-does-not-exist"):
        await teams.get(ann, room)
    assert [told for told in await chat.notices(ann, room) if told[0].startswith("user-converted")] == [
        ("user-converted-to-team", "dev"),
        ("user-converted-to-channel", "dev"),
    ]


async def test_a_team_is_deleted_with_the_chosen_rooms(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    team_id = await teams.create(ann, "crew", "bob", "eve")
    gone, stays = [(await chat.room(ann, name, "bob"))["_id"] for name in ("gone", "stays")]
    theirs = (await chat.room(eve, "theirs"))["_id"]
    await teams.add_rooms(ann, team_id, gone, stays)
    await teams.add_rooms(ADMIN, team_id, theirs)
    with refused("unauthorized"):
        await teams.end(bob, team_id)
    with refused("error-not-allowed"):
        await teams.end(ann, team_id, gone, theirs)
    assert await teams.rooms(ann, team_id) == ["gone", "stays", "theirs"]
    await teams.end(ann, team_id, gone)
    for room_id in (team_id, gone):
        with refused("error-room-not-found"):
            await chat.get_room(bob, room_id)
    assert "teamId" not in await chat.get_room(bob, stays)
    assert "teamId" not in await chat.get_room(eve, theirs)
    assert await teams.create(bob, "crew")
    assert await chat.room(bob, "gone")


async def test_a_deleted_main_room_is_a_deleted_team(chat: Chat, teams: Teams) -> None:
    ann = await chat.user("ann")
    team_id = await teams.create(ann, "crew")
    room = (await chat.room(ann, "dev"))["_id"]
    await teams.add_rooms(ann, team_id, room)
    await chat.messaging.delete_room(RoomRequest(actor=ann, room_id=team_id))

    async def is_free() -> bool:
        return "teamId" not in await chat.get_room(ann, room)

    await until(is_free)
