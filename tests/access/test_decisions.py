"""Who may do what, and what of it is measured."""

import pytest

from palaver.access import CACHED_USERS, LOOKUPS, POLICY_AGE
from palaver.errors import LoginRequired, NotAllowed
from palaver.events import SYSTEM, user_actor
from palaver.v1.event_pb2 import Actor
from tests.access.world import World


@pytest.mark.parametrize(
    ("roles", "room_roles", "allowed"),
    [
        ((), (), False),
        (("user",), (), True),
        (("guest",), (), False),
        (("guest",), ("owner",), True),
        (("guest",), ("moderator", "owner"), True),
        (("guest",), ("moderator",), False),
        (("admin",), (), False),  # no role is more than what it is granted
        (("guest", "user"), ("moderator",), True),
    ],
)
async def test_permissions(world: World, roles: tuple[str, ...], room_roles: tuple[str, ...], allowed: bool) -> None:
    world.add_user("Bob", *roles)
    bob = await world.get_user("Bob")
    assert world.access.may(bob, "send", room_roles) is allowed
    if allowed:
        world.access.check(bob, "send", room_roles)
    else:
        with pytest.raises(NotAllowed) as caught:
            world.access.check(bob, "send", room_roles)
        assert caught.value.error_code == "error-not-allowed"
        assert caught.value.details == {"permission": "send"}


@pytest.mark.parametrize("permission", ["nothing of the kind", ""])
async def test_nobody_has_an_unknown_permission(world: World, permission: str) -> None:
    assert not world.access.may(await world.get_user("Root"), permission, ["owner"])


@pytest.mark.parametrize(
    "actor",
    [
        SYSTEM,
        user_actor(""),
        user_actor("Nobody"),
        user_actor("Gone"),
        Actor(kind=Actor.VISITOR, id="Alice"),
        Actor(kind=Actor.INTEGRATION, id="Alice"),
        Actor(kind=Actor.REMOTE_USER, id="Alice"),
        Actor(id="Alice"),
    ],
    ids=repr,
)
async def test_only_an_active_user_is_a_logged_in_one(world: World, actor: Actor) -> None:
    world.add_user("Gone", "admin", active=False)
    with pytest.raises(LoginRequired):
        await world.access.get_actor(actor)


async def test_what_is_missing_in_a_document_allows_nothing(world: World) -> None:
    world.auth.users["Bare"] = {"_id": "Bare", "username": "bare"}
    bare = await world.get_user("Bare")
    assert (bare.roles, bare.active, bare.type, bare.name) == ((), False, "user", "")
    with pytest.raises(LoginRequired):
        await world.access.get_actor(user_actor("Bare"))


async def test_lookups_and_trust_are_measured(world: World) -> None:
    hits, misses = LOOKUPS.labels("hit"), LOOKUPS.labels("miss")
    world.access.measure()
    before = hits._value.get(), misses._value.get()
    await world.get_user("Alice")
    await world.get_user("Alice")
    await world.access.find_users(["Root", "Alice"])
    world.access.measure()
    assert (hits._value.get() - before[0], misses._value.get() - before[1]) == (2, 2)
    assert CACHED_USERS._value.get() == 2
    assert POLICY_AGE._value.get() == 0
    world.now += 5
    world.access.measure()
    assert POLICY_AGE._value.get() == pytest.approx(5)
