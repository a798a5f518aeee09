"""How far each partition of each durable follower is handled: records of the database, which no broker can lose.

Kept by `durable.py`. `refill.py` asks them what the log may still be needed for, as a backup does, and the command
`palaver followers` forgets those of a follower that is no more.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from palaver.database import Database

KIND = "followers"
"""The kind of these records."""

_PAGE = 1000


class Progress(NamedTuple):
    """The position in the log; and the time (epoch ms) up to which everything that was published is handled."""

    position: str
    at: int


class Positions:
    """Those of all followers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, follower: str, partition: str) -> Progress | None:
        """None for a partition that this follower has never worked on."""
        record = await self._database.find_record(KIND, f"{follower}/{partition}")
        return None if record is None else Progress(record["position"], record["at"])

    async def put(self, follower: str, partition: str, progress: Progress) -> None:
        await self._database.put_record(KIND, f"{follower}/{partition}", progress._asdict())

    async def list_all(self, follower: str = "") -> AsyncIterator[tuple[str, str, Progress]]:
        """Follower, partition and progress; of one follower, if it is given."""
        prefix, after = f"{follower}/" if follower else "", ""
        while page := await self._database.list_records(KIND, prefix, after=after, limit=_PAGE):
            for id, record in page:
                name, _, partition = id.partition("/")
                yield name, partition, Progress(record["position"], record["at"])
            after = page[-1][0]

    async def forget(self, follower: str) -> int:
        """Ends the follower's claim on what the log may lose. Returns how many partitions it had."""
        partitions = [partition async for _, partition, _ in self.list_all(follower)]
        for partition in partitions:
            await self._database.delete_record(KIND, f"{follower}/{partition}")
        return len(partitions)
