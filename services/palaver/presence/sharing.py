"""Keeps the pictures of all presence processes the same: what one learns, it tells the others and leaves in the live
port, where a process that starts, or that has missed something, finds it.

The live key `presence.users.<user>.<node>` is what a gateway says of a user: status and revision. Written on
transitions, and again by the gateway's own repetitions long before it ends.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from palaver.errors import PalaverError
from palaver.ids import decode_subject_token, encode_subject_token
from palaver.live import Subscription
from palaver.node import Node
from palaver.presence import rules
from palaver.presence.picture import ENDED_SECONDS, Mark, Person, Picture
from palaver.v1.presence_pb2 import OFFLINE, MarksChanged, StatusReport

logger = logging.getLogger(__name__)

MARKS = "presence.users"
MARKS_CHANGED = "presence.marks"
"""Live subject of MarksChanged."""
MARK_SECONDS = 2 * 3600.0
"""A gateway repeats its reports several times in this long."""

_AT_ONCE = 16
_YIELD_EVERY = 2000


class Sharing:
    """Between the picture and the live port. `on_changed` hears of whom others have reported something different, and
    at the beginning of those who have just gone."""

    def __init__(self, node: Node, picture: Picture, replica_id: str, on_changed: Callable[[Person], None]) -> None:
        self._node = node
        self._live = node.live
        self._picture = picture
        self._replica_id = replica_id
        self._on_changed = on_changed
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Listens, then reads what there is: nothing falls between the two."""
        self._subscription = await self._live.subscribe(MARKS_CHANGED, self._on_marks)
        for node_id, report in _parse_all(await self._live.list(MARKS)):
            self._picture.add(node_id, report).told_status = None  # others know it from an earlier process
        for person in self._picture.people.values():
            if person.connected() == OFFLINE:
                self._on_changed(person)  # who knew them elsewhere may have died, and nobody told of it

    async def close(self) -> None:
        if self._subscription is not None:
            await self._subscription.stop()

    # -- writing -------------------------------------------------------------------------------------------------------

    async def announce(self, node_id: str, reports: Sequence[StatusReport]) -> None:
        """Tells the other processes."""
        changed = MarksChanged(replica_id=self._replica_id, node_id=node_id, marks=reports)
        await self._live.publish(MARKS_CHANGED, changed.SerializeToString())

    async def keep(self, node_id: str, reports: Sequence[StatusReport]) -> None:
        """Leaves the reports in the live port. What has been published before is with the server when this returns."""
        if len(reports) == 1:
            await self._keep(node_id, reports[0])
            return
        rest = iter(reports)

        async def keep_some() -> None:
            for report in rest:
                await self._keep(node_id, report)

        workers = [asyncio.create_task(keep_some()) for _ in range(min(_AT_ONCE, len(reports)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def _keep(self, node_id: str, report: StatusReport) -> None:
        """Adds it to the picture as well. Repeats with what is newer, if something has overtaken the report."""
        token = encode_subject_token(node_id)
        while True:
            seconds = ENDED_SECONDS if report.status == OFFLINE else MARK_SECONDS
            value = f"{rules.NAMES[report.status]} {report.revision}".encode()
            await self._live.put(f"{MARKS}.{encode_subject_token(report.user_id)}.{token}", value, seconds)
            mark = self._picture.add(node_id, report).find_mark(node_id)
            if mark is None or (mark.revision, mark.status) == (report.revision, report.status):
                return
            report = mark.report(report.user_id)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _on_marks(self, message: bytes) -> None:
        """Another process has learnt something."""
        changed = MarksChanged.FromString(message)
        if changed.replica_id != self._replica_id:
            self._picture.see(changed.node_id)
            for report in changed.marks:
                self._hear(changed.node_id, report)

    def _hear(self, node_id: str, report: StatusReport) -> None:
        if self._picture.is_late(node_id, report):
            # It may have been kept over what is newer.
            newer = self._picture.people[report.user_id].find_mark(node_id)
            if newer is not None:
                again = newer.report(report.user_id)
                self._node.spawn(self._keep_again(node_id, again), f"keep {report.user_id}")
            return
        before = self._picture.find_connected(report.user_id)
        person = self._picture.add(node_id, report)
        if person.connected() != before:
            self._on_changed(person)

    async def _keep_again(self, node_id: str, report: StatusReport) -> None:
        try:
            await self._keep(node_id, report)
        except PalaverError as error:
            logger.warning("could not keep what is newer of a user's presence: %s", error)

    async def read_again(self) -> None:
        """Takes what the live port has, after messages may have been missed."""
        for number, (node_id, report) in enumerate(_parse_all(await self._live.list(MARKS)), 1):
            self._hear(node_id, report)
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def read_person(self, person: Person) -> None:
        """Makes the picture of one person what the live port says."""
        known = _present(person)
        found = set()
        for node_id, report in _parse_all(await self._live.list(f"{MARKS}.{encode_subject_token(person.id)}")):
            found.add(node_id)
            self._hear(node_id, report)
        for mark, revision in known:
            if mark.gateway.id not in found and mark.revision == revision and mark in person.marks():
                self._picture.remove(person, mark)

    async def forget_absent(self) -> None:
        """Takes out of the picture what the live port doesn't know.

        Right only when every gateway has had the time to repeat what the live port has forgotten.
        """
        people = list(self._picture.people.values())
        known = [(person, mark, revision) for person in people for mark, revision in _present(person)]
        kept = {(report.user_id, node_id) for node_id, report in _parse_all(await self._live.list(MARKS))}
        for number, (person, mark, revision) in enumerate(known, 1):
            if (person.id, mark.gateway.id) not in kept and mark.revision == revision:
                await self.read_person(person)  # the list may lag
                self._on_changed(person)
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)


def _present(person: Person) -> list[tuple[Mark, int]]:
    return [(mark, mark.revision) for mark in person.marks() if mark.status != OFFLINE]


def _parse_all(found: Mapping[str, bytes]) -> Iterator[tuple[str, StatusReport]]:
    """Live keys as what each node says. What is not understood is left out."""
    for key, value in found.items():
        try:
            user_id, node_id = map(decode_subject_token, key.removeprefix(MARKS + ".").split("."))
            name, revision = value.decode().split(" ")
            report = StatusReport(user_id=user_id, status=rules.CHOICES[name], revision=int(revision))
        except (ValueError, KeyError):
            logger.warning("not a mark of a user's presence: %s", key)
            continue
        yield node_id, report
