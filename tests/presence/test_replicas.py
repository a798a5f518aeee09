"""Several presence processes side by side: any of them takes any call, any of them may die at any moment."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from palaver.errors import Unavailable
from palaver.v1.presence_pb2 import AWAY, BUSY, OFFLINE, ONLINE, PresenceChanged, ReportStatusesRequest, StatusReport
from tests.presence.harness import NODE, World
from tests.presence.harness import world as make_world

ONE, TWO = "presence 1", "presence 2"


@pytest.fixture
async def both() -> AsyncIterator[World]:
    async with make_world(replicas=2) as world:
        yield world


def prefer(world: World, name: str) -> None:
    """This process takes the calls."""
    world.replicas = {name: world.replicas[name], **world.replicas}


async def check_agree(world: World, **expected: int) -> None:
    """Every process sees these people, and nobody else, so."""
    for name in world.replicas:
        assert {id: user.status for id, user in (await world.see(replica=name)).items()} == expected


async def test_all_know_what_one_is_told(both: World) -> None:
    await both.connect("Alice")
    await check_agree(both, Alice=ONLINE)
    prefer(both, TWO)
    await both.say("Alice", AWAY)
    await both.connect("Bob", node="another")
    await check_agree(both, Alice=AWAY, Bob=ONLINE)
    prefer(both, ONE)
    await both.choose("Bob", "busy", "in a meeting")
    await both.disconnect("Alice")
    await check_agree(both, Bob=BUSY)
    assert await both.hear() == [
        ("Alice", ONLINE, ""),
        ("Alice", AWAY, ""),
        ("Bob", ONLINE, ""),
        ("Bob", BUSY, "in a meeting"),
        ("Alice", OFFLINE, ""),
    ]
    await both.pass_time(10)
    assert await both.hear() == []


async def test_the_others_learn_from_what_is_told(both: World) -> None:
    """A process that others tell of a user need not ask auth who that is."""
    await both.connect("Alice")
    await both.pass_time(10)
    await check_agree(both, Alice=ONLINE)
    assert both.auth.asked == [["Alice"]]


async def test_who_moves_while_everything_dies_is_seen_as_gone(both: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process takes that Bob left a gateway, the other that he came to another one, which it never gets to keep."""
    await both.connect("Bob", node="first")
    put = both.live.put
    came = both.mark_key("Bob", "second")

    async def stop(key: str, value: bytes, seconds: float) -> None:
        if key == came:
            await asyncio.Event().wait()
        await put(key, value, seconds)

    monkeypatch.setattr(both.live, "put", stop)
    prefer(both, TWO)
    coming = asyncio.create_task(both.connect("Bob", node="second"))
    await asyncio.wait([coming], timeout=0.05)
    prefer(both, ONE)
    await both.disconnect("Bob", node="first")
    assert both.told[-1].status == ONLINE
    coming.cancel()
    await both.crash(ONE)
    await both.crash(TWO)
    both.gateways.clear()
    monkeypatch.undo()
    await both.start("presence 3")
    await both.pass_time(5)
    assert both.told[-1].status == OFFLINE


async def test_a_user_of_two_gateways(both: World) -> None:
    await both.connect("Alice", node="first")
    prefer(both, TWO)
    await both.connect("Alice", node="second")
    await both.disconnect("Alice", node="first")
    await check_agree(both, Alice=ONLINE)
    assert await both.hear() == [("Alice", ONLINE, "")]
    prefer(both, ONE)
    await both.disconnect("Alice", node="second")
    assert await both.hear() == [("Alice", OFFLINE, "")]


async def test_a_call_without_an_answer_is_repeated_to_another(both: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the first process died: before it told anybody, or after it had told everybody."""
    for operation, told in (("publish", 1), ("put", 1)):
        real = getattr(both.live, operation)

        async def die(*_: object) -> None:
            raise Unavailable

        with monkeypatch.context() as patch:
            patch.setattr(both.live, operation, die)
            await both.connect("Alice", operation)
        await both.crash(ONE)
        assert getattr(both.live, operation) == real
        assert len(await both.hear()) == told
        await check_agree(both, Alice=ONLINE)
        await both.disconnect("Alice", operation)
        assert await both.hear() == [("Alice", OFFLINE, "")]
        await both.start(ONE)
        prefer(both, ONE)


async def test_who_dies_before_telling_is_made_up_for(both: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if its gateway dies as well, and doesn't repeat anything."""
    publish = both.live.publish

    async def die_before_telling(subject: str, message: bytes) -> None:
        if subject == "presence":
            raise Unavailable
        await publish(subject, message)

    with monkeypatch.context() as patch:
        patch.setattr(both.live, "publish", die_before_telling)
        await both.connect("Alice")
    await both.crash(ONE)
    for _ in range(2):
        await both.replicas[TWO].check_doubts()
    assert [(user.user_id, user.status) for user in both.told] == [("Alice", ONLINE)]


async def test_calls_out_of_order(both: World) -> None:
    def request(status: int, revision: int) -> ReportStatusesRequest:
        report = StatusReport(user_id="Alice", status=status, revision=revision)  # type: ignore[arg-type]
        return ReportStatusesRequest(node_id=NODE, reports=[report])

    one, two = both.replicas[ONE], both.replicas[TWO]
    await one.report_statuses(request(ONLINE, 1))
    await two.report_statuses(request(OFFLINE, 4))
    await one.report_statuses(request(AWAY, 3))
    await two.report_statuses(request(ONLINE, 2))
    await one.report_statuses(request(OFFLINE, 4))
    assert await both.hear() == [("Alice", ONLINE, ""), ("Alice", OFFLINE, "")]
    await both.start("presence 3")
    await both.replicas["presence 3"].report_statuses(request(AWAY, 3))
    await check_agree(both)
    assert await both.hear() == []


async def test_a_late_mark_does_not_stay(both: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process writes what has been overtaken while it was held up; it may die right after that."""
    put = both.live.put
    held, go_on = asyncio.Event(), asyncio.Event()

    async def hold(key: str, value: bytes, seconds: float) -> None:
        monkeypatch.setattr(both.live, "put", put)
        held.set()
        await go_on.wait()
        await put(key, value, seconds)

    monkeypatch.setattr(both.live, "put", hold)
    both.gateway().connect("Alice", "c1")
    first = asyncio.create_task(both.replicas[ONE].report_statuses(_due(both)))
    await held.wait()
    both.gateway().disconnect("Alice", "c1")
    both.gateway().reports._said["Alice"].was_sent = True
    both.gateway().connect("Alice", "c1")
    both.gateway().say("Alice", "c1", AWAY)
    prefer(both, TWO)
    await both.gateway().report()
    go_on.set()
    await first
    assert list((await both.marks()).values()) == ["away"]
    await check_agree(both, Alice=AWAY)


def _due(world: World) -> ReportStatusesRequest:
    reports = world.gateway().reports
    said = [(id, reports._said[id]) for id in reports._due]
    for _, each in said:
        each.was_sent = True
    found = [StatusReport(user_id=id, status=each.status, revision=each.revision) for id, each in said]
    return ReportStatusesRequest(node_id=reports.node_id, reports=found)


async def test_two_that_disagree_come_to_one_word(both: World) -> None:
    """One has missed that a user went, and has nothing to go by but that the other tells something else."""
    await both.connect("Alice")
    await both.hear()
    ghost = StatusReport(user_id="Alice", status=ONLINE, revision=7)
    both.replicas[ONE]._picture.add("a gateway of long ago", ghost)
    prefer(both, TWO)
    await both.disconnect("Alice")
    await both.pass_time(10)
    await both.pass_time(10)
    assert [status for _, status, _ in await both.hear()] == [OFFLINE]
    await check_agree(both)


async def test_a_lost_gateway_is_told_of_by_the_first_who_notices(both: World) -> None:
    await both.connect("Alice")
    await both.pass_time(5)
    await both.hear()
    await both.pass_time(60, living=[])
    assert [(user.user_id, user.status) for user in both.told] == [("Alice", OFFLINE)]
    await check_agree(both)


async def test_what_another_process_told_is_believed(both: World) -> None:
    """And is what its own later news are compared with."""
    await both.connect("Alice")
    await both.hear()
    shown = (await both.see("Alice"))["Alice"]
    shown.status_text, shown.updated_at = "written elsewhere", 5
    await both.live.publish("presence", PresenceChanged(users=[shown], replica_id="x").SerializeToString())
    assert (await both.see("Alice"))["Alice"].status_text == "written elsewhere"
