"""Who is connected where, and what is known of them: the memory of the presence service, without any I/O.

Ten thousand people may be connected, so a person is a few hundred bytes: slots, the connections as a linked list
(nearly everybody has one), and marks that everybody on the same node shares.
"""

from collections.abc import Iterator
from functools import lru_cache

from palaver.database import Document
from palaver.presence import rules
from palaver.v1.presence_pb2 import AWAY, OFFLINE, ONLINE, Status, UserPresence

RESTORED = ""
"""The id of the connections of which this process knows only by the mark of an earlier one."""

Marks = tuple[tuple["NodeEntry", "Status.ValueType"], ...]
"""The best status of a person's connections on each living node that has some."""


class NodeEntry:
    """A process that people are connected to."""

    __slots__ = ("alone", "connections", "id", "lost", "seen_at")

    def __init__(self, node_id: str) -> None:
        self.id = node_id
        self.connections = 0
        # When its lease was last seen. Only a node that has been seen can be lost.
        self.seen_at: float | None = None
        self.lost = False
        # The marks of everybody whose connections are all here.
        self.alone: dict[Status.ValueType, Marks] = {status: ((self, status),) for status in (ONLINE, AWAY)}


class Connection:
    """A socket that has logged in, and the next one of its person."""

    __slots__ = ("id", "next", "node", "status")

    def __init__(
        self, node: NodeEntry, connection_id: str, status: Status.ValueType, other: "Connection | None"
    ) -> None:
        self.node = node
        self.id = connection_id
        self.status = status
        self.next = other


class Person:
    """A connected user: their connections, what auth says of them, their marks, what others were told."""

    __slots__ = (
        "avatar_etag",
        "chosen",
        "connection",
        "id",
        "loaded",
        "marks",
        "name",
        "roles",
        "stale",
        "text",
        "told_status",
        "told_text",
        "username",
        "utc_offset",
    )

    def __init__(self, user_id: str) -> None:
        self.id = user_id
        self.connection: Connection | None = None
        self.marks: Marks = ()
        self.loaded = False  # whether auth has ever been asked
        self.stale = True  # whether it must be asked (again)
        self.username = ""
        self.name = ""
        self.roles: tuple[str, ...] = ()
        self.chosen: Status.ValueType = ONLINE
        self.text = ""
        self.utc_offset = 0.0
        self.avatar_etag = ""
        # None: others know what an earlier presence process told them.
        self.told_status: Status.ValueType | None = OFFLINE
        self.told_text = ""

    def connections(self) -> Iterator[Connection]:
        connection = self.connection
        while connection is not None:
            yield connection
            connection = connection.next

    def connected(self) -> Status.ValueType:
        """What the connections say; those of lost nodes say nothing."""
        connection = self.connection
        if connection is None:
            return OFFLINE
        if connection.next is None:
            return OFFLINE if connection.node.lost else connection.status
        return rules.best(each.status for each in self.connections() if not each.node.lost)

    def visible(self) -> Status.ValueType:
        """What the others see."""
        return rules.visible(self.connected(), self.chosen)

    def due_marks(self) -> Marks:
        """What the live port should say of this person."""
        connection = self.connection
        if connection is None:
            return ()
        if connection.next is None:
            return () if connection.node.lost else connection.node.alone[connection.status]
        statuses: dict[NodeEntry, Status.ValueType] = {}
        for each in self.connections():
            if not each.node.lost and statuses.get(each.node) != ONLINE:
                statuses[each.node] = each.status
        if len(statuses) == 1:
            ((node, status),) = statuses.items()
            return node.alone[status]
        return tuple(statuses.items())

    def learn(self, document: Document) -> None:
        """Takes what auth says. At the first time, that is what others know as well."""
        self.username = document.get("username") or ""
        self.name = document.get("name") or ""
        self.roles = _shared(tuple(document.get("roles") or ()))
        self.chosen = rules.chosen(document.get("statusDefault"))
        self.text = document.get("statusText") or ""
        self.utc_offset = document.get("utcOffset") or 0.0
        self.avatar_etag = document.get("avatarETag") or ""
        if not self.loaded:
            self.loaded = True
            self.told_text = self.text
            if self.told_status is None:
                self.told_status = self.visible()

    def is_told(self) -> bool:
        """Whether the others know what is to be seen of this person."""
        return self.told_status == self.visible() and self.told_text == self.text

    def presence(self) -> UserPresence:
        return UserPresence(
            user_id=self.id,
            username=self.username,
            name=self.name,
            status=self.visible(),
            connection_status=self.connected(),
            status_default=rules.NAMES[self.chosen],
            status_text=self.text,
            utc_offset=self.utc_offset,
            avatar_etag=self.avatar_etag,
            roles=self.roles,
        )


class Connections:
    """Everybody who is connected, and a few who have just gone: `settling.py` forgets them once it is told."""

    def __init__(self) -> None:
        self.people: dict[str, Person] = {}
        self.nodes: dict[str, NodeEntry] = {}

    def person(self, user_id: str) -> Person:
        """The person, made up unless known."""
        person = self.people.get(user_id)
        if person is None:
            person = self.people[user_id] = Person(user_id)
        return person

    def node(self, node_id: str) -> NodeEntry:
        """The node, made up unless known."""
        node = self.nodes.get(node_id)
        if node is None:
            node = self.nodes[node_id] = NodeEntry(node_id)
        return node

    def connect(self, node_id: str, connection_id: str, user_id: str) -> Person | None:
        """Adds a connection, once. Returns the person if anybody might see a difference."""
        person = self.person(user_id)
        node = self.node(node_id)
        for each in person.connections():
            if each.id == connection_id and each.node is node:
                return None
        person.connection = Connection(node, connection_id, ONLINE, person.connection)
        node.connections += 1
        return person if person.due_marks() != person.marks else None

    def restore(self, node_id: str, user_id: str, status: Status.ValueType) -> None:
        """Adds a connection of which only the mark is known: a person whom others know to be there."""
        person = self.person(user_id)
        node = self.node(node_id)
        person.connection = Connection(node, RESTORED, status, person.connection)
        node.connections += 1
        person.marks = person.due_marks()
        person.told_status = None

    def disconnect(self, node_id: str, connection_id: str, user_id: str) -> Person | None:
        """Takes a connection away, if it is there. Returns the person if anybody might see a difference."""
        person = self.people.get(user_id)
        if person is None or (found := _find(person, node_id, connection_id)) is None:
            return None
        self._remove(person, found)
        return person if person.due_marks() != person.marks else None

    def set_status(self, node_id: str, connection_id: str, user_id: str, status: Status.ValueType) -> Person | None:
        """Changes what a connection says, if it is there. Returns the person if anybody might see a difference."""
        person = self.people.get(user_id)
        if person is None or (found := _find(person, node_id, connection_id)) is None:
            return None
        found.id = connection_id
        found.status = status
        return person if person.due_marks() != person.marks else None

    def forget(self, person: Person) -> None:
        """Removes a person of whom there is nothing left to say."""
        if self.people.get(person.id) is person:
            del self.people[person.id]

    def list_people_on(self, node: NodeEntry) -> list[Person]:
        """Everybody who has a connection to the node."""
        return [person for person in self.people.values() if any(each.node is node for each in person.connections())]

    def forget_node(self, node: NodeEntry) -> list[Person]:
        """Removes a node with every connection to it. Returns whose they were."""
        people = self.list_people_on(node)
        for person in people:
            for each in person.connections():
                if each.node is node:
                    self._remove(person, each)
        del self.nodes[node.id]
        return people

    def _remove(self, person: Person, gone: Connection) -> None:
        gone.node.connections -= 1
        if person.connection is gone:
            person.connection = gone.next
            return
        for each in person.connections():
            if each.next is gone:
                each.next = gone.next
                return


@lru_cache(maxsize=1024)
def _shared(roles: tuple[str, ...]) -> tuple[str, ...]:
    """The same object for the same roles: most people have the same."""
    return roles


def _find(person: Person, node_id: str, connection_id: str) -> Connection | None:
    """The connection; one that only its mark is known of passes for any that is not known otherwise."""
    restored = None
    for each in person.connections():
        if each.node.id == node_id:
            if each.id == connection_id:
                return each
            if each.id == RESTORED:
                restored = each
    return restored
