"""Who is in a team: they come and go with its words, and enter its default rooms."""

import orjson
import pytest

from palaver.v1.event_pb2 import Actor
from tests.messaging.helpers import ADMIN, Chat, refused, until
from tests.messaging.teams import Teams


@pytest.fixture
def teams(chat: Chat) -> Teams:
    return Teams(chat)


async def test_members_come_and_go_with_the_words_of_teams(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    team_id = await teams.create(ann, "crew")
    await teams.add(ann, team_id, bob, roles=("moderator",))
    await teams.add(ann, team_id, bob)
    await chat.join(eve, team_id)
    with refused("unauthorized"):
        await teams.remove(eve, team_id, bob.id)
    await teams.remove(bob, team_id, eve.id)
    await chat.join(eve, team_id)
    await chat.leave(eve, team_id)
    with refused("last-owner-can-not-be-removed"):
        await teams.remove(ann, team_id)
    with refused("last-owner-can-not-be-removed"):
        await teams.remove(bob, team_id, ann.id)
    await teams.remove(bob, team_id)
    with refused("invalid-user"):
        await teams.remove(ann, team_id, bob.id)
    with refused("invalid-user"):
        await teams.add(ann, team_id, Actor(kind=Actor.USER, id="nobody"))
    assert await chat.notices(ann, team_id) == [
        ("added-user-to-team", "bob"),
        ("subscription-role-added", "bob"),
        ("ujt", "eve"),
        ("removed-user-from-team", "eve"),
        ("ujt", "eve"),
        ("ult", "eve"),
        ("ult", "bob"),
    ]


async def test_roles_of_members(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    team_id = await teams.create(ann, "crew", "bob", "eve")
    await teams.set_roles(ann, team_id, bob, "moderator", "leader")
    assert (await teams.members(ann, team_id))["bob"] == ["moderator", "leader"]
    await teams.set_roles(bob, team_id, eve)
    with refused("error-not-allowed"):
        await teams.set_roles(bob, team_id, bob, "owner", "moderator", "leader")
    with refused("unauthorized"):
        await teams.set_roles(eve, team_id, eve, "owner")
    with refused("last-owner-can-not-be-removed"):
        await teams.set_roles(ann, team_id, ann)
    with refused("error-invalid-role"):
        await teams.set_roles(ann, team_id, bob, "owner", "admin")
    assert (await teams.members(ann, team_id))["bob"] == ["moderator", "leader"]
    await teams.set_roles(ann, team_id, bob, "owner")
    await teams.set_roles(bob, team_id, ann)
    assert await teams.members(ann, team_id) == {"ann": [], "bob": ["owner"], "eve": []}
    assert list(await teams.members(ann, team_id, name="Ev")) == ["eve"]
    assert list(await teams.members(ann, team_id, username="bo", name="Bob")) == ["bob"]
    assert list(await teams.members(ann, team_id, status=["online"])) == []


async def test_a_member_without_a_role_may_be_called_one(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    team_id = await teams.create(ann, "crew")
    await teams.add(ann, team_id, bob, roles=("member",))
    await teams.set_roles(ann, team_id, bob, "member", "leader")
    assert await teams.members(ann, team_id) == {"ann": ["owner"], "bob": ["leader"]}
    with refused("error-invalid-role"):
        await teams.add(ann, team_id, eve, roles=("leader", "admin"))
    assert "eve" not in await teams.members(ann, team_id)


async def test_default_rooms_get_every_member(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    team_id = await teams.create(ann, "crew", "bob")
    room = (await chat.room(ann, "dev"))["_id"]
    await teams.add_rooms(ann, team_id, room)
    with refused("unauthorized"):
        await teams.set_default(bob, room)
    with refused("invalid-room"):
        await teams.set_default(ann, team_id)
    assert (await teams.set_default(ann, room))["teamDefault"] is True
    assert await chat.subscription(bob, room)
    await teams.add(ann, team_id, eve)
    assert await chat.subscription(eve, room)
    assert [m["username"] for m in await chat.members(ann, room)] == ["ann", "bob", "eve"]
    assert await teams.rooms(ann, team_id, only_default=True) == ["dev"]
    await chat.leave(eve, room)
    assert (await teams.set_default(ann, room, False))["teamDefault"] is False
    dan = await chat.user("dan")
    await chat.join(dan, team_id)
    assert await chat.subscription(dan, room) == {}
    assert await chat.subscription(eve, room) == {}


async def test_who_joins_by_themself_enters_the_default_rooms(chat: Chat, teams: Teams) -> None:
    ann, bob = await chat.users("ann", "bob")
    team_id = await teams.create(ann, "crew")
    room = (await chat.room(ann, "dev", type="p"))["_id"]
    await teams.add_rooms(ann, team_id, room)
    await teams.set_default(ann, room)
    await chat.join(bob, team_id)

    # Who brings Bob is Bob, or Ann, whose choice of the room may be heard of a second time just now.
    async def is_told() -> bool:
        return await chat.notices(ann, room) in ([("uj", "bob")], [("au", "bob")])

    await until(is_told)
    assert len(await chat.members(ann, room)) == 2


async def test_who_leaves_takes_leave_of_the_chosen_rooms(chat: Chat, teams: Teams) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    team_id = await teams.create(ann, "crew", "bob", "eve")
    one = (await chat.room(ann, "one", "bob", "eve"))["_id"]
    two = (await chat.room(bob, "two", "eve"))["_id"]
    other = (await chat.room(ann, "other", "eve"))["_id"]
    await teams.add_rooms(ann, team_id, one)
    await teams.add_rooms(ADMIN, team_id, two)
    with refused("last-owner-can-not-be-removed"):
        await teams.remove(bob, team_id, "", one, two)
    assert await chat.subscription(bob, team_id)
    await teams.remove(bob, team_id, "", one)
    await teams.remove(ann, team_id, eve.id, one, two, other)
    assert [bool(await chat.subscription(bob, id)) for id in (team_id, one, two)] == [False, False, True]
    assert [bool(await chat.subscription(eve, id)) for id in (team_id, one, two, other)] == [False, False, False, True]
    assert await chat.notices(ann, one) == [("ul", "bob"), ("ru", "eve")]


async def test_who_hears_a_broadcast_is_not_for_everybody(chat: Chat, teams: Teams) -> None:
    ann, bob = await chat.users("ann", "bob")
    team_id = await teams.create(ann, "crew", "bob", extra=orjson.dumps({"broadcast": True}))
    assert (await teams.members(ann, team_id)).keys() == {"ann", "bob"}
    with refused("error-not-allowed"):
        await teams.members(bob, team_id)
