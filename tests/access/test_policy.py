"""A node's view of the policy: it follows the events, and never remembers what has changed."""

import asyncio
from typing import Any

import orjson
import pytest

from palaver import access
from palaver.errors import Unavailable
from palaver.events import user_actor
from palaver.v1.event_pb2 import Event, PermissionChanged, RoleDeleted, RoleSaved, SettingChanged
from tests.access.world import World
from tests.waiting import eventually


async def test_the_policy_is_loaded(world: World) -> None:
    assert world.access.setting("Site_Name") == "old"
    assert world.access.policy.roles_of("send") == ["user", "owner"]
    assert world.access.policy.roles_of("no such permission") == []
    assert world.access.policy.roles == {"user": {"_id": "user"}}
    with pytest.raises(KeyError):
        world.access.setting("No_Such_Setting")


async def test_the_policy_follows_the_events(world: World) -> None:
    await world.set("Site_Name", "new")
    await world.get_user("Alice")
    assert world.access.setting("Site_Name") == "new"
    await world.grant("send", "admin")
    assert not world.access.may(await world.get_user("Alice"), "send")
    await world.grant("fly", "user")
    assert world.access.may(await world.get_user("Alice"), "fly")
    assert world.auth.policies_read == 4
    assert world.access.policy.seq == world.auth.seq == 3


async def test_who_commits_an_event_obeys_it_at_once(world: World) -> None:
    def take(**fact: Any) -> None:
        world.auth.seq += 1
        world.access.take(Event(stream_kind="workspace", seq=world.auth.seq, **fact))

    take(role_saved=RoleSaved(role_id="pilot", role=orjson.dumps({"_id": "pilot"})))
    assert "pilot" in world.access.policy.roles
    take(role_deleted=RoleDeleted(role_id="pilot"))
    take(role_deleted=RoleDeleted(role_id="pilot"))
    assert "pilot" not in world.access.policy.roles
    assert (world.auth.policies_read, world.access.policy.seq) == (1, 3)


async def test_what_the_log_says_is_no_word_of_auths(world: World) -> None:
    alice = await world.get_user("Alice")
    for seq in (1, 1 << 60):
        granted = PermissionChanged(permission_id="fly", permission=b'{"_id": "fly", "roles": ["user"]}')
        await world.log.publish([Event(stream_kind="workspace", seq=seq, permission_changed=granted)])
        assert not world.access.may(alice, "fly")
        assert not world.access.may(await world.get_user("Alice"), "fly")
    assert world.access.policy.seq == 0
    await world.grant("send", "nobody")  # the first event that auth knows of
    assert not world.access.may(await world.get_user("Alice"), "send")


async def test_a_policy_that_auth_has_never_had_is_given_up(world: World) -> None:
    world.access.take(Event(stream_kind="workspace", seq=1, role_deleted=RoleDeleted(role_id="user")))
    world.now += 3.1
    await world.get_user("Alice")
    assert (world.access.policy.seq, "user" in world.access.policy.roles) == (0, True)


async def test_a_change_is_read_as_soon_as_it_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_RENEW_SECONDS", 3600.0)
    renewing = asyncio.create_task(world.access.run_renewing())
    try:
        await asyncio.sleep(0)
        await world.set("Site_Name", "new")
        await eventually(lambda: world.access.setting("Site_Name") == "new")
    finally:
        renewing.cancel()


async def test_an_event_that_comes_again_changes_nothing(world: World) -> None:
    await world.set("Site_Name", "first")
    await world.set("Site_Name", "second")
    old = Event(
        stream_kind="workspace",
        seq=1,
        setting_changed=SettingChanged(setting_id="Site_Name", setting=b'{"_id": "Site_Name", "value": "first"}'),
    )
    await world.get_user("Alice")
    await world.log.publish([old])
    await world.get_user("Alice")
    assert world.access.setting("Site_Name") == "second"
    assert world.access.policy.seq == 2


async def test_a_missed_event_makes_it_read_everything_again(world: World) -> None:
    await world.grant("send", "nobody", tell=False)
    await world.set("Site_Name", "new")
    alice = await world.get_user("Alice")
    assert world.access.setting("Site_Name") == "new"
    assert world.auth.policies_read == 2
    assert not world.access.may(alice, "send")
    assert world.access.policy.seq == 2


async def test_a_missed_event_is_noticed_though_the_user_is_known(world: World) -> None:
    await world.get_user("Alice")
    await world.grant("send", "nobody", tell=False)
    await world.set("Site_Name", "new")
    alice = await world.get_user("Alice")
    assert not world.access.may(alice, "send")


async def test_a_gap_of_the_log_makes_it_read_everything_again(world: World) -> None:
    await world.get_user("Alice")
    await world.grant("send", "nobody", tell=False)
    world.auth.users["Alice"]["roles"] = ["guest"]
    world.log.lose()
    alice = await world.access.get_actor(user_actor("Alice"))
    assert alice.roles == ("guest",)
    assert not world.access.may(alice, "send")


async def test_reading_again_waits_for_auth(world: World) -> None:
    await world.get_user("Alice")
    world.log.lose()
    world.auth.available = False
    for _ in range(2):
        with pytest.raises(Unavailable):
            await world.access.get_actor(user_actor("Alice"))
    world.auth.available = True
    await world.access.get_actor(user_actor("Alice"))
    assert world.auth.policies_read == 2


async def test_an_event_during_the_loading_is_not_lost(world: World) -> None:
    async def revoke() -> None:
        await world.grant("send", "nobody")

    world.auth.during = revoke
    world.log.lose()
    alice = await world.get_user("Alice")
    assert not world.access.may(alice, "send")
    assert world.access.policy.seq == 1


async def test_a_gap_during_the_loading_is_not_forgotten(world: World) -> None:
    async def revoke() -> None:
        await world.grant("send", "nobody", tell=False)
        world.log.lose()

    world.auth.during = revoke
    world.log.lose()
    await world.get_user("Alice")
    alice = await world.get_user("Alice")
    assert not world.access.may(alice, "send")
