"""Connections, choices, and what is told of them."""

import asyncio

import pytest

from palaver.errors import InvalidInput, LoginRequired, NotAllowed, UserNotFound
from palaver.events import SYSTEM, user_actor
from palaver.presence.picture import ENDED_SECONDS
from palaver.v1.presence_pb2 import (
    AWAY,
    BUSY,
    OFFLINE,
    ONLINE,
    ListGatewaysRequest,
    ReportStatusesRequest,
    SetStatusRequest,
    StatusReport,
    UserPresence,
)
from tests.presence.harness import NODE, World


async def test_the_first_connection_is_told(world: World) -> None:
    await world.connect("Alice")
    assert await world.hear() == [("Alice", ONLINE, "")]
    assert await world.see("Alice") == {
        "Alice": UserPresence(
            user_id="Alice",
            username="alice",
            name="Alice",
            status=ONLINE,
            connection_status=ONLINE,
            status_default="online",
            utc_offset=1,
            roles=["user"],
        )
    }


async def test_only_the_last_connection_leaving_is_told(world: World) -> None:
    await world.connect("Alice", "c1")
    await world.connect("Alice", "c2")
    await world.connect("Alice", "c3", node="another")
    assert await world.hear() == [("Alice", ONLINE, "")]
    await world.disconnect("Alice", "c1")
    await world.disconnect("Alice", "c3", node="another")
    assert await world.hear() == []
    assert (await world.see("Alice"))["Alice"].status == ONLINE
    await world.disconnect("Alice", "c2")
    assert await world.hear() == [("Alice", OFFLINE, "")]
    assert await world.see() == {}


@pytest.mark.parametrize("number", range(6))
async def test_what_is_no_report(world: World, number: int) -> None:
    request = [
        ReportStatusesRequest(reports=[StatusReport(user_id="Alice", status=ONLINE, revision=1)]),
        ReportStatusesRequest(node_id=NODE, reports=[StatusReport(status=ONLINE, revision=1)]),
        ReportStatusesRequest(node_id=NODE, reports=[StatusReport(user_id="Alice", status=ONLINE)]),
        ReportStatusesRequest(node_id=NODE, reports=[StatusReport(user_id="Alice", status=ONLINE, revision=-1)]),
        ReportStatusesRequest(node_id=NODE, reports=[StatusReport(user_id="Alice", status=BUSY, revision=1)]),
        ReportStatusesRequest(
            node_id=NODE, reports=[StatusReport(user_id="Bob", status=ONLINE, revision=1), StatusReport(revision=1)]
        ),
    ][number]
    with pytest.raises(InvalidInput):
        await world.presence.report_statuses(request)
    assert await world.see() == {}


async def test_idle_clients(world: World) -> None:
    await world.connect("Alice", "c1")
    await world.connect("Alice", "c2", node="another")
    await world.hear()
    await world.say("Alice", AWAY, "c1")
    assert await world.hear() == []
    await world.say("Alice", AWAY, "c2", node="another")
    assert await world.hear() == [("Alice", AWAY, "")]
    await world.say("Alice", ONLINE, "c1")
    assert await world.hear() == [("Alice", ONLINE, "")]
    await world.disconnect("Alice", "c1")
    assert await world.hear() == [("Alice", AWAY, "")]
    await world.connect("Alice", "c3")
    assert await world.hear() == [("Alice", ONLINE, "")]


async def test_what_changed_and_changed_back_is_not_told(world: World) -> None:
    gateway = world.gateway()
    await world.connect("Alice", "c1")
    await world.hear()
    gateway.disconnect("Alice", "c1")
    gateway.connect("Alice", "c2")
    gateway.connect("Bob", "c1")
    gateway.disconnect("Bob", "c1")
    assert await world.hear() == []
    assert list(await world.marks()) == [world.mark_key("Alice")]


async def test_a_choice_wins_while_connected(world: World) -> None:
    await world.connect("Alice")
    assert await world.hear() == [("Alice", ONLINE, "")]
    await world.choose("Alice", "busy", "in a meeting")
    assert await world.hear() == [("Alice", BUSY, "in a meeting")]
    await world.choose("Alice", "busy", "in a meeting")
    assert await world.hear() == []
    await world.choose("Alice", text="")
    assert await world.hear() == [("Alice", BUSY, "")]
    await world.say("Alice", AWAY)
    assert await world.hear() == []
    await world.choose("Alice", "online")
    assert await world.hear() == [("Alice", AWAY, "")]
    seen = (await world.see("Alice"))["Alice"]
    assert (seen.status, seen.connection_status, seen.status_default) == (AWAY, AWAY, "online")


async def test_a_stored_choice_holds_at_the_next_login(world: World) -> None:
    world.auth.add("Carol", statusDefault="away", statusText="on holiday", avatarETag="e1")
    await world.connect("Carol")
    assert await world.hear() == [("Carol", AWAY, "on holiday")]
    assert (await world.see("Carol"))["Carol"].avatar_etag == "e1"


async def test_an_invisible_user_is_never_told_of(world: World) -> None:
    world.auth.add("Carol", statusDefault="offline", statusText="not here")
    await world.connect("Carol")
    assert await world.hear() == []
    assert await world.see() == {}
    seen = (await world.see("Carol"))["Carol"]
    assert (seen.status, seen.connection_status, seen.status_text) == (OFFLINE, ONLINE, "not here")
    await world.disconnect("Carol")
    assert await world.hear() == []


async def test_a_choice_without_a_connection(world: World) -> None:
    await world.choose("Alice", "busy")
    assert await world.hear() == []
    await world.choose("Alice", text="out")
    assert await world.hear() == [("Alice", OFFLINE, "out")]
    await world.choose("Alice", text="out")
    assert await world.hear() == []
    assert await world.see() == {}
    await world.connect("Alice")
    assert await world.hear() == [("Alice", BUSY, "out")]


async def test_whose_status_may_be_set(world: World) -> None:
    with pytest.raises(NotAllowed) as caught:
        await world.choose("Bob", "busy", actor="Alice")
    assert caught.value.error_code == "error-not-allowed"
    assert world.auth.users["Bob"]["statusDefault"] == "online"
    await world.choose("Bob", "busy", actor="Root")
    assert world.auth.users["Bob"]["statusDefault"] == "busy"
    with pytest.raises(LoginRequired):
        await world.presence.set_status(SetStatusRequest(actor=SYSTEM, user_id="Bob", status="away"))
    with pytest.raises(UserNotFound):
        await world.choose("Nobody", "busy", actor="Root")


async def test_what_auth_refuses_passes_through(world: World) -> None:
    await world.connect("Alice")
    with pytest.raises(InvalidInput) as caught:
        await world.choose("Alice", "asleep")
    assert caught.value.error_code == "error-invalid-status"
    assert await world.hear() == [("Alice", ONLINE, "")]


async def test_the_presence_of_some(world: World) -> None:
    world.auth.users["Bob"]["statusText"] = "gone fishing"
    await world.connect("Alice")
    seen = await world.see("Bob", "Nobody", "Alice", "Bob")
    assert list(seen) == ["Bob", "Alice"]
    assert (seen["Bob"].status, seen["Bob"].username, seen["Bob"].status_text) == (OFFLINE, "bob", "gone fishing")
    assert seen["Alice"].status == ONLINE


async def test_the_presence_of_everybody(world: World) -> None:
    for number in range(1200):
        world.auth.add(f"user {number}")
        await world.connect(f"user {number}")
    seen = await world.see()
    assert len(seen) == 1200
    assert all(user.username for user in seen.values())


async def test_users_are_loaded_together_and_once(world: World) -> None:
    names = [f"user {number}" for number in range(500)]
    for name in names:
        world.auth.add(name)
        world.gateway().connect(name, "c1")
    assert len(await world.hear()) == 500
    assert len(world.auth.asked) < 5
    world.auth.asked.clear()
    for name in names:
        await world.connect(name, "c2", node="another")
        await world.disconnect(name, "c1")
    await world.see(*names)
    assert await world.hear() == []
    assert world.auth.asked == []


async def test_what_others_change_of_a_user(world: World) -> None:
    await world.connect("Alice")
    await world.hear()
    await world.auth.change("Alice", statusText="renamed", name="Alice B.")
    assert await world.hear() == [("Alice", ONLINE, "renamed")]
    await world.auth.change("Alice", name="Alice C.")
    assert await world.hear() == []
    assert (await world.see("Alice"))["Alice"].name == "Alice C."
    await world.auth.change("Bob", statusText="not connected")
    assert await world.hear() == []


async def test_a_change_while_a_user_is_loaded(world: World) -> None:
    async def change() -> None:
        world.auth.before_answer = None
        await world.auth.change("Alice", statusDefault="busy")

    world.auth.before_answer = change
    await world.connect("Alice")
    await world.settle()
    assert (await world.see("Alice"))["Alice"].status == BUSY


async def test_while_auth_does_not_answer(world: World) -> None:
    await world.connect("Bob")
    await world.hear()
    world.auth.available = False
    await world.connect("Alice")
    await world.say("Bob", AWAY)
    assert await world.hear() == [("Bob", AWAY, "")]
    world.auth.available = True
    assert (await world.see())["Alice"].status == ONLINE
    await world.pass_time(5)
    assert await world.hear() == [("Alice", ONLINE, "")]


async def test_a_connected_user_who_is_deleted(world: World) -> None:
    await world.connect("Alice")
    await world.connect("ghost")
    await world.hear()
    del world.auth.users["Alice"]
    await world.live.publish("users", b"Alice")
    assert await world.hear() == []
    await world.disconnect("Alice")
    assert await world.hear() == [("Alice", OFFLINE, "")]
    assert list(await world.see("ghost")) == []


async def test_the_workspace_may_want_no_telling(world: World) -> None:
    policy = world.node.access.policy
    await world.connect("Bob")
    await world.hear()
    policy.settings["Presence_broadcast_disabled"]["value"] = True
    await world.pass_time(1)
    await world.connect("Alice")
    await world.disconnect("Bob")
    assert await world.hear() == []
    assert (await world.see("Alice"))["Alice"].status == ONLINE
    policy.settings["Presence_broadcast_disabled"]["value"] = False
    await world.pass_time(1)
    assert sorted(await world.hear()) == [("Alice", ONLINE, ""), ("Bob", OFFLINE, "")]


async def test_the_connections_of_each_node(world: World) -> None:
    async def list_nodes() -> tuple[list[int], int]:
        for gateway in (first, second):
            await gateway.reports.keep_lease()
        reply = await world.presence.list_gateways(ListGatewaysRequest(actor=user_actor("Root")))
        connections = {node.node_id: node.connections for node in reply.nodes}
        return [connections.pop(gateway.reports.node_id) for gateway in (first, second)], reply.users

    world.auth.add("Root", roles=["admin"])
    for nobody in (ListGatewaysRequest(), ListGatewaysRequest(actor=user_actor("Alice"))):
        with pytest.raises((LoginRequired, NotAllowed)):
            await world.presence.list_gateways(nobody)
    first, second = world.gateway(), world.gateway("another")
    await world.connect("Alice", "c1")
    await world.connect("Alice", "c2")
    await world.connect("Bob", "c1", node="another")
    assert await list_nodes() == ([2, 1], 2)
    await world.disconnect("Alice", "c1")
    await world.disconnect("Bob", "c1", node="another")
    assert await list_nodes() == ([1, 0], 1)
    await world.live.put("presence.nodes.stranger", b"not a number", 60)
    await second.reports.close()
    reply = await world.presence.list_gateways(ListGatewaysRequest(actor=user_actor("Root")))
    assert [node.node_id for node in reply.nodes] == [first.reports.node_id]


async def test_nothing_is_kept_of_those_who_left(world: World) -> None:
    async def visit(user: str) -> None:
        await world.connect(user)
        await asyncio.sleep(0)
        await world.choose(user, text="here")
        await world.say(user, AWAY)
        await world.disconnect(user)

    for _ in range(3):
        await asyncio.gather(*map(visit, ["Alice", "Bob", "rocket.cat"]))
        await world.settle()
        await world.pass_time(20)
    assert list((await world.marks()).values()) == ["offline"] * 3
    await world.pass_time(ENDED_SECONDS)
    picture = world.presence._picture
    assert (picture.people, picture.gateways, len(picture._ended)) == ({}, {}, 0)
    assert await world.marks() == {}
    (gateway,) = world.gateways.values()
    assert (gateway.reports._said, gateway.reports._due) == ({}, {})
