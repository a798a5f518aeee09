"""One end of a call: which replica is asked, how long, and whether another one may be asked the same.

A call goes to the replica responsible for what it is about (the service's affinity, a column of roles.py), or to each
in turn. That only makes things fast; any replica can answer anything.

A call that failed on its way is repeated, within its deadline and a few times at most, when that can do no harm: the
contract declares the method as idempotent (protobuf's own option), or the replica says that it has not begun.
Everything else answers Unavailable: it is unknown whether it was done. While another replica is there to ask, an
attempt gets half of the time that is left, so that a replica which says nothing does not use up all of it.

Called by whoever holds a service of `Node.services`.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from operator import attrgetter

import grpc
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from prometheus_client import Counter, Histogram

from palaver.causality import Causality, Metadata
from palaver.errors import PalaverError, Unavailable
from palaver.rpc.identity import Certificates
from palaver.rpc.replicas import Replica, Replicas, Spawn, parse_address
from palaver.rpc.wire import (
    REQUEST_ID_KEY,
    TRACE_KEY,
    UNREACHABLE,
    failure,
    find_error,
    is_refused,
    method_name,
    trailing_of,
)
from palaver.telemetry import request_id, span

logger = logging.getLogger(__name__)

CALL_SECONDS = Histogram("palaver_rpc_call_seconds", "Calls to other processes", ["service", "method", "code"])
REPEATED = Counter(
    "palaver_rpc_calls_repeated_total", "Calls that failed and were made again", ["service", "method", "code"]
)

DEFAULT_DEADLINE = 10.0
_MAX_ATTEMPTS = 4
_BACKOFF_SECONDS = 0.02  # before the second attempt; twice as long before each further one


class RemoteService:
    """A service that other processes play. Its methods are those of the descriptor.

    A call takes `deadline` seconds at most, the wait for a process that is just starting included. `spawn` runs the
    background tasks that follow the replicas, until `close`. Its calls say what `causality` knows, and it hears
    what their answers say.
    """

    def __init__(
        self,
        descriptor: ServiceDescriptor,
        address: str,
        *,
        spawn: Spawn,
        affinity: str = "",
        by_actor: Collection[str] = (),
        certificates: Certificates | None = None,
        causality: Causality | None = None,
        deadline: float = DEFAULT_DEADLINE,
    ) -> None:
        """Raises ValueError for an address that can't be understood."""
        self._deadline = deadline
        self._causality = causality
        self._replicas = Replicas(
            descriptor.full_name, descriptor.name.lower(), parse_address(address), spawn, certificates
        )
        for method in descriptor.methods:
            find_key = find_affinity(method, affinity, by_actor)
            setattr(self, method_name(method), self._make_call(descriptor, method, find_key))

    async def close(self) -> None:
        """Ends the connections and the background tasks."""
        await self._replicas.close()

    def _make_call(
        self, service: ServiceDescriptor, method: MethodDescriptor, find_key: Callable[[Message], str] | None
    ) -> Callable[[Message], Awaitable[Message]]:
        what = f"{service.name}.{method.name}"
        path = f"/{service.full_name}/{method.name}"
        serialize = GetMessageClass(method.input_type).SerializeToString
        deserialize = GetMessageClass(method.output_type).FromString
        may_repeat = is_idempotent(method)
        causality = self._causality
        may_change = method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS
        replicas = self._replicas
        find = replicas.find

        async def call(request: Message) -> Message:
            started = time.perf_counter()
            until = started + self._deadline
            key = "" if find_key is None else find_key(request)
            tried: list[Replica] = []
            code = "OK"
            try:
                while True:
                    replica = find(key, tried)
                    left = until - time.perf_counter()
                    if replica is None:
                        code = grpc.StatusCode.UNAVAILABLE.name
                        if not await replicas.wait(left):
                            raise Unavailable(f"{what} does not answer", details={"status": code})
                        continue
                    tried.append(replica)
                    if may_repeat and len(tried) < _MAX_ATTEMPTS and replicas.has_another(tried):
                        left /= 2
                    try:
                        with span(what, "client") as step:
                            metadata: tuple[Metadata, ...] = ((REQUEST_ID_KEY, request_id.get()),)
                            if causality is not None:
                                metadata += causality.describe()
                            if step.trace:
                                metadata += ((TRACE_KEY, step.trace),)
                            running = replica.stub(path, serialize, deserialize)(
                                request, timeout=left, metadata=metadata
                            )
                            reply = await running
                            if causality is not None and may_change:
                                await self._hear(what, await running.trailing_metadata() or ())
                    except grpc.aio.AioRpcError as error:
                        code = error.code().name
                        if causality is not None:
                            await self._hear(what, trailing_of(error))
                        told = find_error(error)
                        if not self._is_repeated(error, told, tried, until, may_repeat):
                            raise _raised(error, told, what) from error
                    else:
                        code = "OK"
                        return reply
                    REPEATED.labels(service.name, method.name, code).inc()
                    await asyncio.sleep(_BACKOFF_SECONDS * 2 ** (len(tried) - 1) * random.uniform(0.5, 1))
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            finally:
                CALL_SECONDS.labels(service.name, method.name, code).observe(time.perf_counter() - started)

        return call

    async def _hear(self, what: str, trailing: Iterable[tuple[str, str | bytes]]) -> None:
        """Goes by what an answer says. Where auth says no more, the call is done all the same, and nothing is decided
        here before auth answers.
        """
        try:
            if self._causality is not None:
                await self._causality.hear(trailing)
        except Unavailable as error:
            logger.warning("what %s has changed of the policy is not obeyed yet: %s", what, error.error_reason)

    def _is_repeated(
        self,
        error: grpc.aio.AioRpcError,
        told: PalaverError | None,
        tried: list[Replica],
        until: float,
        may_repeat: bool,
    ) -> bool:
        """Whether a call that failed is made again."""
        if len(tried) >= _MAX_ATTEMPTS or until <= time.perf_counter():
            return False
        if is_refused(error):
            return True
        if not may_repeat or error.code() not in UNREACHABLE:
            return False
        # What a replica itself can't reach, another one may; the same one would only say so again.
        return told is None or self._replicas.has_another(tried)


def is_idempotent(method: MethodDescriptor) -> bool:
    """Whether the contract says that a call made twice is the same as made once."""
    return method.GetOptions().idempotency_level in (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


def find_affinity(
    method: MethodDescriptor, affinity: str, by_actor: Collection[str]
) -> Callable[[Message], str] | None:
    """What tells of a request of this method what it is about; None if they don't say."""
    if method.name in by_actor:
        return attrgetter("actor.id")
    field = method.input_type.fields_by_name.get(affinity)
    if field is None or field.type != FieldDescriptor.TYPE_STRING or field.is_repeated:
        return None
    return attrgetter(affinity)


def _raised(error: grpc.aio.AioRpcError, told: PalaverError | None, what: str) -> PalaverError:
    if told is None:
        told = failure(error, what)
        if not isinstance(told, Unavailable):
            logger.warning("%s failed on its way: %s %s", what, error.code().name, error.details())
    return told
