"""Clients that exist today, from npm, against one process and a cluster."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.e2e.process import ADMIN, PalaverProcess, Reachable
from tests.servers import npm_project

pytestmark = pytest.mark.needs_servers
_CLIENTS = Path(__file__).parents[1] / "clients"


async def _create_user(server: Reachable, name: str) -> str:
    """Makes a user, and returns their password."""
    headers = await server.login()
    body = {"username": name, "name": name, "email": f"{name}@example.org", "password": f"pw of {name}"}
    await server.request("POST", "users.create", json={**body, "verified": True}, headers=headers)
    return body["password"]


async def _drive(server: PalaverProcess | Cluster, client: str, *arguments: str) -> str:
    """What a client's own script prints that is run against the server, and succeeds."""
    project = await npm_project(_CLIENTS / client)
    run = await asyncio.to_thread(
        subprocess.run,
        ["node", "drive.js", server.url, *arguments],
        cwd=project.directory,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}\n{server.log[-3000:]}"
    return run.stdout


async def test_the_sdk_chats(palaver: PalaverProcess | Cluster) -> None:
    password = await _create_user(palaver, "watcher")
    printed = await _drive(palaver, "rocketchat-sdk", ADMIN["user"], ADMIN["password"], "watcher", password)
    steps = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    done = {step.get("step") for step in steps}
    assert {"login", "create", "subscribe", "send", "receive", "edit", "react", "type"} <= done, printed


async def test_the_newest_apps_sdk_chats_and_is_back_after_its_connection_broke(
    palaver: PalaverProcess | Cluster,
) -> None:
    password = await _create_user(palaver, "listener")
    printed = await _drive(palaver, "ddp-client", ADMIN["user"], ADMIN["password"], "listener", password)
    done = [json.loads(line)["step"] for line in printed.splitlines()]
    before = ["login", "refuse", "create", "load", "send", "change", "type", "upload"]
    assert done == [*before, "reconnect", "logout"], printed


async def test_hubot_answers_in_a_room(palaver: PalaverProcess | Cluster) -> None:
    password = await _create_user(palaver, "hal")
    headers = await palaver.login()
    room = await palaver.request(
        "POST", "channels.create", json={"name": "robots", "members": ["hal"]}, headers=headers
    )
    project = await npm_project(_CLIENTS / "hubot")
    hubot = await asyncio.create_subprocess_exec(
        "hubot",
        *("--adapter", "rocketchat", "--disable-httpd", "--name", "hal"),
        cwd=project.directory,
        env={
            **os.environ,
            **project.environment,
            "ROCKETCHAT_URL": palaver.url,
            "ROCKETCHAT_USER": "hal",
            "ROCKETCHAT_PASSWORD": password,
            "ROCKETCHAT_ROOM": "robots",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert hubot.stdout is not None
    printed: list[str] = []
    try:
        async with asyncio.timeout(60):
            while '"ready"' not in "".join(printed):
                line = await hubot.stdout.readline()
                assert line, f"hubot ended:\n{''.join(printed)}"
                printed.append(line.decode())
        room_id = room["channel"]["_id"]
        await palaver.request("POST", "chat.postMessage", json={"roomId": room_id, "text": "hal ping"}, headers=headers)
        async with asyncio.timeout(30):
            while True:
                history = await palaver.request("GET", "channels.history", params={"roomId": room_id}, headers=headers)
                answers = [m["msg"] for m in history["messages"] if m["u"]["username"] == "hal" and "t" not in m]
                if answers:
                    break
                await asyncio.sleep(0.1)
        assert any("pong" in answer.lower() for answer in answers)
    finally:
        hubot.terminate()
        await asyncio.wait_for(hubot.wait(), 30)


async def test_a_sockjs_client_chats(palaver: PalaverProcess | Cluster) -> None:
    headers = await palaver.login()
    printed = await _drive(palaver, "sockjs", headers["X-Auth-Token"], "GENERAL", 'said by "SockJS"')
    *frames, end = [json.loads(line) for line in printed.splitlines()]
    assert end == {"closed": "heard", "code": 1000}
    (heard,) = [frame["fields"]["args"][0] for frame in frames if frame.get("msg") == "changed"]
    assert (heard["rid"], heard["msg"]) == ("GENERAL", 'said by "SockJS"')
