"""A small DDP client for tests, and a gateway on a real socket in the test's own loop."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from palaver.health import HttpServer
from palaver.node import Node
from tests.services import ADMIN_PASSWORD, Transport, service_nodes

ROLES = ("auth", "presence", "messaging", "gateway")
PATIENCE = 30.0
"""Seconds that a test waits for what must come."""
SILENCE = 0.4
"""Seconds without a frame that count as none coming."""


class DdpClient:
    """One websocket. Every frame received is kept in `frames`, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[dict[str, Any]] = []
        self.user_id = ""
        self._arrived = asyncio.Event()
        self._ids = 0
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in self.socket:
                self.frames.append(json.loads(text))
                self._arrived.set()
        self._arrived.set()

    async def wait_closed(self) -> None:
        """Returns when the socket is closed, and every frame that came before is in `frames`."""
        await asyncio.shield(self._reader)

    async def send(self, **fields: Any) -> None:
        await self.socket.send(json.dumps(fields))

    async def wait_for(self, matches: Callable[[dict[str, Any]], bool], after: int = 0) -> dict[str, Any]:
        """The first frame from position `after` on that matches; fails after PATIENCE."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for frame in self.frames[after:]:
                    if matches(frame):
                        return frame
                self._arrived.clear()
                await self._arrived.wait()

    async def connect(self) -> dict[str, Any]:
        await self.send(msg="connect", version="1", support=["1", "pre2", "pre1"])
        return await self.wait_for(lambda frame: frame.get("msg") == "connected")

    async def call(self, method: str, *parameters: Any) -> dict[str, Any]:
        """The method's result frame."""
        self._ids += 1
        id = f"m{self._ids}"
        await self.send(msg="method", method=method, id=id, params=list(parameters))
        result = await self.wait_for(lambda frame: frame.get("msg") == "result" and frame["id"] == id)
        await self.wait_for(lambda frame: frame.get("msg") == "updated" and id in frame["methods"])
        return result

    async def login(self, token: str) -> None:
        result = (await self.call("login", {"resume": token}))["result"]
        self.user_id = result["id"]

    async def sub(self, name: str, *parameters: Any) -> dict[str, Any]:
        """The `ready` or `nosub` that answers a subscription."""
        self._ids += 1
        id = f"s{self._ids}"
        await self.send(msg="sub", id=id, name=name, params=list(parameters))
        return await self.wait_for(
            lambda frame: id in frame.get("subs", ()) or (frame.get("msg") == "nosub" and frame["id"] == id)
        )

    def changes(self, collection: str, event: str | None = None) -> list[list[Any]]:
        """The arguments of every `changed` of a stream so far."""
        return [
            frame["fields"]["args"]
            for frame in self.frames
            if frame.get("msg") == "changed"
            and frame["collection"] == collection
            and (event is None or frame["fields"]["eventName"] == event)
        ]

    async def wait_change(
        self, collection: str, event: str, matches: Callable[[list[Any]], bool] = lambda _: True
    ) -> list[Any]:
        """The arguments of the first `changed` of an event that matches."""
        frame = await self.wait_for(
            lambda frame: (
                frame.get("msg") == "changed"
                and frame["collection"] == collection
                and frame["fields"]["eventName"] == event
                and matches(frame["fields"]["args"])
            )
        )
        arguments: list[Any] = frame["fields"]["args"]
        return arguments

    async def close(self) -> None:
        self._reader.cancel()
        await self.socket.close()


class RunningGateway:
    """All roles in this process, reachable at `url` like by anybody."""

    def __init__(self, node: Node, port: int) -> None:
        self.node = node
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.AsyncClient(base_url=f"{self.url}/api/v1/", timeout=60)
        self.admin: dict[str, str] = {}
        self._clients: list[DdpClient] = []

    async def login(self, user: str, password: str) -> dict[str, str]:
        """Headers of a logged-in user."""
        answer = await self.http.post("login", json={"user": user, "password": password})
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        return {"X-Auth-Token": data["authToken"], "X-User-Id": data["userId"]}

    async def make_user(self, name: str, **extra: Any) -> dict[str, str]:
        """A new user and their headers."""
        body = {
            "username": name,
            "name": name.title(),
            "email": f"{name}@example.org",
            "password": f"secret of {name}",
            "verified": True,
            **extra,
        }
        answer = await self.http.post("users.create", json=body, headers=self.admin)
        assert answer.status_code == 200, answer.text
        return await self.login(name, f"secret of {name}")

    async def post(self, path: str, headers: dict[str, str], **body: Any) -> dict[str, Any]:
        """A successful POST's answer."""
        answer = await self.http.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def open_socket(self) -> DdpClient:
        socket = await connect(
            f"ws://127.0.0.1:{self.port}/websocket", compression=None, open_timeout=60, max_size=None
        )
        client = DdpClient(socket)
        self._clients.append(client)
        return client

    async def client(self, headers: dict[str, str] | None = None) -> DdpClient:
        """A connected DDP client, logged in if headers of a user are given."""
        client = await self.open_socket()
        await client.connect()
        if headers is not None:
            await client.login(headers["X-Auth-Token"])
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        await self.http.aclose()


@asynccontextmanager
async def running_gateway(
    folder: Path, transport: Transport = "process", **options: Any
) -> AsyncIterator[RunningGateway]:
    """Starts everything on a free port of the loopback interface."""
    async with (
        service_nodes(folder, ROLES, transport, port=0, host="127.0.0.1", drain_seconds=2.0, **options) as running,
        served(running.node) as gateway,
    ):
        yield gateway


@asynccontextmanager
async def served(node: Node) -> AsyncIterator[RunningGateway]:
    """A node's gateway on a free port."""
    http = HttpServer(node.roles["gateway"].app, node.config)  # type: ignore[attr-defined]
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(http.run(started))
    gateway = RunningGateway(node, await started)
    try:
        gateway.admin = await gateway.login("boss", ADMIN_PASSWORD)
        yield gateway
    finally:
        await gateway.close()
        http.stop()
        await serving
