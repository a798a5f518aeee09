"""Storage that fails: a clear error, nothing half stored, and it goes on when the reason is gone."""

import asyncio
import os
import resource
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.blobs import s3
from palaver.blobs.files import FileBlobs
from palaver.errors import Unavailable
from tests.blobs.conftest import connect, left
from tests.blobs.test_contract import MIB, keys, make, put, read, stream
from tests.servers import S3Server, s3_server


@pytest.fixture
async def files(tmp_path: Path) -> FileBlobs:
    blobs = FileBlobs(tmp_path / "uploads")
    await blobs.open()
    return blobs


async def test_a_full_disk_leaves_no_part_of_a_file(files: FileBlobs, tmp_path: Path) -> None:
    kept = await put(files, make(MIB))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, hard))
    try:
        with pytest.raises(Unavailable, match="can't be stored"):
            await put(files, make(3 * MIB))
        assert await read(files, kept) == make(MIB)
        small = await put(files, make(MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    large = await put(files, make(3 * MIB))
    assert await keys(files) == {kept, small, large}
    assert len(left(tmp_path)) == 3


async def test_what_a_dead_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    await blobs.open()
    old, young = tmp_path / ".unfinished" / "old", tmp_path / ".unfinished" / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    await blobs.sweep()
    assert left(tmp_path) == [young]
    assert await keys(blobs) == set()


async def test_many_open_one_folder_at_once(tmp_path: Path) -> None:
    for _ in range(20):
        await asyncio.gather(*(FileBlobs(tmp_path).open() for _ in range(5)))
    assert left(tmp_path) == []


async def test_nobody_else_may_read_the_files(files: FileBlobs, tmp_path: Path) -> None:
    await put(files, b"secret")
    assert {path.stat().st_mode & 0o077 for path in left(tmp_path)} == {0}
    assert (tmp_path / "uploads" / "files").stat().st_mode & 0o077 == 0


async def test_a_folder_that_can_not_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file in its place")
    with pytest.raises(Unavailable, match="Uploads can't be stored"):
        await FileBlobs(tmp_path / "uploads").open()


@pytest.mark.needs_servers
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bucket": "no-such-bucket"}, "no-such-bucket"),
        ({"secret_key": "wrong"}, "privileges"),
        ({"access_key": "nobody"}, "No user exists"),
    ],
)
async def test_a_wrong_configuration_is_said_at_start(server: S3Server, options: dict[str, str], said: str) -> None:
    bucket = server.make_bucket(f"wrong-{next(iter(options)).replace('_', '-')}").name
    blobs = connect(server, **{"bucket": bucket, **options})
    with pytest.raises(Unavailable, match=said):
        await blobs.open()


async def test_a_server_that_is_away_is_said_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_RETRIES", 1)
    blobs = s3.S3Blobs(endpoint="http://127.0.0.1:1", bucket="b", region="r", access_key="a", secret_key="s")
    with pytest.raises(Unavailable, match="bucket b at http://127"):
        await blobs.open()


@pytest.mark.needs_servers
async def test_a_server_that_stops_while_a_blob_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_RETRIES", 1)
    async with s3_server() as server:
        folder = server.make_bucket("stopping")
        blobs = connect(server, "stopping")
        await blobs.open()
        kept = await put(blobs, make(MIB))

        async def half() -> AsyncIterator[bytes]:
            async for chunk in stream(make(12 * MIB)):
                yield chunk
            await server.stop()
            async for chunk in stream(make(30 * MIB)):
                yield chunk

        with pytest.raises(Unavailable):
            await blobs.put("files/half", half(), max_size=99 * MIB)
        with pytest.raises(Unavailable):
            await read(blobs, kept)
        with pytest.raises(Unavailable):
            await put(blobs, b"x")
        await server.start()
        assert await read(blobs, kept) == make(MIB)
        assert await keys(blobs) == {kept}
        assert await blobs.find("files/half") is None
        await put(blobs, make(12 * MIB), "files/half")
        assert (folder / "chat" / "blobs" / "files" / "half").stat().st_size == 12 * MIB


@pytest.mark.needs_servers
async def test_a_bucket_that_is_gone_is_no_missing_file(server: S3Server) -> None:
    folder = server.make_bucket("going")
    blobs = connect(server, "going")
    await blobs.open()
    shutil.rmtree(folder)
    for size in (1, 6 * MIB):
        with pytest.raises(Unavailable):
            await put(blobs, make(size))


@pytest.mark.needs_servers
async def test_a_server_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_REQUEST_SECONDS", 1)
    monkeypatch.setattr(s3, "_RETRIES", 0)
    async with s3_server() as server:
        server.make_bucket("frozen")
        blobs = connect(server, "frozen")
        await blobs.open()
        key = await put(blobs, b"x")
        server.pause()
        outcomes = await asyncio.gather(
            blobs.open(), read(blobs, key), put(blobs, b"y"), put(blobs, make(6 * MIB)), blobs.find(key),
            blobs.delete(key), keys(blobs), return_exceptions=True,
        )  # fmt: skip
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 7
        server.resume()
        assert await read(blobs, await put(blobs, b"z")) == b"z"
