"""Gateways and presence processes that die, and live ports that do not answer."""

from typing import Any

import pytest

from palaver.errors import Unavailable
from palaver.ids import encode_subject_token
from palaver.presence.role import FORGET_SECONDS, LEASE_SECONDS
from palaver.presence.settling import MARK_SECONDS
from palaver.v1.auth_pb2 import Empty
from palaver.v1.presence_pb2 import AWAY, OFFLINE, ONLINE
from tests.presence.harness import NODE, World

ALICE = f"presence.users.{encode_subject_token(NODE)}.Alice"


async def test_marks_are_written_on_transitions_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, bytes]] = []
    put = world.live.put

    async def noted(key: str, value: bytes, seconds: float) -> None:
        written.append((key, value))
        await put(key, value, seconds)

    monkeypatch.setattr(world.live, "put", noted)
    await world.connect("Alice", "c1")
    await world.settle()
    await world.connect("Alice", "c2")
    await world.say("Alice", AWAY, "c1")
    await world.choose("Alice", "busy")
    await world.disconnect("Alice", "c1")
    await world.settle()
    assert written == [(ALICE, b"online")]
    await world.say("Alice", AWAY, "c2")
    await world.settle()
    assert written == [(ALICE, b"online"), (ALICE, b"away")]
    await world.connect("Alice", "c3", node="another")
    await world.settle()
    assert await world.marks() == {ALICE: b"away", "presence.users.another.Alice": b"online"}
    await world.disconnect("Alice", "c2")
    await world.settle()
    assert await world.marks() == {"presence.users.another.Alice": b"online"}
    await world.disconnect("Alice", "c3", node="another")
    await world.settle()
    assert await world.marks() == {}


async def test_the_users_of_a_lost_node_go(world: World) -> None:
    await world.lease()
    await world.connect("Alice", "c1")
    await world.connect("Bob", "c1")
    await world.connect("Bob", "c2", node="another")
    await world.hear()
    await world.pass_time(LEASE_SECONDS - 1)
    await world.pass_time(LEASE_SECONDS)
    assert await world.hear() == [("Alice", OFFLINE, "")]
    assert await world.marks() == {"presence.users.another.Bob": b"online"}
    reply = await world.presence.list_connections(Empty())
    assert [node.node_id for node in reply.nodes] == ["another"]


async def test_a_node_that_renews_its_lease_is_not_lost(world: World) -> None:
    for _ in range(10):
        await world.lease()
        await world.connect("Alice")
        await world.pass_time(5)
    assert await world.hear() == [("Alice", ONLINE, "")]


async def test_a_node_without_a_lease_is_not_lost(world: World) -> None:
    await world.connect("Alice")
    await world.pass_time(LEASE_SECONDS * 100)
    assert await world.hear() == [("Alice", ONLINE, "")]


async def test_a_lost_node_that_comes_back(world: World) -> None:
    await world.lease()
    await world.connect("Alice", "c1")
    await world.connect("Bob", "c1")
    assert len(await world.hear()) == 2
    await world.pass_time(1)
    await world.pass_time(LEASE_SECONDS * 2)
    assert sorted(await world.hear()) == [("Alice", OFFLINE, ""), ("Bob", OFFLINE, "")]
    await world.disconnect("Bob", "c1")
    await world.lease()
    await world.pass_time(1)
    assert await world.hear() == [("Alice", ONLINE, "")]
    assert await world.marks() == {ALICE: b"online"}


async def test_a_node_that_stays_lost_is_forgotten(world: World) -> None:
    await world.lease()
    await world.connect("Alice", "c1")
    await world.connect("Alice", "c2")
    await world.pass_time(1)
    await world.pass_time(LEASE_SECONDS * 2)
    await world.pass_time(FORGET_SECONDS)
    await world.settle()
    assert world.presence._connections.people == {}
    assert world.presence._connections.nodes == {}


async def test_nobody_is_lost_while_the_leases_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> Any:
        raise Unavailable

    await world.lease()
    await world.connect("Alice")
    await world.pass_time(1)
    with monkeypatch.context() as patch:
        patch.setattr(world.live, "list", refuse)
        for _ in range(20):
            await world.pass_time(5)
    await world.pass_time(5)  # the keys have ended meanwhile: gateways get the time to put them again
    assert await world.hear() == [("Alice", ONLINE, "")]
    await world.pass_time(LEASE_SECONDS)
    assert await world.hear() == [("Alice", OFFLINE, "")]


@pytest.mark.parametrize("operation", ["put", "publish", "delete"])
async def test_what_the_live_port_does_not_take_is_made_up_for(
    world: World, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    async def refuse(*_: Any) -> None:
        raise Unavailable

    await world.connect("Bob")
    await world.hear()
    with monkeypatch.context() as patch:
        patch.setattr(world.live, operation, refuse)
        await world.connect("Alice")
        await world.disconnect("Bob")
        await world.settle()
        await world.pass_time(5)
        await world.settle()
    await world.pass_time(5)
    told = await world.hear()
    assert sorted(told) == [("Alice", ONLINE, ""), ("Bob", OFFLINE, "")]
    assert await world.marks() == {ALICE: b"online"}
    assert list(world.presence._connections.people) == ["Alice"]


async def test_a_mark_that_was_perhaps_written_is_taken_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put = world.live.put

    async def write_and_fail(key: str, value: bytes, seconds: float) -> None:
        await put(key, value, seconds)
        raise Unavailable

    with monkeypatch.context() as patch:
        patch.setattr(world.live, "put", write_and_fail)
        await world.connect("Alice")
        await world.settle()
    assert await world.marks() == {ALICE: b"online"}
    await world.disconnect("Alice")
    await world.settle()
    assert await world.marks() == {}


async def test_marks_do_not_end_while_their_users_are_there(world: World) -> None:
    for number in range(100):
        world.auth.add(f"user{number}")
        await world.connect(f"user{number}")
    await world.settle()
    for _ in range(3 * int(MARK_SECONDS / 60)):
        for _ in range(12):
            await world.pass_time(5)
        await world.settle()
        assert len(await world.marks()) == 100


async def test_a_new_presence_process_knows_what_the_last_one_knew(world: World) -> None:
    world.auth.add("Carol", statusDefault="busy")
    await world.lease(seconds=1000)
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
    await world.settle()
    assert await world.marks() == {}


async def test_what_is_restored_stands_beside_what_is_new(world: World) -> None:
    await world.lease(seconds=1000)
    await world.connect("Alice", "old")
    await world.hear()
    await world.crash()
    await world.start()
    await world.connect("Alice", "new")
    await world.disconnect("Alice", "new")
    assert await world.hear() == []
    await world.connect("Alice", "new")
    await world.disconnect("Alice", "old")
    assert await world.hear() == []
    await world.disconnect("Alice", "new")
    assert await world.hear() == [("Alice", OFFLINE, "")]


async def test_marks_of_nodes_that_are_gone_are_not_restored(world: World) -> None:
    await world.connect("Alice")
    await world.live.put("presence.users.another.Bob", b"online", 100)
    await world.live.put("presence.users.living.rocket_2ecat", b"nonsense", 100)
    await world.lease("living")
    await world.settle()
    await world.crash()
    await world.start()
    assert await world.see() == {}
    assert await world.marks() == {}


async def test_a_restored_node_can_be_lost_at_once(world: World) -> None:
    await world.lease()
    await world.connect("Alice")
    await world.hear()
    await world.crash()
    await world.start()
    await world.hear()
    await world.pass_time(LEASE_SECONDS)
    assert await world.hear() == [("Alice", OFFLINE, "")]
