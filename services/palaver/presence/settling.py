"""Makes everybody else know: loads who has connected, marks it in the live port, tells what others see differently.

Requests only change the memory and name the person; one task brings the rest in line with it, people of the same
moment together. So what changed and changed back is never told, and nothing of one person is ever out of order.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence

import orjson
from prometheus_client import Counter

from palaver.errors import PalaverError
from palaver.ids import encode_subject_token
from palaver.node import Node
from palaver.presence import rules
from palaver.presence.connections import Connections, NodeEntry, Person
from palaver.v1.auth_pb2 import GetUsersRequest
from palaver.v1.presence_pb2 import PresenceChanged

logger = logging.getLogger(__name__)

TRANSITIONS = Counter("palaver_presence_transitions_total", "Changes of what others see of a user", ["status"])

CHANGES = "presence"
"""Live subject of PresenceChanged."""
MARKS = "presence.users"
"""Live keys `presence.users.<node>.<user>`: the best status of the user's connections there."""

# A mark is written again long before it ends; it outlives this process, and its node by no more than that.
MARK_SECONDS = 3600.0
_BATCH = 256
_AT_ONCE = 16
# The first is the server's own (an admin can only take it back), the second the admin's.
_DISABLING = ("Presence_broadcast_disabled", "Troubleshoot_Disable_Presence_Broadcast")
_VALUES = {status: name.encode() for status, name in rules.NAMES.items()}


class Settling:
    """The people whom something has happened to, and the task that works them off."""

    def __init__(self, node: Node, connections: Connections) -> None:
        self._node = node
        self._connections = connections
        self._due: dict[Person, None] = {}
        self._unmarked: set[Person] = set()
        self._waiting: set[Person] = set()
        self._wake = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()

    def add(self, person: Person) -> None:
        """Something has happened to this person."""
        self._due[person] = None
        self._wake.set()
        self.idle.clear()

    def reload(self, person: Person) -> None:
        """What auth says of this person has changed."""
        person.stale = True
        self.add(person)

    def remark(self, person: Person) -> None:
        """The marks of this person are growing old."""
        self._unmarked.add(person)
        self.add(person)

    def retry(self) -> None:
        """Tries again what failed."""
        waiting, self._waiting = self._waiting, set()
        for person in waiting:
            self.add(person)

    def is_told(self) -> bool:
        """Whether the workspace wants presence to be told at all."""
        settings = self._node.access.policy.settings
        return not any(name in settings and settings[name]["value"] for name in _DISABLING)

    async def run(self) -> None:
        """The background task."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                batch = list(self._due)
                if len(batch) > _BATCH:
                    del batch[_BATCH:]
                for person in batch:
                    del self._due[person]
                await self.settle(batch)
                await asyncio.sleep(0)
            self.idle.set()

    async def settle(self, people: Sequence[Person]) -> None:
        """Brings everything in line with the memory; what fails is kept for `retry`."""
        stale = [person for person in people if person.stale and person.connection is not None]
        if stale:
            await self._load(stale)
        rest = iter(people)
        if len(people) == 1:
            await self._settle_each(rest)
        else:
            await asyncio.gather(*(self._settle_each(rest) for _ in range(min(_AT_ONCE, len(people)))))

    async def _load(self, people: Sequence[Person]) -> None:
        for person in people:
            person.stale = False  # before asking: what changes meanwhile makes it stale again
        try:
            reply = await self._node.services.auth.get_users(GetUsersRequest(user_ids=[each.id for each in people]))
        except PalaverError as error:
            logger.warning("could not load %d users: %s", len(people), error)
            for person in people:
                person.stale = True
            self._waiting.update(people)
            return
        documents = {}
        for data in reply.documents:
            document = orjson.loads(data)
            documents[document["_id"]] = document
        for person in people:
            # A user who is not there any more keeps what was known, until the gateway closes their connections.
            if (document := documents.get(person.id)) is not None:
                person.learn(document)

    async def _settle_each(self, people: Iterator[Person]) -> None:
        for person in people:
            try:
                await self._mark(person)
                await self._tell(person)
            except PalaverError as error:
                logger.warning("could not tell of a user's presence: %s", error)
                self._waiting.add(person)
                continue
            if person.connection is None and not person.marks and (not person.loaded or person.is_told()):
                self._connections.forget(person)

    async def _mark(self, person: Person) -> None:
        marks, due = person.marks, person.due_marks()
        again = person in self._unmarked
        if due == marks and not again:
            return
        live = self._node.live
        try:
            for node, status in due:
                if again or (node, status) not in marks:
                    await live.put(_key(node, person), _VALUES[status], MARK_SECONDS)
            left = {node for node, _ in due}
            for node, _ in marks:
                if node not in left:
                    await live.delete(_key(node, person))
        except PalaverError:
            # Some are written and some are not: keep all of them in mind, and write all of them again.
            person.marks = tuple({node: (node, status) for node, status in (*marks, *due)}.values())
            self._unmarked.add(person)
            raise
        person.marks = due
        self._unmarked.discard(person)

    async def _tell(self, person: Person) -> None:
        if not person.loaded or person.is_told() or not self.is_told():
            return
        shown = person.presence()
        await self._node.live.publish(CHANGES, PresenceChanged(user=shown).SerializeToString())
        if shown.status != person.told_status:
            TRANSITIONS.labels(rules.NAMES[shown.status]).inc()
        person.told_status = shown.status
        person.told_text = shown.status_text


def _key(node: NodeEntry, person: Person) -> str:
    return f"{MARKS}.{encode_subject_token(node.id)}.{encode_subject_token(person.id)}"
