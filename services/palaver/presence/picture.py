"""Who is connected to which gateway, and what is known of them: the memory of a presence process, without any I/O.

Every presence process holds the whole picture. It only ever moves forward: of each user and gateway the newest report
counts (`rules.is_newer`), so processes that hear of the same reports, in whatever order, see the same.

A hundred thousand people may be connected, so a person is a few hundred bytes: slots, the marks as a linked list
(nearly everybody has one), and what only others read kept as they get it, encoded.
"""

from collections import deque
from collections.abc import Callable, Iterator

from palaver.database import Document
from palaver.presence import rules
from palaver.v1.presence_pb2 import OFFLINE, ONLINE, Status, StatusReport, UserPresence

ENDED_SECONDS = 60.0
"""For how long it is remembered that somebody has gone: much longer than a report may be on its way."""


class GatewayEntry:
    """One run of a gateway process. `users` are those who are there, `marks` counts those who have gone, too."""

    __slots__ = ("id", "marks", "seen_at", "users")

    def __init__(self, node_id: str, seen_at: float) -> None:
        self.id = node_id
        self.seen_at = seen_at  # when it gave its last sign of life
        self.users = 0
        self.marks = 0


class Mark:
    """What a gateway says of a person, and the next one of the same person."""

    __slots__ = ("gateway", "next", "revision", "status")

    def __init__(self, gateway: GatewayEntry, revision: int, status: "Status.ValueType", other: "Mark | None") -> None:
        self.gateway = gateway
        self.revision = revision
        self.status = status
        self.next = other

    def report(self, user_id: str) -> StatusReport:
        return StatusReport(user_id=user_id, status=self.status, revision=self.revision)


class Person:
    """A user: their marks, what auth says of them, what others were told."""

    __slots__ = ("chosen", "facts", "id", "mark", "stale", "text", "told_status", "told_text", "updated_at")

    def __init__(self, user_id: str) -> None:
        self.id = user_id
        self.mark: Mark | None = None
        # The part of UserPresence that auth knows, encoded. None: not asked yet; empty: auth knows nobody of this id.
        self.facts: bytes | None = None
        self.stale = False  # whether they have changed since
        self.updated_at = 0
        self.chosen: Status.ValueType = ONLINE
        self.text = ""
        # Who is in nobody's picture is offline to everybody. None: it is not known what others were told.
        self.told_status: Status.ValueType | None = OFFLINE
        self.told_text = ""

    def marks(self) -> Iterator[Mark]:
        mark = self.mark
        while mark is not None:
            yield mark
            mark = mark.next

    def find_mark(self, node_id: str) -> Mark | None:
        mark = self.mark
        while mark is not None and mark.gateway.id != node_id:
            mark = mark.next
        return mark

    def connected(self) -> "Status.ValueType":
        """What the connections say."""
        mark = self.mark
        if mark is None:
            return OFFLINE
        if mark.next is None:
            return mark.status
        return rules.best(each.status for each in self.marks())

    def visible(self) -> "Status.ValueType":
        """What the others see."""
        return rules.visible(self.connected(), self.chosen)

    def is_loaded(self) -> bool:
        """Whether auth was asked, and nothing has changed since."""
        return self.facts is not None and not self.stale

    def learn(self, facts: UserPresence) -> None:
        """Takes what auth says, unless something newer is known. The first text is what others know as well."""
        if self.facts and facts.updated_at < self.updated_at:
            return
        is_first = not self.facts
        self.facts = facts.SerializeToString()
        self.updated_at = facts.updated_at
        self.chosen = rules.chosen(facts.status_default)
        self.text = facts.status_text
        if is_first:
            self.told_text = self.text

    def hear(self, shown: UserPresence) -> None:
        """Another process has told the others this."""
        self.told_status, self.told_text = shown.status, shown.status_text
        if not self.facts or shown.updated_at > self.updated_at:
            for name in ("user_id", "status", "connection_status"):
                shown.ClearField(name)
            self.learn(shown)

    def is_told(self) -> bool:
        """Whether the others know what is to be seen of this person."""
        return self.told_status == self.visible() and self.told_text == self.text

    def show(self, shown: UserPresence) -> None:
        """Writes what others see of this person into an empty message."""
        shown.MergeFromString(self.facts or b"")
        shown.user_id = self.id
        shown.status = self.visible()
        shown.connection_status = self.connected()


class Picture:
    """Everybody who is connected, and for ENDED_SECONDS those who have gone. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.people: dict[str, Person] = {}
        self.gateways: dict[str, GatewayEntry] = {}
        self.connected_users = 0
        self._clock = clock
        self._ended: deque[tuple[float, Person, Mark, int]] = deque()

    def find_connected(self, user_id: str) -> "Status.ValueType":
        """What the user's connections say."""
        person = self.people.get(user_id)
        return OFFLINE if person is None else person.connected()

    def is_late(self, node_id: str, report: StatusReport) -> bool:
        """Whether something newer is known."""
        person = self.people.get(report.user_id)
        mark = None if person is None else person.find_mark(node_id)
        return mark is not None and rules.is_newer(mark.revision, mark.status, report.revision, report.status)

    def add(self, node_id: str, report: StatusReport) -> Person:
        """Takes a report of a gateway, unless it is late."""
        person = self.people.get(report.user_id)
        if person is None:
            person = self.people[report.user_id] = Person(report.user_id)
            if report.status == OFFLINE or report.said_before:
                person.told_status = None  # they were there when nobody here knew of it
        mark = person.find_mark(node_id)
        if mark is None:
            mark = self._add_mark(node_id, person)
        elif not rules.is_newer(report.revision, report.status, mark.revision, mark.status):
            return person
        mark.revision = report.revision
        if mark.status != report.status or report.status == OFFLINE:
            self._set(person, mark, report.status)
        return person

    def see(self, node_id: str) -> GatewayEntry:
        """A sign of life of a gateway, which is made up unless known."""
        gateway = self.gateways.get(node_id)
        if gateway is None:
            gateway = self.gateways[node_id] = GatewayEntry(node_id, self._clock())
        gateway.seen_at = self._clock()
        return gateway

    def remove(self, person: Person, mark: Mark) -> None:
        """Takes a mark away, and the person with their last one, as if it had never been."""
        if mark.status != OFFLINE:
            self._set(person, mark, OFFLINE)
        gateway = mark.gateway
        gateway.marks -= 1
        if not gateway.marks:
            self.gateways.pop(gateway.id, None)
        if person.mark is mark:
            person.mark = mark.next
            if person.mark is None and self.people.get(person.id) is person:
                del self.people[person.id]
            return
        for each in person.marks():
            if each.next is mark:
                each.next = mark.next
                return

    def forget_ended(self, is_settled: Callable[[Person], bool]) -> None:
        """Forgets who has gone long enough ago. Whoever is not settled is kept for longer."""
        ended_before = self._clock() - ENDED_SECONDS
        while self._ended and self._ended[0][0] <= ended_before:
            _, person, mark, revision = self._ended.popleft()
            if mark.status != OFFLINE or mark.revision != revision or all(mark is not each for each in person.marks()):
                continue
            if person.connected() == OFFLINE and not is_settled(person):
                self._ended.append((self._clock(), person, mark, revision))
                continue
            self.remove(person, mark)

    def _add_mark(self, node_id: str, person: Person) -> Mark:
        gateway = self.gateways.get(node_id) or self.see(node_id)
        gateway.marks += 1
        mark = person.mark = Mark(gateway, 0, OFFLINE, person.mark)
        return mark

    def _set(self, person: Person, mark: Mark, status: "Status.ValueType") -> None:
        was_connected = person.connected() != OFFLINE
        mark.gateway.users += (status != OFFLINE) - (mark.status != OFFLINE)
        mark.status = status
        self.connected_users += (person.connected() != OFFLINE) - was_connected
        if status == OFFLINE:
            self._ended.append((self._clock(), person, mark, mark.revision))


def facts_of(document: Document) -> UserPresence:
    """What presence needs of a user's document."""
    return UserPresence(
        username=document.get("username") or "",
        name=document.get("name") or "",
        status_default=rules.NAMES[rules.chosen(document.get("statusDefault"))],
        status_text=document.get("statusText") or "",
        utc_offset=document.get("utcOffset") or 0.0,
        avatar_etag=document.get("avatarETag") or "",
        roles=document.get("roles") or (),
        updated_at=(document.get("_updatedAt") or {}).get("$date") or 0,
    )
