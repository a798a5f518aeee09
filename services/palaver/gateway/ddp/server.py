"""DDP over websockets: from a socket's first byte to its last.

A connection's frames are answered strictly one after another, in order: what was sent after `login` finds the user.
Protocol: the facts are those of Meteor's DDP specification, version 1.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from prometheus_client import Counter, Gauge, Histogram

from palaver.access import user_from
from palaver.errors import InvalidInput, LoginRequired
from palaver.events import user_actor
from palaver.gateway.admission import Admission
from palaver.gateway.call import Call
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.ddp.errors import error_object, is_failure
from palaver.gateway.ddp.limits import MethodLimits
from palaver.gateway.ddp.login import login_request, strip_second_factor
from palaver.gateway.ddp.method import MatchFailed, Method, call_method
from palaver.gateway.ddp.publications import PUBLICATIONS
from palaver.gateway.ddp.streams import Streams
from palaver.gateway.ddp.writing import WRITTEN_STREAMS, Writing
from palaver.gateway.ejson import loads
from palaver.gateway.following import Following
from palaver.gateway.frames import PING, PONG, SERVER_ID, error_frames, frame, result_frames
from palaver.gateway.limits import RateLimiter
from palaver.gateway.people import People
from palaver.gateway.pictures import Pictures
from palaver.gateway.presence_reports import PresenceReports
from palaver.ids import new_id
from palaver.node import Node
from palaver.telemetry import name_request, request_id, request_span
from palaver.v1.auth_pb2 import LoginReply, LogoutRequest

logger = logging.getLogger(__name__)

CONNECTIONS = Gauge("palaver_connections", "Open websockets")
OPENED = Counter("palaver_connections_opened_total", "Websockets that were accepted")
METHOD_SECONDS = Histogram(
    "palaver_ddp_method_seconds",
    "DDP methods; `other` is what no method is called",
    ["method", "outcome"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
SUBSCRIPTION_SECONDS = Histogram(
    "palaver_ddp_subscription_seconds",
    "DDP subscriptions, until they are ready or refused",
    ["stream", "outcome"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)

VERSIONS = ("1", "pre2", "pre1")
PING_AFTER = 30.0
"""Seconds without input before the server asks whether the client is there; as long again, and it is gone."""

_ELSEWHERE_SECONDS = 1
"""After which a client that comes while this gateway stops should try again, and find another one."""
_SPREAD = 0.6
"""The part of the time for draining over which sockets are closed; what is left is for their last answers."""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class DdpServer:
    """Every websocket of this gateway."""

    def __init__(
        self,
        node: Node,
        streams: Streams,
        writing: Writing,
        people: People,
        following: Following,
        methods: dict[str, Method],
        admission: Admission,
        presence: PresenceReports,
        pictures: Pictures,
        limiter: RateLimiter,
    ) -> None:
        self._node = node
        self._admission = admission
        self._streams = streams
        self._writing = writing
        self._people = people
        self._following = following
        self._presence = presence
        self._limits = MethodLimits(node, limiter)
        self._pictures = pictures
        self._methods = methods
        self._known_methods = frozenset((*methods, "login", "logout", *WRITTEN_STREAMS))
        self._connections: set[Connection] = set()
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._connections)

    async def serve(
        self, scope: dict[str, Any], receive: Receive, send: Send, kind: type[Connection] = Connection
    ) -> None:
        """One websocket, as an ASGI application. `kind` knows how messages are framed."""
        await receive()  # websocket.connect
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        if transport is None:
            await send({"type": "websocket.close", "code": 1011})
            return
        wait = _ELSEWHERE_SECONDS if self._draining else self._admission.refuse_handshake()
        if wait:
            await _refuse(send, wait)
            return
        await send({"type": "websocket.accept"})
        client = scope.get("client")
        agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
        connection = kind(
            new_id(),
            transport,
            client[0] if client else "",
            agent[:512].decode(errors="replace"),
            asyncio.get_running_loop().time(),
        )
        request_id.set(connection.id)  # for what is no request: its coming and going
        scope.clear()  # its headers would live as long as the socket
        self._connections.add(connection)
        self._empty.clear()
        CONNECTIONS.set(len(self._connections))
        OPENED.inc()
        connection.write(SERVER_ID)
        try:
            while connection.open:
                event = await receive()
                if event["type"] != "websocket.receive":
                    break
                text = event.get("text")
                if text is None:
                    connection.close(1007, "Binary frames are not understood")
                    break
                connection.busy = True
                await self._on_frame(connection, text)
                connection.busy = False
                if connection.leaving:
                    asyncio.get_running_loop().call_soon(self._let_go, connection)
        finally:
            request_id.set(connection.id)
            connection.open = False
            self._connections.discard(connection)
            if not self._connections:
                self._empty.set()
            CONNECTIONS.set(len(self._connections))
            await self._streams.leave_all(connection)
            await self._people.detach(connection)

    async def _on_frame(self, connection: Connection, text: str) -> None:
        connection.last_input = asyncio.get_running_loop().time()
        connection.pinged = False
        try:
            messages = connection.messages(text)
        except InvalidInput:
            connection.close(1007, "Not a frame")
            return
        for message in messages:
            await self._on_message(connection, message)
            if not connection.open:
                return

    async def _on_message(self, connection: Connection, text: str) -> None:
        try:
            data = loads(text)
        except InvalidInput:
            connection.close(1007, "Not JSON")
            return
        if not isinstance(data, dict):
            connection.close(1002, "Not a DDP message")
            return
        kind = data.get("msg")
        if not connection.versioned:
            self._on_connect(connection, kind, data)
        elif kind == "method":
            await self._on_method(connection, data)
        elif kind == "sub":
            await self._on_sub(connection, data)
        elif kind == "unsub":
            if isinstance(id := data.get("id"), str):
                await self._streams.unsubscribe(connection, id)
            else:
                connection.close(1002, "unsub needs an id")
        elif kind == "ping":
            connection.write(frame(msg="pong", id=data["id"]) if isinstance(data.get("id"), str) else PONG)

    def _on_connect(self, connection: Connection, kind: Any, data: dict[str, Any]) -> None:
        if kind is None and "msg" not in data:
            return  # old clients greet with {"server_id": …} of their own
        if kind == "ping":
            connection.write(PONG)
            return
        if kind != "connect":
            connection.close(1002, "connect must come first")
            return
        offered = data.get("support")
        offers = [data.get("version"), *(offered if isinstance(offered, list) else ())]
        if not any(version in VERSIONS for version in offers if isinstance(version, str)):
            connection.write(frame(msg="failed", version=VERSIONS[0]))
            connection.close(1000, "No common version")
            return
        connection.versioned = True
        connection.write(frame(msg="connected", session=new_id()))

    # -- methods ---------------------------------------------------------------------------------------------------

    async def _on_method(self, connection: Connection, data: dict[str, Any]) -> None:
        name, id, parameters = data.get("method"), data.get("id"), data.get("params", [])
        if not isinstance(name, str) or not isinstance(id, str):
            connection.close(1002, "method needs a method and an id")
            return
        loop = asyncio.get_running_loop()
        started = loop.time()
        name_request(id, connection.id)
        encoded_id = orjson.dumps(id)
        before = b""  # written with the result: a system call costs more than what it says
        known = name if name in self._known_methods else "other"
        try:
            with request_span(f"method {known}"):
                if not isinstance(parameters, list):
                    raise MatchFailed
                if name != "login":
                    await self._check_login(connection)
                self._limits.check(connection, known)
                if name.startswith("stream-"):
                    result = None
                    await self._writing.write(connection, name, parameters)
                elif name == "login":
                    before, result = await self._login(connection, parameters)
                elif name == "logout":
                    result = None
                    await self._logout(connection)
                else:
                    result = await self._call(connection, name, parameters)
        except Exception as error:
            outcome = "failed" if is_failure(error) else "refused"
            connection.write(error_frames(encoded_id, error_object(error, known)))
        else:
            outcome = "answered"
            connection.write(before + result_frames(encoded_id, result))
        if name == "logout" and connection.user is not None:  # if it failed, the client finds out by another login
            connection.close(1000 if outcome == "answered" else 1011, "logged out")
        logger.debug("method %s: %s", known, outcome)
        METHOD_SECONDS.labels(known, outcome).observe(loop.time() - started)

    async def _call(self, connection: Connection, name: str, parameters: list[Any]) -> Any:
        call = Call(
            self._node.services,
            self._node.access,
            self._node.config,
            self._admission,
            self._presence,
            self._node.live,
            self._pictures,
            hashed_token=connection.hashed_token,
            address=connection.address,
            user_agent=connection.user_agent,
            connection=connection,
        )
        if connection.user is not None:
            call.user = await self._node.access.find_user(connection.user.id)
            if call.user is None or not call.user.active:
                raise LoginRequired("Invalid user", code="error-invalid-user")
        parameters, call.second_factor_code, call.second_factor_method = strip_second_factor(parameters)
        return await call_method(self._methods, name, call, parameters)

    async def _login(self, connection: Connection, parameters: list[Any]) -> tuple[bytes, Any]:
        """What goes before the result, and the result."""
        request = login_request(parameters[0] if parameters else None)
        self._admission.check_login()
        request.address = connection.address
        request.user_agent = connection.user_agent
        request.instance_id = self._node.config.node_id
        reply: LoginReply = await self._node.services.auth.login(request)
        document = orjson.loads(reply.user)
        user = user_from(document)
        if connection.session is not None and connection.session.user_id != user.id:
            await self._streams.leave_all(connection)
        await self._people.attach(connection, user, reply.hashed_token)
        own: dict[str, Any] = {"username": user.username, "name": user.name}
        if "emails" in document:
            own["emails"] = document["emails"]
        return frame(msg="added", collection="users", id=user.id, fields=own), {
            "id": user.id,
            "token": reply.token,
            "tokenExpires": {"$date": reply.expires_at},
            "type": reply.type,
        }

    async def _logout(self, connection: Connection) -> None:
        if connection.user is not None:
            # Telling of the revoked token closes every socket that has it: this one only after its result.
            ended, connection.hashed_token = connection.hashed_token, ""
            request = LogoutRequest(actor=user_actor(connection.user.id), hashed_token=ended)
            await self._node.services.auth.logout(request)

    async def _check_login(self, connection: Connection) -> None:
        """Where a revocation may not have been heard of, asks. Raises LoginRequired (and closes), Unavailable."""
        if connection.user is None or self._following.is_current:
            return
        try:
            await self._people.check_login(connection)
        except LoginRequired:
            self._people.end(connection)
            raise

    # -- subscriptions -----------------------------------------------------------------------------------------------

    async def _on_sub(self, connection: Connection, data: dict[str, Any]) -> None:
        name, id, parameters = data.get("name"), data.get("id"), data.get("params", [])
        if not isinstance(name, str) or not isinstance(id, str):
            connection.close(1002, "sub needs a name and an id")
            return
        loop = asyncio.get_running_loop()
        started = loop.time()
        name_request(id, connection.id)
        known = name if name in PUBLICATIONS else "other"
        outcome = "ready"
        try:
            with request_span(f"subscription to {known}"):
                if not isinstance(parameters, list):
                    raise MatchFailed
                await self._check_login(connection)
                await self._streams.subscribe(connection, id, name, parameters)
        except Exception as error:
            outcome = "failed" if is_failure(error) else "refused"
            connection.write(frame(msg="nosub", id=id, error=error_object(error, known)))
        logger.debug("subscription to %s: %s", known, outcome)
        SUBSCRIPTION_SECONDS.labels(known, outcome).observe(loop.time() - started)

    # -- the life of the sockets ------------------------------------------------------------------------------------

    async def run_heartbeat(self, every: float = 5.0) -> None:
        """The background task that asks silent clients whether they are there, and lets go of those who are not."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(every)
            now = loop.time()
            for index, connection in enumerate(list(self._connections), 1):
                silent = now - connection.last_input
                if silent > 2 * PING_AFTER:
                    connection.close(4000, "Silent for too long")
                elif silent > PING_AFTER and not connection.pinged:
                    connection.pinged = True
                    connection.write(PING)
                if index % 500 == 0:
                    await asyncio.sleep(0)

    async def drain(self, seconds: float) -> None:
        """Takes no new sockets, and closes the open ones with 1012 (restarting), spread over most of `seconds`.

        What a client has sent until then is answered before.
        """
        self._draining = True
        loop = asyncio.get_running_loop()
        connections = list(self._connections)
        started = loop.time()
        for index, connection in enumerate(connections):
            wait = started + seconds * _SPREAD * index / len(connections) - loop.time()
            if wait > 0.01:
                await asyncio.sleep(wait)
            connection.leaving = True
            self._let_go(connection)
        await self._empty.wait()

    def _let_go(self, connection: Connection) -> None:
        """Ends a connection that is to leave, unless it has begun something: then its end comes after that."""
        if not connection.busy:
            connection.close(1012, "Restarting")


async def _refuse(send: Send, seconds: int) -> None:
    """Answers a handshake with HTTP's way to say: not now."""
    headers = [(b"content-type", b"text/plain"), (b"retry-after", str(seconds).encode())]
    await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"Too many connections at once; try again"})
