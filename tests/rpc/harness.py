"""A service that answers as the test says, servers for it, and a caller of one or several of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import REGISTRY

from palaver.api import Presence
from palaver.causality import Causality
from palaver.errors import PalaverError
from palaver.rpc import Certificates, RemoteService, RpcServer
from palaver.v1 import messaging_pb2, presence_pb2
from palaver.v1.auth_pb2 import Empty
from palaver.v1.presence_pb2 import (
    AWAY,
    GetPresenceReply,
    GetPresenceRequest,
    ListConnectionsReply,
    ListGatewaysRequest,
    UserPresence,
)

PRESENCE = presence_pb2.DESCRIPTOR.services_by_name["Presence"]
MESSAGING = messaging_pb2.DESCRIPTOR.services_by_name["Messaging"]

Behaviour = Callable[[Any], Awaitable[Any]]


class Subject:
    """A service that answers as the test says; `get_presence` gives back what it was asked for."""

    def __init__(self) -> None:
        self.behave: Behaviour | None = None
        self.asked: list[Any] = []

    async def get_presence(self, request: GetPresenceRequest) -> GetPresenceReply:
        await self._behave(request)
        return GetPresenceReply(users=[UserPresence(user_id=id, status=AWAY) for id in request.user_ids])

    async def list_gateways(self, request: ListGatewaysRequest) -> ListConnectionsReply:
        await self._behave(request)
        return ListConnectionsReply(users=7)

    def __getattr__(self, name: str) -> Behaviour:
        """Every other method gives an empty answer."""

        async def answer(request: Any) -> Empty:
            await self._behave(request)
            return Empty()

        return answer

    async def _behave(self, request: Any) -> None:
        self.asked.append(request)
        if self.behave is not None:
            await self.behave(request)


class Owner:
    """Owns the background tasks of a caller. One that dies fails the test."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def spawn(self, work: Any, name: str) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        return task

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert [end for end in ends if isinstance(end, Exception)] == []


@asynccontextmanager
async def calling(
    descriptor: ServiceDescriptor,
    address: str,
    *,
    deadline: float = 5.0,
    affinity: str = "",
    by_actor: Collection[str] = (),
    certificates: Certificates | None = None,
    causality: Causality | None = None,
) -> AsyncIterator[Any]:
    """A caller of whoever is at this address."""
    owner = Owner()
    remote = RemoteService(
        descriptor,
        address,
        spawn=owner.spawn,
        deadline=deadline,
        affinity=affinity,
        by_actor=by_actor,
        certificates=certificates,
        causality=causality,
    )
    try:
        yield remote
    finally:
        await remote.close()
        await owner.close()


class Pair:
    """The presence service, its server and a caller."""

    def __init__(self, subject: Subject, server: RpcServer, remote: Any) -> None:
        self.subject = subject
        self.server = server
        self.presence = cast(Presence, remote)

    async def ask(self, *user_ids: str) -> list[str]:
        reply = await self.presence.get_presence(GetPresenceRequest(user_ids=user_ids))
        return [user.user_id for user in reply.users]

    async def ask_raising(self, error: BaseException) -> PalaverError:
        """The error that arrives when the service raises this one."""

        async def behave(_: Any) -> None:
            raise error

        self.subject.behave = behave
        with pytest.raises(PalaverError) as caught:
            await self.ask()
        return caught.value


@asynccontextmanager
async def pair(
    deadline: float = 5.0,
    caller: Causality | None = None,
    called: Causality | None = None,
) -> AsyncIterator[Pair]:
    subject = Subject()
    server = RpcServer({PRESENCE: subject}, "127.0.0.1", 0, causality=called)
    address = f"127.0.0.1:{server.port}"
    async with server, calling(PRESENCE, address, deadline=deadline, causality=caller) as remote:
        yield Pair(subject, server, remote)


class Replica:
    """One of several that play messaging. Its service keeps what it was asked."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.subject = Subject()
        self.server = RpcServer({MESSAGING: self.subject}, host, port)
        self.port = self.server.port
        self.address = f"{host}:{self.port}"

    @property
    def calls(self) -> int:
        """How many calls have come here."""
        return len(self.subject.asked)


class Group:
    """Several replicas, and a caller of all of them."""

    def __init__(self, replicas: list[Replica], messaging: Any) -> None:
        self.replicas = replicas
        self.messaging = messaging

    def at(self, address: str) -> Replica:
        return next(replica for replica in self.replicas if replica.address == address)

    def calls(self) -> list[int]:
        """How many calls have come to each."""
        return [replica.calls for replica in self.replicas]


@asynccontextmanager
async def group(count: int, *, deadline: float = 5.0) -> AsyncIterator[Group]:
    """So many replicas, and a caller that is connected to each."""
    async with AsyncExitStack() as stack:
        replicas = [Replica() for _ in range(count)]
        for replica in replicas:
            await stack.enter_async_context(replica.server)
        address = ",".join(replica.address for replica in replicas)
        messaging = await stack.enter_async_context(
            calling(MESSAGING, address, deadline=deadline, affinity="room_id", by_actor={"MarkRead"})
        )
        await connected(count)
        yield Group(replicas, messaging)


async def connected(count: int, role: str = "messaging") -> None:
    """Returns when the caller is connected to so many replicas, and no others are known to be."""
    async with asyncio.timeout(30):
        while counted("palaver_rpc_replicas_connected", service=role) != count:
            await asyncio.sleep(0.01)


def counted(name: str, **labels: str) -> float:
    """The value of a metric."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
