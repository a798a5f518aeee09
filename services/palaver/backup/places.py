"""Where archives are kept: a folder, or what is below a prefix in a bucket; any number of archives of any workspaces.

    archives/<name>      of which workspace the archive is; written before its first part
    <name>/parts/…       the archive itself (`archive.py`)

Called by `command.py`.
"""

import asyncio
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path

from palaver.backup.archive import ArchiveNotFound, ArchiveReader, find_manifest
from palaver.blobs import BlobNotFound, Blobs
from palaver.blobs.files import FileBlobs
from palaver.config import Config, ConfigError

is_name = re.compile(r"[A-Za-z0-9]{1,64}").fullmatch

_INDEX = "archives"
_MAX_WORKSPACE_BYTES = 4096


class Place(ABC):
    """A folder or a bucket's prefix, as `shown` to people."""

    shown: str

    @abstractmethod
    def blobs(self, name: str = "") -> Blobs:
        """The blobs of one archive, or of the place itself; not open."""

    @abstractmethod
    async def remove(self, name: str) -> None:
        """Removes all of an archive, its manifest first."""

    def show(self, name: str) -> str:
        """What people (and `palaver restore`) call an archive of this place."""
        return f"{self.shown}/{name}"

    async def find_archive(self) -> ArchiveReader:
        """The archive whose address this is, or the newest that is kept here. Raises ArchiveNotFound, NewerArchive."""
        if (manifest := await find_manifest(self.blobs())) is not None:
            return ArchiveReader(self.blobs(), manifest)
        for name in sorted([name async for name in self._list_names()], reverse=True):
            if (manifest := await find_manifest(self.blobs(name))) is not None:
                return ArchiveReader(self.blobs(name), manifest)
        raise ArchiveNotFound(
            f"{self.shown} is no archive, and keeps none: without a manifest it is being made, or its backup died"
        )

    async def announce(self, name: str, workspace: str) -> None:
        """Says that there will be an archive."""
        blobs = self.blobs()
        await blobs.open()
        await blobs.put(f"{_INDEX}/{name}", _one(workspace.encode()), max_size=_MAX_WORKSPACE_BYTES)

    async def prune(self, workspace: str, keep: int) -> list[str]:
        """Removes all archives of a workspace but the newest `keep` whole ones, and what of newer ones is not whole
        yet. Returns the names of those that are gone."""
        kept = 0
        removed: list[str] = []
        for name in sorted([name async for name in self._list_names()], reverse=True):
            if await self._find_workspace(name) != workspace:
                continue
            if kept < keep:
                kept += await find_manifest(self.blobs(name)) is not None
                continue
            await self.remove(name)
            await self.blobs().delete(f"{_INDEX}/{name}")
            removed.append(name)
        return removed

    async def _list_names(self) -> AsyncIterator[str]:
        async for blob in self.blobs().list(_INDEX):
            name = blob.key.partition("/")[2]
            if is_name(name):
                yield name

    async def _find_workspace(self, name: str) -> str | None:
        try:
            content = b"".join([piece async for piece in await self.blobs().read(f"{_INDEX}/{name}")])
        except BlobNotFound:  # somebody else was faster
            return None
        return content.decode(errors="replace")


class Folder(Place):
    """Archives as folders of a folder."""

    def __init__(self, path: Path) -> None:
        self.shown = str(path)
        self._path = path

    def blobs(self, name: str = "") -> Blobs:
        return FileBlobs(self._path / name)

    async def remove(self, name: str) -> None:
        await self.blobs(name).delete("parts/manifest")
        await asyncio.to_thread(shutil.rmtree, self._path / name, ignore_errors=True)


class Bucket(Place):
    """Archives as objects of a bucket."""

    def __init__(self, address: str, config: Config) -> None:
        """`address`: s3://bucket/prefix. Raises ConfigError when it is not known how to reach it."""
        self.shown = address.rstrip("/")
        self._bucket, _, self._prefix = self.shown.removeprefix("s3://").partition("/")
        self._keys = {
            "endpoint": config.backup_s3_endpoint or config.s3_endpoint,
            "access_key": config.backup_s3_access_key or config.s3_access_key,
            "secret_key": config.backup_s3_secret_key or config.s3_secret_key,
            "region": config.backup_s3_region or config.s3_region,
        }
        if not self._bucket:
            raise ConfigError(f"{address}: s3://bucket/prefix is wanted")
        if missing := [f"PALAVER_BACKUP_S3_{name.upper()}" for name, value in self._keys.items() if not value]:
            raise ConfigError(f"{address}: {' and '.join(missing)} missing (or the same of PALAVER_S3_…, for uploads)")

    def blobs(self, name: str = "") -> Blobs:
        from palaver.blobs.s3 import S3Blobs

        prefix = "/".join(filter(None, (self._prefix, name)))
        return S3Blobs(bucket=self._bucket, prefix=prefix, **self._keys)

    async def remove(self, name: str) -> None:
        blobs = self.blobs(name)
        await blobs.delete("parts/manifest")
        async for blob in blobs.list("parts"):
            await blobs.delete(blob.key)


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


def parse_place(address: str, config: Config) -> Place:
    """The place that an address names: a path, or s3://bucket/prefix. Raises ConfigError."""
    if address.startswith("s3://"):
        return Bucket(address, config)
    if "://" in address:
        raise ConfigError(f"{address}: a folder or s3://bucket/prefix is wanted")
    return Folder(Path(address))
