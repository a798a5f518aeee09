"""The bytes of a takeout: a ZIP file of what a user is, where they are, and what they have written and sent.

Messages are read by their author's index, which has no order of time, and put on a shelf: a SQLite file in the
temporary folder that sorts them by room and time. Nothing here holds more than a page of messages or a piece of a file.
"""

import asyncio
import re
import sqlite3
import threading
import zipfile
from collections.abc import AsyncIterator, Iterable
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from palaver.blobs import FILES, BlobNotFound
from palaver.commit import now
from palaver.database import Document
from palaver.documents import public_message, with_iso_dates
from palaver.events import user_actor
from palaver.messaging.archives import Sink
from palaver.messaging.files import is_gone
from palaver.messaging.store import Store
from palaver.node import Node
from palaver.v1.auth_pb2 import GetUserRequest

_MAX_PAGE = 1000
_HEAD = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font-family: sans-serif; max-width: 50em; margin: 2em auto }} time {{ color: #666 }}
article {{ margin: 1em 0; white-space: pre-wrap }}
</style></head><body><h1>{title}</h1>
"""
_TAIL = "</body></html>\n"


class Archive:
    """Gathers and writes it."""

    def __init__(self, node: Node, store: Store) -> None:
        self._node = node
        self._store = store

    async def compose(self, user_id: str, *, full: bool) -> AsyncIterator[bytes]:
        """The ZIP file in pieces: pages to look at, or with `full` JSON and the files that the user has sent."""
        with TemporaryDirectory(prefix="palaver-takeout-") as folder:
            shelf = await asyncio.to_thread(Shelf, Path(folder) / "messages.db")
            try:
                out = Sink()
                with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
                    async for name, pieces in self._list_entries(user_id, shelf, full=full):
                        with archive.open(name, "w", force_zip64=True) as entry:
                            async for piece in pieces:
                                await asyncio.to_thread(entry.write, piece)
                                yield out.take()
                yield out.take()
            finally:
                await asyncio.to_thread(shelf.close)

    async def _list_entries(
        self, user_id: str, shelf: "Shelf", *, full: bool
    ) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        """Each file's name with what it holds, to be read before the next one."""
        reply = await self._node.services.auth.get_user(GetUserRequest(actor=user_actor(user_id), user_id=user_id))
        user = with_iso_dates(orjson.loads(reply.user))
        subscriptions = await self._store.list_subscriptions(user_id)
        rooms = [_membership(subscription) for subscription in subscriptions]
        if full:
            yield "user.json", _whole(orjson.dumps(user, option=orjson.OPT_INDENT_2))
            yield "rooms.json", _whole(orjson.dumps(rooms, option=orjson.OPT_INDENT_2))
        else:
            yield "user.html", _whole(_table("You", [user]).encode())
            yield "rooms.html", _whole(_table("Your rooms", rooms).encode())
        await self._gather(user_id, shelf)
        for number, room_id in enumerate(await asyncio.to_thread(shelf.list_rooms), 1):
            room = await self._node.database.get("rooms", room_id) or {}
            title = str(room.get("fname") or room.get("name") or ", ".join(room.get("usernames", ())) or room_id)
            name = f"messages/{number:04d}-{re.sub(r'[^A-Za-z0-9.-]+', '_', title)[:60]}"
            if full:
                yield f"{name}.json", self._json(shelf, room_id, title)
            else:
                yield f"{name}.html", self._html(shelf, room_id, title)
        if full:
            async for file_id, file_name in _files(shelf):
                pieces = await self._open_file(file_id, user_id)
                if pieces is not None:
                    yield f"files/{file_id}-{re.sub(r'[^A-Za-z0-9.-]+', '_', file_name)[-80:]}", pieces

    async def _gather(self, user_id: str, shelf: "Shelf") -> None:
        """Puts the user's messages on the shelf."""
        limit = max(1, min(int(self._node.access.setting("UserData_MessageLimitPerRequest")), _MAX_PAGE))
        after = ""
        while page := await self._store.list_messages_by(user_id, after, limit):
            after = page[-1]["_id"]
            there = [message for message in page if not message.get("_hidden") and "deleted_at" not in message]
            await asyncio.to_thread(shelf.add, there)

    async def _open_file(self, file_id: str, user_id: str) -> AsyncIterator[bytes] | None:
        """The bytes of a file that the user has sent and that is still there."""
        upload = await self._node.database.get("uploads", file_id)
        room = None if upload is None else await self._store.find_room(upload["rid"])
        if upload is None or room is None or upload["userId"] != user_id or is_gone(upload, room, now()):
            return None
        try:
            return await self._node.blobs.read(f"{FILES}/{file_id}")
        except BlobNotFound:
            return None

    async def _json(self, shelf: "Shelf", room_id: str, title: str) -> AsyncIterator[bytes]:
        yield b'{"room":' + orjson.dumps({"_id": room_id, "name": title}) + b',"messages":['
        separator = b"\n"
        async for message in _messages(shelf, room_id):
            yield separator + orjson.dumps(message)
            separator = b",\n"
        yield b"\n]}\n"

    async def _html(self, shelf: "Shelf", room_id: str, title: str) -> AsyncIterator[bytes]:
        yield _HEAD.format(title=escape(title)).encode()
        async for message in _messages(shelf, room_id):
            files = [str(file.get("name", "")) for file in message.get("files", ()) if isinstance(file, dict)]
            words = "\n".join([str(message.get("msg", "")), *files]).strip()
            yield f"<article><time>{message['ts']}</time> {escape(words)}</article>\n".encode()
        yield _TAIL.encode()


class Shelf:
    """Messages sorted by room and time, on disk. Used from threads: who is cancelled leaves one at work, so each method
    waits for the one before, closing too."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("CREATE TABLE messages (rid, ts, id, doc, PRIMARY KEY (rid, ts, id)) WITHOUT ROWID")
        self._connection.execute("CREATE TABLE files (id PRIMARY KEY, name) WITHOUT ROWID")

    def add(self, messages: Iterable[Document]) -> None:
        with self._lock, self._connection:
            self._connection.execute("BEGIN")
            for message in messages:
                shown = public_message(message)
                row = (message["rid"], message["ts"]["$date"], message["_id"], orjson.dumps(with_iso_dates(shown)))
                self._connection.execute("INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?)", row)
                named = [file for file in message.get("files", ()) if isinstance(file, dict) and "_id" in file]
                rows = [(str(file["_id"]), str(file.get("name", ""))) for file in named]
                self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?)", rows)

    def list_rooms(self) -> list[str]:
        return [row[0] for row in self._fetch("SELECT DISTINCT rid FROM messages ORDER BY rid")]

    def list_messages(self, room_id: str, after: tuple[int, str]) -> list[tuple[int, str, bytes]]:
        sql = "SELECT ts, id, doc FROM messages WHERE rid = ? AND (ts, id) > (?, ?) ORDER BY ts, id LIMIT 500"
        return self._fetch(sql, room_id, *after)

    def list_files(self, after: str) -> list[tuple[str, str]]:
        return self._fetch("SELECT id, name FROM files WHERE id > ? ORDER BY id LIMIT 500", after)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _fetch(self, sql: str, *parameters: object) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()


async def _files(shelf: Shelf) -> AsyncIterator[tuple[str, str]]:
    after = ""
    while page := await asyncio.to_thread(shelf.list_files, after):
        for file in page:
            yield file
        after = page[-1][0]


async def _messages(shelf: Shelf, room_id: str) -> AsyncIterator[Document]:
    after = (-(2**62), "")
    while page := await asyncio.to_thread(shelf.list_messages, room_id, after):
        for _, _, data in page:
            yield orjson.loads(data)
        after = page[-1][:2]


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _membership(subscription: Document) -> Document:
    names = ("rid", "name", "fname", "t", "ts", "ls", "roles", "f", "open")
    return dict(with_iso_dates({name: subscription[name] for name in names if name in subscription}))


def _table(title: str, rows: list[Document]) -> str:
    """Each document as a list of its fields."""
    shown = [
        "<dl>" + "".join(f"<dt><b>{escape(name)}</b></dt><dd>{escape(_text(row[name]))}</dd>" for name in row) + "</dl>"
        for row in rows
    ]
    return _HEAD.format(title=title) + "\n".join(shown) + _TAIL


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
