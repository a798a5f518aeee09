"""The yardstick: a bare uvicorn and Starlette server that does only what can't be left out. Run by `harness.py`.

It knows the tokens of a file, commits each message to SQLite before it answers, and writes one ready frame to every
member, joined within 20 ms as Palaver does. It has no permissions, counters, events, room lists or second process; its
REST pages are rows of SQLite as they are. What Palaver costs beyond it is the price of being a chat server.
"""

import argparse
import asyncio
import gc
import os
import queue
import sqlite3
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

WINDOW = 0.02


def frame(payload: bytes) -> bytes:
    """One websocket text frame."""
    if len(payload) < 126:
        return bytes((0x81, len(payload))) + payload
    return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload


def open_database(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=full")
    database.execute("create table if not exists messages(id text primary key, room text, at int, document text)")
    database.execute("create index if not exists by_time on messages(room, at)")
    return database


class Writer(threading.Thread):
    """Commits whatever came while the last commit ran as one transaction."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._loop = loop
        self._queue: queue.SimpleQueue[tuple[tuple[Any, ...], asyncio.Future[None]]] = queue.SimpleQueue()

    def put(self, row: tuple[Any, ...]) -> "asyncio.Future[None]":
        done = self._loop.create_future()
        self._queue.put((row, done))
        return done

    def run(self) -> None:
        database = open_database(self._path)
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            rows = orjson.dumps([row for row, _ in batch]).decode()
            # One statement, hence one time without the interpreter's lock.
            database.execute(
                "insert into messages select value->>0, value->>1, value->>2, value->>3 from json_each(?)", (rows,)
            )
            self._loop.call_soon_threadsafe(_resolve, [done for _, done in batch])


def _resolve(futures: "list[asyncio.Future[None]]") -> None:
    for future in futures:
        future.set_result(None)


class Client:
    """A socket."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.descriptor = transport.get_extra_info("socket").fileno()
        self.user_id = ""

    def write(self, data: bytes) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.write(data)
            return
        try:
            sent = os.write(self.descriptor, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return
        if sent < len(data):
            self.transport.write(data[sent:])


class Room:
    """Who hears it, and the frames that they have not got yet."""

    def __init__(self) -> None:
        self.members: set[Client] = set()
        self._pending: list[bytes] = []
        self._flushed_at = 0.0
        self._flush_seconds = 0.0

    def tell(self, data: bytes) -> None:
        self._pending.append(data)
        if len(self._pending) == 1:
            loop = asyncio.get_running_loop()
            window = max(WINDOW, 2 * self._flush_seconds)
            loop.call_later(max(0.0, self._flushed_at + window - loop.time()), self._flush, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        self._flushed_at = loop.time()
        data, self._pending = b"".join(self._pending), []
        for member in self.members:
            member.write(data)
        self._flush_seconds = loop.time() - self._flushed_at


class Baseline:
    """The application."""

    def __init__(self, folder: Path, credentials: Path, messages: int, rooms: int) -> None:
        self._path = folder / "baseline.db"
        lines = credentials.read_text().split("\n") if credentials.is_file() else []
        self._users = {token: user_id for user_id, _, token in (line.partition(" ") for line in lines if line)}
        self._rooms: dict[str, Room] = {}
        self._reader = open_database(self._path)
        self._fill(messages, rooms)
        self._writer: Writer | None = None
        web = [
            Route("/readyz", self.ready),
            Route("/api/v1/rooms.upload/{room}", self.upload, methods=["POST"]),
            Route("/api/v1/{kind}", self.page),
            WebSocketRoute("/websocket", self.ddp),
        ]
        self._web = Starlette(routes=web)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self._writer = Writer(self._path, asyncio.get_running_loop())
            self._writer.start()
            # Otherwise every few hundred new sockets cost a walk over all that is there.
            gc.collect()
            gc.freeze()
            gc.set_threshold(100_000, 20, 50)
        elif scope["type"] == "websocket":
            scope["transport"] = send.__self__.transport
        await self._web(scope, receive, send)

    async def ready(self, request: Request) -> Response:
        return Response()

    async def page(self, request: Request) -> Response:
        """The last messages of a room; or for `lists`, as many documents as a room list has rooms and subscriptions."""
        room, count = request.query_params.get("roomId", "lists"), int(request.query_params.get("count", 1000))
        rows = self._reader.execute(
            "select document from messages where room = ? order by at desc limit ?", (room, count)
        ).fetchall()
        body = '{"success":true,"documents":[' + ",".join(row[0] for row in rows) + "]}"
        return Response(body, media_type="application/json")

    async def upload(self, request: Request) -> Response:
        """Writes the request's body to a file, as it is, and syncs it."""
        with tempfile.NamedTemporaryFile(dir=self._path.parent) as file:
            async for chunk in request.stream():
                file.write(chunk)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        return Response(b"{}", media_type="application/json")

    async def ddp(self, socket: WebSocket) -> None:
        client, rooms = Client(socket.scope["transport"]), []
        await socket.accept()
        try:
            while True:
                event = await socket.receive()
                if event["type"] != "websocket.receive":
                    return
                data = orjson.loads(event["text"])
                match data["msg"]:
                    case "connect":
                        client.write(frame(b'{"msg":"connected","session":"one"}'))
                    case "method" if data["method"] == "login":
                        client.write(self._login(client, data))
                    case "method":
                        await self._send(client, data)
                    case "sub":
                        if data["name"] == "stream-room-messages":
                            room = self._rooms.setdefault(data["params"][0], Room())
                            room.members.add(client)
                            rooms.append(room)
                        client.write(frame(orjson.dumps({"msg": "ready", "subs": [data["id"]]})))
        finally:
            for room in rooms:
                room.members.discard(client)

    def _login(self, client: Client, data: dict[str, Any]) -> bytes:
        token = data["params"][0]["resume"]
        client.user_id = self._users[token]
        result = {"id": client.user_id, "token": token, "tokenExpires": {"$date": 1 << 41}, "type": "resume"}
        own = {"msg": "added", "collection": "users", "id": client.user_id, "fields": {"username": client.user_id}}
        return frame(orjson.dumps(own)) + _answer(data["id"], orjson.dumps(result))

    async def _send(self, client: Client, data: dict[str, Any]) -> None:
        parameters, now = data["params"][0], time.time_ns() // 1_000_000
        room_id, text = parameters["rid"], parameters["msg"]
        message = orjson.dumps(_message(parameters["_id"], room_id, text, client.user_id, now))
        assert self._writer is not None
        await self._writer.put((parameters["_id"], room_id, now, message.decode()))
        client.write(_answer(data["id"], message))
        about = b'{"msg":"changed","collection":"stream-room-messages","id":"id","fields":{"eventName":'
        self._rooms[room_id].tell(frame(about + orjson.dumps(room_id) + b',"args":[' + message + b"]}}"))

    def _fill(self, messages: int, rooms: int) -> None:
        insert = "insert into messages values (?, ?, ?, ?)"
        self._reader.execute("begin")
        for room_id, count in (("history", messages), ("lists", 2 * rooms)):
            for at in range(count):
                id = f"{room_id}{at}"
                document = orjson.dumps(_message(id, room_id, f"message {at} " + "of a history " * 4, "someone", at))
                self._reader.execute(insert, (id, room_id, at, document.decode()))
        self._reader.execute("commit")


def _message(id: str, room_id: str, text: str, user_id: str, at: int) -> dict[str, Any]:
    paragraph = {"type": "PARAGRAPH", "value": [{"type": "PLAIN_TEXT", "value": text}]}
    return {
        "_id": id,
        "rid": room_id,
        "msg": text,
        "ts": {"$date": at},
        "u": {"_id": user_id, "username": user_id, "name": user_id},
        "_updatedAt": {"$date": at},
        "urls": [],
        "mentions": [],
        "channels": [],
        "md": [paragraph],
    }


def _answer(id: str, result: bytes) -> bytes:
    encoded = orjson.dumps(id)
    return frame(b'{"msg":"result","id":' + encoded + b',"result":' + result + b"}") + frame(
        b'{"msg":"updated","methods":[' + encoded + b"]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--credentials", type=Path, required=True)
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--rooms", type=int, default=0)
    given = parser.parse_args()
    uvicorn.run(
        Baseline(given.folder, given.credentials, given.messages, given.rooms),
        host="127.0.0.1",
        port=given.port,
        ws="websockets-sansio",
        loop="uvloop",
        http="httptools",
        log_level="error",
        access_log=False,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        backlog=4096,
    )


if __name__ == "__main__":
    main()
