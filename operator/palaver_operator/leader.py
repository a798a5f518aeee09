"""Which of several operators works: the one that holds a Lease. Called by operate.py before anything else is done.

Who wants it looks at it again and again, and takes it when nobody has renewed it for its duration, by the watcher's own
clock. Who can't renew it in two thirds of that ends, so that two never work at once.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from palaver_operator.kinds import KINDS, Kind
from palaver_operator.kube import ApiError, Kube, pause
from palaver_operator.objects.naming import Object

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0


class LeadershipLost(Exception):
    """Somebody else may work now: this process has to end."""


class Leader:
    """`identity`: unique among the operators; `duration`: of the lease, in seconds; `clock`: monotonic seconds."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        duration: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._duration = duration
        self._clock = clock
        self._seen: tuple[str, float] = ("", clock())  # the lease's version, and when it was first seen
        self._lease: Object | None = None
        self._renewed_at = float("-inf")

    async def acquire(self) -> None:
        """Returns when this operator leads."""
        while True:
            try:
                if await self._try():
                    logger.info("%s leads", self._identity)
                    return
            except ApiError as error:
                logger.warning("the lease can't be taken: %s", error)
            await pause(_LOOK_SECONDS)

    async def hold(self) -> None:
        """Renews the lease until it is lost. Raises LeadershipLost."""
        while True:
            gives_up_at = self._renewed_at + self._duration * 2 / 3
            await asyncio.sleep(min(self._duration / 5, max(0.0, gives_up_at - self._clock())))
            try:
                async with asyncio.timeout(max(0.1, gives_up_at - self._clock())):
                    begun = self._clock()
                    await self._write(self._identity)
                    self._renewed_at = begun
                    continue
            except ApiError as error:
                logger.warning("the lease can't be renewed: %s", error)
            except TimeoutError:
                logger.warning("the lease can't be renewed: no answer")
            if self._clock() >= gives_up_at:
                raise LeadershipLost("the lease could not be renewed in time")

    async def release(self) -> None:
        """Lets the next one begin at once. A lease that can't be given back runs out."""
        if self._lease is None:
            return
        try:
            await self._write("")
        except (ApiError, LeadershipLost) as error:
            logger.warning("the lease can't be given back: %s", error)
        self._lease = None

    async def _try(self) -> bool:
        found = await self._kube.find(KINDS["Lease"], self._namespace, self._name)
        begun = self._clock()
        write: Callable[[Kind, Object], Awaitable[Object]] = self._kube.replace
        if found is None:
            metadata = {"name": self._name, "namespace": self._namespace}
            found = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}
            write = self._kube.create
        else:
            version = found["metadata"]["resourceVersion"]
            if version != self._seen[0]:
                self._seen = (version, begun)
            holder = found["spec"].get("holderIdentity")
            if holder and holder != self._identity and begun < self._seen[1] + self._duration:
                return False
        try:
            self._lease = await write(KINDS["Lease"], self._written(found, holder=self._identity))
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        self._renewed_at = begun
        return True

    async def _write(self, holder: str) -> None:
        """Says who holds the lease, which is ours. Raises ApiError; LeadershipLost where somebody else has taken it."""
        assert self._lease is not None, "acquired before it is held"
        try:
            self._lease = await self._kube.replace(KINDS["Lease"], self._written(self._lease, holder=holder))
        except ApiError as error:
            if error.status != 409:
                raise
            # What was written before may have been ours: its answer got lost, or nobody has waited for it.
            found = await self._kube.find(KINDS["Lease"], self._namespace, self._name)
            if found is None or found["spec"].get("holderIdentity") != self._identity:
                raise LeadershipLost("somebody else has written the lease") from error
            self._lease = await self._kube.replace(KINDS["Lease"], self._written(found, holder=holder))

    def _written(self, lease: Object, *, holder: str) -> Object:
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        spec = dict(lease["spec"])
        if spec.get("holderIdentity") != holder:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + bool(holder)
        spec |= {"holderIdentity": holder, "leaseDurationSeconds": self._duration, "renewTime": now}
        return lease | {"spec": spec}
