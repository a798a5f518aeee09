"""Which replica gets a call: each in turn, the one responsible for a room, those that a name stands for."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from palaver.errors import Unavailable
from palaver.events import user_actor
from palaver.rpc import replicas
from palaver.rpc.rendezvous import choose, rank
from palaver.rpc.replicas import Target, parse_address
from palaver.v1.messaging_pb2 import (
    GetRoomHeadsRequest,
    GetRoomRequest,
    ListMembershipsRequest,
    MarkReadRequest,
    RoomRequest,
)
from tests.rpc.harness import MESSAGING, PRESENCE, Group, Replica, calling, connected, counted, group

ROOMS = [f"room{number}" for number in range(30)]


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("messaging:4000", [("messaging", 4000)]),
        ("10.0.0.1:1,10.0.0.2:2", [("10.0.0.1", 1), ("10.0.0.2", 2)]),
        (" a:1 , b:65535 ", [("a", 1), ("b", 65535)]),
        ("dns:///messaging.chat.svc:4000", [("messaging.chat.svc", 4000)]),
        ("[::1]:4000,localhost:1", [("::1", 4000), ("localhost", 1)]),
    ],
)
def test_addresses(text: str, targets: list[tuple[str, int]]) -> None:
    assert parse_address(text) == tuple(Target(*target) for target in targets)


@pytest.mark.parametrize(
    "text",
    ["", "messaging", "messaging:", ":4000", "a:1,", "a:0", "a:65536", "a:-1", "a:b", "http://a:1", "a:²", "a:1/x"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="not of the form host:port"):
        parse_address(text)


async def test_calls_about_nothing_take_turns() -> None:
    async with group(3) as messaging:
        for number in range(30):
            await messaging.messaging.list_memberships(ListMembershipsRequest(user_id=str(number)))
        await messaging.messaging.get_room_heads(GetRoomHeadsRequest(room_ids=["a", "b"]))
        await messaging.messaging.get_room(GetRoomRequest(name="general"))
        await messaging.messaging.get_room(GetRoomRequest(room_id=""))
        assert messaging.calls() == [11, 11, 11]


async def test_calls_about_a_room_go_to_one_replica() -> None:
    async with group(3) as messaging:
        names = [replica.address for replica in messaging.replicas]
        for room_id in ROOMS:
            before = messaging.at(choose(room_id, names)).calls
            await messaging.messaging.join_room(RoomRequest(room_id=room_id))
            await messaging.messaging.delete_room(RoomRequest(room_id=room_id))
            await messaging.messaging.get_room(GetRoomRequest(room_id=room_id))
            assert messaging.at(choose(room_id, names)).calls == before + 3
        assert min(messaging.calls()) > 0


async def test_what_is_appended_to_a_users_stream_goes_by_the_user() -> None:
    """Whichever room it is about: so that one process appends to that stream."""
    async with group(3) as messaging:
        names = [replica.address for replica in messaging.replicas]
        for user_id in ROOMS:
            before = messaging.at(choose(user_id, names)).calls
            for room_id in ROOMS[:3]:
                await messaging.messaging.mark_read(MarkReadRequest(actor=user_actor(user_id), room_id=room_id))
            assert messaging.at(choose(user_id, names)).calls == before + 3


async def test_what_comes_back_gets_its_rooms_back() -> None:
    """Without its replica a room is the next one's; nothing else moves."""
    async with group(3) as messaging:
        gone = messaging.replicas[0]
        names = [replica.address for replica in messaging.replicas]
        mine = [room_id for room_id in ROOMS if choose(room_id, names) == gone.address]
        assert mine
        await gone.server.stop(0)
        await connected(2)
        await _check_responsible(messaging, lambda room_id: next(n for n in rank(room_id, names) if n in names[1:]))
        again = Replica(port=gone.port)
        messaging.replicas[0] = again
        async with again.server:
            await connected(3)
            await _check_responsible(messaging, lambda room_id: choose(room_id, names))


async def test_a_replica_that_is_not_there_is_done_without(unused_tcp_port: int) -> None:
    replica = Replica()
    async with (
        replica.server,
        calling(MESSAGING, f"127.0.0.1:{unused_tcp_port},{replica.address}", affinity="room_id") as messaging,
    ):
        for room_id in ROOMS:
            await messaging.delete_room(RoomRequest(room_id=room_id))
        assert replica.calls == len(ROOMS)
        assert counted("palaver_rpc_replicas_known", service="messaging") == 2
        assert counted("palaver_rpc_replicas_connected", service="messaging") == 1


async def test_why_a_replica_can_not_be_called_is_logged(
    unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with calling(MESSAGING, f"127.0.0.1:{unused_tcp_port}", deadline=0.5) as messaging:
        with pytest.raises(Unavailable):
            await messaging.delete_room(RoomRequest(room_id="a"))
        async with asyncio.timeout(30):
            while "refused" not in caplog.text:
                await asyncio.sleep(0.01)
    assert f"messaging at 127.0.0.1:{unused_tcp_port} can't be called" in caplog.text


async def test_what_answers_but_plays_another_role_is_not_called() -> None:
    replica = Replica()
    async with replica.server, calling(PRESENCE, replica.address, deadline=0.5) as presence:
        with pytest.raises(Unavailable):
            await presence.list_connections(RoomRequest())
    assert replica.calls == 0


class Names:
    """A name server: what the test says, or an error."""

    def __init__(self) -> None:
        self.hosts: list[str] | OSError = []
        self.asked = 0

    async def getaddrinfo(self, host: str, port: int, **options: Any) -> list[Any]:
        assert host == "messaging.chat.svc"
        self.asked += 1
        if isinstance(self.hosts, OSError):
            raise self.hosts
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.hosts]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    monkeypatch.setattr(replicas, "LOOK_SECONDS", 0.05)
    return Names()


@asynccontextmanager
async def named(names: Names, count: int) -> AsyncIterator[Group]:
    """Replicas at addresses of their own with one port, as the pods of a service have, and a caller by name."""
    loop: Any = asyncio.get_running_loop()
    loop.getaddrinfo = names.getaddrinfo
    async with AsyncExitStack() as stack:
        first = Replica()
        found = [first, *(Replica(f"127.0.0.{number}", first.port) for number in range(2, count + 1))]
        for replica in found:
            await stack.enter_async_context(replica.server)
        names.hosts = ["127.0.0.1", "127.0.0.2"]
        address = f"dns:///messaging.chat.svc:{first.port}"
        yield Group(found, await stack.enter_async_context(calling(MESSAGING, address, affinity="room_id")))


async def test_a_name_stands_for_several_replicas(names: Names) -> None:
    async with named(names, 3) as messaging:
        await connected(2)
        await _call_often(messaging)
        assert messaging.calls() == [10, 10, 0]
        names.hosts = ["127.0.0.2", "127.0.0.3"]
        await _until(lambda: counted("palaver_rpc_replicas_known", service="messaging") == 2)
        running = asyncio.create_task(_call_often(messaging))  # while they change
        await running
        await _until_only(messaging, 1, 2)
        await _call_often(messaging)


async def test_a_replica_that_leaves_its_name_finishes_its_calls(names: Names) -> None:
    async with named(names, 2) as messaging:
        await connected(2)
        entered, finish = asyncio.Event(), asyncio.Event()

        async def behave(_: Any) -> None:
            entered.set()
            await finish.wait()

        leaving = messaging.replicas[1]
        leaving.subject.behave = behave
        addresses = [replica.address for replica in messaging.replicas]
        room_id = next(id for id in ROOMS if choose(id, addresses) == leaving.address)
        asking = asyncio.create_task(messaging.messaging.delete_room(RoomRequest(room_id=room_id)))
        await entered.wait()
        names.hosts = ["127.0.0.1"]
        await _until(lambda: counted("palaver_rpc_replicas_known", service="messaging") == 1)
        assert not asking.done()
        finish.set()
        await asking


async def test_a_name_server_that_is_away_takes_nobody_with_it(names: Names, caplog: pytest.LogCaptureFixture) -> None:
    async with named(names, 2) as messaging:
        await connected(2)
        names.hosts = OSError("no name server")
        asked = names.asked
        await _until(lambda: names.asked > asked + 2)
        await _call_often(messaging)
        assert messaging.calls() == [10, 10]
        assert "messaging.chat.svc can't be looked up: no name server" in caplog.text
        names.hosts = []
        asked = names.asked
        await _until(lambda: names.asked > asked + 1)
        await _call_often(messaging)


async def test_a_replica_that_fails_has_the_name_looked_up_at_once(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LOOK_SECONDS", 3600.0)
    async with named(names, 3) as messaging:
        await connected(2)
        assert names.asked == 1
        names.hosts = ["127.0.0.2", "127.0.0.3"]
        await messaging.replicas[0].server.stop(0)
        await _until(lambda: names.asked > 1)
        await _until_only(messaging, 1, 2)


async def test_a_real_name() -> None:
    replica = Replica()
    async with replica.server, calling(MESSAGING, f"localhost:{replica.port}") as messaging:
        await messaging.delete_room(RoomRequest(room_id="a"))
    assert replica.calls == 1


async def test_a_name_that_nobody_knows() -> None:
    async with calling(MESSAGING, "nobody.invalid:4000", deadline=0.3) as messaging:
        with pytest.raises(Unavailable):
            await messaging.delete_room(RoomRequest(room_id="a"))


async def _call_often(messaging: Group) -> None:
    """Twenty calls that no replica is responsible for, none of which may fail."""
    for _ in range(20):
        await messaging.messaging.list_memberships(ListMembershipsRequest())


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def _until_only(messaging: Group, *chosen: int) -> None:
    """Returns when calls go to all of these replicas, and to no other."""
    async with asyncio.timeout(30):
        while True:
            before = messaging.calls()
            await _call_often(messaging)
            after = messaging.calls()
            if [index for index, (b, a) in enumerate(zip(before, after, strict=True)) if a > b] == list(chosen):
                return
            await asyncio.sleep(0.05)


async def _check_responsible(messaging: Group, expected: Callable[[str], str]) -> None:
    for room_id in ROOMS:
        responsible = messaging.at(expected(room_id))
        before = responsible.calls
        await messaging.messaging.join_room(RoomRequest(room_id=room_id))
        assert responsible.calls == before + 1
