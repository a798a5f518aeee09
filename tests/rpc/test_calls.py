"""Both ends of a call between processes, over a real socket."""

import asyncio
import time
from typing import Any

import grpc
import pytest

from palaver.errors import (
    InternalError,
    InvalidInput,
    NotAllowed,
    PalaverError,
    RoomNotFound,
    Unavailable,
    UserNotFound,
    error_classes,
)
from palaver.rpc import RpcServer, server, wire
from palaver.telemetry import request_id
from palaver.v1.auth_pb2 import Empty
from palaver.v1.presence_pb2 import (
    GetPresenceRequest,
    ListConnectionsReply,
    ListGatewaysRequest,
    ReportStatusesRequest,
)
from tests.rpc.harness import PRESENCE, Subject, calling, counted, pair

METHOD = {"service": "Presence", "method": "GetPresence"}
CODES = ("OK", "NOT_FOUND", "INTERNAL")


async def test_requests_and_replies_arrive() -> None:
    async with pair() as both:
        assert await both.ask("a", "ü😀", "") == ["a", "ü😀", ""]
        assert both.subject.asked == [GetPresenceRequest(user_ids=["a", "ü😀", ""])]
        assert await both.presence.list_gateways(ListGatewaysRequest()) == ListConnectionsReply(users=7)
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
            patch.setattr(wire, "error_classes", lambda: known)
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
    before = counted("palaver_rpc_internal_errors_total", **METHOD)
    async with pair() as both:
        for unexpected in (RuntimeError("the secret is 42"), KeyError("secret"), OSError(2, "secret"), StopIteration()):
            error = await both.ask_raising(unexpected)
            assert type(error) is InternalError
            assert error.error_code == "error-internal"
            assert "secret" not in f"{error} {error.error_reason} {error.details} {error.__cause__}"
        both.subject.behave = None
        assert await both.ask("still here") == ["still here"]
    assert "the secret is 42" in caplog.text
    assert counted("palaver_rpc_internal_errors_total", **METHOD) == before + 4


async def test_a_reply_of_a_wrong_kind_is_an_internal_error() -> None:
    class Wrong(Subject):
        async def list_gateways(self, request: ListGatewaysRequest) -> Any:
            return None

    async with (
        RpcServer({PRESENCE: Wrong()}, "127.0.0.1", 0) as wrong,
        calling(PRESENCE, f"127.0.0.1:{wrong.port}") as remote,
    ):
        with pytest.raises(PalaverError) as caught:
            await remote.list_gateways(ListGatewaysRequest())
    assert caught.value.error_code == "error-internal"


async def test_a_server_that_is_gone() -> None:
    async with pair(deadline=0.5) as both:
        assert await both.ask("a") == ["a"]
        await both.server.stop(0)
        with pytest.raises(Unavailable) as caught:
            await asyncio.wait_for(both.ask("b"), 30)
        assert "Presence.GetPresence" in caught.value.error_reason


async def test_a_server_that_was_never_there(unused_tcp_port: int) -> None:
    async with calling(PRESENCE, f"127.0.0.1:{unused_tcp_port}", deadline=0.3) as remote:
        with pytest.raises(Unavailable):
            await remote.list_gateways(ListGatewaysRequest())


async def test_a_server_that_comes_late_is_waited_for(unused_tcp_port: int) -> None:
    async with calling(PRESENCE, f"127.0.0.1:{unused_tcp_port}") as remote:
        asking = asyncio.create_task(remote.list_gateways(ListGatewaysRequest()))
        await asyncio.sleep(0.1)
        async with RpcServer({PRESENCE: Subject()}, "127.0.0.1", unused_tcp_port):
            assert (await asking).users == 7


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
        with pytest.raises(Unavailable):
            await asyncio.wait_for(both.ask(), 30)
        await asyncio.wait_for(cancelled.wait(), 30)  # the deadline has travelled with the call


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
        await asyncio.wait_for(cancelled.wait(), 30)


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
        assert type(wire.find_error(caught.value)) is InvalidInput
        assert both.subject.asked == []


async def test_a_method_that_is_not_there() -> None:
    async with pair() as both, grpc.aio.insecure_channel(f"127.0.0.1:{both.server.port}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/palaver.v1.Presence/Dance")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_request_that_is_too_large() -> None:
    async with pair() as both:
        with pytest.raises(InvalidInput, match="too much for one message") as caught:
            await both.ask("x" * wire.MAX_REQUEST_BYTES)
        assert caught.value.error_code == "error-message-too-large"
        assert both.subject.asked == []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{both.server.port}") as channel:
            ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/palaver.v1.Presence/GetPresence"
            )
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask(b"x" * (wire.MAX_REQUEST_BYTES + 1))
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert both.subject.asked == []
        assert await both.ask("still here") == ["still here"]


async def test_a_reply_that_is_too_large() -> None:
    class Talkative(Subject):
        async def list_gateways(self, request: ListGatewaysRequest) -> ListConnectionsReply:
            reply = ListConnectionsReply()
            reply.nodes.add(node_id="x" * wire.MAX_REPLY_BYTES)
            return reply

    talkative = RpcServer({PRESENCE: Talkative()}, "127.0.0.1", 0)
    async with talkative, calling(PRESENCE, f"127.0.0.1:{talkative.port}", deadline=20) as remote:
        with pytest.raises(InvalidInput, match="too much for one message"):
            await remote.list_gateways(ListGatewaysRequest())


async def test_a_graceful_stop_lets_a_running_call_finish() -> None:
    running, finish = asyncio.Event(), asyncio.Event()

    async def behave(_: Any) -> None:
        running.set()
        await finish.wait()

    async with pair(deadline=3) as both:
        both.subject.behave = behave
        asking = asyncio.create_task(both.ask("a"))
        await running.wait()
        stopping = asyncio.create_task(both.server.stop(300))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        finish.set()
        assert await asking == ["a"]
        await asyncio.wait_for(stopping, 30)


async def test_a_graceful_stop_ends() -> None:
    running = asyncio.Event()

    async def behave(_: Any) -> None:
        running.set()
        await asyncio.sleep(60)

    async with pair() as both:
        both.subject.behave = behave
        asking = asyncio.create_task(both.ask("a"))
        await running.wait()
        await asyncio.wait_for(both.server.stop(0.2), 30)
        with pytest.raises(Unavailable):
            await asking


async def test_connections_that_grow_old_lose_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    options = [option for option in server._OPTIONS if not option[0].startswith("grpc.max_connection_age")]
    ages = [("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 2000)]
    monkeypatch.setattr(server, "_OPTIONS", [*options, *ages])
    async with pair() as both:

        async def ask_often(name: str) -> None:
            until = time.monotonic() + 1
            count = 0
            while count <= 10 or time.monotonic() < until:
                assert await both.ask(name) == [name]
                count += 1

        await asyncio.gather(*(ask_often(str(number)) for number in range(8)))


async def test_calls_are_measured() -> None:
    calls = {
        code: counted("palaver_rpc_call_seconds_count", **METHOD, code=code) for code in ("OK", "NOT_FOUND", "INTERNAL")
    }
    answers = {code: counted("palaver_rpc_answer_seconds_count", **METHOD, code=code) for code in calls}
    async with pair() as both:
        await both.ask()
        await both.ask_raising(RoomNotFound())
        await both.ask_raising(ValueError())
    for code in calls:
        assert counted("palaver_rpc_call_seconds_count", **METHOD, code=code) == calls[code] + 1
        assert counted("palaver_rpc_answer_seconds_count", **METHOD, code=code) == answers[code] + 1
