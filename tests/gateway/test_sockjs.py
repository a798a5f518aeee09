"""DDP in SockJS's frames: what comes in which frame, what is refused, and that the session is that of /websocket."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from palaver.gateway.ddp.sockjs import is_session
from palaver.gateway.frames import close_frame, split_frames, text_frame
from tests.gateway.ddp import RunningGateway

SESSION = "sockjs/042/abcdefgh/websocket"


async def opened(gateway: RunningGateway, path: str = SESSION) -> ClientConnection:
    return await connect(f"ws://127.0.0.1:{gateway.port}/{path}", compression=None, open_timeout=60, max_size=None)


async def receive(socket: ClientConnection) -> str:
    async with asyncio.timeout(30):
        text = await socket.recv()
    assert isinstance(text, str)
    return text


async def message(socket: ClientConnection) -> Any:
    """The DDP message in the next frame, which must have just this one."""
    frame = await receive(socket)
    assert frame[0] == "a", frame
    (text,) = json.loads(frame[1:])
    return json.loads(text)


async def greeted(gateway: RunningGateway) -> ClientConnection:
    """A socket whose DDP session has begun."""
    socket = await opened(gateway)
    assert await receive(socket) == "o"
    assert await receive(socket) == r'a["{\"server_id\":\"0\"}"]'
    await socket.send(json.dumps([json.dumps({"msg": "connect", "version": "1", "support": ["1"]})]))
    assert (await message(socket))["msg"] == "connected"
    return socket


async def test_a_session_is_the_same_in_these_frames(gateway: RunningGateway) -> None:
    socket = await greeted(gateway)
    login = {"msg": "method", "method": "login", "id": "1", "params": [{"resume": gateway.admin["X-Auth-Token"]}]}
    heard = {"msg": "sub", "id": "s", "name": "stream-room-messages", "params": ["GENERAL", False]}
    await socket.send(json.dumps([json.dumps(login), json.dumps(heard)]))  # several in one frame
    kinds = [(await message(socket))["msg"] for _ in range(4)]
    assert kinds == ["added", "result", "updated", "ready"]
    text = 'with "quotes", \\ and \n, and 😀'
    said = await gateway.post("chat.postMessage", gateway.admin, roomId="GENERAL", text=text)
    changed = await message(socket)
    assert changed["fields"]["args"][0]["_id"] == said["message"]["_id"]
    assert changed["fields"]["args"][0]["msg"] == text
    await socket.send(json.dumps(json.dumps({"msg": "ping", "id": "p"})))  # one without a list
    assert await message(socket) == {"msg": "pong", "id": "p"}
    for nothing in ("", "[]"):
        await socket.send(nothing)
    await socket.send(json.dumps([json.dumps({"msg": "ping"})]))
    assert await message(socket) == {"msg": "pong"}
    await socket.close()


@pytest.mark.parametrize(
    "sent",
    [
        "{",
        "[",
        "7",
        "null",
        "{}",
        "[1]",
        '["{}", 2]',
        "[[]]",
        '["not json"]',
        '["[]"]',
        '["\\ud800"]',
        json.dumps(["{}"] * 101),
        "[" * 100_000,
        b"\x00",
    ],
)
async def test_what_is_no_frame_ends_the_session_and_no_other(gateway: RunningGateway, sent: Any) -> None:
    other, socket = await greeted(gateway), await greeted(gateway)
    await socket.send(sent)
    frame = await receive(socket)
    assert frame[0] == "c"
    code, reason = json.loads(frame[1:])
    with pytest.raises(ConnectionClosed):
        await receive(socket)
    assert (socket.close_code, socket.close_reason) == (code, reason)
    assert code in (1002, 1007)
    await other.send(json.dumps([json.dumps({"msg": "ping"})]))
    assert await message(other) == {"msg": "pong"}
    await other.close()


async def test_what_follows_a_wrong_message_is_not_done(gateway: RunningGateway) -> None:
    socket = await greeted(gateway)
    await socket.send(json.dumps(["{", json.dumps({"msg": "ping"})]))
    assert (await receive(socket))[0] == "c"
    with pytest.raises(ConnectionClosed):
        await receive(socket)


async def test_the_heartbeat_is_that_of_both(gateway: RunningGateway) -> None:
    socket = await greeted(gateway)
    ddp = gateway.node.roles["gateway"].ddp  # type: ignore[attr-defined]
    (connection,) = ddp._connections
    connection.last_input -= 31
    beating = asyncio.create_task(ddp.run_heartbeat(0.01))
    assert await receive(socket) == "h"
    assert await message(socket) == {"msg": "ping"}
    beating.cancel()
    await socket.close()


async def test_a_websocket_without_frames(gateway: RunningGateway) -> None:
    socket = await opened(gateway, "sockjs/websocket")
    assert json.loads(await receive(socket)) == {"server_id": "0"}
    await socket.close()


@pytest.mark.parametrize(
    "path", ["sockjs/a.b/c/websocket", "sockjs/a/websocket", "sockjs//b/websocket", "sockjs/a/b/c"]
)
async def test_other_paths_are_no_session(gateway: RunningGateway, path: str) -> None:
    assert is_session(f"/{path}") is None
    with pytest.raises(InvalidStatus):
        await opened(gateway, path)


async def test_what_is_asked_by_http(gateway: RunningGateway) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        assert (await http.get("/sockjs")).text == "Welcome to SockJS!\n"
        answer = await http.get("/sockjs/info", headers={"Origin": "https://page.example.org"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["access-control-allow-origin"] == "https://page.example.org"
        assert "no-store" in answer.headers["cache-control"]
        info = answer.json()
        assert 0 <= info.pop("entropy") < 2**32
        assert info == {"websocket": True, "origins": ["*:*"], "cookie_needed": False}
        asked = await http.options("/sockjs/info")
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, "*")
        assert (await http.get(f"/{SESSION}")).status_code == 400
        for transport in ("xhr", "xhr_streaming", "xhr_send", "eventsource", "jsonp", "htmlfile"):
            refused = await http.post(f"/sockjs/042/abcdefgh/{transport}", content=b"[]")
            assert (refused.status_code, refused.json()["errorType"]) == (501, "error-not-implemented")


def test_frames_are_parted() -> None:
    frames = [text_frame(b""), text_frame(b"x" * 125), text_frame(b"x" * 126), text_frame(b"x" * 70_000)]
    frames.append(close_frame(1000, "why"))
    found = list(split_frames(b"".join(frames)))
    assert [frame for _, _, frame in found] == frames
    assert [(opcode, len(payload)) for opcode, payload, _ in found] == [(1, 0), (1, 125), (1, 126), (1, 70_000), (8, 5)]
