"""Large files through a real process: in little memory, onto a disk without room, and into S3."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.process import PalaverProcess
from tests.e2e.test_full_disk import limit_files
from tests.servers import S3Server, s3_server

MIB = 1024 * 1024
PIECE = bytes(range(256)) * 4096


@asynccontextmanager
async def bucket() -> AsyncIterator[tuple[S3Server, dict[str, str]]]:
    """An S3 server with a bucket, and the variables that lead to it."""
    async with s3_server() as server:
        server.make_bucket("uploads")
        yield (
            server,
            {
                "PALAVER_S3_ENDPOINT": server.endpoint,
                "PALAVER_S3_BUCKET": "uploads",
                "PALAVER_S3_ACCESS_KEY": server.access_key,
                "PALAVER_S3_SECRET_KEY": server.secret_key,
                "PALAVER_S3_PREFIX": "chat",
            },
        )


@pytest.fixture(params=["files", pytest.param("s3", marks=pytest.mark.needs_servers)])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PalaverProcess]:
    async with AsyncExitStack() as stack:
        environment: dict[str, str] = {}
        if request.param == "s3":
            _, environment = await stack.enter_async_context(bucket())
        server = PalaverProcess(tmp_path, **environment)
        await server.start()
        yield server
        assert server.stop() == 0


async def form(pieces: int) -> AsyncIterator[bytes]:
    yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n\r\n'
    for _ in range(pieces):
        yield PIECE
    yield b"\r\n--x--\r\n"


async def send(http: httpx.AsyncClient, pieces: int) -> httpx.Response:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    return await http.post("api/v1/rooms.upload/GENERAL", content=form(pieces), headers=headers)


def resident(server: PalaverProcess) -> int:
    assert server.process is not None
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def test_a_large_file_goes_in_and_out_in_little_memory(server: PalaverProcess) -> None:
    headers = await server.login()
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=120) as http:
        assert (await send(http, 12)).status_code == 200  # threads and connections are there
        before, high = resident(server), 0
        sending = asyncio.create_task(send(http, 95))
        while not sending.done():
            high = max(high, resident(server))
            await asyncio.sleep(0.02)
        message = sending.result().json()["message"]
        assert message["file"]["size"] == 95 * MIB
        size = 0
        async with http.stream("GET", message["attachments"][0]["title_link"]) as answer:
            assert answer.status_code == 200
            async for chunk in answer.aiter_bytes():
                size += len(chunk)
                high = max(high, resident(server))
        assert size == 95 * MIB
        assert high - before < 30 * MIB
        part = await http.get(
            message["attachments"][0]["title_link"], headers={"Range": f"bytes={50 * MIB}-{50 * MIB + 255}"}
        )
        assert (part.status_code, part.content) == (206, bytes(range(256)))
        assert (await send(http, 101)).json()["errorType"] == "error-file-too-large"


async def test_a_full_disk_refuses_the_file_and_goes_on(tmp_path: Path) -> None:
    server = PalaverProcess(tmp_path)
    await server.start()
    headers = await server.login()
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as http:
        limit_files(server, 8 * MIB)
        refused = await send(http, 12)
        assert (refused.status_code, refused.json()["errorType"]) == (503, "error-unavailable")
        assert [path for path in (tmp_path / "data" / "uploads").rglob("*") if path.is_file()] == []
        assert (await send(http, 1)).status_code == 200
        limit_files(server, None)
        assert (await send(http, 12)).status_code == 200
    assert server.stop() == 0


@pytest.mark.needs_servers
async def test_a_process_does_not_start_without_its_bucket(tmp_path: Path) -> None:
    async with bucket() as (_, environment):
        server = PalaverProcess(tmp_path, **{**environment, "PALAVER_S3_BUCKET": "no-such-bucket"})
        with pytest.raises(RuntimeError, match="can't be stored in the bucket no-such-bucket"):
            await server.start()
