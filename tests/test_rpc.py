"""Both ends of a call between processes, over a real socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from prometheus_client import REGISTRY

from palaver import rpc
from palaver.api import Presence
from palaver.errors import (
    InvalidInput,
    NotAllowed,
    PalaverError,
    RoomNotFound,
    Unavailable,
    UserNotFound,
    error_classes,
)
from palaver.rpc import RemoteService, RpcServer
from palaver.telemetry import request_id
from palaver.v1 import presence_pb2
from palaver.v1.auth_pb2 import Empty
from palaver.v1.presence_pb2 import (
    AWAY,
    GetPresenceReply,
    GetPresenceRequest,
    ListConnectionsReply,
    ReportStatusesRequest,
    UserPresence,
)

DESCRIPTOR = presence_pb2.DESCRIPTOR.services_by_name["Presence"]

Behaviour = Callable[[Any], Awaitable[Any]]


class Subject:
    """A service that answers as the test says; `get_presence` gives back what it was asked for."""

    def __init__(self) -> None:
        self.behave: Behaviour | None = None
        self.asked: list[Any] = []

    async def get_presence(self, request: GetPresenceRequest) -> GetPresenceReply:
        self.asked.append(request)
        if self.behave is not None:
            await self.behave(request)
        return GetPresenceReply(users=[UserPresence(user_id=id, status=AWAY) for id in request.user_ids])

    async def list_connections(self, request: Empty) -> ListConnectionsReply:
        return ListConnectionsReply(users=7)

    def __getattr__(self, name: str) -> Behaviour:
        """Every other method does nothing."""

        async def answer(_: Any) -> Empty:
            return Empty()

        return answer


class Pair:
    """The service, its server and a caller."""

    def __init__(self, deadline: float) -> None:
        self.subject = Subject()
        self.server = RpcServer({DESCRIPTOR: self.subject}, "127.0.0.1", 0)
        self.remote: Any = RemoteService(DESCRIPTOR, f"127.0.0.1:{self.server.port}", deadline=deadline)
        self.presence = cast(Presence, self.remote)

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
async def pair(deadline: float = 5.0) -> AsyncIterator[Pair]:
    both = Pair(deadline)
    async with both.server:
        try:
            yield both
        finally:
            await both.remote.close()


async def test_requests_and_replies_arrive() -> None:
    async with pair() as both:
        assert await both.ask("a", "ü😀", "") == ["a", "ü😀", ""]
        assert both.subject.asked == [GetPresenceRequest(user_ids=["a", "ü😀", ""])]
        assert await both.presence.list_connections(Empty()) == ListConnectionsReply(users=7)
        assert await both.presence.report_statuses(ReportStatusesRequest(node_id="n")) == Empty()


async def test_calls_run_at_the_same_time() -> None:
    together = asyncio.Barrier(50)

    async def behave(_: Any) -> None:
        await together.wait()

    async with pair() as both:
        both.subject.behave = behave
        replies = await asyncio.gather(*(both.ask(str(number)) for number in range(50)))
    assert replies == [[str(number)] for number in range(50)]


async def test_a_large_message_arrives() -> None:
    async with pair() as both:
        ids = [f"{number:0100}" for number in range(100_000)]
        assert await both.ask(*ids) == ids


TREE = [name for name, cls in sorted(error_classes().items()) if cls.__module__ == PalaverError.__module__]


@pytest.mark.parametrize("name", TREE)
async def test_an_error_arrives_as_itself(name: str) -> None:
    cls = error_classes()[name]
    details = {"method": "totp", "list": [1, None, {"a": "ü"}], "timeToReset": 1.5}
    async with pair() as both:
        plain = await both.ask_raising(cls())
        assert type(plain) is cls
        assert (plain.error_code, plain.error_reason, plain.details) == (cls.code, cls.reason, {})
        full = await both.ask_raising(cls("Nicht möglich:\n\0 «nein» 😀", code="error-very-special", details=details))
        assert type(full) is cls
        assert (full.error_code, full.error_reason) == ("error-very-special", "Nicht möglich:\n\0 «nein» 😀")
        assert full.details == details
        assert str(full) == "Nicht möglich:\n\0 «nein» 😀 [error-very-special]"


async def test_an_error_that_only_the_other_process_knows_arrives_as_its_parent() -> None:
    class Unheard(RoomNotFound):
        pass

    async with pair() as both:

        async def behave(_: Any) -> None:
            raise Unheard(code="error-unheard")

        both.subject.behave = behave
        known = {name: cls for name, cls in error_classes().items() if name != "Unheard"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rpc, "error_classes", lambda: known)
            with pytest.raises(RoomNotFound) as caught:
                await both.ask()
    assert type(caught.value) is RoomNotFound
    assert caught.value.error_code == "error-unheard"


async def test_an_error_with_a_constructor_of_its_own_arrives() -> None:
    class Particular(NotAllowed):
        def __init__(self, first: str, second: int) -> None:
            super().__init__(first, details={"second": second})

    async with pair() as both:
        error = await both.ask_raising(Particular("no", 2))
        assert type(error) is Particular
        assert (error.error_code, error.error_reason, error.details) == ("error-not-allowed", "no", {"second": 2})


@pytest.mark.parametrize("size", [10_000, 200_000])
async def test_a_wordy_error_arrives(size: int) -> None:
    async with pair() as both:
        error = await both.ask_raising(UserNotFound("ü" * size, details={"names": ["x" * size]}))
        assert type(error) is UserNotFound
        assert error.error_code == UserNotFound.code
        assert error.error_reason.startswith("üüü")


async def test_details_of_an_error_may_be_anything() -> None:
    async with pair() as both:
        details: dict[Any, Any] = {"who": {1, 2}, "how": object, 3: "three"}
        error = await both.ask_raising(NotAllowed(details=details))
        assert type(error) is NotAllowed
        assert set(error.details) == {"who", "how", "3"}
        error = await both.ask_raising(NotAllowed("\ud800", details={"half": "\ud800", "huge": 2**80}))
        assert type(error) is NotAllowed
        assert (error.error_reason, error.details) == ("?", {})


async def test_an_unexpected_error_leaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    before = _counted("palaver_rpc_internal_errors_total")
    async with pair() as both:
        for unexpected in (RuntimeError("the secret is 42"), KeyError("secret"), OSError(2, "secret"), StopIteration()):
            error = await both.ask_raising(unexpected)
            assert type(error) is PalaverError
            assert error.error_code == "error-internal"
            assert "secret" not in f"{error} {error.error_reason} {error.details} {error.__cause__}"
        both.subject.behave = None
        assert await both.ask("still here") == ["still here"]
    assert "the secret is 42" in caplog.text
    assert _counted("palaver_rpc_internal_errors_total") == before + 4


async def test_a_reply_of_a_wrong_kind_is_an_internal_error() -> None:
    class Wrong(Subject):
        async def list_connections(self, request: Empty) -> Any:
            return None

    server = RpcServer({DESCRIPTOR: Wrong()}, "127.0.0.1", 0)
    async with server:
        remote: Any = RemoteService(DESCRIPTOR, f"127.0.0.1:{server.port}", deadline=5)
        with pytest.raises(PalaverError) as caught:
            await remote.list_connections(Empty())
        assert caught.value.error_code == "error-internal"
        await remote.close()


async def test_a_server_that_is_gone() -> None:
    async with pair(deadline=0.5) as both:
        assert await both.ask("a") == ["a"]
        await both.server.stop(0)
        started = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            await both.ask("b")
        assert time.monotonic() - started < 2
        assert "Presence.GetPresence" in caught.value.error_reason


async def test_a_server_that_was_never_there(unused_tcp_port: int) -> None:
    remote: Any = RemoteService(DESCRIPTOR, f"127.0.0.1:{unused_tcp_port}", deadline=0.3)
    with pytest.raises(Unavailable):
        await remote.list_connections(Empty())
    await remote.close()


async def test_a_server_that_comes_late_is_waited_for(unused_tcp_port: int) -> None:
    remote: Any = RemoteService(DESCRIPTOR, f"127.0.0.1:{unused_tcp_port}", deadline=5)
    asking = asyncio.create_task(remote.list_connections(Empty()))
    await asyncio.sleep(0.1)
    async with RpcServer({DESCRIPTOR: Subject()}, "127.0.0.1", unused_tcp_port):
        assert (await asking).users == 7
        await remote.close()


async def test_a_server_that_does_not_answer() -> None:
    cancelled = asyncio.Event()

    async def behave(_: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with pair(deadline=0.3) as both:
        both.subject.behave = behave
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await both.ask()
        assert time.monotonic() - started < 2
        await asyncio.wait_for(cancelled.wait(), 5)  # the deadline has travelled with the call


async def test_a_caller_that_gives_up_ends_the_call() -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def behave(_: Any) -> None:
        running.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with pair() as both:
        both.subject.behave = behave
        asking = asyncio.create_task(both.ask())
        await running.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_the_request_id_travels() -> None:
    heard: list[str] = []

    async def behave(_: Any) -> None:
        heard.append(request_id.get())
        await asyncio.sleep(0.01)
        heard.append(request_id.get())

    async def ask_as(name: str) -> None:
        request_id.set(name)
        await both.ask()
        assert request_id.get() == name

    async with pair() as both:
        both.subject.behave = behave
        await asyncio.gather(*(ask_as(f"request-{number}") for number in range(5)))
        assert sorted(heard) == sorted([f"request-{number}" for number in range(5)] * 2)
        heard.clear()
        await both.ask()
        assert heard == ["-", "-"]


async def test_bytes_that_are_no_message() -> None:
    async with pair() as both, grpc.aio.insecure_channel(f"127.0.0.1:{both.server.port}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/palaver.v1.Presence/GetPresence")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\x0a\xff\xff\xff")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        error = rpc._error_from(caught.value, "it")
        assert type(error) is InvalidInput
        assert both.subject.asked == []


async def test_a_method_that_is_not_there() -> None:
    async with pair() as both, grpc.aio.insecure_channel(f"127.0.0.1:{both.server.port}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/palaver.v1.Presence/Dance")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_graceful_stop_lets_a_running_call_finish() -> None:
    running, finish = asyncio.Event(), asyncio.Event()

    async def behave(_: Any) -> None:
        running.set()
        await finish.wait()

    async with pair(deadline=3) as both:
        both.subject.behave = behave
        asking = asyncio.create_task(both.ask("a"))
        await running.wait()
        stopping = asyncio.create_task(both.server.stop(5))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        finish.set()
        assert await asking == ["a"]
        await asyncio.wait_for(stopping, 2)


async def test_a_graceful_stop_ends() -> None:
    running = asyncio.Event()

    async def behave(_: Any) -> None:
        running.set()
        await asyncio.sleep(60)

    async with pair() as both:
        both.subject.behave = behave
        asking = asyncio.create_task(both.ask("a"))
        await running.wait()
        started = time.monotonic()
        await both.server.stop(0.2)
        assert time.monotonic() - started < 3
        with pytest.raises(Unavailable):
            await asking


async def test_connections_that_grow_old_lose_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    options = [option for option in rpc._SERVER_OPTIONS if not option[0].startswith("grpc.max_connection_age")]
    ages = [("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 2000)]
    monkeypatch.setattr(rpc, "_SERVER_OPTIONS", [*options, *ages])
    async with pair() as both:

        async def ask_often(name: str) -> int:
            until = time.monotonic() + 1
            count = 0
            while time.monotonic() < until:
                assert await both.ask(name) == [name]
                count += 1
            return count

        counts = await asyncio.gather(*(ask_often(str(number)) for number in range(8)))
    assert min(counts) > 10


async def test_calls_are_measured() -> None:
    calls = {code: _counted("palaver_rpc_call_seconds_count", code) for code in ("OK", "NOT_FOUND", "INTERNAL")}
    answers = {code: _counted("palaver_rpc_answer_seconds_count", code) for code in calls}
    async with pair() as both:
        await both.ask()
        await both.ask_raising(RoomNotFound())
        await both.ask_raising(ValueError())
    for code in calls:
        assert _counted("palaver_rpc_call_seconds_count", code) == calls[code] + 1
        assert _counted("palaver_rpc_answer_seconds_count", code) == answers[code] + 1


def _counted(name: str, code: str = "") -> float:
    labels = {"service": "Presence", "method": "GetPresence"} | ({"code": code} if code else {})
    return REGISTRY.get_sample_value(name, labels) or 0.0
