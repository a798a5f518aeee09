"""What a server writes into its log, at the level that tells most: where it stands, and nobody's secrets."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

from palaver import __version__
from tests.e2e.process import ADMIN, PalaverProcess

PASSWORD = "tr0ub4dor-and-3"
WRONG_PASSWORD = "not-tr0ub4dor"
SAID = "something between the two of us"


async def test_the_log_tells_the_way_and_no_secrets(tmp_path: Path) -> None:
    server = PalaverProcess(tmp_path, PALAVER_LOG_LEVEL="debug")
    await server.start()
    try:
        secrets = await _use(server)
    finally:
        code = server.stop()
    assert code == 0
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    assert not [line for line in server.log.splitlines() if "Traceback" in line]
    for secret in secrets:
        assert secret not in server.log, secret
    states = [line for line in lines if line["logger"] == "palaver.node"]
    assert [line["message"] for line in states] == ["starting", "ready", "stopping", "stopped"]
    for line in states:
        assert line["version"] == __version__
        assert line["roles"] == ["auth", "presence", "messaging", "gateway"]
    # Nobody's mistake is a warning.
    assert [line["message"][:20] for line in lines if line["level"] != "debug" and line not in states] == [
        "PALAVER_TEST_MODE is"
    ]
    asked = {line["request_id"] for line in lines if line["message"] == "POST chat.postMessage: 200"}
    assert asked == {"said-by-alice"}


async def _use(server: PalaverProcess) -> list[str]:
    """Does what people do with secrets, rightly and wrongly; returns what must not be read by others."""
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    async with httpx.AsyncClient(base_url=f"{server.url}/api/v1/", timeout=60) as http:

        async def post(path: str, status: int, headers: dict[str, str], **body: Any) -> dict[str, Any]:
            answer = await http.post(path, json=body, headers=headers)
            assert answer.status_code == status, answer.text
            found: dict[str, Any] = answer.json()
            return found

        boss = await server.login()
        person = {"username": "alice", "name": "Alice", "email": "alice@example.org"}
        await post("users.create", 200, boss, **person, password=PASSWORD, verified=True)
        await post("users.register", 400, {}, **{**person, "email": "no address"}, **{"pass": PASSWORD})
        await post("login", 401, {}, user="alice", password=WRONG_PASSWORD)
        await post("login", 401, {}, resume="a-token-of-nobody")
        alice = await server.login("alice", PASSWORD)
        posting = {**alice, "X-Request-Id": "said-by-alice", "X-2fa-Code": "918273"}
        await post("chat.postMessage", 200, posting, roomId="GENERAL", text=SAID)
        await post("chat.postMessage", 400, alice, roomId="nowhere", text=SAID)
        await post(
            "users.updateOwnBasicInfo", 400, alice, data={"newPassword": PASSWORD, "currentPassword": WRONG_PASSWORD}
        )
        assert (await http.get(f"users.info?userId=x&token={alice['X-Auth-Token']}", headers=alice)).status_code == 400
    async with connect(f"ws{server.url[4:]}/websocket?resumetoken={alice['X-Auth-Token']}") as socket:
        for frame in (
            {"msg": "connect", "version": "1", "support": ["1"]},
            {
                "msg": "method",
                "id": "1",
                "method": "login",
                "params": [{"user": {"username": "alice"}, "password": {"digest": digest, "algorithm": "sha-256"}}],
            },
            {"msg": "method", "id": "2", "method": "login", "params": [{"resume": "a-token-of-nobody"}]},
            {"msg": "method", "id": "3", "method": "login", "params": [{"resume": alice["X-Auth-Token"]}]},
            {"msg": "method", "id": "4", "method": "sendMessage", "params": [{"rid": "GENERAL", "msg": SAID}]},
            {"msg": "method", "id": "5", "method": "sendMessage", "params": [{"rid": {}, "msg": SAID}]},
        ):
            await socket.send(json.dumps(frame))
        given = ""
        while True:
            frame = json.loads(await socket.recv())
            if frame.get("msg") == "result" and frame["id"] == "1":
                given = frame["result"]["token"]
            if frame.get("msg") == "result" and frame["id"] == "5":
                break
    tokens = [boss["X-Auth-Token"], alice["X-Auth-Token"], given, "a-token-of-nobody"]
    return [ADMIN["password"], PASSWORD, WRONG_PASSWORD, digest, SAID, "918273", *tokens]
