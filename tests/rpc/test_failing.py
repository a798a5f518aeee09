"""Calls to replicas that fail: what is repeated elsewhere, what must not be, and how long anybody waits."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from palaver.errors import InvalidInput, NotAllowed, Unavailable
from palaver.rpc.client import is_idempotent
from palaver.rpc.rendezvous import rank
from palaver.v1.messaging_pb2 import JoinRoomRequest, RoomRequest
from tests.rpc.harness import MESSAGING, Group, Replica, calling, connected, counted, group


def responsible(messaging: Group, room_id: str = "room") -> list[Replica]:
    """The replicas in the order in which they are responsible for the room."""
    return [messaging.at(name) for name in rank(room_id, [replica.address for replica in messaging.replicas])]


def repeated(method: str, code: str) -> float:
    return counted("palaver_rpc_calls_repeated_total", service="Messaging", method=method, code=code)


async def never(_: Any) -> None:
    await asyncio.Event().wait()


async def unavailable(_: Any) -> None:
    raise Unavailable("The database does not answer")


def test_what_these_tests_call() -> None:
    """The methods stand for all that may be made twice, and all that must not."""
    assert is_idempotent(MESSAGING.methods_by_name["JoinRoom"])
    assert is_idempotent(MESSAGING.methods_by_name["CheckAccess"])
    assert not is_idempotent(MESSAGING.methods_by_name["DeleteRoom"])


async def test_a_call_that_may_be_made_twice_moves_when_its_replica_dies() -> None:
    async with group(2) as messaging:
        first, second = responsible(messaging)
        first.subject.behave = never
        before = repeated("JoinRoom", "UNAVAILABLE") + repeated("JoinRoom", "CANCELLED")
        joining = asyncio.create_task(messaging.messaging.join_room(JoinRoomRequest(room_id="room")))
        await _until_called(first)
        await first.server.stop(0)
        await joining
        assert (first.calls, second.calls) == (1, 1)
        assert repeated("JoinRoom", "UNAVAILABLE") + repeated("JoinRoom", "CANCELLED") == before + 1


async def test_a_call_that_must_not_be_made_twice_fails_when_its_replica_dies() -> None:
    async with group(2) as messaging:
        first, second = responsible(messaging)
        first.subject.behave = never
        deleting = asyncio.create_task(messaging.messaging.delete_room(RoomRequest(room_id="room")))
        await _until_called(first)
        await first.server.stop(0)
        with pytest.raises(Unavailable, match=r"Messaging\.DeleteRoom does not answer"):
            await deleting
        assert (first.calls, second.calls) == (1, 0)
        await messaging.messaging.delete_room(RoomRequest(room_id="room"))
        assert second.calls == 1


async def test_a_replica_that_says_nothing_does_not_use_up_the_deadline() -> None:
    async with group(2, deadline=3) as messaging:
        first, second = responsible(messaging)
        first.subject.behave = never
        await messaging.messaging.join_room(JoinRoomRequest(room_id="room"))
        assert (first.calls, second.calls) == (1, 1)


async def test_a_call_that_must_not_be_made_twice_waits_for_its_deadline() -> None:
    async with group(2, deadline=0.5) as messaging:
        first, second = responsible(messaging)
        first.subject.behave = never
        with pytest.raises(Unavailable):
            await messaging.messaging.delete_room(RoomRequest(room_id="room"))
        assert (first.calls, second.calls) == (1, 0)


async def test_all_attempts_share_one_deadline() -> None:
    async with group(3, deadline=0.6) as messaging:
        for replica in messaging.replicas:
            replica.subject.behave = never
        async with asyncio.timeout(30):
            with pytest.raises(Unavailable):
                await messaging.messaging.join_room(JoinRoomRequest(room_id="room"))
        assert messaging.calls() == [1, 1, 1]


async def test_what_one_replica_can_not_reach_another_may() -> None:
    async with group(2) as messaging:
        first, second = responsible(messaging)
        first.subject.behave = unavailable
        await messaging.messaging.check_access(RoomRequest(room_id="room"))
        assert (first.calls, second.calls) == (1, 1)
        with pytest.raises(Unavailable, match="The database does not answer"):
            await messaging.messaging.delete_room(RoomRequest(room_id="room"))
        assert (first.calls, second.calls) == (2, 1)


async def test_what_nobody_can_reach_is_asked_of_each_once() -> None:
    async with group(2) as messaging:
        for replica in messaging.replicas:
            replica.subject.behave = unavailable
        with pytest.raises(Unavailable, match="The database does not answer"):
            await messaging.messaging.check_access(RoomRequest(room_id="room"))
        assert messaging.calls() == [1, 1]


async def test_attempts_are_bounded() -> None:
    async with group(6) as messaging:
        for replica in messaging.replicas:
            replica.subject.behave = unavailable
        with pytest.raises(Unavailable):
            await messaging.messaging.check_access(RoomRequest(room_id="room"))
        assert sum(messaging.calls()) == 4


@pytest.mark.parametrize("error", [NotAllowed(), InvalidInput("no"), RuntimeError("a bug")])
async def test_an_answer_is_an_answer(error: Exception) -> None:
    """Nobody else is asked after a refusal, or a failure that is no matter of being reached."""

    async def behave(_: Any) -> None:
        raise error

    async with group(2) as messaging:
        for replica in messaging.replicas:
            replica.subject.behave = behave
        with pytest.raises(Exception, match=r"."):
            await messaging.messaging.check_access(RoomRequest(room_id="room"))
        assert sum(messaging.calls()) == 1


async def test_a_lone_replica_that_comes_back_is_asked_again() -> None:
    first = Replica()
    async with calling(MESSAGING, first.address, deadline=20) as messaging:
        async with first.server:
            first.subject.behave = never
            joining = asyncio.create_task(messaging.join_room(JoinRoomRequest(room_id="room")))
            await _until_called(first)
        again = Replica(port=first.port)
        async with again.server:
            await joining
            assert again.calls == 1


class Process:
    """A replica in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.address = f"127.0.0.1:{port}"

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)


@asynccontextmanager
async def process() -> AsyncIterator[Process]:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.rpc.replica_process", "0", stdout=asyncio.subprocess.PIPE
    )
    assert running.stdout is not None
    try:
        yield Process(running, int(await asyncio.wait_for(running.stdout.readline(), 30)))
    finally:
        with suppress(ProcessLookupError):
            running.kill()
        await running.wait()


async def test_a_frozen_replica_is_noticed_long_before_the_deadline() -> None:
    """Its calls move, or fail; new ones go to the other; and it is used again when it goes on."""
    living = Replica()
    async with process() as frozen, living.server:
        address = f"{frozen.address},{living.address}"
        async with calling(MESSAGING, address, deadline=300, affinity="room_id") as messaging:
            await connected(2)
            rooms = [f"room{number}" for number in range(20)]
            mine = [id for id in rooms if rank(id, address.split(","))[0] == frozen.address]
            assert 0 < len(mine) < len(rooms)
            frozen.send(signal.SIGSTOP)
            deleting = asyncio.create_task(messaging.delete_room(RoomRequest(room_id=mine[0])))
            async with asyncio.timeout(60):
                await asyncio.gather(*(messaging.join_room(JoinRoomRequest(room_id=room_id)) for room_id in rooms))
                with pytest.raises(Unavailable):
                    await deleting
            assert living.calls == len(rooms)
            assert counted("palaver_rpc_replicas_connected", service="messaging") == 1
            async with asyncio.timeout(60):
                await messaging.delete_room(RoomRequest(room_id=mine[0]))
            assert living.calls == len(rooms) + 1
            frozen.send(signal.SIGCONT)
            await connected(2)
            await messaging.delete_room(RoomRequest(room_id=mine[0]))
            assert living.calls == len(rooms) + 1


async def test_a_replica_that_is_killed_fails_no_call_that_may_be_made_twice() -> None:
    living = Replica()
    async with process() as killed, living.server:
        address = f"{killed.address},{living.address}"
        async with calling(MESSAGING, address, affinity="room_id") as messaging:
            await connected(2)
            stopping = asyncio.Event()

            async def call(number: int) -> int:
                count = 0
                while not stopping.is_set():
                    await messaging.join_room(JoinRoomRequest(room_id=f"room{number}"))
                    count += 1
                return count

            calls = [asyncio.create_task(call(number)) for number in range(16)]
            await asyncio.sleep(0.3)
            killed.send(signal.SIGKILL)
            await connected(1)
            await asyncio.sleep(0.3)
            stopping.set()
            assert min(await asyncio.gather(*calls)) > 0


async def _until_called(replica: Replica) -> None:
    async with asyncio.timeout(30):
        while not replica.calls:
            await asyncio.sleep(0.01)
