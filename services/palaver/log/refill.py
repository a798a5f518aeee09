"""What JetStream has lost is published again: it acknowledges before its disk has what it acknowledged.

The database says of each event when the log has taken it. Everything since the position of the follower that is
furthest behind is marked as unpublished, before anybody publishes to what is new; the sweeper, and whoever writes to a
stream before it, publish it in each stream's order. Called by `jetstream.py` when it makes the streams, which it does
only where there are none, and when it meets a server for the first time: one that was started again has another id.
"""

import logging
import time

from prometheus_client import Counter

from palaver.database import Database
from palaver.log.positions import Positions

logger = logging.getLogger(__name__)

REFILLED = Counter("palaver_log_events_refilled_total", "Events that the log may have lost and that it is given again")

_SERVERS = "nats_servers"
# The clocks of several processes, and the pause between an event's publication and its mark.
_MARGIN = 5 * 60_000


class Refill:
    """Has what may be lost published again."""

    def __init__(self, database: Database, max_age: int) -> None:
        """`max_age` in seconds: what is older, no follower is promised."""
        self._database = database
        self._max_age = max_age

    async def mark(self) -> None:
        """Marks everything that some follower may still need. Raises Unavailable."""
        handled = await self._find_handled()
        if handled is None:
            return
        now = time.time_ns() // 1_000_000
        count = await self._database.mark_unpublished(max(handled - _MARGIN, now - self._max_age * 1000))
        REFILLED.inc(count)
        if count:
            logger.warning("%d events may be missing in JetStream and are published again", count)

    async def meet(self, server_id: str) -> None:
        """The same if nobody has met this server: it may have forgotten its last messages in falling."""
        if await self._database.find_record(_SERVERS, server_id) is None:
            await self.mark()
            await self._database.put_record(_SERVERS, server_id, {"met_at": time.time_ns() // 1_000_000})

    async def _find_handled(self) -> int | None:
        """Until when (epoch ms) every follower has handled what was published; None when there are no followers."""
        times = [progress.at async for _, _, progress in Positions(self._database).list_all()]
        return min(times, default=None)
