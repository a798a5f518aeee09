"""The presence service: knows who is connected to which gateway, and tells what others see of it.

Called by gateways (their users' states, a user's choice) and by whoever shows presence. Any number of processes play
it side by side; any of them takes any call, and each may die at any moment. `rules.py` says what is seen and which
report counts, `picture.py` remembers, `sharing.py` keeps the processes' pictures the same, `telling.py` tells the
others, `gateways.py` notices lost gateways, and this file answers.

A report is answered when it has been told and kept; the gateway repeats what is not answered, to whichever process.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import orjson
from prometheus_client import Gauge

from palaver.access import USERS_CHANGED
from palaver.errors import InvalidInput, PalaverError
from palaver.ids import new_id
from palaver.live import Subscription
from palaver.node import Node
from palaver.presence.gateways import Gateways
from palaver.presence.picture import GatewayEntry, Person, Picture, facts_of
from palaver.presence.sharing import Sharing
from palaver.presence.telling import Telling
from palaver.v1.auth_pb2 import Empty, SetUserStatusRequest
from palaver.v1.presence_pb2 import (
    AWAY,
    OFFLINE,
    ONLINE,
    GetPresenceReply,
    GetPresenceRequest,
    ListConnectionsReply,
    ListGatewaysRequest,
    ReportStatusesRequest,
    SetStatusRequest,
    StatusReport,
)

logger = logging.getLogger(__name__)

USERS = Gauge("palaver_presence_users", "Users with a connection anywhere, as this presence process knows")

CHECK_SECONDS = 5.0
DOUBT_SECONDS = 1.0
REPEAT_SECONDS = 60.0
"""By then every gateway has said again what the live port may have forgotten."""
_EMPTY = Empty()
_YIELD_EVERY = 500
_BATCH = 256
_LOADING_PAUSE_SECONDS = 0.05


def build(node: Node) -> "PresenceService":
    return PresenceService(node)


class PresenceService:
    """The methods of `api.Presence`, and what the node needs. `clock` counts seconds; tests pass their own."""

    def __init__(self, node: Node, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._clock = clock
        replica_id = new_id()
        self._picture = Picture(clock)
        self._telling = Telling(node, self._picture, replica_id)
        self._sharing = Sharing(node, self._picture, replica_id, self._telling.doubt)
        self._gateways = Gateways(node.live, self._picture, clock)
        self._was_telling = True
        self._to_load = asyncio.Event()
        self._has_gap = False
        self._forget_absent_at: float | None = None
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Takes over what other processes know, and begins to tell."""
        self._node.live.on_gap(self._on_gap)
        self._subscription = await self._node.live.subscribe(USERS_CHANGED, self._on_user_changed)
        self._node.causality.on_user_changed(self._doubt)
        await self._telling.open()
        await self._sharing.open()
        self._node.spawn(self._telling.run(), "presence telling")
        self._node.spawn(self._run_loading(), "presence loading")
        self._to_load.set()  # whoever is there already will be asked for
        self._node.spawn(self._run_checks(), "presence checks")
        self._node.spawn(self._run_doubts(), "presence doubts")
        USERS.set_function(lambda: self._picture.connected_users)

    async def drain(self) -> None:
        """Returns when everything is told that has happened so far."""
        await self._telling.idle.wait()

    async def close(self) -> None:
        """Leaves the marks: they are of connections that stay."""
        await self._sharing.close()
        await self._telling.close()
        if self._subscription is not None:
            await self._subscription.stop()

    # -- what gateways say -------------------------------------------------------------------------------------------

    async def report_statuses(self, request: ReportStatusesRequest) -> Empty:
        """Late reports are left out without a word."""
        if not request.node_id:
            raise InvalidInput("A report comes from a node")
        for report in request.reports:
            if not report.user_id or report.revision < 1 or report.status not in (ONLINE, AWAY, OFFLINE):
                raise InvalidInput("A report has a user, a revision and a status", code="error-invalid-status")
        self._picture.see(request.node_id)
        await self._take(request.node_id, request.reports)
        return _EMPTY

    async def _take(self, node_id: str, reports: Sequence[StatusReport]) -> None:
        """Adds to the picture, tells everybody, and keeps it in the live port.

        Whoever others see there is kept from before they are told until after they are told of the end: if this
        process and the gateway die meanwhile, another process finds the mark and tells of the end. And what was
        published before a mark was kept is known to have reached the server.
        """
        reports = [report for report in reports if not self._picture.is_late(node_id, report)]
        if not reports:
            return
        people = [self._picture.add(node_id, report) for report in reports]
        try:
            await self._sharing.announce(node_id, reports)
            await self._sharing.keep(node_id, [report for report in reports if report.status != OFFLINE])
            await self._telling.settle(people)
            await self._sharing.keep(node_id, [report for report in reports if report.status == OFFLINE])
        except BaseException:
            for person in people:
                self._telling.doubt(person)
            raise

    # -- what users choose and see -------------------------------------------------------------------------------------

    async def set_status(self, request: SetStatusRequest) -> Empty:
        """Has auth store the choice; somebody else's only with the permission edit-other-user-info."""
        actor = await self._node.access.get_actor(request.actor)
        user_id = request.user_id or actor.id
        if user_id != actor.id:
            self._node.access.check(actor, "edit-other-user-info")
        person = self._picture.people.get(user_id) or Person(user_id)
        if person.facts is None:
            await self._telling.load([person])  # what others see of them now
        change = SetUserStatusRequest(actor=request.actor, user_id=user_id)
        if request.HasField("status"):
            change.status = request.status
        if request.HasField("status_text"):
            change.status_text = request.status_text
        reply = await self._node.services.auth.set_user_status(change)
        person = self._picture.people.get(user_id) or person
        person.learn(facts_of(orjson.loads(reply.user)))
        try:
            await self._telling.settle([person])
        except PalaverError as error:
            logger.warning("could not tell of a user's choice yet: %s", error)
        return _EMPTY

    async def get_presence(self, request: GetPresenceRequest) -> GetPresenceReply:
        """The given users, connected or not (unknown ones are left out), or everybody who is not offline."""
        known = self._picture.people
        if request.user_ids:
            people = [known.get(user_id) or Person(user_id) for user_id in dict.fromkeys(request.user_ids)]
        else:
            people = [person for person in known.values() if person.connected() != OFFLINE]
        try:
            await self._telling.load([person for person in people if not person.is_loaded()])
        except PalaverError:
            if any(person.facts is None for person in people):
                raise
        reply = GetPresenceReply()
        for number, person in enumerate(people, 1):
            if person.facts and (request.user_ids or person.visible()):
                person.show(reply.users.add())
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        return reply

    async def list_gateways(self, request: ListGatewaysRequest) -> ListConnectionsReply:
        """How many connections each living gateway has, and how many users there are. Raises NotAllowed."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        if not access.may(actor, "manage-user-status"):
            access.check(actor, "view-statistics")
        return await self.list_connections(Empty())

    async def list_connections(self, request: Empty) -> ListConnectionsReply:
        """The same for gateways of 0.1.0, which have checked the permission themselves."""
        reply = ListConnectionsReply(users=self._picture.connected_users)
        for node_id, connections in (await self._gateways.list_living()).items():
            reply.nodes.add(node_id=node_id, connections=connections)
        return reply

    def _on_user_changed(self, message: bytes) -> None:
        self._doubt(message.decode(errors="replace"))

    def _doubt(self, user_id: str) -> None:
        """Something about the user has changed: they are read again."""
        person = self._picture.people.get(user_id)
        if person is not None:
            person.stale = True
            self._telling.add(person)

    # -- what nobody calls for -----------------------------------------------------------------------------------------

    async def _run_loading(self) -> None:
        """Asks auth of everybody who is connected, when it is not known, or not any more: slowly, they are many."""
        while True:
            await self._to_load.wait()
            self._to_load.clear()
            people = [person for person in self._picture.people.values() if person.connected() != OFFLINE]
            for start in range(0, len(people), _BATCH):
                batch = [person for person in people[start : start + _BATCH] if not person.is_loaded()]
                try:
                    await self._telling.load(batch)
                    await self._telling.settle([person for person in batch if person.told_status is not None])
                except PalaverError as error:
                    logger.warning("could not load who is connected yet: %s", error)
                    self._to_load.set()
                    await asyncio.sleep(DOUBT_SECONDS)
                    break
                if batch:
                    await asyncio.sleep(_LOADING_PAUSE_SECONDS)

    async def _run_doubts(self) -> None:
        while True:
            await asyncio.sleep(DOUBT_SECONDS)
            await self.check_doubts()

    async def check_doubts(self) -> None:
        """Tells of whom another process should have told, on what the live port and auth say now."""
        people = self._telling.take_doubts()
        for start in range(0, len(people), _BATCH):
            batch = people[start : start + _BATCH]
            try:
                for person in batch:
                    await self._sharing.read_person(person)
                    person.stale = True
                await self._telling.settle(batch)
            except PalaverError as error:
                logger.warning("could not make sure of the presence of %d users: %s", len(batch), error)
                for person in batch:
                    self._telling.doubt(person)

    async def _run_checks(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self.check()
            except PalaverError as error:
                logger.warning("could not look after the gateways: %s", error)

    async def check(self) -> None:
        """Looks once: for lost gateways, for what was missed, for what can be forgotten."""
        telling = self._telling.is_wanted()
        if telling and not self._was_telling:
            for person in self._picture.people.values():
                self._telling.add(person)
        self._was_telling = telling
        self._picture.forget_ended(lambda person: person.told_status is None or self._telling.is_settled(person))
        if self._has_gap:
            self._has_gap = False
            try:
                await self._sharing.read_again()
            except PalaverError:
                self._has_gap = True
                raise
            self._to_load.set()
        elif self._forget_absent_at is not None and self._clock() >= self._forget_absent_at:
            await self._sharing.forget_absent()
            self._forget_absent_at = None
        for gateway in await self._gateways.list_lost():
            logger.warning("the gateway %s is lost, with %d users", gateway.id, gateway.users)
            await self._expire(gateway)

    async def _expire(self, gateway: GatewayEntry) -> None:
        """The users of a lost gateway are gone; if it is alive after all, it will say so again, newer."""
        reports = []
        for number, person in enumerate(list(self._picture.people.values()), 1):
            mark = person.find_mark(gateway.id)
            if mark is not None and mark.status != OFFLINE:
                reports.append(StatusReport(user_id=person.id, status=OFFLINE, revision=mark.revision))
            if number % (10 * _YIELD_EVERY) == 0:
                await asyncio.sleep(0)
        for start in range(0, len(reports), _BATCH):
            await self._take(gateway.id, reports[start : start + _BATCH])

    def _on_gap(self) -> None:
        """Messages may be lost, and keys: the picture is compared now, and once more when they have been repeated."""
        self._has_gap = True
        self._forget_absent_at = self._clock() + REPEAT_SECONDS
        for person in self._picture.people.values():
            person.stale = True
