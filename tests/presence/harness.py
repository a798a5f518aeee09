"""A presence service over the embedded live port, with a small auth service beside it and a clock that tests turn."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson

from palaver.access import USERS_CHANGED, Access
from palaver.api import Auth
from palaver.blobs import Blobs
from palaver.config import Config
from palaver.database import Database
from palaver.errors import InvalidInput, Unavailable, UserNotFound
from palaver.events import user_actor
from palaver.live.embedded import EmbeddedLive
from palaver.log.embedded import EmbeddedLog
from palaver.node import Node
from palaver.presence.role import PresenceService
from palaver.v1.auth_pb2 import (
    DocumentsReply,
    GetPolicyReply,
    GetPolicyRequest,
    GetUsersRequest,
    SetUserStatusRequest,
    UserReply,
)
from palaver.v1.presence_pb2 import (
    ConnectRequest,
    DisconnectRequest,
    GetPresenceRequest,
    PresenceChanged,
    SetConnectionStatusRequest,
    SetStatusRequest,
    Status,
    UserPresence,
)

NODE = "gateway 1.example"  # an id of any characters


class SmallAuth:
    """As much of auth as presence calls: users in a dictionary, announced when they change."""

    def __init__(self, live: EmbeddedLive) -> None:
        self._live = live
        self.users: dict[str, dict[str, Any]] = {}
        self.settings: dict[str, Any] = {"Presence_broadcast_disabled": False}
        self.available = True
        self.asked: list[list[str]] = []  # the ids of each get_users
        self.before_answer: Callable[[], Awaitable[None]] | None = None

    def add(self, user_id: str, **fields: Any) -> None:
        self.users[user_id] = {
            "_id": user_id,
            "username": user_id.lower(),
            "name": user_id.title(),
            "roles": ["user"],
            "active": True,
            "statusDefault": "online",
            "statusText": "",
            "utcOffset": 1,
            **fields,
        }

    async def change(self, user_id: str, **fields: Any) -> None:
        """What another service, or an admin, does to a user."""
        self.users[user_id].update(fields)
        await self._live.publish(USERS_CHANGED, user_id.encode())

    async def get_users(self, request: GetUsersRequest) -> DocumentsReply:
        self._check()
        self.asked.append(list(request.user_ids))
        found = [orjson.dumps(self.users[id]) for id in request.user_ids if id in self.users]
        if self.before_answer is not None:
            await self.before_answer()
        return DocumentsReply(documents=found)

    async def set_user_status(self, request: SetUserStatusRequest) -> UserReply:
        self._check()
        if request.user_id not in self.users:
            raise UserNotFound
        if request.HasField("status") and request.status not in ("online", "away", "busy", "offline"):
            raise InvalidInput("Invalid status", code="error-invalid-status")
        fields = {}
        if request.HasField("status"):
            fields["statusDefault"] = request.status
        if request.HasField("status_text"):
            fields["statusText"] = request.status_text
        await self.change(request.user_id, **fields)
        return UserReply(user=orjson.dumps(self.users[request.user_id]))

    async def get_policy(self, request: GetPolicyRequest) -> GetPolicyReply:
        permission = {"_id": "edit-other-user-info", "roles": ["admin"]}
        return GetPolicyReply(
            permissions=[orjson.dumps(permission)],
            settings=[orjson.dumps({"_id": name, "value": value}) for name, value in self.settings.items()],
        )

    def _check(self) -> None:
        if not self.available:
            raise Unavailable


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """One live port and one auth; presence processes come and go."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.live = EmbeddedLive(self.clock)
        self.log = EmbeddedLog()
        self.auth = SmallAuth(self.live)
        self.told: list[UserPresence] = []
        self.node: Node
        self.presence: PresenceService

    async def start(self) -> None:
        """Starts a presence process."""
        node = Node(Config(node_id="presence 1"), cast(Database, None), self.log, self.live, cast(Blobs, None))
        node.services.auth = cast(Auth, self.auth)
        node.access = Access(node.services.auth, self.log, self.live)
        await node.access.reload()
        self.node, self.presence = node, PresenceService(node, self.clock)
        await self.presence.open()

    async def crash(self) -> None:
        """Ends the process: its tasks and its memory go, the live port stays."""
        for task in list(self.node._tasks):
            task.cancel()
        await self.presence.close()

    async def settle(self) -> None:
        """Waits until everything is told."""
        await self.presence.drain()
        assert self.node.failure is None

    async def connect(self, user: str, connection: str = "c1", node: str = NODE) -> None:
        await self.presence.connect(ConnectRequest(node_id=node, connection_id=connection, user_id=user))

    async def disconnect(self, user: str, connection: str = "c1", node: str = NODE) -> None:
        await self.presence.disconnect(DisconnectRequest(node_id=node, connection_id=connection, user_id=user))

    async def say(self, user: str, status: Status.ValueType, connection: str = "c1", node: str = NODE) -> None:
        await self.presence.set_connection_status(
            SetConnectionStatusRequest(node_id=node, connection_id=connection, user_id=user, status=status)
        )

    async def choose(self, user: str, status: str | None = None, text: str | None = None, actor: str = "") -> None:
        await self.presence.set_status(
            SetStatusRequest(actor=user_actor(actor or user), user_id=user, status=status, status_text=text)
        )

    async def see(self, *users: str) -> dict[str, UserPresence]:
        """What get_presence says."""
        reply = await self.presence.get_presence(GetPresenceRequest(user_ids=users))
        return {user.user_id: user for user in reply.users}

    async def hear(self) -> list[tuple[str, int, str]]:
        """What has been told since the last time: user, status, text."""
        await self.settle()
        told, self.told = self.told, []
        return [(user.user_id, user.status, user.status_text) for user in told]

    async def lease(self, node: str = "gateway_201_2eexample", seconds: float = 15) -> None:
        """What a gateway does every few seconds. The default is NODE, encoded."""
        await self.live.put(f"presence.nodes.{node}", b"", seconds)

    async def marks(self) -> dict[str, bytes]:
        return await self.live.list("presence.users")

    async def pass_time(self, seconds: float) -> None:
        """Lets the time pass, and the presence process look at the nodes."""
        self.clock.now += seconds
        await self.presence.check()


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """An empty world with a presence process in it."""
    world = World()
    await world.live.subscribe("presence", lambda message: world.told.append(PresenceChanged.FromString(message).user))
    for user_id in ("Alice", "Bob", "rocket.cat"):
        world.auth.add(user_id)
    world.auth.add("Root", roles=["admin"])
    await world.start()
    try:
        yield world
    finally:
        await world.crash()
