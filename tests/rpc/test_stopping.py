"""A process that stops: it says so, refuses what is new, finishes what runs, and nobody notices."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import (
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from palaver.errors import Unavailable
from palaver.rpc import RpcServer, wire
from palaver.v1.messaging_pb2 import JoinRoomRequest, RoomRequest
from tests.rpc.harness import MESSAGING, Replica, Subject, calling, connected, counted, group
from tests.waiting import eventually

SERVING, NOT_SERVING, UNKNOWN = (
    HealthCheckResponse.SERVING,
    HealthCheckResponse.NOT_SERVING,
    HealthCheckResponse.SERVICE_UNKNOWN,
)


async def test_health() -> None:
    replica = Replica()
    async with replica.server, grpc.aio.insecure_channel(replica.address) as channel:
        health = HealthStub(channel)
        for service in ("", MESSAGING.full_name):
            assert (await health.Check(HealthCheckRequest(service=service))).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(HealthCheckRequest(service="palaver.v1.Presence"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        listed: HealthListResponse = await health.List(HealthListRequest())
        assert {name: answer.status for name, answer in listed.statuses.items()} == {
            "": SERVING,
            MESSAGING.full_name: SERVING,
        }


async def test_who_watches_is_told() -> None:
    replica = Replica()
    async with replica.server, grpc.aio.insecure_channel(replica.address) as channel:

        async def watch(service: str) -> list[int]:
            return [answer.status async for answer in HealthStub(channel).Watch(HealthCheckRequest(service=service))]

        watching = [asyncio.create_task(watch(name)) for name in ("", MESSAGING.full_name, "palaver.v1.Presence")]
        await asyncio.sleep(0.2)
        await replica.server.stop(5)
        assert await asyncio.gather(*watching) == [
            [SERVING, NOT_SERVING],
            [SERVING, NOT_SERVING],
            [UNKNOWN, UNKNOWN],
        ]


async def test_a_stopping_process_says_that_it_has_not_begun() -> None:
    replica = Replica()
    entered, finish = asyncio.Event(), asyncio.Event()

    async def behave(_: Any) -> None:
        entered.set()
        await finish.wait()

    replica.subject.behave = behave
    before = counted("palaver_rpc_calls_refused_total", service="Messaging", reason="stopping")
    async with replica.server, grpc.aio.insecure_channel(replica.address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/palaver.v1.Messaging/DeleteRoom")
        running = asyncio.ensure_future(call(b""))
        await entered.wait()
        stopping = asyncio.create_task(replica.server.stop(20))
        await asyncio.sleep(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert wire.is_refused(caught.value)
        assert not stopping.done()
        finish.set()
        assert await running == b""
        await stopping
    assert replica.calls == 1
    assert counted("palaver_rpc_calls_refused_total", service="Messaging", reason="stopping") == before + 1


async def test_nobody_notices_that_a_replica_is_replaced() -> None:
    """Neither those calls that may be made twice nor those that must not; each is made once."""
    async with group(2) as messaging:

        async def behave(_: Any) -> None:
            await asyncio.sleep(0.02)

        for replica in messaging.replicas:
            replica.subject.behave = behave
        ended = asyncio.Event()

        async def call(number: int) -> int:
            count = 0
            while not ended.is_set():
                await messaging.messaging.delete_room(RoomRequest(room_id=f"room{number}"))
                await messaging.messaging.join_room(JoinRoomRequest(room_id=f"room{number}"))
                count += 2
            return count

        calls = [asyncio.create_task(call(number)) for number in range(20)]
        replaced: list[Replica] = []
        for index in (0, 1, 0):
            await eventually(lambda: all(replica.calls for replica in messaging.replicas))
            old = messaging.replicas[index]
            await old.server.stop(10)
            replaced.append(old)
            await connected(1)
            new = messaging.replicas[index] = Replica(port=old.port)
            new.subject.behave = behave
            await new.server.start()
            await connected(2)
        await eventually(lambda: all(replica.calls for replica in messaging.replicas))
        ended.set()
        made = sum(await asyncio.gather(*calls))
        assert sum(replica.calls for replica in [*replaced, *messaging.replicas]) == made
        assert all(replica.calls for replica in [*replaced, *messaging.replicas])
        for replica in messaging.replicas:
            await replica.server.stop(0)


async def test_calls_wait_for_the_successor_of_a_lone_replica() -> None:
    first = Replica()
    entered, finish = asyncio.Event(), asyncio.Event()

    async def behave(_: Any) -> None:
        entered.set()
        await finish.wait()

    first.subject.behave = behave
    async with first.server, calling(MESSAGING, first.address, deadline=20) as messaging:
        running = asyncio.create_task(messaging.delete_room(RoomRequest(room_id="a")))
        await entered.wait()
        stopping = asyncio.create_task(first.server.stop(20))
        await connected(0)
        waiting = asyncio.create_task(messaging.delete_room(RoomRequest(room_id="b")))
        finish.set()
        await running
        await stopping
        second = Replica(port=first.port)
        async with second.server:
            await waiting
            assert [request.room_id for request in first.subject.asked] == ["a"]
            assert [request.room_id for request in second.subject.asked] == ["b"]


async def test_a_caller_that_is_closed_calls_nobody() -> None:
    replica = Replica()
    async with replica.server:
        async with calling(MESSAGING, replica.address, deadline=0.3) as messaging:
            await messaging.delete_room(RoomRequest(room_id="a"))
            await messaging.close()
            with pytest.raises(Unavailable):
                await messaging.delete_room(RoomRequest(room_id="a"))
        assert counted("palaver_rpc_replicas_known", service="messaging") == 0


async def test_an_address_that_is_taken() -> None:
    replica = Replica()
    async with replica.server:
        with pytest.raises(OSError, match=f"can't listen on {replica.address}"):
            Replica(port=replica.port)


async def _list_services(server: RpcServer) -> list[str]:
    async with server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        asking = ServerReflectionStub(channel).ServerReflectionInfo()
        await asking.write(ServerReflectionRequest(list_services=""))
        answer = await asking.read()
        await asking.done_writing()
        return [service.name for service in answer.list_services_response.service]


async def test_reflection_is_for_tests() -> None:
    services = {MESSAGING: Subject()}
    listed = await _list_services(RpcServer(services, "127.0.0.1", 0, reflection=True))
    assert sorted(listed) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "palaver.v1.Messaging",
    ]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _list_services(RpcServer(services, "127.0.0.1", 0))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
