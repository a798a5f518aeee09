"""The HTTP server of a process that stops: what it still answers, and how."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from palaver.health import KEEP_ALIVE_SECONDS, HttpServer
from tests.services import make_config


class Served:
    """An application with one page that takes until it is told to end."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.end = asyncio.Event()
        self.app = Starlette(routes=[Route(f"/{page.__name__}", page) for page in (self.quick, self.slow, self.who)])

    async def quick(self, request: Request) -> Response:
        return PlainTextResponse("quick")

    async def who(self, request: Request) -> Response:
        return PlainTextResponse(request.client.host if request.client else "")

    async def slow(self, request: Request) -> Response:
        self.asked.set()
        await self.end.wait()
        return PlainTextResponse("slow")


@asynccontextmanager
async def _running(
    served: Served, folder: Path, **options: object
) -> AsyncIterator[tuple[HttpServer, httpx.AsyncClient]]:
    server = HttpServer(served.app, make_config(folder, **{"port": 0, "drain_seconds": 0.1, **options}))
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(server.run(started))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{await started}", timeout=60) as http:
        yield server, http
    server.stop()
    await serving


async def test_a_leaving_server_ends_connections_with_their_next_answer(tmp_path: Path) -> None:
    async with _running(Served(), tmp_path) as (server, http):
        assert "connection" not in (await http.get("/quick")).headers
        server.leave()
        assert (await http.get("/quick")).headers["connection"] == "close"


async def test_a_connection_waits_for_its_next_request(tmp_path: Path) -> None:
    """A proxy that keeps connections must not send a request into one that the server is just closing."""
    request = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
    async with _running(Served(), tmp_path) as (_, http):
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        for wait in (0, 6):  # more than uvicorn's own 5 s
            await asyncio.sleep(wait)
            writer.write(request)
            assert (await reader.readuntil(b"quick")).startswith(b"HTTP/1.1 200")
        writer.close()
    assert KEEP_ALIVE_SECONDS > 60


async def test_all_addresses_are_those_of_both_kinds(tmp_path: Path) -> None:
    async with _running(Served(), tmp_path, host="::") as (server, http):
        for host in ("127.0.0.1", "[::1]"):
            answer = await http.get(f"http://{host}:{server.port}/who")
            assert answer.text == host.strip("[]"), "an address of IPv4 is called as everybody knows it"


async def test_a_machine_without_ipv6_has_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def refuse(address: Any, *, family: int, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return create(address, family=family, **options)

    monkeypatch.setattr(socket, "create_server", refuse)
    async with _running(Served(), tmp_path, host="::") as (_, http):
        assert (await http.get("/who")).text == "127.0.0.1"


async def test_what_runs_when_it_refuses_is_answered(tmp_path: Path) -> None:
    served = Served()
    async with _running(served, tmp_path) as (server, http):
        slow = asyncio.create_task(http.get("/slow"))
        await served.asked.wait()
        server.leave()
        await server.refuse()
        with pytest.raises(httpx.ConnectError):
            await http.get("/quick")
        served.end.set()
        assert (await slow).text == "slow"


async def test_connections_that_only_the_kernel_has_accepted_are_served(tmp_path: Path) -> None:
    async with _running(Served(), tmp_path) as (server, _):
        # The server's turn of the loop does not come between the connection and the refusal.
        reader_writer = asyncio.create_task(asyncio.open_connection("127.0.0.1", server.port))
        await asyncio.sleep(0)
        await server.refuse()
        reader, writer = await reader_writer
        writer.write(b"GET /quick HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"quick")
        writer.close()


async def test_what_can_not_be_answered_in_time_is_told_so(tmp_path: Path) -> None:
    served = Served()
    async with _running(served, tmp_path) as (server, http):
        slow = asyncio.create_task(http.get("/slow"))
        await served.asked.wait()
        server.leave()
        server.stop()
        answer = await slow
        assert answer.status_code == 503
        assert answer.json()["errorType"] == "error-unavailable"


async def test_servers_share_a_port_only_if_both_want_to(tmp_path: Path) -> None:
    async with _running(Served(), tmp_path, share_port=True) as (first, _):
        async with _running(Served(), tmp_path, share_port=True, port=first.port) as (second, http):
            assert second.port == first.port
            await first.refuse()
            assert (await http.get("/quick")).text == "quick"
        alone = HttpServer(Served().app, make_config(tmp_path, port=first.port))
        started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        first.stop()
        await first.stopped.wait()
        await asyncio.sleep(0)
        serving = asyncio.create_task(alone.run(started))
        await started
        other = HttpServer(Served().app, make_config(tmp_path, port=first.port, share_port=True))
        with pytest.raises(OSError, match="can't listen"):
            await other.run(asyncio.get_running_loop().create_future())
        alone.stop()
        await serving
