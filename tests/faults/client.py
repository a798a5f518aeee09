"""A client as careful as a good one is: it comes back when its socket is lost, asks for what it missed, and repeats
what nobody answered for with the same id. Hundreds of them run in one process; what they did and saw goes into the
ledger.
"""

import asyncio
import contextlib
import string
import time
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.faults.oracle import Heard, Ledger

CONNECT_SECONDS = 6.0
ANSWER_SECONDS = 12.0
SILENT_SECONDS = 5.0
"""Without a frame for so long, a client asks whether the server is there; as long again, and it looks for another."""
LONGEST_PAUSE = 2.0
_LETTERS = string.ascii_letters + string.digits
# What a server answers that can't say now: the message may be there or not.
_UNAVAILABLE = "error-unavailable"


class Lost(Exception):
    """The socket is of no use any more."""


@dataclass
class Counts:
    """What happened to all clients of a run."""

    delivered: int = 0
    reconnects: int = 0
    retries: int = 0
    closed: dict[int, int] = field(default_factory=dict)  # by the code of the close
    slowest_return: float = 0.0  # seconds from losing a socket to having everything again
    slowest_way: list[str] = field(default_factory=list)  # what that one tried, and when
    slowest_answer: float = 0.0  # seconds from the first attempt to send to the acknowledgement

    def reset(self) -> None:
        """For the next round."""
        self.__init__()  # type: ignore[misc]


@dataclass(frozen=True)
class Login:
    user_id: str
    token: str


class LoadClient:
    """One client of a user, reading some rooms and writing to them."""

    def __init__(
        self,
        name: str,
        login: Login,
        rooms: list[str],
        url: str,
        http: httpx.AsyncClient,
        ledger: Ledger,
        counts: Counts,
        random: Random,
    ) -> None:
        self.name = name
        self.sending = asyncio.Event()  # it writes while this is set
        self.pause = 14.0  # seconds between two of its messages, on average
        self._login = login
        self._rooms = rooms
        self._url = url
        self._http = http
        self._ledger = ledger
        self._counts = counts
        self._random = random
        self._whole_until = dict.fromkeys(rooms, 0)  # of each room, it knows every message until this time
        self._newest = dict.fromkeys(rooms, 0)  # the time of the newest that it knows, with perhaps a gap before it
        self._ready = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._ids = 0
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._heard: dict[str, Heard] = {}  # by room: the subscriptions of this socket that stand
        self._subscribing: dict[str, str] = {}  # subscription id → room
        self._lost_at: float | None = None
        self._last_frame = 0.0
        self._tried: list[str] = []  # on its way back, and when
        self.unanswered = ""  # the message that it is trying to send

    @property
    def is_ready(self) -> bool:
        """It hears all its rooms and has nothing left to send."""
        return self._ready.is_set() and not self.unanswered

    def leave(self) -> None:
        """Gives its socket up; it comes back, perhaps to another gateway."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def run(self) -> None:
        """Chats until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stay_connected())
            tasks.create_task(self._write())

    # -- being connected -----------------------------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        pause = 0.1
        while True:
            try:
                await self._connected()
            except (OSError, TimeoutError, WebSocketException, Lost, httpx.HTTPError) as error:
                self._try(f"{type(error).__name__} {str(error)[:100]}")
            was_ready = self._ready.is_set()
            self._end()
            pause = 0.1 if was_ready else min(LONGEST_PAUSE, pause * 2)
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.5))

    async def _connected(self) -> None:
        """One socket, from its beginning to its end, which always is an exception."""
        self._try("socket")
        async with asyncio.timeout(CONNECT_SECONDS):
            socket = await connect(
                self._url.replace("http", "ws", 1) + "/websocket", compression=None, ping_interval=None
            )
        self._socket = socket
        try:
            self._last_frame = time.monotonic()
            reading = asyncio.create_task(self._read(socket))
            try:
                entering = asyncio.create_task(self._enter())
                done, _ = await asyncio.wait([reading, entering], return_when=asyncio.FIRST_COMPLETED)
                entering.cancel()
                await asyncio.gather(entering, return_exceptions=True)
                for task in done:
                    task.result()
                await reading
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            raise Lost
        finally:
            if socket.close_code is not None:
                self._counts.closed[socket.close_code] = self._counts.closed.get(socket.close_code, 0) + 1
            socket.transport.abort()

    async def _enter(self) -> None:
        """Logs in, subscribes to every room and asks for what was missed."""
        await self._send(msg="connect", version="1", support=["1"])
        self._try("login")
        await self._call("login", {"resume": self._login.token})
        self._try("subscriptions")
        await asyncio.gather(*(self._subscribe(room) for room in self._rooms))
        self._try("what was missed")
        for room in self._rooms:
            await self._catch_up(room)
        if self._lost_at is not None:
            self._counts.reconnects += 1
            away = time.monotonic() - self._lost_at
            if away > self._counts.slowest_return:
                self._counts.slowest_return, self._counts.slowest_way = away, self._tried
        self._lost_at = None
        self._tried = []
        self._ready.set()

    def _try(self, step: str) -> None:
        """Remembers what it does, or what has failed, on its way back."""
        if self._lost_at is not None:
            self._tried.append(f"{time.monotonic() - self._lost_at:.1f} s {step}")

    def _end(self) -> None:
        self._socket = None
        if self._ready.is_set():
            self._whole_until = dict(self._newest)
        self._ready.clear()
        if self._lost_at is None:
            self._lost_at = time.monotonic()
        for heard in self._heard.values():
            heard.open = False
        self._heard.clear()
        self._subscribing.clear()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Lost())
                answer.exception()  # there may be nobody left who waits
        self._answers.clear()

    async def _subscribe(self, room: str) -> None:
        self._ids += 1
        id = f"s{self._ids}"
        self._subscribing[id] = room
        answer = self._answers[id] = asyncio.get_running_loop().create_future()
        await self._send(msg="sub", id=id, name="stream-room-messages", params=[room, False])
        async with asyncio.timeout(ANSWER_SECONDS):
            await answer

    async def _catch_up(self, room: str) -> None:
        """Some ask as the web client does, some as the mobile one."""
        since = self._whole_until[room]
        if self._random.random() < 0.5:
            missed = await self._call("loadMissedMessages", room, {"$date": since})
            if missed is False:
                raise Lost("loadMissedMessages said no")
        else:
            headers = {"X-Auth-Token": self._login.token, "X-User-Id": self._login.user_id}
            last = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since / 1000)) + f".{since % 1000:03d}Z"
            params = {"roomId": room, "lastUpdate": last}
            answer = await self._http.get(f"{self._url}/api/v1/chat.syncMessages", params=params, headers=headers)
            if answer.status_code != 200:
                if answer.status_code != 503:
                    self._ledger.surprises.append(
                        f"chat.syncMessages answered {answer.status_code}: {answer.text[:300]}"
                    )
                raise Lost(f"chat.syncMessages answered {answer.status_code}")
            missed = answer.json()["result"]["updated"]
        for message in missed:
            self._see(room, message)
        self._ledger.learn(self.name, room, [message["_id"] for message in missed if "t" not in message])

    def _see(self, room: str, message: dict[str, Any]) -> None:
        at = message["ts"]
        milliseconds = at["$date"] if isinstance(at, dict) else round(datetime.fromisoformat(at).timestamp() * 1000)
        self._newest[room] = max(self._newest[room], milliseconds)

    # -- what the server says ------------------------------------------------------------------------------------------

    async def _read(self, socket: ClientConnection) -> None:
        while True:
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    text = await socket.recv(decode=False)
            except TimeoutError:
                if time.monotonic() - self._last_frame > 1.8 * SILENT_SECONDS:
                    raise Lost("nothing was heard") from None
                await self._send(msg="ping")
                continue
            self._last_frame = time.monotonic()
            await self._on_frame(orjson.loads(text))

    async def _on_frame(self, frame: dict[str, Any]) -> None:
        match frame.get("msg"):
            case "changed" if frame["collection"] == "stream-room-messages":
                self._on_message(frame["fields"]["eventName"], frame["fields"]["args"][0])
            case "result":
                self._answer(frame["id"], frame)
            case "ready":
                for id in frame["subs"]:
                    room = self._subscribing.get(id)
                    if room is not None:
                        self._heard[room] = self._ledger.subscribe(self.name, room)
                    self._answer(id, frame)
            case "ping":
                await self._send(msg="pong")
            case "nosub":
                # Refused, or ended: nobody could say whether we may hear the room. Start again.
                room = self._subscribing.pop(frame["id"], None)
                if room is not None and room in self._heard:
                    self._heard.pop(room).open = False
                raise Lost("a subscription ended")

    def _on_message(self, room: str, message: dict[str, Any]) -> None:
        self._see(room, message)
        if "t" not in message and (heard := self._heard.get(room)) is not None:
            self._counts.delivered += 1
            self._ledger.hear(heard, message["_id"])

    def _answer(self, id: str, frame: dict[str, Any]) -> None:
        answer = self._answers.pop(id, None)
        if answer is not None and not answer.done():
            answer.set_result(frame)

    # -- talking -------------------------------------------------------------------------------------------------------

    async def _send(self, **fields: Any) -> None:
        if self._socket is None:
            raise Lost
        await self._socket.send(orjson.dumps(fields).decode())

    async def _ask(self, method: str, *parameters: Any) -> dict[str, Any]:
        """The result frame of a method. Raises Lost or TimeoutError."""
        self._ids += 1
        id = f"m{self._ids}"
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[id] = answer
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._send(msg="method", method=method, id=id, params=list(parameters))
                return await answer
        finally:
            self._answers.pop(id, None)

    async def _call(self, method: str, *parameters: Any) -> Any:
        """The result of a method, if there is one: else this socket is given up."""
        frame = await self._ask(method, *parameters)
        if "error" in frame:
            if frame["error"]["error"] != _UNAVAILABLE:
                self._ledger.surprises.append(f"{method} answered {frame['error']}")
            raise Lost(f"{method} answered {frame['error']['error']}")
        return frame.get("result")

    # -- writing -------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(self._random.expovariate(1 / self.pause))
            await self.sending.wait()
            await self._say(self._random.choice(self._rooms))

    async def _say(self, room: str) -> None:
        """Sends one message, as often as it takes."""
        # Ids that nobody guesses, and others: the server treats them differently.
        random_id = "".join(self._random.choices(_LETTERS, k=17))
        message_id = random_id if self._random.random() < 0.7 else f"{self.name}.{random_id}"
        self.unanswered = message_id
        self._ledger.sent[message_id] = room
        started = time.monotonic()
        attempts = 0
        while True:
            await self._ready.wait()
            attempts += 1
            if attempts > 1:
                self._counts.retries += 1
            with contextlib.suppress(Lost, TimeoutError, OSError, WebSocketException):
                frame = await self._ask(
                    "sendMessage", {"_id": message_id, "rid": room, "msg": f"{message_id} says hello"}
                )
                if "error" not in frame:
                    self._ledger.acknowledge(message_id)
                    break
                if frame["error"]["error"] != _UNAVAILABLE:
                    self._ledger.surprises.append(f"sendMessage answered {frame['error']}")
                    self._ledger.refused.add(message_id)
                    break
            await asyncio.sleep(self._random.uniform(0.2, 1.0))
        self._counts.slowest_answer = max(self._counts.slowest_answer, time.monotonic() - started)
        self.unanswered = ""
