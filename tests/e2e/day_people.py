"""The people of a day (`day.py`): each with REST, a socket, and a mind of what they should see."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import connect

from tests.gateway.ddp import DdpClient

MESSAGES = "stream-room-messages"
MINE = "__my_messages__"
FACES = {"c": "channels", "p": "groups", "d": "im"}

Matches = Callable[[Any], bool]


@dataclass
class Message:
    """What everybody in its room should see of a message."""

    id: str
    text: str
    author: str
    thread: str = ""
    reactions: dict[str, set[str]] = field(default_factory=dict)
    pinned: bool = False


@dataclass
class Room:
    """What its members should see of a room: just these messages, beside those of the system."""

    id: str
    type: str
    name: str
    owner: str
    members: set[str]
    messages: dict[str, Message] = field(default_factory=dict)
    topic: str = ""
    parent: str = ""  # of a discussion

    @property
    def face(self) -> str:
        return FACES[self.type]


class Person:
    """Somebody at a client. A password is shown where the server asks for a second factor, as clients do."""

    def __init__(self, name: str, password: str, url: str) -> None:
        self.name = name
        self.password = password
        self.id = ""
        self.starred: set[str] = set()
        self.is_busy = False
        self._url = url
        self._http = httpx.AsyncClient(base_url=f"{url}/api/v1/", timeout=60)
        self._socket: DdpClient | None = None

    @property
    def socket(self) -> DdpClient:
        assert self._socket is not None, f"{self.name} is not logged in"
        return self._socket

    @property
    def is_in(self) -> bool:
        """Whether they are logged in."""
        return self._socket is not None

    async def log_in(self, rooms: list[Room]) -> None:
        """Logs in by REST, and with the same token on a socket that hears what a client's does."""
        data = (await self.post("login", user=self.name, password=self.password))["data"]
        self.id = data["userId"]
        self._http.headers.update({"X-Auth-Token": data["authToken"], "X-User-Id": self.id})
        socket = await connect(f"{self._url.replace('http', 'ws', 1)}/websocket", max_size=None)
        self._socket = DdpClient(socket)
        await self.socket.connect()
        await self.socket.login(data["authToken"])
        await self._hear(MESSAGES, MINE)
        await self._hear("stream-notify-logged", "user-status")
        await self._hear("stream-notify-user", f"{self.id}/notification")
        await self._hear("stream-notify-user", f"{self.id}/userData")
        await self._hear("stream-notify-user", f"{self.id}/subscriptions-changed")
        for room in rooms:
            await self.enter(room)

    async def enter(self, room: Room) -> None:
        """Hears what is told of a room beside its messages."""
        await self._hear("stream-notify-room", f"{room.id}/deleteMessage")

    async def log_out(self) -> None:
        """Logs out, which must end the socket, too."""
        await self.post("logout")
        async with asyncio.timeout(30):
            await self.socket.wait_closed()
        await self.socket.close()
        self._socket = None
        for name in ("X-Auth-Token", "X-User-Id"):
            del self._http.headers[name]

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        await self._http.aclose()

    async def _hear(self, stream: str, event: str) -> None:
        answer = await self.socket.sub(stream, event, False)
        assert answer["msg"] == "ready", (event, answer)

    def forget(self) -> None:
        """Drops what was heard so far."""
        self.socket.frames.clear()

    async def sees(self, message: Message) -> dict[str, Any]:
        """The message, as it now is, arrives on the socket."""
        arguments = await self.hears(
            MESSAGES, MINE, lambda found: found[0]["_id"] == message.id and shows(found[0], message)
        )
        found: dict[str, Any] = arguments[0]
        return found

    async def hears(self, stream: str, event: str, matches: Matches) -> list[Any]:
        try:
            return await self.socket.wait_change(stream, event, matches)
        except TimeoutError:
            raise AssertionError(f"{self.name} does not hear it on {stream} {event}: {self.socket.frames}") from None

    # -- REST and DDP --------------------------------------------------------------------------------------------------

    async def get(self, path: str, status: int = 200, /, **parameters: Any) -> dict[str, Any]:
        return await self.ask("GET", path, status, params=parameters)

    async def post(self, path: str, status: int = 200, /, **body: Any) -> dict[str, Any]:
        return await self.ask("POST", path, status, json=body)

    async def ask(self, method: str, path: str, status: int = 200, **options: Any) -> dict[str, Any]:
        """An answer's body. Fails unless it has this status."""
        answer = await self.fetch(method, path, **options)
        if answer.status_code == 400 and answer.json().get("errorType") == "totp-required":
            digest = hashlib.sha256(self.password.encode()).hexdigest()
            shown = {"x-2fa-code": digest, "x-2fa-method": "password"}
            answer = await self.fetch(method, path, headers=shown, **options)
        assert answer.status_code == status, (
            f"{self.name}: {method} {path} {options}: {answer.status_code} {answer.text}"
        )
        found: dict[str, Any] = answer.json()
        assert status != 200 or found.get("success") is True or found.get("status") == "success", found
        return found

    async def fetch(self, method: str, path: str, **options: Any) -> httpx.Response:
        """An answer as it comes."""
        return await self._http.request(method, path, **options)

    async def call(self, method: str, *arguments: Any) -> Any:
        """A method's result on the socket. What is asked too often waits, as clients do."""
        while (frame := await self.socket.call(method, *arguments)).get("error", {}).get(
            "error"
        ) == "too-many-requests":
            await asyncio.sleep(1)
        assert "error" not in frame, f"{self.name}: {method} {arguments}: {frame}"
        return frame.get("result")


def shows(found: dict[str, Any], message: Message) -> bool:
    """Whether a message that arrived is as it should be."""
    reactions = {emoji: set(told["usernames"]) for emoji, told in found.get("reactions", {}).items()}
    return (
        found["msg"] == message.text
        and found["u"]["username"] == message.author
        and found.get("tmid", "") == message.thread
        and reactions == message.reactions
        and bool(found.get("pinned")) == message.pinned
    )
