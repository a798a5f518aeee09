"""What this gateway says of the users who are connected to it: their best status here, and nothing of single sockets.

State instead of calls: whatever changes only changes what is to be said, and one task says it, the users of the same
moment together and each one's latest. What presence does not answer is said again, so no disconnect is ever lost.
Everything is repeated when the live port has lost its memory or presence took this gateway for dead (its key was
gone), and little by little in any case. Called by `people.py`; `operations/presence.py` waits for it.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection
from itertools import islice

from prometheus_client import Counter

from palaver.errors import PalaverError
from palaver.gateway.session import Session
from palaver.ids import encode_subject_token, new_id
from palaver.node import Node
from palaver.v1.presence_pb2 import AWAY, OFFLINE, ONLINE, ReportStatusesRequest, Status

logger = logging.getLogger(__name__)

REPORTS = Counter("palaver_presence_reports_total", "Users' states that presence was told of", ["outcome"])

LEASE_SECONDS = 15.0
_RENEW_SECONDS = 5.0
REPEAT_SECONDS = 1800.0
"""Every user is reported again within this time, changed or not."""
_BATCH = 256
_PAUSE_SECONDS = 0.02  # what changes meanwhile goes along
_LONGEST_PAUSE_SECONDS = 5.0


class _Said:
    """What is to be said of a user, and whether some of it may have been heard."""

    __slots__ = ("revision", "status", "was_sent")

    def __init__(self) -> None:
        self.status: Status.ValueType = OFFLINE
        self.revision = 0
        self.was_sent = False


class PresenceReports:
    """`count_connections` gives the number of open sockets, which the lease carries."""

    def __init__(self, node: Node, count_connections: Callable[[], int]) -> None:
        self._node = node
        self._count_connections = count_connections
        # Started again it is another one: nobody takes its users for those of the process before.
        self.node_id = f"{node.config.node_id}.{new_id(8)}"
        self._lease = f"presence.nodes.{encode_subject_token(self.node_id)}"
        self._said: dict[str, _Said] = {}
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        self._failures = 0
        self._revision = 0
        self._repeating: list[str] = []
        self._to_repeat = 0.0

    # -- what is said --------------------------------------------------------------------------------------------------

    def on_connections_changed(self, session: Session) -> None:
        """A user's connections, or the status of one, are not what they were."""
        statuses = [connection.status for connection in session.connections]
        self._say(session.user_id, ONLINE if ONLINE in statuses else AWAY if statuses else OFFLINE)

    def _say(self, user_id: str, status: "Status.ValueType") -> None:
        said = self._said.get(user_id)
        if said is None:
            if status == OFFLINE:
                return
            said = self._said[user_id] = _Said()
        elif said.status == status:
            return
        if status == OFFLINE and not said.was_sent:
            del self._said[user_id]
            del self._due[user_id]
            return
        said.status = status
        self._say_again(user_id, said)

    def _say_again(self, user_id: str, said: _Said) -> None:
        self._revision += 1
        said.revision = self._revision
        self._due[user_id] = None
        self._wake.set()

    # -- saying it -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """The background task that says it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                await self._send()
                longest = min(_LONGEST_PAUSE_SECONDS, 0.25 * 2 ** min(self._failures, 10))
                await asyncio.sleep(longest * random.uniform(0.5, 1) if self._failures else _PAUSE_SECONDS)

    async def settle(self, user_ids: Collection[str] = ()) -> None:
        """Whoever asks presence next finds what was said of these users (none: of everybody), unless it can't be
        reached."""
        while self._due and not self._failures and (not user_ids or any(id in self._due for id in user_ids)):
            await self._send()

    async def _send(self) -> None:
        """Says some of what is due. One at a time, so that of one user nothing overtakes anything."""
        async with self._sending:
            request = ReportStatusesRequest(node_id=self.node_id)
            for user_id in islice(self._due, _BATCH):
                said = self._said[user_id]
                report = request.reports.add(user_id=user_id, status=said.status, revision=said.revision)
                report.said_before = said.was_sent
                said.was_sent = True
            if not request.reports:
                return
            try:
                await self._node.services.presence.report_statuses(request)
            except PalaverError as error:
                self._failures += 1
                REPORTS.labels("failed").inc(len(request.reports))
                logger.warning("presence was not told of %d users yet: %s", len(request.reports), error)
                return
            self._failures = 0
            REPORTS.labels("answered").inc(len(request.reports))
            for report in request.reports:
                if self._said[report.user_id].revision == report.revision:
                    del self._due[report.user_id]
                    if report.status == OFFLINE:
                        del self._said[report.user_id]

    async def close(self) -> None:
        """Everybody here is gone, and then this gateway. Tries for as long as a stopping process may take."""
        for user_id in list(self._said):
            self._say(user_id, OFFLINE)
        try:
            async with asyncio.timeout(self._node.config.drain_seconds):
                while self._due:
                    await self._send()
                    if self._failures:
                        await asyncio.sleep(0.1)
                await self._node.live.delete(self._lease)
        except (TimeoutError, PalaverError) as error:
            logger.warning("%d users will be seen as gone a little late: %s", len(self._due), error)

    # -- staying alive -------------------------------------------------------------------------------------------------

    async def keep_lease(self) -> None:
        """Says that this gateway lives: presence takes the users of one that does no longer for gone."""
        if self._said and await self._node.live.get(self._lease) is None:
            logger.warning("the lease of this gateway was lost: all %d users are reported again", len(self._said))
            for user_id, said in self._said.items():
                self._say_again(user_id, said)
        await self._node.live.put(self._lease, str(self._count_connections()).encode(), LEASE_SECONDS)

    async def run_lease(self) -> None:
        """The background task that keeps saying it, and repeats some of the reports each time."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await self.keep_lease()
            except PalaverError as error:
                logger.warning("could not renew the lease of this gateway: %s", error)
            self._repeat_some()

    def _repeat_some(self) -> None:
        self._to_repeat += len(self._said) * _RENEW_SECONDS / REPEAT_SECONDS
        while self._to_repeat >= 1:
            self._to_repeat -= 1
            if not self._repeating:
                self._repeating = list(self._said)
            if self._repeating and (said := self._said.get(user_id := self._repeating.pop())) is not None:
                self._say_again(user_id, said)
