"""Who hears what while it changes: races between subscribing and losing access, and services that are away."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from palaver.errors import Unavailable
from palaver.gateway.ddp.connection import Connection
from tests.gateway.ddp import SILENCE, RunningGateway, running_gateway

Headers = dict[str, str]


@pytest.fixture
async def gateway(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path) as running:
        yield running


def _texts(frames: list[list[Any]]) -> list[str]:
    return [args[0]["msg"] for args in frames]


def _hook(
    monkeypatch: pytest.MonkeyPatch, service: Any, method: str, before: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Runs `before` after the service has answered and before the caller hears of it, once."""
    original = getattr(service, method)
    ran = False

    async def hooked(request: Any) -> Any:
        nonlocal ran
        reply = await original(request)
        if not ran:
            ran = True
            await before()
        return reply

    monkeypatch.setattr(service, method, hooked)


def _break(monkeypatch: pytest.MonkeyPatch, service: Any, method: str, times: int = 1) -> None:
    """Makes the service unavailable for the next calls of one method."""
    original = getattr(service, method)
    left = times

    async def broken(*arguments: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise Unavailable
        return await original(*arguments)

    monkeypatch.setattr(service, method, broken)


async def test_a_channel_made_private_is_heard_by_members_only(gateway: RunningGateway) -> None:
    alice, carol = await gateway.make_user("alice"), await gateway.make_user("carol")
    room = (await gateway.post("channels.create", alice, name="open"))["channel"]["_id"]
    hers, outsider = await gateway.client(alice), await gateway.client(carol)
    for client in (hers, outsider):
        assert (await client.sub("stream-room-messages", room, False))["msg"] == "ready"
    await gateway.post("channels.setType", alice, roomId=room, type="p")
    await gateway.post("chat.postMessage", alice, roomId=room, text="private now")
    await hers.wait_change("stream-room-messages", room, lambda args: args[0]["msg"] == "private now")
    await outsider.wait_for(lambda frame: frame.get("msg") == "nosub")
    await asyncio.sleep(SILENCE)
    assert "private now" not in _texts(outsider.changes("stream-room-messages", room))


async def test_who_is_removed_while_subscribing_hears_nothing(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    room = (await gateway.post("groups.create", alice, name="inner", members=["bob"]))["group"]["_id"]
    his = await gateway.client(bob)

    async def kick() -> None:
        await gateway.post("groups.kick", alice, roomId=room, userId=bob["X-User-Id"])
        await asyncio.sleep(0.05)

    _hook(monkeypatch, gateway.node.services.messaging, "check_access", kick)
    assert (await his.sub("stream-room-messages", room, False))["msg"] == "nosub"
    await gateway.post("chat.postMessage", alice, roomId=room, text="after the kick")
    await asyncio.sleep(SILENCE)
    assert his.changes("stream-room-messages", room) == []


async def test_who_is_removed_while_their_rooms_are_loaded_hears_nothing(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    room = (await gateway.post("groups.create", alice, name="inner", members=["bob"]))["group"]["_id"]
    his = await gateway.client(bob)

    async def kick() -> None:
        await gateway.post("groups.kick", alice, roomId=room, userId=bob["X-User-Id"])
        await asyncio.sleep(0.05)

    _hook(monkeypatch, gateway.node.services.messaging, "list_memberships", kick)
    assert (await his.sub("stream-room-messages", "__my_messages__", False))["msg"] == "ready"
    await gateway.post("chat.postMessage", alice, roomId=room, text="after the kick")
    await asyncio.sleep(SILENCE)
    assert his.changes("stream-room-messages") == []


async def test_who_joins_while_their_rooms_are_loaded_hears_it(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    room = (await gateway.post("groups.create", alice, name="inner"))["group"]["_id"]
    his = await gateway.client(bob)

    async def invite() -> None:
        await gateway.post("groups.invite", alice, roomId=room, userId=bob["X-User-Id"])
        await asyncio.sleep(0.05)

    _hook(monkeypatch, gateway.node.services.messaging, "list_memberships", invite)
    assert (await his.sub("stream-room-messages", "__my_messages__", False))["msg"] == "ready"
    await gateway.post("chat.postMessage", alice, roomId=room, text="welcome")
    await his.wait_change("stream-room-messages", "__my_messages__", lambda args: args[0]["msg"] == "welcome")


async def test_a_service_that_is_away_for_a_moment_leaves_nothing_behind(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await gateway.make_user("alice")
    room = (await gateway.post("channels.create", alice, name="talk"))["channel"]["_id"]
    hers = await gateway.client(alice)
    event = f"{hers.user_id}/subscriptions-changed"
    role: Any = gateway.node.roles["gateway"]
    for method, name, parameters in (
        ("get_room_heads", "stream-room-messages", room),
        ("check_access", "stream-notify-room", f"{room}/user-activity"),
        ("list_memberships", "stream-notify-user", event),
    ):
        _break(monkeypatch, gateway.node.services.messaging, method)
        assert (await hers.sub(name, parameters, False))["msg"] == "nosub", method
        assert (await hers.sub(name, parameters, False))["msg"] == "ready", method
    # a new room is told of although its heads could not be asked for at once
    _break(monkeypatch, gateway.node.services.messaging, "get_room_heads")
    later = (await gateway.post("channels.create", alice, name="later"))["channel"]["_id"]
    await hers.wait_change("stream-notify-user", event, lambda args: args[0] == "inserted" and args[1]["rid"] == later)
    await gateway.post("chat.postMessage", alice, roomId=room, text="still here")
    await hers.wait_change("stream-room-messages", room, lambda args: args[0]["msg"] == "still here")
    assert gateway.node.failure is None
    await hers.close()
    async with asyncio.timeout(5):
        while role.rooms.all() or len(role.ddp):
            await asyncio.sleep(0.02)


async def test_a_login_that_failed_half_way_can_be_repeated(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await gateway.make_user("alice")
    client = await gateway.client()
    _break(monkeypatch, gateway.node.log, "follow")
    assert "error" in await client.call("login", {"resume": alice["X-Auth-Token"]})
    await client.login(alice["X-Auth-Token"])
    await gateway.post("users.setActiveStatus", gateway.admin, userId=alice["X-User-Id"], activeStatus=False)
    async with asyncio.timeout(5):
        await client.socket.wait_closed()


async def test_only_the_sockets_of_a_revoked_token_are_told_to_log_out(gateway: RunningGateway) -> None:
    alice = await gateway.make_user("alice")
    again = await gateway.login("alice", "secret of alice")
    first, second = await gateway.client(alice), await gateway.client(again)
    for client in (first, second):
        await client.sub("stream-notify-user", f"{client.user_id}/force_logout", False)
    await first.call("logout")
    async with asyncio.timeout(5):
        await first.socket.wait_closed()
    await asyncio.sleep(SILENCE)
    assert second.changes("stream-notify-user") == []
    assert "error" not in await second.call("getUserRoles")


def test_a_socket_that_is_gone_is_not_written_to_by_its_number() -> None:
    """The number of a closed socket is soon another one's."""

    async def run() -> None:
        made: list[asyncio.BaseTransport] = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                made.append(transport)

        server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        others = [socket.socket() for _ in range(3)]
        client = socket.create_connection(("127.0.0.1", port))
        while not made:
            await asyncio.sleep(0.01)
        connection = Connection("a", made[0], "", "", 0)  # type: ignore[arg-type]
        number = made[0].get_extra_info("socket").fileno()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # a reset
        await asyncio.sleep(0.05)
        for other in others:
            other.connect(("127.0.0.1", port))
            other.setblocking(False)
        while len(made) < 4:
            await asyncio.sleep(0.01)
        assert number in [transport.get_extra_info("socket").fileno() for transport in made[1:]]
        connection.write(b"private")
        await asyncio.sleep(0.05)
        for other in others:
            with contextlib.suppress(BlockingIOError):
                assert not other.recv(100)
            other.close()
        assert not connection.open
        for transport in made[1:]:
            transport.close()
        server.close()
        await server.wait_closed()

    assert os.name == "posix"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def test_a_changed_permission_asks_for_some_rooms_at_a_time(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, alice = gateway.admin, await gateway.make_user("alice")
    rooms = [(await gateway.post("channels.create", alice, name=f"room{n}"))["channel"]["_id"] for n in range(40)]
    hers = await gateway.client(alice)
    for room in rooms:
        assert (await hers.sub("stream-room-messages", room, False))["msg"] == "ready"
    check_access = gateway.node.services.messaging.check_access
    asked: list[str] = []
    asking = most = 0

    async def count(request: Any) -> Any:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        asked.append(request.room_id)
        await asyncio.sleep(0.001)
        asking -= 1
        return await check_access(request)

    monkeypatch.setattr(gateway.node.services.messaging, "check_access", count)
    await gateway.post("permissions.update", admin, permissions=[{"_id": "view-c-room", "roles": ["admin", "user"]}])
    async with asyncio.timeout(5):
        while set(asked) != set(rooms) or asking:
            await asyncio.sleep(0.005)
    assert most <= 16
    await gateway.post("chat.postMessage", alice, roomId=rooms[-1], text="still heard")
    await hers.wait_change("stream-room-messages", rooms[-1], lambda args: args[0]["msg"] == "still heard")
