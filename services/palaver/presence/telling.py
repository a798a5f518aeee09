"""Makes the others know what is to be seen of people: loads who they are, and tells what is seen differently.

People of the same moment are loaded and told together. What this process leaves to another one, and what fails, is a
**doubt**: a second or two later, whoever is still not told as the picture says is read anew and told by this process,
so that the death of the one that was about to tell is made up for by every other.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence

import orjson
from prometheus_client import Counter

from palaver.errors import PalaverError
from palaver.live import Subscription
from palaver.node import Node
from palaver.presence import rules
from palaver.presence.picture import Person, Picture, facts_of
from palaver.v1.auth_pb2 import GetUsersRequest
from palaver.v1.presence_pb2 import OFFLINE, PresenceChanged

logger = logging.getLogger(__name__)

TRANSITIONS = Counter("palaver_presence_transitions_total", "Changes of what others see of a user", ["status"])

CHANGES = "presence"
"""Live subject of PresenceChanged."""

_BATCH = 256
# The first is the server's own (an admin can only take it back), the second the admin's.
_DISABLING = ("Presence_broadcast_disabled", "Troubleshoot_Disable_Presence_Broadcast")


class Telling:
    """The people whom something has happened to, and the task that works them off."""

    def __init__(self, node: Node, picture: Picture, replica_id: str) -> None:
        self._node = node
        self._picture = picture
        self._replica_id = replica_id
        self._subscription: Subscription | None = None
        self._due: dict[Person, None] = {}
        self._wake = asyncio.Event()
        self._doubts: dict[Person, None] = {}
        self._older_doubts: dict[Person, None] = {}
        self.idle = asyncio.Event()
        self.idle.set()

    async def open(self) -> None:
        self._subscription = await self._node.live.subscribe(CHANGES, self._on_told)

    async def close(self) -> None:
        if self._subscription is not None:
            await self._subscription.stop()

    # -- what happens ----------------------------------------------------------------------------------------------

    def add(self, person: Person) -> None:
        """This person is to be brought in line with the picture, in the background."""
        self._due[person] = None
        self._wake.set()
        self.idle.clear()

    def doubt(self, person: Person) -> None:
        """Somebody else is about to tell of this person."""
        self._doubts[person] = None

    def take_doubts(self) -> list[Person]:
        """Whoever has been in doubt since the last call or longer, and still is; the newer ones come the next time."""
        old, self._older_doubts, self._doubts = self._older_doubts, self._doubts, {}
        return [person for person in old if not self.is_settled(person)]

    def is_wanted(self) -> bool:
        """Whether the workspace wants presence to be told at all."""
        settings = self._node.access.policy.settings
        return not any(name in settings and settings[name]["value"] for name in _DISABLING)

    def is_settled(self, person: Person) -> bool:
        """Whether there is nothing left to do."""
        if not self._is_known(person):
            return True
        if _is_to_be_loaded(person):
            return False
        return not person.facts or person.is_told() or not self.is_wanted()

    def _is_known(self, person: Person) -> bool:
        """False for whom the picture has forgotten, and met again since."""
        return self._picture.people.get(person.id, person) is person

    def _on_told(self, message: bytes) -> None:
        """What another process tells is what the others know, and saves asking auth."""
        changed = PresenceChanged.FromString(message)
        if changed.replica_id == self._replica_id:
            return
        for shown in changed.users:
            person = self._picture.people.get(shown.user_id)
            if person is not None:
                person.hear(shown)
                if not person.is_told():
                    self.doubt(person)

    # -- what is done --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """The background task."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                batch = list(self._due)[:_BATCH]
                for person in batch:
                    del self._due[person]
                try:
                    await self.settle(batch)
                except PalaverError as error:
                    logger.warning("could not tell of the presence of %d users: %s", len(batch), error)
                await asyncio.sleep(0)
            self.idle.set()

    async def settle(self, people: Sequence[Person]) -> None:
        """Returns when the others know what is to be seen of these people. Raises what prevents it for some of them,
        who are left in doubt."""
        failure: PalaverError | None = None
        try:
            await self.load([person for person in people if _is_to_be_loaded(person)])
        except PalaverError as error:
            failure = error
        try:
            await self._tell(people)
        except PalaverError as error:
            failure = error
        if failure is not None:
            for person in people:
                if not self.is_settled(person):
                    self.doubt(person)
            raise failure

    async def load(self, people: Sequence[Person]) -> None:
        """Asks auth of these people, who may be anybody."""
        for start in range(0, len(people), _BATCH):
            await self._load(people[start : start + _BATCH])

    async def _load(self, people: Sequence[Person]) -> None:
        for person in people:
            person.stale = False  # before asking: what changes meanwhile makes it stale again
        try:
            reply = await self._node.services.auth.get_users(GetUsersRequest(user_ids=[each.id for each in people]))
        except BaseException:
            for person in people:
                person.stale = True
            raise
        documents = {}
        for data in reply.documents:
            document = orjson.loads(data)
            documents[document["_id"]] = document
        for person in people:
            if (document := documents.get(person.id)) is not None:
                person.learn(facts_of(document))
            elif person.facts is None:
                person.facts = b""  # who is not there any more keeps what was known

    async def _tell(self, people: Iterable[Person]) -> None:
        told = [person for person in people if person.facts and not person.is_told() and self._is_known(person)]
        if not told or not self.is_wanted():
            return
        message = PresenceChanged(replica_id=self._replica_id)
        changes = []
        for person in told:
            person.show(shown := message.users.add())
            if shown.status != person.told_status:
                changes.append(shown.status)
            # Before telling: what happens meanwhile is one more difference.
            person.told_status, person.told_text = shown.status, shown.status_text
        try:
            await self._node.live.publish(CHANGES, message.SerializeToString())
        except BaseException:
            for person in told:
                person.told_status = None
            raise
        for status in changes:
            TRANSITIONS.labels(rules.NAMES[status]).inc()


def _is_to_be_loaded(person: Person) -> bool:
    """Whether what others see depends on what auth was not asked for."""
    return not person.is_loaded() and (person.connected() != OFFLINE or person.told_status != OFFLINE)
