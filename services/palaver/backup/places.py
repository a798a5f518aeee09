"""Where archives are kept: a folder, or what is below a prefix in a bucket; any number of archives of any workspaces.

    archives/<name>      whose the archive is; written before its first part
    <name>/parts/…       the archive itself (`archive.py`)

Names of workspaces are no identities: there may be a "chat" in each of two clusters. So whose an archive is says the
workspace's own id, too, and nobody removes or takes what is another's.

Called by `command.py`.
"""

import asyncio
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from palaver.backup.archive import ArchiveNotFound, ArchiveReader, find_manifest
from palaver.blobs import BlobNotFound, Blobs
from palaver.blobs.files import FileBlobs
from palaver.config import Config, ConfigError
from palaver.errors import InvalidInput

is_name = re.compile(r"[A-Za-z0-9]{1,64}").fullmatch

_INDEX = "archives"
_MAX_OWNER_BYTES = 4096


class SeveralWorkspaces(InvalidInput):
    """Which archive is meant can't be said: those of several workspaces are there."""

    code = "error-archives-of-several-workspaces"
    reason = "There are archives of several workspaces"


class Owner(NamedTuple):
    """Whose an archive is: what the workspace is called, and its `uniqueID`.

    The id is empty for archives of the first versions, which did not write it down. They are nobody's: only by its name
    is one of them restored, and none is ever removed.
    """

    workspace: str
    id: str


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

    async def find_archive(self, workspace: str = "") -> ArchiveReader:
        """The archive whose address this is, or the newest that is kept here: of the workspace of that name, else if
        all are of one.

        Raises ArchiveNotFound, NewerArchive, SeveralWorkspaces.
        """
        if (manifest := await find_manifest(self.blobs())) is not None:
            if workspace not in ("", manifest.workspace):
                raise ArchiveNotFound(f"{self.shown} is an archive of {manifest.workspace}, not of {workspace}")
            return ArchiveReader(self.blobs(), manifest)
        newest: dict[Owner, ArchiveReader] = {}
        for name in sorted([name async for name in self._list_names()], reverse=True):
            owner = await self._find_owner(name)
            if owner is None or owner in newest or workspace not in ("", owner.workspace):
                continue
            if (manifest := await find_manifest(self.blobs(name))) is not None:
                newest[owner] = ArchiveReader(self.blobs(name), manifest)
        if not newest:
            none = f"none of {workspace}" if workspace else "none"
            raise ArchiveNotFound(
                f"{self.shown} is no archive, and keeps {none}: without a manifest it is being made, or its backup died"
            )
        if len(newest) > 1:
            known = [f"{self.show(one.manifest.name)} of {owner.workspace}" for owner, one in newest.items()]
            raise SeveralWorkspaces(
                f"{self.shown} keeps archives of several workspaces: say which one is meant. The newest of each: "
                f"{', '.join(known)}"
            )
        return next(iter(newest.values()))

    async def announce(self, name: str, owner: Owner) -> None:
        """Says that there will be an archive."""
        blobs = self.blobs()
        await blobs.open()
        await blobs.put(f"{_INDEX}/{name}", _one("\n".join(owner).encode()), max_size=_MAX_OWNER_BYTES)

    async def prune(self, owner: Owner, keep: int) -> list[str]:
        """Removes all archives of a workspace but the newest `keep` whole ones, and what of newer ones is not whole
        yet. Returns the names of those that are gone."""
        kept = 0
        removed: list[str] = []
        for name in sorted([name async for name in self._list_names()], reverse=True):
            if await self._find_owner(name) != owner:
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

    async def _find_owner(self, name: str) -> Owner | None:
        try:
            content = b"".join([piece async for piece in await self.blobs().read(f"{_INDEX}/{name}")])
        except BlobNotFound:  # somebody else was faster
            return None
        workspace, _, id = content.decode(errors="replace").partition("\n")
        return Owner(workspace, id)


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
