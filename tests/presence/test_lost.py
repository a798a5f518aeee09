"""Gateways and presence processes that die, and live ports that do not answer or lose their memory."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest

from palaver.errors import Unavailable
from palaver.gateway.presence_reports import REPEAT_SECONDS as REPORT_AGAIN_SECONDS
from palaver.presence.gateways import LEASE_SECONDS
from palaver.presence.role import REPEAT_SECONDS
from palaver.presence.sharing import MARK_SECONDS
from palaver.v1.presence_pb2 import AWAY, OFFLINE, ONLINE, ReportStatusesRequest, StatusReport
from tests.presence.harness import NODE, World

LONG = 3 * LEASE_SECONDS
"""By now a gateway is lost: its key has ended, and has been missing for as long again."""


async def _refuse(*_: Any) -> Any:
    raise Unavailable


async def test_marks_are_written_on_transitions_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, bytes]] = []
    put = world.live.put

    async def noted(key: str, value: bytes, seconds: float) -> None:
        written.append((key, value.split(b" ")[0]))
        await put(key, value, seconds)

    monkeypatch.setattr(world.live, "put", noted)
    mine, another = world.mark_key("Alice"), world.mark_key("Alice", "another")
    await world.connect("Alice", "c1")
    await world.connect("Alice", "c2")
    await world.say("Alice", AWAY, "c1")
    await world.choose("Alice", "busy")
    await world.disconnect("Alice", "c1")
    await world.settle()
    assert written == [(mine, b"online")]
    await world.say("Alice", AWAY, "c2")
    assert written == [(mine, b"online"), (mine, b"away")]
    await world.connect("Alice", "c3", node="another")
    assert await world.marks() == {mine: "away", another: "online"}
    await world.disconnect("Alice", "c2")
    assert await world.marks() == {mine: "offline", another: "online"}
    await world.disconnect("Alice", "c3", node="another")
    await world.pass_time(120)
    assert await world.marks() == {}


async def test_the_users_of_a_lost_gateway_go(world: World) -> None:
    await world.connect("Alice", "c1")
    await world.connect("Bob", "c1")
    await world.connect("Bob", "c2", node="another")
    await world.pass_time(LONG)
    assert len(await world.hear()) == 2
    await world.pass_time(LEASE_SECONDS, living=["another"])
    assert await world.hear() == []
    await world.pass_time(LONG, living=["another"])
    assert await world.hear() == [("Alice", OFFLINE, "")]
    await world.pass_time(120, living=["another"])
    assert await world.marks() == {world.mark_key("Bob", "another"): "online"}
    assert list(world.presence._picture.gateways) == [world.gateway("another").reports.node_id]


@pytest.mark.parametrize("calls", range(4))
async def test_what_others_were_told_ends_when_a_gateway_and_its_presence_process_die_together(
    world: World, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """After each of the calls to the live port that a report takes."""
    left = calls

    def stopping(method: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def call(*arguments: Any) -> None:
            nonlocal left
            if not left:
                await asyncio.Event().wait()
            left -= 1
            await method(*arguments)

        return call

    for name in ("put", "publish"):
        monkeypatch.setattr(world.live, name, stopping(getattr(world.live, name)))
    await asyncio.wait([connecting := asyncio.create_task(world.connect("Alice"))], timeout=0.05)
    monkeypatch.undo()
    connecting.cancel()
    await world.crash()
    del world.gateways[NODE]
    await world.start()
    await world.pass_time(LONG)
    assert [user.status for user in world.told][-1:] in ([], [OFFLINE])


async def test_who_became_invisible_when_nobody_remembered_them_is_told_of(world: World) -> None:
    await world.connect("Alice")
    await world.pass_time(5)
    await world.crash()
    for key in await world.live.list(""):
        await world.live.delete(key)
    await world.auth.change("Alice", statusDefault="offline")
    await world.start()
    await world.pass_time(5)
    assert [(user.user_id, user.status) for user in world.told] == [("Alice", ONLINE), ("Alice", OFFLINE)]


async def test_a_gateway_that_was_taken_for_dead_says_everything_again(world: World) -> None:
    await world.connect("Alice", "c1")
    await world.connect("Bob", "c1")
    await world.pass_time(10)
    assert len(await world.hear()) == 2
    await world.pass_time(LONG, living=[])
    told, world.told = world.told, []
    assert sorted((user.user_id, user.status) for user in told) == [("Alice", OFFLINE), ("Bob", OFFLINE)]
    world.gateway().disconnect("Bob", "c1")
    await world.pass_time(5)
    assert await world.hear() == [("Alice", ONLINE, "")]
    await world.pass_time(120)
    assert await world.marks() == {world.mark_key("Alice"): "online"}


async def test_a_report_is_a_sign_of_life(world: World) -> None:
    """A gateway is back the moment it says something: what it says now is newer than its end."""
    await world.connect("Alice", "c1")
    await world.pass_time(LEASE_SECONDS - 5, living=[])
    await world.connect("Bob", "c1")
    world.clock.now += LEASE_SECONDS - 1
    await world.presence.check()
    assert sorted(await world.hear()) == [("Alice", ONLINE, ""), ("Bob", ONLINE, "")]


async def test_a_late_call_does_not_bring_back_a_lost_gateways_user(world: World) -> None:
    await world.connect("Alice", "c1")
    await world.hear()
    node_id = world.gateway().reports.node_id
    await world.pass_time(LONG, living=[])
    for status in (ONLINE, AWAY):
        late = ReportStatusesRequest(
            node_id=node_id, reports=[StatusReport(user_id="Alice", status=status, revision=1)]
        )
        await world.presence.report_statuses(late)
    assert await world.see() == {}


async def test_a_stopped_gateway_takes_its_users_along_at_once(world: World) -> None:
    await world.connect("Alice", "c1")
    await world.connect("Bob", "c1")
    await world.connect("Bob", "c2", node="another")
    await world.pass_time(1)
    await world.hear()
    await world.gateway().reports.close()
    assert await world.hear() == [("Alice", OFFLINE, "")]
    assert len(await world.live.list("presence.nodes")) == 1


async def test_nobody_is_lost_while_the_leases_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.connect("Alice")
    await world.pass_time(1)
    with monkeypatch.context() as patch:
        patch.setattr(world.live, "list", _refuse)
        await world.pass_time(20 * LEASE_SECONDS, living=[])
    await world.pass_time(5, living=[])  # the keys have ended meanwhile: gateways get the time to put them again
    assert await world.hear() == [("Alice", ONLINE, "")]
    await world.pass_time(LEASE_SECONDS, living=[])
    assert await world.hear() == [("Alice", OFFLINE, "")]


@pytest.mark.parametrize("operation", ["put", "publish"])
async def test_what_the_live_port_does_not_take_is_made_up_for(
    world: World, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    await world.connect("Bob")
    await world.hear()
    with monkeypatch.context() as patch:
        patch.setattr(world.live, operation, _refuse)
        await world.connect("Alice")
        await world.disconnect("Bob")
        await world.pass_time(5)
    await world.pass_time(5)
    assert sorted(set(await world.hear())) == [("Alice", ONLINE, ""), ("Bob", OFFLINE, "")]
    assert await world.marks() == {world.mark_key("Alice"): "online", world.mark_key("Bob"): "offline"}
    assert list(await world.see()) == ["Alice"]


async def test_a_mark_that_was_perhaps_written_is_written_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put = world.live.put

    async def write_and_fail(key: str, value: bytes, seconds: float) -> None:
        await put(key, value, seconds)
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(world.live, "put", write_and_fail)
        await world.connect("Alice")
    assert await world.marks() == {world.mark_key("Alice"): "online"}
    await world.disconnect("Alice")
    await world.settle()
    assert await world.marks() == {world.mark_key("Alice"): "offline"}


async def test_marks_do_not_end_while_their_users_are_there(world: World) -> None:
    for number in range(100):
        world.auth.add(f"user{number}")
        world.gateway().connect(f"user{number}", "c1")
    await world.hear()
    assert REPORT_AGAIN_SECONDS < MARK_SECONDS / 2
    for _ in range(3 * int(MARK_SECONDS / 300)):
        for _ in range(60):
            world.clock.now += 5
            world.gateway().reports._repeat_some()
        await world.gateway().reports.keep_lease()
        await world.settle()
        assert len(await world.marks()) == 100
    assert world.told == []


async def _lose_memory(world: World) -> None:
    """What a restarted nats-server does: its keys are gone, and its clients notice that they were disconnected."""
    for key in await world.live.list(""):
        await world.live.delete(key)
    for presence in world.replicas.values():
        presence._on_gap()


async def test_a_live_port_that_loses_its_memory_is_told_everything_again(world: World) -> None:
    await world.connect("Alice", "c1")
    await world.connect("Bob", "c1", node="another")
    await world.pass_time(5)
    assert len(await world.hear()) == 2
    await _lose_memory(world)
    assert len(await world.see()) == 2
    await world.pass_time(5)
    assert await world.marks() == {world.mark_key("Alice"): "online", world.mark_key("Bob", "another"): "online"}
    await world.pass_time(2 * REPEAT_SECONDS)
    assert await world.hear() == []
    assert len(await world.see()) == 2


async def test_both_die_at_once(world: World) -> None:
    """The live port's memory and the only presence process: the gateways know."""
    world.auth.add("Carol")
    for user in ("Alice", "Bob", "Carol"):
        await world.connect(user, "c1")
    await world.pass_time(5)
    await world.hear()
    await _lose_memory(world)
    await world.crash()
    world.gateway().disconnect("Bob", "c1")
    world.gateway().say("Carol", "c1", AWAY)
    await world.start()
    await world.pass_time(5)
    assert set(await world.hear()) == {("Alice", ONLINE, ""), ("Bob", OFFLINE, ""), ("Carol", AWAY, "")}
    assert set(await world.see()) == {"Alice", "Carol"}


async def test_a_new_presence_process_knows_what_the_last_one_knew(world: World) -> None:
    world.auth.add("Carol", statusDefault="busy")
    await world.connect("Alice", "c1")
    await world.connect("Bob", "c1")
    await world.say("Bob", AWAY, "c1")
    await world.connect("Carol", "c1")
    await world.hear()
    await world.crash()
    await world.start()
    assert {user.user_id: user.status for user in (await world.see()).values()} == {"Alice": 1, "Bob": 2, "Carol": 3}
    assert await world.hear() == []
    await world.say("Bob", ONLINE, "c1")
    await world.disconnect("Carol", "c1")
    await world.disconnect("Alice", "c1")
    assert sorted(await world.hear()) == [("Alice", OFFLINE, ""), ("Bob", ONLINE, ""), ("Carol", OFFLINE, "")]
    await world.disconnect("Bob", "c1")
    await world.pass_time(120)
    assert await world.marks() == {}


async def test_what_is_no_mark_is_nobodys(world: World) -> None:
    await world.connect("Alice")
    for key, value in {"Bob.n": b"nonsense", "Bob.m": b"online", "Bob": b"online 1", "Bob._zz": b"online 1"}.items():
        await world.live.put(f"presence.users.{key}", value, 100)
    await world.crash()
    await world.start()
    assert list(await world.see()) == ["Alice"]


@pytest.mark.parametrize("living", [[], [NODE]])
async def test_a_gateway_that_was_lost_while_nobody_looked(world: World, living: Collection[str]) -> None:
    await world.connect("Alice")
    await world.hear()
    await world.crash()
    world.clock.now += LONG
    await world.start()
    await world.pass_time(LEASE_SECONDS + 5, living=living)
    assert set(await world.see()) == ({"Alice"} if living else set())
    assert {status for _, status, _ in await world.hear()} == ({ONLINE} if living else {OFFLINE})
