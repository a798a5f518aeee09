"""A disk that has no room left: writing is refused, reading goes on, and with new room everything goes on."""

import resource
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.process import PalaverProcess


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[PalaverProcess]:
    server = PalaverProcess(tmp_path)
    await server.start()
    yield server
    server.kill()


def limit_files(server: PalaverProcess, size: int | None) -> None:
    """No file of the process can grow beyond `size` any more: writing fails as on a full disk. None: they can again."""
    assert server.process is not None
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


async def send(http: httpx.AsyncClient, text: str) -> bool:
    """Whether it was acknowledged; it is refused as something that may go better later otherwise."""
    answer = await http.post("chat.postMessage", json={"channel": "#general", "text": text})
    if answer.status_code == 200:
        return True
    assert answer.status_code == 503, answer.text
    assert answer.json()["success"] is False
    return False


async def read(http: httpx.AsyncClient) -> set[str]:
    answer = await http.get("channels.history", params={"roomName": "general", "count": 1000})
    assert answer.status_code == 200, answer.text
    return {message["msg"] for message in answer.json()["messages"]}


async def test_nothing_acknowledged_is_lost_and_all_goes_on(server: PalaverProcess) -> None:
    headers = await server.login()
    async with httpx.AsyncClient(base_url=f"{server.url}/api/v1/", headers=headers, timeout=60) as http:
        files = (server.folder / "data").glob("palaver.db*")
        limit_files(server, max(file.stat().st_size for file in files) + 300_000)
        acknowledged: set[str] = set()
        refused: set[str] = set()
        for number in range(200):
            text = f"{number} {'long' * 1000}"
            (acknowledged if await send(http, text) else refused).add(text)
            if len(refused) == 5:
                break
        assert acknowledged
        assert len(refused) == 5
        assert acknowledged <= await read(http)
        assert not refused & await read(http)
        assert (await http.get(f"{server.url}/healthz")).status_code == 200

        limit_files(server, None)
        for text in refused:
            assert await send(http, text)
        assert acknowledged | refused <= await read(http)
    server.kill()
    await server.start()
    async with httpx.AsyncClient(base_url=f"{server.url}/api/v1/", headers=headers, timeout=60) as http:
        assert acknowledged | refused <= await read(http)
        assert await send(http, "and on")
