"""Who hears what while it changes: races between subscribing and losing access, and services that are away."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from palaver.errors import Unavailable
from palaver.gateway.ddp import connection, streams
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.frames import text_frame
from tests.gateway.ddp import SILENCE, RunningGateway

Headers = dict[str, str]


def _texts(frames: list[list[Any]]) -> list[str]:
    return [args[0]["msg"] for args in frames]


def _says(text: str) -> Callable[[list[Any]], bool]:
    return lambda args: bool(args[0]["msg"] == text)


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


@pytest.mark.parametrize(
    ("meanwhile", "stream", "answer"),
    [
        ("check_access", "", "nosub"),  # of the room
        ("list_memberships", "__my_messages__", "ready"),
    ],
)
async def test_who_is_removed_while_subscribing_hears_nothing(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch, meanwhile: str, stream: str, answer: str
) -> None:
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    room = (await gateway.post("groups.create", alice, name="inner", members=["bob"]))["group"]["_id"]
    his = await gateway.client(bob)

    async def kick() -> None:
        await gateway.post("groups.kick", alice, roomId=room, userId=bob["X-User-Id"])
        await asyncio.sleep(0.05)

    _hook(monkeypatch, gateway.node.services.messaging, meanwhile, kick)
    assert (await his.sub("stream-room-messages", stream or room, False))["msg"] == answer
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
    async with asyncio.timeout(30):
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
    async with asyncio.timeout(30):
        await client.socket.wait_closed()


async def test_only_the_sockets_of_a_revoked_token_are_told_to_log_out(gateway: RunningGateway) -> None:
    alice = await gateway.make_user("alice")
    again = await gateway.login("alice", "secret of alice")
    first, second = await gateway.client(alice), await gateway.client(again)
    for client in (first, second):
        await client.sub("stream-notify-user", f"{client.user_id}/force_logout", False)
    await first.call("logout")
    async with asyncio.timeout(30):
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


async def test_a_changed_permission_asks_for_all_listeners_in_one_call(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, alice, bob = gateway.admin, await gateway.make_user("alice"), await gateway.make_user("bob")
    rooms = [(await gateway.post("channels.create", alice, name=f"room{n}"))["channel"]["_id"] for n in range(40)]
    hers, again, his = await gateway.client(alice), await gateway.client(alice), await gateway.client(bob)
    for room in rooms:
        for client in (hers, again, his):
            assert (await client.sub("stream-room-messages", room, False))["msg"] == "ready"
    asked = _record(monkeypatch, gateway, "list_hearing")
    monkeypatch.setattr(streams, "_LISTENERS_ASKED", 60)
    change = [{"_id": "preview-c-room", "roles": ["admin"]}]
    await gateway.post("permissions.update", admin, permissions=change)
    async with asyncio.timeout(30):
        while sum(frame.get("msg") == "nosub" for frame in his.frames) < len(rooms):
            await asyncio.sleep(0.01)
    for room in rooms:
        await gateway.post("chat.postMessage", alice, roomId=room, text="for members")
        for client in (hers, again):
            await client.wait_change("stream-room-messages", room)
    assert his.changes("stream-room-messages") == []
    assert [len(request.listeners) for request in asked] == [60, 20]
    pairs = {(one.room_id, one.user_id) for request in asked for one in request.listeners}
    assert pairs == {(room, user["X-User-Id"]) for room in rooms for user in (alice, bob)}


async def test_who_is_asked_about_waits_and_nobody_else(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's new roles are no reason for the others of their rooms to hear later."""
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    rooms = [(await gateway.post("channels.create", alice, name=f"room{n}"))["channel"]["_id"] for n in range(3)]
    hers, his = await gateway.client(alice), await gateway.client(bob)
    for room in rooms:
        for client in (hers, his):
            assert (await client.sub("stream-room-messages", room, False))["msg"] == "ready"
    answer = asyncio.Event()
    asked = _record(monkeypatch, gateway, "list_hearing", answer)
    await gateway.post("roles.addUserToRole", gateway.admin, roleId="bot", username="bob")
    for text in ("one", "two"):
        await gateway.post("chat.postMessage", alice, roomId=rooms[0], text=text)
        await hers.wait_change("stream-room-messages", rooms[0], _says(text))
    await asyncio.sleep(SILENCE)
    assert his.changes("stream-room-messages") == []
    answer.set()
    await his.wait_change("stream-room-messages", rooms[0], lambda args: args[0]["msg"] == "two")
    assert _texts(his.changes("stream-room-messages", rooms[0])) == ["one", "two"]
    (request,) = asked
    assert {(one.room_id, one.user_id) for one in request.listeners} == {(room, his.user_id) for room in rooms}
    assert request.users_changed


async def test_who_may_not_hear_what_was_kept_back_does_not(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nobody can say whether they may."""
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    room = (await gateway.post("channels.create", alice, name="open"))["channel"]["_id"]
    his = await gateway.client(bob)
    for name, event in (("stream-room-messages", room), ("stream-notify-room", f"{room}/deleteMessage")):
        assert (await his.sub(name, event, False))["msg"] == "ready"
    answer = asyncio.Event()
    _record(monkeypatch, gateway, "list_hearing", answer)
    _break(monkeypatch, gateway.node.services.messaging, "list_hearing")
    await gateway.post("roles.addUserToRole", gateway.admin, roleId="bot", username="bob")
    await gateway.post("chat.postMessage", alice, roomId=room, text="secret")
    answer.set()
    await his.wait_for(lambda frame: frame.get("msg") == "nosub")
    await asyncio.sleep(SILENCE)
    assert sum(frame.get("msg") == "nosub" for frame in his.frames) == 2
    assert his.changes("stream-room-messages") == []


def _record(
    monkeypatch: pytest.MonkeyPatch, gateway: RunningGateway, method: str, answer: asyncio.Event | None = None
) -> list[Any]:
    """The requests of a method of messaging from now on; they are answered after `answer`, if it is given."""
    original = getattr(gateway.node.services.messaging, method)
    asked: list[Any] = []

    async def record(request: Any) -> Any:
        asked.append(request)
        if answer is not None:
            await answer.wait()
        return await original(request)

    monkeypatch.setattr(gateway.node.services.messaging, method, record)
    return asked


async def test_a_client_that_does_not_read_is_cut_off_when_its_socket_is_closed(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its login has ended; what waits for it is no reason to keep the socket."""
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 0.2)
    alice = await gateway.make_user("alice")
    client = await gateway.client(alice)
    server: Any = gateway.node.roles["gateway"]
    (there,) = server.ddp._connections
    client.socket.transport.pause_reading()
    while not there.transport.get_write_buffer_size():
        there.write(text_frame(b"x" * 100_000))
    await gateway.post("users.setActiveStatus", gateway.admin, userId=alice["X-User-Id"], activeStatus=False)
    async with asyncio.timeout(30):
        while len(server.ddp):
            await asyncio.sleep(0.01)
