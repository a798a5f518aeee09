"""Which partitions of a durable follower are this process's: a fair share of them, each under a lease.

Every process that plays the follower says so by a key that expires; each works out by itself who is due for which
partition. The lease sees to it that there is one holder, but for a moment now and then: handlers bear that. Called by
`durable.py` only.
"""

import zlib
from collections.abc import Callable, Sequence

from palaver.clock import elapsed
from palaver.errors import Unavailable
from palaver.ids import encode_subject_token
from palaver.live import Live

LEASE_SECONDS = 6.0
"""After so long somebody else takes what a dead process held. Renewed every third of it."""


class Shares:
    """The share of one process in one follower."""

    def __init__(self, follower: str, node_id: str, live: Live, clock: Callable[[], float] = elapsed) -> None:
        self._follower = follower
        self._member = encode_subject_token(node_id)
        self._live = live
        self._clock = clock
        self._until: dict[str, float] = {}  # by partition that is held: until when surely

    async def list_due(self, partitions: Sequence[str]) -> set[str]:
        """Says that this process is there, and returns which partitions it should hold."""
        prefix = f"followers.{self._follower}"
        await self._live.put(f"{prefix}.{self._member}", b"", LEASE_SECONDS)
        members = {key.rpartition(".")[2] for key in await self._live.list(prefix)} | {self._member}
        return share(self._follower, partitions, sorted(members), self._member)

    async def take(self, partition: str) -> bool:
        """Takes or renews the lease of a partition. While nobody answers, what is held is until its lease ends."""
        asked = self._clock()
        try:
            taken = await self._live.acquire(self._lease(partition), self._member, LEASE_SECONDS)
        except Unavailable:
            return asked < self._until.get(partition, 0.0)
        if taken:
            self._until[partition] = asked + LEASE_SECONDS
        else:
            self._until.pop(partition, None)
        return taken

    def is_held(self, partition: str) -> bool:
        """Whether nobody else can hold it by now."""
        return self._clock() < self._until.get(partition, 0.0)

    async def release(self, partition: str) -> None:
        """Gives a partition to whoever is due for it."""
        self._until.pop(partition, None)
        await self._live.release(self._lease(partition), self._member)

    async def leave(self) -> None:
        """This process is there no longer."""
        await self._live.delete(f"followers.{self._follower}.{self._member}")

    def _lease(self, partition: str) -> str:
        return f"followers.{self._follower}.{partition}"


def share(follower: str, partitions: Sequence[str], members: Sequence[str], member: str) -> set[str]:
    """The partitions of one of the members: every partition has one, and nobody has two more than another.

    `members` in the same order everywhere. Followers begin with different members.
    """
    first = zlib.crc32(follower.encode())
    return {
        partition for number, partition in enumerate(partitions) if members[(first + number) % len(members)] == member
    }
