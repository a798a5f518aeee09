"""The presence service: keeps in memory who is connected to which node, and tells what others see of it.

Called by the gateway (connections, idle clients, a user's choice) and by whoever shows presence. `rules.py` says what
is seen, `connections.py` remembers, `settling.py` tells, and this file answers.

**Lost nodes.** A gateway keeps the live key `presence.nodes.<node>` (LEASE_SECONDS, put again every CHECK_SECONDS).
When it has not been seen for that long, the node's users are seen as gone, until the key is back or FORGET_SECONDS
have passed. A node whose key was never seen (the only one of an embedded server) is never lost. Marks of (user, node)
in the live port let a new presence process begin with what the last one knew.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Container, Sequence

import orjson
from prometheus_client import Gauge

from palaver.access import USERS_CHANGED
from palaver.database import Document
from palaver.errors import InvalidInput, Unavailable
from palaver.ids import decode_subject_token
from palaver.live import Subscription
from palaver.node import Node
from palaver.presence import rules
from palaver.presence.connections import Connections, NodeEntry, Person
from palaver.presence.settling import MARK_SECONDS, MARKS, Settling
from palaver.v1.auth_pb2 import Empty, GetUsersRequest, SetUserStatusRequest
from palaver.v1.presence_pb2 import (
    AWAY,
    ONLINE,
    ConnectRequest,
    DisconnectRequest,
    GetPresenceReply,
    GetPresenceRequest,
    ListConnectionsReply,
    SetConnectionStatusRequest,
    SetStatusRequest,
)

logger = logging.getLogger(__name__)

USERS = Gauge("palaver_presence_users", "Users with a connection")
CONNECTIONS = Gauge("palaver_presence_connections", "Connections that have logged in")

LEASES = "presence.nodes"
LEASE_SECONDS = 15.0
CHECK_SECONDS = 5.0
FORGET_SECONDS = 3600.0
_EMPTY = Empty()
_YIELD_EVERY = 500


def build(node: Node) -> "PresenceService":
    return PresenceService(node)


class PresenceService:
    """The methods of `api.Presence`, and what the node needs. `clock` counts seconds; tests pass their own."""

    def __init__(self, node: Node, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._clock = clock
        self._connections = Connections()
        self._settling = Settling(node, self._connections)
        self._check = asyncio.Event()
        self._remarking: list[Person] = []
        self._remarks_each = 0
        self._remarked_at = clock()
        self._was_telling = True
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Takes over what an earlier process knew, and begins to tell."""
        self._subscription = await self._node.live.subscribe(USERS_CHANGED, self._on_user_changed)
        await self._restore()
        self._node.spawn(self._settling.run(), "presence settling")
        self._node.spawn(self._run_checks(), "presence checks")
        people, nodes = self._connections.people, self._connections.nodes
        USERS.set_function(lambda: sum(map(_is_connected, list(people.values()))))
        CONNECTIONS.set_function(lambda: sum(node.connections for node in list(nodes.values())))

    async def drain(self) -> None:
        """Returns when everything is told that has happened so far."""
        await self._settling.idle.wait()

    async def close(self) -> None:
        """Leaves the marks: they are of connections that stay."""
        if self._subscription is not None:
            await self._subscription.stop()

    # -- connections -------------------------------------------------------------------------------------------------

    async def connect(self, request: ConnectRequest) -> Empty:
        """Answers before anybody is told: this is on the way of every login."""
        node_id, connection_id, user_id = request.node_id, request.connection_id, request.user_id
        if not (node_id and connection_id and user_id):
            raise InvalidInput("A connection has a node, an id and a user")
        if node_id not in self._connections.nodes:
            self._check.set()  # a lease that is not seen at once could end unseen
        person = self._connections.connect(node_id, connection_id, user_id)
        if person is not None:
            self._settling.add(person)
        return _EMPTY

    async def disconnect(self, request: DisconnectRequest) -> Empty:
        """Does nothing for a connection that is not known."""
        person = self._connections.disconnect(request.node_id, request.connection_id, request.user_id)
        if person is not None:
            self._settling.add(person)
        return _EMPTY

    async def set_connection_status(self, request: SetConnectionStatusRequest) -> Empty:
        """Does nothing for a connection that is not known: it may have gone just now."""
        if request.status not in (ONLINE, AWAY):
            raise InvalidInput("A connection is online or away", code="error-invalid-status")
        person = self._connections.set_status(request.node_id, request.connection_id, request.user_id, request.status)
        if person is not None:
            self._settling.add(person)
        return _EMPTY

    # -- what users choose and see -------------------------------------------------------------------------------------

    async def set_status(self, request: SetStatusRequest) -> Empty:
        """Has auth store the choice; somebody else's only with the permission edit-other-user-info."""
        actor = await self._node.access.get_actor(request.actor)
        user_id = request.user_id or actor.id
        if user_id != actor.id:
            self._node.access.check(actor, "edit-other-user-info")
        person = self._connections.people.get(user_id)
        if person is None or not person.loaded:
            person = (await self._load([user_id])).get(user_id)  # what others see of them now
        change = SetUserStatusRequest(actor=request.actor, user_id=user_id)
        if request.HasField("status"):
            change.status = request.status
        if request.HasField("status_text"):
            change.status_text = request.status_text
        reply = await self._node.services.auth.set_user_status(change)
        person = self._connections.people.get(user_id) or person
        if person is not None:
            person.learn(orjson.loads(reply.user))
            self._settling.add(person)
        return _EMPTY

    async def get_presence(self, request: GetPresenceRequest) -> GetPresenceReply:
        """The given users, connected or not (unknown ones are left out), or everybody who is not offline."""
        people = self._connections.people
        wanted = list(dict.fromkeys(request.user_ids) or people)
        found = await self._load([id for id in wanted if (person := people.get(id)) is None or not person.loaded])
        reply = GetPresenceReply()
        for number, user_id in enumerate(wanted, 1):
            person = people.get(user_id) or found.get(user_id)
            if person is not None and person.loaded and (request.user_ids or person.visible()):
                reply.users.append(person.presence())
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        return reply

    async def list_connections(self, request: Empty) -> ListConnectionsReply:
        """How many connections each living node has, and how many users there are."""
        reply = ListConnectionsReply(users=sum(map(_is_connected, self._connections.people.values())))
        for node in self._connections.nodes.values():
            if not node.lost:
                reply.nodes.add(node_id=node.id, connections=node.connections)
        return reply

    async def _load(self, user_ids: Sequence[str]) -> dict[str, Person]:
        """Asks auth of these users. Those who are connected learn it; the others are returned as they are: offline."""
        found: dict[str, Person] = {}
        if user_ids:
            reply = await self._node.services.auth.get_users(GetUsersRequest(user_ids=user_ids))
            for data in reply.documents:
                document: Document = orjson.loads(data)
                id = document["_id"]
                person = self._connections.people.get(id)
                if person is None:
                    person = found[id] = Person(id)
                person.learn(document)
        return found

    def _on_user_changed(self, message: bytes) -> None:
        person = self._connections.people.get(message.decode(errors="replace"))
        if person is not None:
            self._settling.reload(person)

    # -- nodes that come and go ---------------------------------------------------------------------------------------

    async def _restore(self) -> None:
        """Reads the marks of an earlier process; those of nodes without a lease are of nobody who is still there."""
        living = await self._list_leases()
        for key, value in (await self._node.live.list(MARKS)).items():
            node_id, user_id = map(decode_subject_token, key.removeprefix(MARKS + ".").split("."))
            status = rules.CHOICES.get(value.decode(errors="replace"))
            if node_id in living and status in (ONLINE, AWAY):
                self._connections.restore(node_id, user_id, status)
                self._connections.node(node_id).seen_at = self._clock()
            else:
                await self._node.live.delete(key)
        for person in self._connections.people.values():
            self._settling.add(person)

    async def _run_checks(self) -> None:
        """The background task that looks for lost nodes and keeps the marks alive."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._check.wait(), CHECK_SECONDS)
            self._check.clear()
            await self.check()

    async def check(self) -> None:
        """Looks once."""
        try:
            self._judge(await self._list_leases())
        except Unavailable as error:
            logger.warning("could not look for the leases of nodes: %s", error)
            # Nobody is lost because nobody can look.
            nodes = self._connections.nodes.values()
            self._judge({node.id for node in nodes if node.seen_at is not None and not node.lost})
        telling = self._settling.is_told()
        if telling and not self._was_telling:
            for person in self._connections.people.values():
                self._settling.add(person)
        self._was_telling = telling
        self._remark()
        self._settling.retry()

    def _judge(self, living: Container[str]) -> None:
        now = self._clock()
        for node in list(self._connections.nodes.values()):
            if node.id in living:
                node.seen_at = now
                if node.lost:
                    logger.warning("the node %s is back", node.id)
                    self._set_lost(node, False)
            elif node.seen_at is None:
                continue
            elif now - node.seen_at >= FORGET_SECONDS:
                for person in self._connections.forget_node(node):
                    self._settling.add(person)
            elif now - node.seen_at >= LEASE_SECONDS and not node.lost:
                logger.warning("the node %s is lost, with %d connections", node.id, node.connections)
                self._set_lost(node, True)

    def _set_lost(self, node: NodeEntry, lost: bool) -> None:
        node.lost = lost
        for person in self._connections.list_people_on(node):
            self._settling.add(person)

    def _remark(self) -> None:
        """Writes a few of the marks again, so that each one's turn comes before it ends."""
        now = self._clock()
        if not self._remarking and now - self._remarked_at >= MARK_SECONDS / 2:
            self._remarked_at = now
            self._remarking = list(self._connections.people.values())
            self._remarks_each = 1 + int(len(self._remarking) * CHECK_SECONDS / (MARK_SECONDS / 4))
        for _ in range(min(self._remarks_each, len(self._remarking))):
            self._settling.remark(self._remarking.pop())

    async def _list_leases(self) -> set[str]:
        """The ids of the nodes that live, as far as they say so."""
        leases = await self._node.live.list(LEASES)
        return {decode_subject_token(key.removeprefix(LEASES + ".")) for key in leases}


def _is_connected(person: Person) -> bool:
    return person.connection is not None
