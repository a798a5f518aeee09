"""A room as a zip file: its messages as HTML or JSON, and their files. Made as it is read, a page at a time.

Called by `exports.py`. Neither the room nor the file is ever in memory, or on a disk, as a whole.
"""

import asyncio
import zipfile
from collections.abc import AsyncIterator, Sequence
from typing import IO

from palaver.blobs import FILES, BlobNotFound, Blobs
from palaver.database import Database, Document, Filter
from palaver.messaging import transcripts
from palaver.messaging.files import list_claimed, of_these
from palaver.messaging.paging import behind, parse_place, place
from palaver.messaging.rules import milliseconds

_PAGE = 100
_ORDER = ("ts", 1)


class Sink:
    """What a zip file is written to, and taken from again. It can't be sought in, so that nothing needs to stay."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes, /) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None:
        """All is written as it comes."""

    def close(self) -> None:
        """Nothing is left open."""

    def take(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken


class Archive:
    """What is taken of one room: messages from `oldest` up to `latest` (epoch milliseconds)."""

    def __init__(
        self, database: Database, blobs: Blobs, room: Document, *, oldest: int, latest: int, format: str
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._room = room
        self._bounds = (max(oldest, milliseconds(room.get("cleared_at")) + 1), latest)
        self._format = format

    async def read(self, title: str) -> AsyncIterator[bytes]:
        """The bytes of the zip file."""
        sink = Sink()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open(f"messages.{self._format}", "w", force_zip64=True) as entry:
                first, separator, last = self._frame(title)
                entry.write(first)
                is_first = True
                async for page in self._pages():
                    files = {id: _path(upload) for id, upload in (await self._uploads(page)).items()}
                    if not is_first:
                        entry.write(separator)
                    is_first = False
                    # Packing a page of long messages takes longer than others should wait.
                    await asyncio.to_thread(self._write, entry, page, files, separator)
                    yield sink.take()
                entry.write(last)
            async for page in self._pages():
                for upload in (await self._uploads(page)).values():
                    async for part in self._add_file(archive, sink, upload):
                        yield part
        yield sink.take()

    def _frame(self, title: str) -> tuple[bytes, bytes, bytes]:
        """What stands before, between and behind the messages."""
        if self._format == "json":
            return b"[\n", b",\n", b"\n]\n"
        return transcripts.html_head(title).encode(), b"", transcripts.HTML_END.encode()

    def _write(self, entry: IO[bytes], messages: Sequence[Document], files: dict[str, str], separator: bytes) -> None:
        entry.write(separator.join(self._show(message, files) for message in messages))

    def _show(self, message: Document, files: dict[str, str]) -> bytes:
        if self._format == "json":
            return transcripts.json_of(message)
        return transcripts.html_of(message, files).encode()

    async def _pages(self) -> AsyncIterator[Sequence[Document]]:
        oldest, latest = self._bounds
        between = {"$gte": {"$date": oldest}, "$lte": {"$date": latest}}
        where: list[Filter] = [{"rid": self._room["_id"]}, {"ts": between}]
        start: list[Filter] = []
        while True:
            found = await self._database.find(
                "messages", {"$and": [*where, *start]}, sort=[_ORDER, ("_id", 1)], limit=_PAGE
            )
            # What is gone is looked through, too: rooms may have millions of these, and a query that passes them over
            # might take longer than MongoDB is given.
            if there := [message for message in found if not message.get("_hidden")]:
                yield there
            if len(found) < _PAGE:
                return
            start = behind(_ORDER, *parse_place(place(found[-1], "ts")))

    async def _uploads(self, messages: Sequence[Document]) -> dict[str, Document]:
        """The uploads that these messages are of: whoever sends a message may write any id into its `file`."""
        ids = list_claimed(messages)
        uploads = await self._database.get_many("uploads", ids) if ids else {}
        return {upload["_id"]: upload for upload in of_these(uploads.values(), messages) if "deleted_at" not in upload}

    async def _add_file(self, archive: zipfile.ZipFile, sink: Sink, upload: Document) -> AsyncIterator[bytes]:
        try:
            content = await self._blobs.read(f"{FILES}/{upload['_id']}")
        except BlobNotFound:
            return  # removed at this moment
        info = zipfile.ZipInfo(_path(upload))
        info.compress_type = zipfile.ZIP_STORED  # most kinds of files are compressed already
        with archive.open(info, "w", force_zip64=True) as entry:
            async for piece in content:
                entry.write(piece)
                yield sink.take()


def _path(upload: Document) -> str:
    """Where a file is in the archive. Its name is whatever its sender called it."""
    name = "".join(c if c.isalnum() or c in " .-_()" else "_" for c in str(upload["name"]))[-100:].strip(" .")
    return f"files/{upload['_id']}-{name}"
