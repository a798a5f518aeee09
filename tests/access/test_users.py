"""What a node remembers of users, and never longer than they are as they were."""

import asyncio

import pytest

from palaver.access import USERS_CHANGED
from palaver.errors import LoginRequired
from palaver.events import user_actor
from tests.access.world import World


async def test_users_are_remembered(world: World) -> None:
    for _ in range(3):
        assert (await world.get_user("Alice")).username == "alice"
    found = await world.access.find_users(["Root", "Alice", "Nobody"])
    assert set(found) == {"Alice", "Root"}
    assert world.auth.users_read == ["Alice", "Root", "Nobody"]
    assert await world.access.find_user("Nobody") is None


async def test_users_by_name(world: World) -> None:
    found = await world.access.find_users_by_name(["alice", "nobody"])
    assert set(found) == {"alice"}
    assert found["alice"].id == "Alice"


async def test_a_changed_user_is_forgotten(world: World) -> None:
    assert (await world.get_user("Alice")).roles == ("user",)
    await world.change_user("Alice", roles=["user", "admin"])
    assert (await world.get_user("Alice")).roles == ("user", "admin")
    await world.change_user("Alice", active=False)
    with pytest.raises(LoginRequired):
        await world.access.get_actor(user_actor("Alice"))
    await world.live.publish(USERS_CHANGED, b"\xff unknown")


async def test_a_user_who_changes_while_being_loaded_is_not_remembered(world: World) -> None:
    async def deactivate() -> None:
        await world.change_user("Alice", active=False)

    world.auth.during = deactivate
    await world.access.find_users(["Alice", "Root"])
    with pytest.raises(LoginRequired):
        await world.access.get_actor(user_actor("Alice"))
    assert world.auth.users_read == ["Alice", "Root", "Alice"]


async def test_users_who_are_being_loaded_during_a_gap_are_not_remembered(world: World) -> None:
    async def lose() -> None:
        world.auth.users["Alice"]["active"] = False
        world.log.lose()

    world.auth.during = lose
    await world.access.find_user("Alice")
    with pytest.raises(LoginRequired):
        await world.access.get_actor(user_actor("Alice"))


async def test_many_ask_at_the_same_time(world: World) -> None:
    async def wait() -> None:
        await asyncio.sleep(0.01)

    world.log.lose()
    world.auth.during = wait
    users = await asyncio.gather(*(world.access.find_user("Alice") for _ in range(20)))
    assert {user.id for user in users if user} == {"Alice"}
    assert world.auth.policies_read == 2
