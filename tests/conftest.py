"""What tests of every part may ask for."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings

import tests.children  # noqa: F401  before anybody imports gRPC
from palaver.auth import passwords
from tests.database.harness import ADAPTERS, Harness, make_harness
from tests.ports import free_port
from tests.servers import mongodb_server
from tests.services import cluster_servers

# How long an example takes says more about the machine than about the code.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_xdist_auto_num_workers() -> int:
    """Half as many more as there are processors: tests wait about half of their time."""
    return (os.cpu_count() or 1) * 3 // 2


def pytest_sessionfinish() -> None:
    cluster_servers.stop()


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed with the least memory in this process; test_passwords.py asks for the real parameters."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 64)
    monkeypatch.setattr(passwords, "ROUNDS", 1)


@pytest.fixture
def unused_tcp_port() -> int:
    """In place of pytest-asyncio's, which somebody else may get before the test uses it."""
    return free_port()


@pytest.fixture(scope="session")
def mongodb_url() -> Iterator[str]:
    """One server for the whole run: it outlives the event loops of the tests."""
    with asyncio.Runner() as runner:
        server = mongodb_server()
        yield runner.run(server.__aenter__())
        runner.run(server.__aexit__(None, None, None))


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> str:
    """The name of a database's adapter."""
    return str(request.param)


@pytest.fixture
def server_url(adapter: str, request: pytest.FixtureRequest) -> str:
    """Where the adapter's server listens, if it needs one."""
    return str(request.getfixturevalue("mongodb_url")) if adapter == "mongo" else ""


@pytest.fixture
async def harness(adapter: str, server_url: str) -> AsyncIterator[Harness]:
    """An empty store of that adapter."""
    async with make_harness(adapter, server_url) as harness:
        yield harness
