"""How sure this gateway is that it hears everything, and what it does about it.

Every second a round trip proves that the log has brought what was told before. While it does, nothing that is more
than three seconds old can have been missed, and a socket's login is believed to stand as long as nobody has revoked
it. When the proof fails, or the log says that it may have lost something, everything that is followed is compared with
the record by calls, each second until all is well again; else every ten seconds, for what gets lost without a sign.
Auth says of each user who changed that they did, before it answers: their stream is compared a moment later, so that a
login ends even where nobody tells of it, because the process has died that committed it.

After a process has stood still the three seconds are over: nothing is believed before somebody was asked. The same
after its machine has slept, where the clock counts that (`clock.py`). Owned by `role.py`.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress

from prometheus_client import Counter, Gauge

from palaver.access import USERS_CHANGED
from palaver.clock import elapsed
from palaver.errors import PalaverError
from palaver.gateway.fanout import Rooms
from palaver.gateway.people import People
from palaver.node import Node

logger = logging.getLogger(__name__)

CURRENT = Gauge("palaver_log_current", "1 while nothing older than three seconds can have been missed, else 0")
COMPARISONS = Counter("palaver_comparisons_total", "Comparisons of what is followed with the record", ["outcome"])

TRUST_SECONDS = 3.0
TICK_SECONDS = 1.0
COMPARE_SECONDS = 10.0

_GRACE_SECONDS = 1.0  # what was committed a moment ago is being told


class Following:
    """Keeps what this gateway follows complete. `is_current` says whether it is."""

    def __init__(self, node: Node, rooms: Rooms, people: People, clock: Callable[[], float] = elapsed) -> None:
        self._node = node
        self._rooms = rooms
        self._people = people
        self._clock = clock
        self._current_until = 0.0
        self._is_proved = True  # by the last round trip, and the log has lost nothing since
        self._doubts = 0  # how often something may have been missed …
        self._settled = 0  # … and how many of these a comparison has dealt with
        self._wake = asyncio.Event()
        self._changed: set[str] = set()  # users, of whose change auth has said something
        self._has_changed = asyncio.Event()
        self._was_current = True
        self._was_compared = True

    @property
    def is_current(self) -> bool:
        """Whether nothing that happened more than three seconds ago can have been missed here."""
        return self._node.log.is_lossless or self._clock() < self._current_until

    async def open(self) -> None:
        """Begins. Nobody is connected yet, so nothing can have been missed."""
        CURRENT.set(1)
        if self._node.log.is_lossless:
            return
        self._trust(self._clock())
        self._node.log.on_gap(self._on_gap)
        self._node.spawn(self._run_proving(), "proving the log")
        self._node.spawn(self._run_comparing(), "comparing with the record")
        self._node.spawn(self._run_comparing_changed(), "comparing changed users")
        await self._node.live.subscribe(USERS_CHANGED, self._on_user_changed)

    def _on_gap(self) -> None:
        self._is_proved = False
        self._doubt()

    def _on_user_changed(self, message: bytes) -> None:
        user_id = message.decode(errors="replace")
        if self._people.find(user_id) is not None:
            self._changed.add(user_id)
            self._has_changed.set()

    def _doubt(self) -> None:
        self._doubts += 1
        self._wake.set()

    async def _run_proving(self) -> None:
        while True:
            started = self._clock()
            if not self.is_current:
                self._is_proved = False
            self._tell_whether_current()
            try:
                await self._node.log.check_heard(TICK_SECONDS)
            except PalaverError:
                self._on_gap()
            else:
                if not self._is_proved:
                    # What was told before this round trip may be lost; what comes after a comparison is not.
                    self._is_proved = True
                    self._doubt()
                elif self._doubts == self._settled:
                    self._trust(started)
            self._tell_whether_current()
            await asyncio.sleep(max(0.05, started + TICK_SECONDS - self._clock()))

    async def _run_comparing(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(COMPARE_SECONDS * random.uniform(0.8, 1.2)):
                    await self._wake.wait()
            self._wake.clear()
            doubts = self._doubts
            started, is_routine = self._clock(), doubts == self._settled and self._was_compared
            try:
                await self._compare(_GRACE_SECONDS if doubts == self._settled else 0)
            except PalaverError as error:
                COMPARISONS.labels("failed").inc()
                if self._was_compared:
                    logger.warning("what is followed can't be compared with the record: %r", error)
                self._was_compared = False
                self._wake.set()
            else:
                COMPARISONS.labels("complete").inc()
                self._settled, self._was_compared = doubts, True
            if is_routine and self._was_compared:
                continue
            # Gateways that lost the log together don't compare together for ever, and where comparing takes long,
            # the services have as long for everything else.
            await asyncio.sleep(max(TICK_SECONDS, self._clock() - started) * random.uniform(0.8, 1.2))

    async def _run_comparing_changed(self) -> None:
        while True:
            await self._has_changed.wait()
            await asyncio.sleep(_GRACE_SECONDS)
            self._has_changed.clear()
            changed, self._changed = self._changed, set()
            try:
                await self._people.compare(0, changed)
            except PalaverError:
                self._doubt()

    async def _compare(self, grace: float) -> None:
        """It takes as long as it takes: one that is given up for being slow would begin anew, and never end. Each
        call has its own deadline."""
        started = self._clock()
        # The users first: what rooms bring must not reach a socket whose login has ended meanwhile.
        await self._people.compare(grace)
        self._trust(started)
        await self._rooms.compare(grace)
        await self._people.find_joins()

    def _trust(self, known_at: float) -> None:
        """Everything that happened before this time is known here."""
        self._current_until = max(self._current_until, known_at + TRUST_SECONDS)

    def _tell_whether_current(self) -> None:
        is_current = self.is_current
        if is_current != self._was_current:
            self._was_current = is_current
            CURRENT.set(is_current)
            if is_current:
                logger.warning("everything is known again")
            else:
                logger.warning("something may be unknown: auth is asked about every login")
