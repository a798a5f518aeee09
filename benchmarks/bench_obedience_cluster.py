"""How soon every connection obeys a change of permissions, in a cluster: every role as processes of their own."""

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

from harness import Report, free_port, main, watching
from tests.cluster import REPLICAS, Cluster
from tests.e2e.process import ADMIN
from tests.gateway.ddp import DdpClient
from tests.servers import mongodb_server, nats_server

SOCKETS = 20
"""Connections of one user, half of them to each gateway."""
CHANGES = 100
BUDGET_MS = 100


@dataclass(frozen=True)
class Question:
    """A method that somebody with the permission is answered in another way than somebody without.

    `granted`: the code of the error that they get who have it; nothing for no error.
    """

    permission: str
    decided_by: str
    method: str
    parameters: tuple[object, ...]
    granted: str = ""

    async def is_refused(self, socket: DdpClient) -> bool:
        socket.frames.clear()
        answer = await socket.call(self.method, *self.parameters)
        return bool(answer.get("error", {}).get("error", "") != self.granted)


@dataclass
class Delays:
    """Milliseconds since the administrator had been answered, for each change and connection.

    `old`: when the last answer by the old permission came; 0 where the very first call was decided by the new one.
    `new`: when the first answer by the new one came. It takes what twenty calls at once take: `usual`.
    """

    old: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)
    usual: list[float] = field(default_factory=list)


def benchmark(given: argparse.Namespace) -> Report:
    report = Report("Obedience: a change of permissions in a cluster with two gateways, all on this machine")
    asyncio.run(_run(report, 10 if given.quick else CHANGES))
    return report


async def _run(report: Report, changes: int) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="palaver-bench-")))
        mongodb = await stack.enter_async_context(mongodb_server())
        nats = await stack.enter_async_context(nats_server(store_dir=folder / "nats"))
        gateways = {f"gateway-{number}": free_port() for number in range(1, REPLICAS["gateway"] + 1)}
        own = {name: {"PALAVER_PORT": str(port), "PALAVER_SHARE_PORT": "0"} for name, port in gateways.items()}
        cluster = Cluster(folder, mongodb, nats.url, environment={"PALAVER_LOG_LEVEL": "warning"}, own_environment=own)
        stack.push_async_callback(cluster.stop)
        await cluster.start()
        urls = [f"http://127.0.0.1:{port}" for port in gateways.values()]
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"{urls[0]}/api/v1/", timeout=20))
        admin = await _login(http, ADMIN["user"], ADMIN["password"])
        user = {"username": "alice", "name": "Alice", "email": "alice@example.org", "password": "a long password"}
        await _post(http, "users.create", admin, **user)
        token = (await _login(http, "alice", user["password"]))["X-Auth-Token"]
        room = (await _post(http, "channels.create", admin, name="open"))["channel"]["_id"]
        sockets: list[DdpClient] = []
        for number in range(SOCKETS):
            address = urls[number % len(urls)].replace("http", "ws", 1)
            sockets.append(DdpClient(await connect(f"{address}/websocket", compression=None)))
            stack.push_async_callback(sockets[-1].close)
            await sockets[-1].connect()
            await sockets[-1].login(token)
        for question in (
            Question("assign-admin-role", "the gateway", "setAdminStatus", ("ghost", True), "error-invalid-user"),
            Question("view-c-room", "messaging", "loadHistory", (room, None, 1)),
        ):
            with watching(report, *cluster.members.values()):  # NATS and MongoDB's stand-in count as others
                delays = await _measure(http, admin, sockets, question, changes)
            shown = f"{question.permission} (decided by {question.decided_by})"
            old = sorted(delays.old)
            at_once = 100 * old.count(0) / len(old)
            report.add(f"{shown}: obeyed by the very first call", at_once, "%")
            report.add("… last answer by the old one, p99", old[int(len(old) * 0.99)], "ms", budget=BUDGET_MS)
            report.add("… last answer by the old one, the latest", old[-1], "ms", budget=BUDGET_MS)
            usual = statistics.median(delays.usual)
            report.add(
                f"… answer by the new one to {SOCKETS}, p50", statistics.median(delays.new), "ms", baseline=usual
            )


async def _measure(
    http: httpx.AsyncClient, admin: dict[str, str], sockets: list[DdpClient], question: Question, changes: int
) -> Delays:
    delays = Delays()
    for number in range(changes):
        refused = number % 2 == 0
        roles = ["admin"] if refused else ["admin", "user"]
        permissions = [{"_id": question.permission, "roles": roles}]
        await _post(http, "permissions.update", admin, permissions=permissions)
        answered = time.perf_counter()

        async def obey(socket: DdpClient, refused: bool = refused, answered: float = answered) -> None:
            old = 0.0
            while await question.is_refused(socket) != refused:
                old = 1000 * (time.perf_counter() - answered)
            delays.old.append(old)
            delays.new.append(1000 * (time.perf_counter() - answered))

        async with asyncio.timeout(30):
            await asyncio.gather(*map(obey, sockets))
            asked = time.perf_counter()
            for answer in asyncio.as_completed(map(question.is_refused, sockets)):
                await answer
                delays.usual.append(1000 * (time.perf_counter() - asked))
    return delays


async def _login(http: httpx.AsyncClient, user: str, password: str) -> dict[str, str]:
    answer = await http.post("login", json={"user": user, "password": password})
    data = answer.raise_for_status().json()["data"]
    return {"X-Auth-Token": data["authToken"], "X-User-Id": data["userId"]}


async def _post(http: httpx.AsyncClient, path: str, headers: dict[str, str], **body: object) -> Any:
    return (await http.post(path, headers=headers, json=body)).raise_for_status().json()


if __name__ == "__main__":
    main(benchmark, __doc__)
