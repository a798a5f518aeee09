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


async def test_the_sdk_chats(palaver: PalaverProcess | Cluster) -> None:
    password = await _create_user(palaver, "watcher")
    project = await npm_project(_CLIENTS / "rocketchat-sdk")
    run = await asyncio.to_thread(
        subprocess.run,
        ["node", "drive.js", palaver.url, ADMIN["user"], ADMIN["password"], "watcher", password],
        cwd=project.directory,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}\n{palaver.log[-3000:]}"
    steps = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    done = {step.get("step") for step in steps}
    assert {"login", "create", "subscribe", "send", "receive", "edit", "react", "type"} <= done, run.stdout


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
        await asyncio.wait_for(hubot.wait(), 10)
