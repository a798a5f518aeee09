"""The DDP protocol itself: handshake, errors, hostile frames; one client's mistakes never hurt another."""

import asyncio
import hashlib
import json
from typing import Any

import pytest

from palaver.v1.auth_pb2 import Empty, LogoutRequest
from tests.gateway.ddp import DdpClient, RunningGateway
from tests.services import ADMIN_ID, ADMIN_PASSWORD


async def _closed(client: DdpClient) -> int | None:
    async with asyncio.timeout(30):
        await client.socket.wait_closed()
    return client.socket.close_code


async def test_the_first_frame_is_the_literal_server_id(gateway: RunningGateway) -> None:
    client = await gateway.open_socket()
    await client.wait_for(lambda frame: True)
    assert client.frames == [{"server_id": "0"}]


@pytest.mark.parametrize("version", ["1", "pre2", "pre1"])
async def test_every_known_version_is_accepted(gateway: RunningGateway, version: str) -> None:
    client = await gateway.open_socket()
    await client.send(msg="connect", version=version, support=[version])
    assert (await client.wait_for(lambda frame: frame.get("msg") == "connected"))["session"]


async def test_no_common_version_fails_and_closes(gateway: RunningGateway) -> None:
    client = await gateway.open_socket()
    await client.send(msg="connect", version="9", support=["9"])
    assert await client.wait_for(lambda frame: frame.get("msg") == "failed") == {"msg": "failed", "version": "1"}
    await _closed(client)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ('{"msg":"method","method":"login","id":"1","params":[]}', 1002),
        ("not json", 1007),
        ("[]", 1002),
        ('"text"', 1002),
        ("[" * 100_000, 1007),
        (b"\x00\x01", 1007),
    ],
)
async def test_what_is_no_handshake_closes_the_socket(gateway: RunningGateway, sent: Any, code: int) -> None:
    neighbour = await gateway.client(gateway.admin)
    client = await gateway.open_socket()
    await client.socket.send(sent)
    assert await _closed(client) == code
    assert "result" in await neighbour.call("getUserRoles")


async def test_invalid_utf8_closes_the_socket(gateway: RunningGateway) -> None:
    client = await gateway.client()
    await client.socket.send(b"\xff\xfe", text=True)
    assert await _closed(client) == 1007


@pytest.mark.parametrize(
    "frame",
    [
        {"msg": "method", "id": "1", "params": []},
        {"msg": "method", "method": "login", "params": []},
        {"msg": "method", "method": 5, "id": "1"},
        {"msg": "sub", "name": "stream-notify-all"},
        {"msg": "unsub"},
    ],
)
async def test_missing_keys_close_the_socket(gateway: RunningGateway, frame: dict[str, Any]) -> None:
    client = await gateway.client()
    await client.send(**frame)
    assert await _closed(client) == 1002


async def test_unknown_messages_are_ignored_and_pings_are_answered(gateway: RunningGateway) -> None:
    client = await gateway.client()
    await client.send(msg="something new")
    await client.send(msg="ping")
    await client.send(msg="ping", id="p1")
    await client.wait_for(lambda frame: frame.get("id") == "p1")
    assert [frame for frame in client.frames if frame.get("msg") == "pong"] == [
        {"msg": "pong"},
        {"msg": "pong", "id": "p1"},
    ]


async def test_unknown_methods_and_subscriptions_say_so(gateway: RunningGateway) -> None:
    client = await gateway.client(gateway.admin)
    result = await client.call("makeCoffee", 1)
    assert result["error"]["error"] == 404
    assert result["error"]["reason"] == "Method 'makeCoffee' not found"
    assert result["error"]["errorType"] == "Meteor.Error"
    assert "result" not in result
    assert (await client.sub("stream-coffee", "x", False))["error"]["error"] == 404
    assert (await client.sub("coffee"))["error"]["error"] == 404
    assert (await client.sub("stream-notify-all", "", False))["error"]["error"] == "invalid-event-name"


@pytest.mark.parametrize(
    "parameters",
    [
        [],
        [None],
        ["x"],
        [{"user": {"username": {"$gt": ""}}, "password": "x"}],
        [{"user": {"$regex": ".*"}, "password": "x"}],
        [{"user": {"username": "boss"}, "password": {"$ne": ""}}],
        [{"user": {"username": "boss"}, "password": {"digest": {"$gt": ""}, "algorithm": "sha-256"}}],
        [{"resume": {"$gt": ""}}],
        [{"resume": 5}],
        [{"user": {"username": "boss"}}],
        [{"user": ["boss"], "password": ["x"]}],
    ],
)
async def test_hostile_logins_are_refused_with_400(gateway: RunningGateway, parameters: list[Any]) -> None:
    client = await gateway.client()
    error = (await client.call("login", *parameters))["error"]
    assert error["error"] == 400
    assert (await client.call("getUserRoles"))["error"]["error"] == "error-invalid-user"


async def test_logins_of_every_form(gateway: RunningGateway) -> None:
    digest = {"digest": hashlib.sha256(ADMIN_PASSWORD.encode()).hexdigest(), "algorithm": "sha-256"}
    for credentials in (
        {"user": {"username": "boss"}, "password": digest},
        {"user": {"email": "boss@example.org"}, "password": ADMIN_PASSWORD},
        {"user": {"id": ADMIN_ID}, "password": ADMIN_PASSWORD},
        {"resume": gateway.admin["X-Auth-Token"]},
    ):
        client = await gateway.client()
        result = await client.call("login", credentials)
        assert result["result"]["id"] == ADMIN_ID, credentials
        assert isinstance(result["result"]["tokenExpires"]["$date"], int)
        added = await client.wait_for(lambda frame: frame.get("msg") == "added")
        assert added["collection"] == "users"
        assert added["id"] == ADMIN_ID
        assert added["fields"]["username"] == "boss"
        assert "services" not in added["fields"]


async def test_wrong_password_and_unknown_user_are_told_alike(gateway: RunningGateway) -> None:
    client = await gateway.client()
    wrong = (await client.call("login", {"user": {"username": "boss"}, "password": "wrong"}))["error"]
    unknown = (await client.call("login", {"user": {"username": "nobody"}, "password": "wrong"}))["error"]
    assert wrong == unknown
    assert wrong["error"] == 403


async def test_a_bad_token_says_the_words_that_clients_look_for(gateway: RunningGateway) -> None:
    client = await gateway.client()
    error = (await client.call("login", {"resume": "never issued"}))["error"]
    assert error["error"] == 403
    assert error["reason"] == "You've been logged out by the server. Please log in again."


async def test_frames_sent_without_waiting_are_answered_in_order(gateway: RunningGateway) -> None:
    client = await gateway.open_socket()
    token = gateway.admin["X-Auth-Token"]
    await client.send(msg="connect", version="1", support=["1"])
    await client.send(msg="method", method="login", id="a", params=[{"resume": token}])
    await client.send(msg="sub", id="b", name="stream-notify-user", params=[f"{ADMIN_ID}/message", False])
    await client.send(msg="method", method="getUserRoles", id="c", params=["", {"surplus": True}])
    await client.wait_for(lambda frame: frame.get("msg") == "updated" and frame["methods"] == ["c"])
    order = [
        frame.get("id") or frame.get("subs", [""])[0]
        for frame in client.frames
        if frame.get("msg") in ("result", "ready", "nosub")
    ]
    assert order == ["a", "b", "c"]
    assert not [frame for frame in client.frames if frame.get("msg") == "nosub"]


async def test_logout_revokes_the_token_and_drops_every_socket_that_used_it(gateway: RunningGateway) -> None:
    headers = await gateway.make_user("alice")
    client, second = await gateway.client(headers), await gateway.client(headers)
    result = await client.call("logout")
    assert "error" not in result
    await _closed(client)
    await _closed(second)
    answer = await gateway.http.get("me", headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"status": "error", "message": "You must be logged in to do this."}


async def test_who_logs_out_has_the_answer_even_if_the_revocation_is_told_first(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = await gateway.make_user("alice")
    client, second = await gateway.client(headers), await gateway.client(headers)
    auth = gateway.node.services.auth
    logout = auth.logout

    async def logout_late(request: LogoutRequest) -> Empty:
        reply = await logout(request)
        await _closed(second)
        return reply

    monkeypatch.setattr(auth, "logout", logout_late)
    assert "error" not in await client.call("logout")
    await _closed(client)


async def test_a_deactivated_user_is_thrown_out(gateway: RunningGateway) -> None:
    headers = await gateway.make_user("mallory")
    client = await gateway.client(headers)
    await gateway.post(
        "users.setActiveStatus", gateway.admin, userId=headers["X-User-Id"], activeStatus=False, confirmRelinquish=True
    )
    await _closed(client)
    again = await gateway.client()
    assert "error" in await again.call("login", {"resume": headers["X-Auth-Token"]})
    assert "error" in await again.call("login", {"user": {"username": "mallory"}, "password": "secret of mallory"})


async def test_a_client_that_never_reads_is_cut_off_and_hurts_nobody(gateway: RunningGateway) -> None:
    reader = await gateway.client(gateway.admin)
    room = (await gateway.post("channels.create", gateway.admin, name="busy"))["channel"]["_id"]
    assert (await reader.sub("stream-room-messages", room, False))["msg"] == "ready"
    reading, deaf_writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1024)
    token = gateway.admin["X-Auth-Token"]
    try:
        deaf_writer.write(
            b"GET /websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reading.readuntil(b"\r\n\r\n")  # the answer to the upgrade, and nothing after it
        for text in (
            '{"msg":"connect","version":"1","support":["1"]}',
            json.dumps({"msg": "method", "method": "login", "id": "l", "params": [{"resume": token}]}),
            json.dumps({"msg": "sub", "id": "s", "name": "stream-room-messages", "params": [room, False]}),
        ):
            payload = text.encode()
            size = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
            deaf_writer.write(b"\x81" + size + b"\0\0\0\0" + payload)
        await deaf_writer.drain()
        gateway_role: Any = gateway.node.roles["gateway"]
        async with asyncio.timeout(30):
            while len(gateway_role.ddp) < 2 or len(gateway_role.rooms.find(room).messages) < 2:
                await asyncio.sleep(0.02)
        text = "x" * 4900
        sent = 0
        async with asyncio.timeout(60):
            while len(gateway_role.ddp) == 2:
                sent += 1
                result = await reader.call("sendMessage", {"rid": room, "msg": f"{sent} {text}"})
                assert "error" not in result
                assert sent < 3000
        await reader.wait_change("stream-room-messages", room, lambda args: args[0]["msg"].startswith(f"{sent} "))
        assert [args[0]["msg"].split()[0] for args in reader.changes("stream-room-messages", room)] == [
            str(number) for number in range(1, sent + 1)
        ]
    finally:
        deaf_writer.close()
