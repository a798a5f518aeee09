"""Presence services over the embedded live port, with gateways and a small auth service beside them, and a clock that
tests turn."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import orjson

from palaver.access import USERS_CHANGED, Access
from palaver.api import Auth, Presence
from palaver.blobs import Blobs
from palaver.config import Config
from palaver.database import Database
from palaver.errors import InvalidInput, Unavailable, UserNotFound
from palaver.events import user_actor
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.presence_reports import PresenceReports
from palaver.gateway.session import Session
from palaver.ids import encode_subject_token
from palaver.live.embedded import EmbeddedLive
from palaver.log.embedded import EmbeddedLog
from palaver.node import Node
from palaver.presence.role import PresenceService
from palaver.v1.auth_pb2 import (
    DocumentsReply,
    Empty,
    GetPolicyReply,
    GetPolicyRequest,
    GetUsersRequest,
    SetUserStatusRequest,
    UserReply,
)
from palaver.v1.presence_pb2 import (
    AWAY,
    OFFLINE,
    ONLINE,
    GetPresenceRequest,
    PresenceChanged,
    ReportStatusesRequest,
    SetStatusRequest,
    Status,
    UserPresence,
)
from tests.log.harness import NothingCommitted

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
        permissions = ("edit-other-user-info", "view-statistics")
        return GetPolicyReply(
            permissions=[orjson.dumps({"_id": name, "roles": ["admin"]}) for name in permissions],
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


class Gateway:
    """A gateway as far as presence knows one: its reports, and sessions without sockets."""

    def __init__(self, name: str, world: "World") -> None:
        self.name = name
        node = world.make_node(name)
        node.services.presence = cast(Presence, world)
        self.reports = PresenceReports(node, lambda: sum(len(s.connections) for s in self.sessions.values()))
        self.sessions: dict[str, Session] = {}
        self.sockets: dict[tuple[str, str], SimpleNamespace] = {}

    def connect(self, user: str, name: str) -> None:
        session = self.sessions.setdefault(user, Session(user))
        socket = self.sockets[user, name] = SimpleNamespace(status=ONLINE)
        session.connections.append(cast(Connection, socket))
        self.reports.on_connections_changed(session)

    def disconnect(self, user: str, name: str) -> None:
        session = self.sessions[user]
        session.connections.remove(cast(Connection, self.sockets.pop((user, name))))
        if not session.connections:
            del self.sessions[user]
        self.reports.on_connections_changed(session)

    def say(self, user: str, name: str, status: "Status.ValueType") -> None:
        self.sockets[user, name].status = status
        self.reports.on_connections_changed(self.sessions[user])

    def status(self, user: str) -> "Status.ValueType":
        """The best of the user's sockets here."""
        statuses = [socket.status for (who, _), socket in self.sockets.items() if who == user]
        return ONLINE if ONLINE in statuses else AWAY if statuses else OFFLINE

    async def report(self) -> None:
        """Says all that is due, whether it failed before or not."""
        for _ in range(1 + len(self.reports._due) // 100):
            await self.reports._send()


class World:
    """One live port and one auth; presence processes and gateways come and go.

    To the gateways it is the way to presence: a call reaches one of the processes, as a test says.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.live = EmbeddedLive(self.clock)
        self.log = EmbeddedLog(NothingCommitted())
        self.auth = SmallAuth(self.live)
        self.told: list[UserPresence] = []
        self.replicas: dict[str, PresenceService] = {}
        self.nodes: dict[str, Node] = {}
        self.gateways: dict[str, Gateway] = {}

    @property
    def presence(self) -> PresenceService:
        """The process that takes the calls."""
        return next(iter(self.replicas.values()))

    @property
    def node(self) -> Node:
        return next(iter(self.nodes.values()))

    def make_node(self, name: str) -> Node:
        return Node(Config(node_id=name), cast(Database, None), self.log, self.live, cast(Blobs, None))

    async def start(self, name: str = "presence 1") -> None:
        """Starts a presence process."""
        node = self.make_node(name)
        node.services.auth = cast(Auth, self.auth)
        node.access = Access(node.services.auth, self.log, self.live)
        await node.access.reload()
        presence = PresenceService(node, self.clock)
        await presence.open()
        self.nodes[name], self.replicas[name] = node, presence

    async def crash(self, name: str = "presence 1") -> None:
        """Ends a process: its tasks and its memory go, the live port stays."""
        node, presence = self.nodes.pop(name), self.replicas.pop(name)
        for task in list(node._tasks):
            task.cancel()
        await presence.close()

    def gateway(self, name: str = NODE) -> Gateway:
        if name not in self.gateways:
            self.gateways[name] = Gateway(name, self)
        return self.gateways[name]

    async def report_statuses(self, request: ReportStatusesRequest) -> Empty:
        """What gateways call."""
        return await self.presence.report_statuses(request)

    async def settle(self) -> None:
        """Waits until everything is reported and told."""
        for gateway in self.gateways.values():
            await gateway.report()
        for name, presence in self.replicas.items():
            await presence.drain()
            assert self.nodes[name].failure is None

    async def connect(self, user: str, connection: str = "c1", node: str = NODE) -> None:
        self.gateway(node).connect(user, connection)
        await self.gateway(node).report()

    async def disconnect(self, user: str, connection: str = "c1", node: str = NODE) -> None:
        self.gateway(node).disconnect(user, connection)
        await self.gateway(node).report()

    async def say(self, user: str, status: Status.ValueType, connection: str = "c1", node: str = NODE) -> None:
        self.gateway(node).say(user, connection, status)
        await self.gateway(node).report()

    async def choose(self, user: str, status: str | None = None, text: str | None = None, actor: str = "") -> None:
        await self.presence.set_status(
            SetStatusRequest(actor=user_actor(actor or user), user_id=user, status=status, status_text=text)
        )

    async def see(self, *users: str, replica: str = "") -> dict[str, UserPresence]:
        """What get_presence says."""
        presence = self.replicas[replica] if replica else self.presence
        reply = await presence.get_presence(GetPresenceRequest(user_ids=users))
        return {user.user_id: user for user in reply.users}

    async def hear(self) -> list[tuple[str, int, str]]:
        """What has been told since the last time: user, status, text."""
        await self.settle()
        told, self.told = self.told, []
        return [(user.user_id, user.status, user.status_text) for user in told]

    def mark_key(self, user: str, node: str = NODE) -> str:
        token = encode_subject_token(self.gateway(node).reports.node_id)
        return f"presence.users.{encode_subject_token(user)}.{token}"

    async def marks(self) -> dict[str, str]:
        """What the live port knows, without the revisions."""
        return {key: value.decode().split(" ")[0] for key, value in (await self.live.list("presence.users")).items()}

    async def pass_time(self, seconds: float, *, living: Collection[str] | None = None) -> None:
        """Lets the time pass, living gateways (None: all) keep their leases, and the presence processes look."""
        while seconds > 0:
            self.clock.now += min(5, seconds)
            seconds -= 5
            for name, gateway in self.gateways.items():
                if living is None or name in living:
                    with suppress(Unavailable):
                        await gateway.reports.keep_lease()
                    await gateway.report()
            for presence in self.replicas.values():
                with suppress(Unavailable):
                    await presence.check()
                for _ in range(2):
                    await presence.check_doubts()


@asynccontextmanager
async def world(replicas: int = 1, world: World | None = None) -> AsyncIterator[World]:
    """An empty world with presence processes in it."""
    world = world or World()
    await world.live.subscribe("presence", lambda message: world.told.extend(PresenceChanged.FromString(message).users))
    for user_id in ("Alice", "Bob", "rocket.cat"):
        world.auth.add(user_id)
    world.auth.add("Root", roles=["admin"])
    for number in range(1, replicas + 1):
        await world.start(f"presence {number}")
    try:
        yield world
    finally:
        for name in list(world.replicas):
            await world.crash(name)
