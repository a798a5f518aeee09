"""Both adapters: a folder always, S3 where its server can be had (marker `needs_servers`)."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from palaver.blobs import Blobs
from palaver.blobs.files import FileBlobs
from palaver.blobs.s3 import S3Blobs
from tests.servers import S3Server, s3_server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    """One server for the whole run: it outlives the event loops of the tests."""
    with asyncio.Runner() as runner:
        running = s3_server()
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))


def connect(server: S3Server, bucket: str, **options: str) -> S3Blobs:
    """What Palaver makes of a complete configuration."""
    keys = {"region": server.region, "access_key": server.access_key, "secret_key": server.secret_key}
    return S3Blobs(**{"endpoint": server.endpoint, "bucket": bucket, "prefix": "chat/blobs", **keys, **options})


@pytest.fixture(params=["files", pytest.param("s3", marks=pytest.mark.needs_servers)])
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(adapter: str, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where the adapter's bytes end up: a test may look whether anything is left."""
    if adapter == "files":
        return tmp_path / "uploads"
    return request.getfixturevalue("server").make_bucket(f"bucket-{next(_numbers)}")  # type: ignore[no-any-return]


@pytest.fixture
async def blobs(adapter: str, folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Blobs]:
    """Open, and empty."""
    if adapter == "files":
        opened: Blobs = FileBlobs(folder)
    else:
        opened = connect(request.getfixturevalue("server"), folder.name)
    await opened.open()
    yield opened
    await opened.close()
