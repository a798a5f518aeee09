"""Blobs as files of a folder: `<folder>/<kind>/<id>`.

A blob is written beside its place, synced and renamed, so that a file at its place is whole. Chosen by `node.py` when
neither MongoDB nor S3 is configured. Several processes may share the folder.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from palaver.blobs import KEEP_UNFINISHED_SECONDS, Blob, BlobNotFound, Digest, Measured, check_key
from palaver.errors import Unavailable
from palaver.ids import new_id

P = ParamSpec("P")
T = TypeVar("T")

_PIECE_BYTES = 256 * 1024
_UNFINISHED = ".unfinished"


class FileBlobs:
    """The port's adapter over a folder, which it makes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / _UNFINISHED

    async def open(self) -> None:
        """Makes the folder. Raises Unavailable where it can't be written."""
        await self._do(self._prepare)

    async def close(self) -> None:
        """Nothing is open."""

    def _prepare(self) -> None:
        self._unfinished.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = self._unfinished / new_id()
        probe.touch(0o600)
        probe.unlink()

    async def put(self, key: str, content: AsyncIterable[bytes], *, max_size: int) -> Digest:
        """Writes aside, syncs and renames."""
        path = self._path(key)
        aside = self._unfinished / new_id()
        measured = Measured(content, max_size)
        file = await self._do(os.open, aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                async for piece in measured:
                    await self._do(_write, file, piece)
                await self._do(os.fsync, file)
            finally:
                await asyncio.shield(self._do(os.close, file))
            await self._do(_move, aside, path)
        except BaseException:
            await asyncio.shield(self._do(aside.unlink, missing_ok=True))
            raise
        return measured.digest

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """A piece at a time."""
        path = self._path(key)
        try:
            file = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise BlobNotFound() from None
        except OSError as error:
            raise _unavailable(error) from error
        return self._pieces(file, start, end)

    async def _pieces(self, file: int, start: int, end: int | None) -> AsyncIterator[bytes]:
        try:
            while end is None or start < end:
                size = _PIECE_BYTES if end is None else min(_PIECE_BYTES, end - start)
                piece = await self._do(os.pread, file, size, start)
                if not piece:
                    return
                start += len(piece)
                yield piece
        finally:
            os.close(file)

    async def find(self, key: str) -> Blob | None:
        """By the file's status."""
        path = self._path(key)
        return await self._do(_find, key, path)

    async def delete(self, key: str) -> None:
        """Unlinks it; who is reading it reads on."""
        await self._do(self._path(key).unlink, missing_ok=True)

    async def list(self, kind: str) -> AsyncIterator[Blob]:
        """The files of the kind's folder."""
        check_key(f"{kind}/a")
        folder = self._folder / kind
        for name in await self._do(_list_names, folder):
            if (found := await self._do(_find, f"{kind}/{name}", folder / name)) is not None:
                yield found

    async def sweep(self) -> None:
        """Unlinks old files among the unfinished."""
        await self._do(_sweep, self._unfinished)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._folder / key

    async def _do(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(function, *arguments, **named)
        except OSError as error:
            raise _unavailable(error) from error


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable(f"Uploads can't be stored or read: {error.strerror}")


def _write(file: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(file, left) :]


def _move(aside: Path, path: Path) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    aside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _sweep(unfinished: Path) -> None:
    for left in unfinished.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process is finished with it
            if time.time() - left.stat().st_mtime > KEEP_UNFINISHED_SECONDS:
                left.unlink()


def _find(key: str, path: Path) -> Blob | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return Blob(key, status.st_size, int(status.st_mtime * 1000))


def _list_names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
