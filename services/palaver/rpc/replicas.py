"""The replicas of one service: which there are, which of them can be called, and which is to be.

An address names them: one `host:port`, several separated by commas, or a name that stands for several addresses
(`dns:///name:port`, or just `name:port`: a headless service). Names are looked up again every few seconds, and at once
when a replica fails. Each replica has a channel of its own, which is ready while the replica is connected and its
health service says that it serves; gRPC connects it again by itself.

Made and asked by client.py.
"""

import asyncio
import logging
import random
import socket
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from prometheus_client import Gauge

from palaver.rpc import rendezvous
from palaver.rpc.identity import Certificates, dns_name
from palaver.rpc.wire import MAX_METADATA_BYTES, MAX_REPLY_BYTES, MAX_REQUEST_BYTES

logger = logging.getLogger(__name__)

KNOWN = Gauge("palaver_rpc_replicas_known", "Replicas of a service that this process knows", ["service"])
CONNECTED = Gauge("palaver_rpc_replicas_connected", "Those of them that it can call", ["service"])

Spawn = Callable[[Coroutine[Any, Any, Any], str], "asyncio.Task[Any]"]
"""Runs a background task with an owner who notices when it dies: `Node.spawn`."""

_Watch = grpc.aio.UnaryStreamMultiCallable[HealthCheckRequest, HealthCheckResponse]

LOOK_SECONDS = 4.0
_LOOK_AGAIN_SECONDS = 0.5  # the shortest time between two looks
_LOOKUP_SECONDS = 5.0
_RETIRE_SECONDS = 30.0  # longer than any call
_PAUSE_SECONDS = 0.5  # before a replica that could not be called is watched again
_SHORT_PAUSE_SECONDS = 0.005  # the same after a connection that ended

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    # A peer that is frozen or behind a broken network is noticed within three seconds of silence: its calls fail then,
    # long before their deadlines.
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # It is looked for again and again, so that it is found soon after it is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # in truth: how long one attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.service_config_disable_resolution", 1),
    # Retries stay enabled: without a policy for them, gRPC repeats only what no server has seen, and that is what saves
    # the calls which meet the end of an old connection.
]


class Target(NamedTuple):
    """One part of an address: a name, or an address itself."""

    host: str
    port: int


def parse_address(text: str) -> tuple[Target, ...]:
    """The targets of `host:port`, `dns:///name:port`, or several separated by commas. Raises ValueError."""
    targets = []
    for part in text.split(","):
        host, colon, port = part.strip().removeprefix("dns:///").rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if (
            not colon
            or not host
            or "/" in host
            or not port.isascii()
            or not port.isdigit()
            or not 0 < int(port) < 65536
        ):
            raise ValueError(f"{part.strip()!r} is not of the form host:port")
        targets.append(Target(host, int(port)))
    return tuple(targets)


class Replica:
    """One process that plays the service, and the way to it."""

    __slots__ = ("_stubs", "channel", "is_failing", "name", "watching")

    def __init__(self, name: str, channel: grpc.aio.Channel) -> None:
        self.name = name  # address and port: the same for every process that knows it
        self.channel = channel
        self.is_failing = False  # and that has been told
        self.watching: asyncio.Task[Any] | None = None
        self._stubs: dict[str, grpc.aio.UnaryUnaryMultiCallable[Message, Message]] = {}

    def stub(
        self, path: str, serialize: Callable[[Any], bytes], deserialize: Callable[[bytes], Any]
    ) -> "grpc.aio.UnaryUnaryMultiCallable[Message, Message]":
        """What calls one method of this replica."""
        stub = self._stubs.get(path)
        if stub is None:
            stub = self._stubs[path] = self.channel.unary_unary(
                path, request_serializer=serialize, response_deserializer=deserialize
            )
        return stub


class Replicas:
    """All replicas of one service, as far as this process knows."""

    def __init__(
        self, service: str, role: str, targets: Sequence[Target], spawn: Spawn, certificates: Certificates | None
    ) -> None:
        self._service = service  # the full name, as its health service knows it
        self._role = role
        self._targets = targets
        self._spawn = spawn
        self._certificates = certificates
        self._credentials: grpc.ChannelCredentials | None = None
        self._found: dict[Target, set[str]] = {}  # what each target stands for, when it was last known
        self._lost: set[Target] = set()  # what could not be looked up the last time
        self._known: dict[str, Replica] = {}
        self._ready: list[Replica] = []
        self._any_ready = asyncio.Event()
        self._turn = 0
        self._look_soon = asyncio.Event()
        self._retiring: set[asyncio.Task[Any]] = set()
        self._following = spawn(self._follow(), f"replicas of {role}")

    def find(self, key: str, tried: Collection[Replica] = ()) -> Replica | None:
        """The connected replica to call, or None: the one responsible for the key, or without a key each in turn.

        Those that were tried come last.
        """
        ready: Sequence[Replica] = self._ready
        if tried:
            ready = [replica for replica in ready if replica not in tried] or ready
        if len(ready) < 2:
            return ready[0] if ready else None
        if key:
            chosen = rendezvous.choose(key, [replica.name for replica in ready])
            return self._known[chosen]
        self._turn += 1
        return ready[self._turn % len(ready)]

    def has_another(self, tried: Collection[Replica]) -> bool:
        """Whether a replica is connected besides these."""
        return any(replica not in tried for replica in self._ready)

    async def wait(self, seconds: float) -> bool:
        """Waits until a replica is connected; False when that took too long."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._any_ready.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Ends every connection, with the calls that still run."""
        tasks = [self._following, *self._retiring]
        tasks += [replica.watching for replica in self._known.values() if replica.watching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for replica in self._known.values():
            await replica.channel.close(None)
        self._known.clear()
        self._ready.clear()
        self._any_ready.clear()
        self._count()

    # -- which there are ---------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """The background task that looks which replicas there are. Runs until `close`."""
        while True:
            looked_at = time.monotonic()
            await self._look()
            try:
                async with asyncio.timeout(LOOK_SECONDS * random.uniform(0.8, 1.2)):
                    await self._look_soon.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(max(0.0, looked_at + _LOOK_AGAIN_SECONDS - time.monotonic()))

    async def _look(self) -> None:
        self._look_soon.clear()
        for target in self._targets:
            try:
                self._found[target] = await _resolve(target)
            except (OSError, TimeoutError) as error:
                # Those that are known stay: a name server that is away takes nobody with it.
                if target not in self._lost:
                    logger.warning("%s can't be looked up: %s", target.host, str(error) or "no answer")
                self._lost.add(target)
            else:
                self._lost.discard(target)
        wanted = set().union(*self._found.values())
        renewed = self._renew_credentials()
        for name, replica in list(self._known.items()):
            if renewed or name not in wanted:
                self._retire(replica)
        for name in sorted(wanted - self._known.keys()):
            self._add(name)
        self._count()

    def _renew_credentials(self) -> bool:
        """Whether there are new certificates, which take new connections."""
        if self._certificates is None:
            return False
        before, self._credentials = self._credentials, self._certificates.channel_credentials()
        return self._credentials is not before

    def _add(self, name: str) -> None:
        kind = "ipv6" if name.startswith("[") else "ipv4"
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(f"{kind}:{name}", options=_OPTIONS)
        else:
            # Whoever answers must have a certificate for the role that is called.
            options = [*_OPTIONS, ("grpc.ssl_target_name_override", dns_name(self._role))]
            channel = grpc.aio.secure_channel(f"{kind}:{name}", self._credentials, options=options)
        replica = self._known[name] = Replica(name, channel)
        replica.watching = self._spawn(self._watch(replica), f"{self._role} at {name}")

    def _retire(self, replica: Replica) -> None:
        """Lets running calls finish; no new ones are made."""
        del self._known[replica.name]
        self._set_ready(replica, False)
        if replica.watching is not None:
            replica.watching.cancel()
        closing = self._spawn(replica.channel.close(_RETIRE_SECONDS), f"{self._role} leaves {replica.name}")
        self._retiring.add(closing)
        closing.add_done_callback(self._retiring.discard)

    # -- which can be called -----------------------------------------------------------------------------------------

    async def _watch(self, replica: Replica) -> None:
        """The background task that knows whether a replica is connected and serves. Runs until it is retired."""
        watch: _Watch = replica.channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        request = HealthCheckRequest(service=self._service)
        while True:
            # The first failure is told at once, with its reason; after that, it is enough to hear of success.
            answers = watch(request, wait_for_ready=replica.is_failing)
            try:
                reason = await self._listen(replica, answers)
            except grpc.aio.AioRpcError as error:
                reason = error.details() or error.code().name
            finally:
                had_been_ready = replica in self._ready
                # In this order: a replica that stops takes the end of the watching for the end of the calls.
                self._set_ready(replica, False)
                answers.cancel()
            self._look_soon.set()
            if had_been_ready:  # perhaps only the connection has grown old
                await asyncio.sleep(_SHORT_PAUSE_SECONDS)
                continue
            if not replica.is_failing:
                replica.is_failing = True
                logger.warning("%s at %s can't be called: %s", self._role, replica.name, reason)
            await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1))

    async def _listen(
        self, replica: Replica, answers: "grpc.aio.UnaryStreamCall[HealthCheckRequest, HealthCheckResponse]"
    ) -> str:
        """Takes what the replica says of itself. Returns the reason when it is not to be called any more."""
        reason = "it does not say why"
        async for answer in answers:
            self._set_ready(replica, answer.status == HealthCheckResponse.SERVING)
            if answer.status == HealthCheckResponse.SERVING and replica.is_failing:
                replica.is_failing = False
                logger.info("%s at %s can be called", self._role, replica.name)
            elif answer.status == HealthCheckResponse.NOT_SERVING:
                return "it is stopping"
            elif answer.status == HealthCheckResponse.SERVICE_UNKNOWN and not replica.is_failing:
                replica.is_failing = True
                logger.warning("%s at %s can't be called: it plays another role", self._role, replica.name)
        return reason

    def _set_ready(self, replica: Replica, ready: bool) -> None:
        if ready == (replica in self._ready):
            return
        if ready:
            self._ready.append(replica)
            self._any_ready.set()
        else:
            self._ready.remove(replica)
            if not self._ready:
                self._any_ready.clear()
        self._count()

    def _count(self) -> None:
        KNOWN.labels(self._role).set(len(self._known))
        CONNECTED.labels(self._role).set(len(self._ready))


async def _resolve(target: Target) -> set[str]:
    """The addresses with their port that a target stands for. Raises OSError, TimeoutError."""
    try:
        return {_named(str(ip_address(target.host)), target.port)}
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_LOOKUP_SECONDS):
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    if not found:
        raise OSError("it stands for nothing")
    return {_named(str(address[0]), target.port) for *_, address in found}


def _named(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
