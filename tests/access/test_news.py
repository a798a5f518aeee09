"""What access tells of, and what it does where news got lost."""

import asyncio

import orjson
import pytest

from palaver import access
from palaver.errors import LoginRequired, Unavailable
from palaver.events import user_actor
from palaver.v1.auth_pb2 import GetPolicyReply, GetPolicyRequest
from palaver.v1.event_pb2 import Event, RoleDeleted, RoleSaved
from tests.access.world import World
from tests.waiting import eventually


def _facts(changes: list[Event]) -> list[str | None]:
    return [change.WhichOneof("fact") for change in changes]


async def test_every_change_is_told_once(world: World) -> None:
    changes: list[Event] = []
    world.access.on_change(changes.append)
    await world.set("Site_Name", "new")
    await world.grant("send", "user", "owner", "guest")
    await world.get_user("Alice")
    await world.log.publish([Event(stream_kind="workspace", seq=1, role_deleted=RoleDeleted(role_id="user"))])
    assert _facts(changes) == ["setting_changed", "permission_changed"]
    world.log.lose()
    await world.get_user("Alice")
    assert len(changes) == 2, "nothing differs"


async def test_what_was_missed_is_told_as_it_is_now(world: World) -> None:
    def fail(change: Event) -> None:
        raise RuntimeError("a follower that fails is no other's concern")

    changes: list[Event] = []
    world.access.on_change(fail)
    world.access.on_change(changes.append)
    for name in ("first", "second"):
        await world.set("Site_Name", name, tell=False)
    await world.grant("send", "admin", tell=False)
    await world.event(tell=False, role_saved=RoleSaved(role_id="pilot"))
    world.auth.roles = {"pilot": {"_id": "pilot"}}
    world.now += 3.1
    await world.get_user("Alice")
    assert _facts(changes) == ["setting_changed", "permission_changed", "role_saved", "role_deleted"]
    assert orjson.loads(changes[0].setting_changed.setting)["value"] == "second"
    assert changes[1].permission_changed.permission_id == "send"
    assert {change.seq for change in changes} == {world.auth.seq}


async def test_a_caller_may_know_of_a_later_policy(world: World) -> None:
    await world.grant("send", "nobody", tell=False)
    await world.access.catch_up(0)
    assert world.auth.policies_read == 1
    await asyncio.gather(*(world.access.catch_up(world.auth.seq) for _ in range(5)))
    assert world.auth.policies_read == 2
    assert world.access.policy.roles_of("send") == ["nobody"]


async def test_that_nobody_answers_is_found_out_once_for_all_who_must_know_more(world: World) -> None:
    await world.grant("send", "nobody", tell=False)
    world.auth.available = False
    asked = world.auth.asked
    outcomes = await asyncio.gather(*(world.access.catch_up(world.auth.seq) for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 5
    assert world.auth.asked == asked + 1
    assert not world.access.is_trusted(), "nothing is decided here before auth answers"
    world.auth.available = True
    await world.access.catch_up(world.auth.seq)
    assert world.access.policy.roles_of("send") == ["nobody"]


async def test_a_lost_change_of_a_user_is_obeyed_within_three_seconds(world: World) -> None:
    await world.get_user("Alice")
    world.auth.users["Alice"]["active"] = False
    world.now += 2.9
    assert (await world.get_user("Alice")).active
    world.now += 0.2
    with pytest.raises(LoginRequired):
        await world.access.get_actor(user_actor("Alice"))
    assert world.auth.policies_read == 1


async def test_a_lost_change_of_the_policy_is_obeyed_within_three_seconds(world: World) -> None:
    await world.get_user("Alice")
    await world.grant("send", "nobody", tell=False)
    world.now += 3.1
    assert not world.access.may(await world.get_user("Alice"), "send")


async def test_every_second_auth_confirms_the_policy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_RENEW_SECONDS", 0.01)
    renewing = asyncio.create_task(world.access.run_renewing())
    try:
        await eventually(lambda: world.auth.confirmations > 2)
        assert world.auth.policies_read == 1
        world.auth.available = False
        await asyncio.sleep(0.05)
        world.auth.available = True
        await world.set("Site_Name", "new", tell=False)
        await eventually(lambda: world.access.setting("Site_Name") == "new")
    finally:
        renewing.cancel()


async def test_without_auth_nobody_is_trusted_for_long(world: World) -> None:
    await world.get_user("Alice")
    world.auth.available = False
    world.now += 2.9
    await world.access.get_actor(user_actor("Alice"))
    world.now += 0.2
    for _ in range(2):
        with pytest.raises(Unavailable):
            await world.access.get_actor(user_actor("Alice"))
    world.auth.available = True
    await world.access.get_actor(user_actor("Alice"))


async def test_all_wait_for_one_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[GetPolicyRequest] = []

    async def never(request: GetPolicyRequest) -> GetPolicyReply:
        asked.append(request)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(access, "_TRUST_SECONDS", 0.05)
    monkeypatch.setattr(world.auth, "get_policy", never)
    world.now += 4
    found = await asyncio.gather(*(world.access.find_user("Alice") for _ in range(20)), return_exceptions=True)
    assert {type(error) for error in found} == {Unavailable}
    assert len(asked) == 1
