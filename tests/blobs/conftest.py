"""The adapters: a folder always, S3 and MongoDB where their servers can be had (marker `needs_servers`)."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from palaver.blobs import Blobs
from palaver.blobs.files import FileBlobs
from palaver.blobs.mongodb import BLOBS, CHUNKS, MongoBlobs
from palaver.blobs.s3 import S3Blobs
from palaver.ids import new_id
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


def left(folder: Path) -> list[Path]:
    """Every file that the adapter has made."""
    return [path for path in folder.rglob("*") if path.is_file()]


class Place(Protocol):
    """Where an adapter's bytes end up."""

    def connect(self) -> Blobs: ...

    async def sizes(self) -> list[int]:
        """Of every file or document that the adapter has made: a test may look whether anything is left."""

    async def clear(self) -> None: ...


class Folder:
    def __init__(self, folder: Path, server: S3Server | None = None) -> None:
        """With `server`: one of its buckets."""
        self._folder = folder
        self._server = server

    def connect(self) -> Blobs:
        return FileBlobs(self._folder) if self._server is None else connect(self._server, self._folder.name)

    async def sizes(self) -> list[int]:
        return [path.stat().st_size for path in left(self._folder)]

    async def clear(self) -> None:
        """The test's folder, or the server's, goes as a whole."""


class Collections:
    """Those of a database of the test's own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = f"palaver_test_{new_id()}"

    def connect(self) -> MongoBlobs:
        return MongoBlobs(self.url, self.name)

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[Any]:
        """The driver's own view of the database."""
        client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(self.url)
        yield client[self.name]
        client.close()

    async def sizes(self) -> list[int]:
        async with self.raw() as raw:
            blobs = await raw[BLOBS].count_documents({})
            return [0] * blobs + [len(chunk["data"]) async for chunk in raw[CHUNKS].find({})]

    async def clear(self) -> None:
        async with self.raw() as raw:
            await raw.client.drop_database(self.name)


@pytest.fixture(params=["files", *(pytest.param(name, marks=pytest.mark.needs_servers) for name in ("s3", "mongodb"))])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    if request.param == "files":
        return Folder(tmp_path / "uploads")
    if request.param == "mongodb":
        return Collections(request.getfixturevalue("mongodb_url"))
    server: S3Server = request.getfixturevalue("server")
    return Folder(server.make_bucket(f"bucket-{next(_numbers)}"), server)


@pytest.fixture
async def blobs(place: Place) -> AsyncIterator[Blobs]:
    """Open, and empty."""
    opened = place.connect()
    await opened.open()
    yield opened
    await opened.close()
    await place.clear()
