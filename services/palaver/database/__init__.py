"""Port 1, the database: appends events, projects them onto documents, answers queries.

`commit` is the heart: an event appended to its stream *is* the commit; documents are what follows from it.
The port speaks a small subset of MongoDB's filter language. Its adapters are `sqlite.py` (embedded) and `mongo.py`
(cluster); `schema.py` says which fields of each collection can be filtered and sorted by, and both adapters refuse
any other field, so that no query reads a whole collection by accident. Both pass `tests/database/contract`.

Called by `commit.py` (writes), by the services' `store.py` (reads), by the log's durable followers (what was
committed, and records of their own), and by `backup/` (all of it, at rest). Nobody else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from palaver.v1.event_pb2 import Event

Document = dict[str, Any]
"""A stored document: JSON values only; a date is {"$date": epoch milliseconds}."""

Filter = Mapping[str, Any]
"""{"field": value} or {"field": {"$in"|"$nin"|"$ne"|"$gt"|"$gte"|"$lt"|"$lte"|"$exists"|"$contains": …}}, joined by
"$and"/"$or". A value of None matches documents without the field; a field that is null counts as absent everywhere.
"$contains" is a case-insensitive part of a string; {"$text": "two word"} finds documents in which every word is a part
of one (runs of letters and digits; case and accents don't matter: `text.py`), and not within "$or". Dates are compared
as {"$date": ms}. A field, an operator or a value that does not fit `schema.py` is a ValueError."""

Sort = Sequence[tuple[str, int]]
"""[("ts", -1), ("_id", -1)]: 1 ascending, -1 descending."""


class Stream(NamedTuple):
    """The name of one stream: ("room", room id), ("user", user id) or ("workspace", "")."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.id}"


# The collection of each kind of stream's own document, which carries `applied_seq`.
STREAM_COLLECTIONS = {"room": "rooms", "user": "users", "workspace": "workspace"}


def stream_document_id(stream: Stream) -> str:
    """The `_id` of the stream's own document."""
    return stream.id or "workspace"


def document_stream(kind: str, document_id: str) -> Stream:
    """The stream whose own document this is."""
    return Stream(kind, "" if kind == "workspace" else document_id)


@dataclass(slots=True)
class Put:
    """What one event does to one document: absolute values of top-level fields, so that twice is once.

    With `insert`, the document is created if there is none with this id (and left alone if there is one).
    Otherwise `set` and `unset` change the existing document, unless it has seen this event or a later one of its
    stream already: a document remembers the last event of each kind of stream in `room_seq`, `user_seq` or
    `workspace_seq`, which no caller sees. All puts of one event to one document count. The stream's own document
    (rooms/<room id>, …) has `applied_seq` instead, advanced by `commit`; if the stream's first events don't create it,
    it comes to be with nothing else in it. Documents are never removed by a projection: what is gone is marked so.

    A field's name has no dot, quotation mark, backslash or control character and does not start with "$"; `_id` and
    the four `…_seq` are taken: a ValueError before anything is written.
    """

    collection: str
    id: str
    insert: Document | None = None
    set: Document = field(default_factory=dict)
    unset: tuple[str, ...] = ()


class StreamConflict(Exception):
    """Somebody else has appended this `seq` (or this `command_id`) to the stream. Nothing of the call is appended
    from the conflicting event on; `committed` events before it are."""

    def __init__(self, committed: int = 0) -> None:
        super().__init__(f"stream conflict after {committed} events")
        self.committed = committed


class NewerSchema(Exception):
    """The database was changed by a later version of Palaver in a way that this one can't live with."""


class Group(NamedTuple):
    """Documents that share a field's value: how many there are, and the id of the newest."""

    value: str
    size: int
    newest: str


@runtime_checkable
class CommitOrder(Protocol):
    """A database that one process writes knows in which order the events of all streams were committed."""

    async def list_committed(self, kind: str, after: int, limit: int = 500) -> tuple[list[tuple[int, Event]], int]:
        """Events of this kind of stream after a place in that order (0 is its beginning), each with its place.

        Looks at `limit` events of any kind at most; also returns the place up to where it has looked.
        """


class Database(Protocol):
    """Every method may raise `errors.Unavailable`."""

    # Events and documents written through this object so far: what a command costs.
    documents_written: int

    async def open(self) -> None:
        """Connects, and migrates the schema to this version. Raises NewerSchema."""

    async def close(self) -> None: ...

    async def watch(self) -> None:
        """Returns never; raises when this process can't write to the database any more, whatever is tried."""

    # -- writing ------------------------------------------------------------------------------------------------

    async def commit(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> None:
        """Appends `events` (consecutive, the first at head + 1) and applies `puts[i]` for `events[i]`, in order.

        Returns when the events are durable and their projection stands, `applied_seq` included. Raises StreamConflict
        with nothing lost: events before the conflicting one are appended, and projected by the next `apply`.
        """

    async def apply(self, stream: Stream, events: Sequence[Event], puts: Sequence[Sequence[Put]]) -> bool:
        """Projects events that are already appended, as `commit` does. The first must be at `applied_seq` + 1.

        False, and nothing is changed, when somebody else has advanced `applied_seq` meanwhile: look again.
        """

    async def claim(self, key: str, owner: str) -> bool:
        """Makes `owner` the only holder of a unique name ("username:alice"). True if it is, again or newly."""

    async def find_claim(self, key: str) -> str | None:
        """The owner of a unique name, or None."""

    async def release(self, key: str, owner: str) -> None:
        """Frees a name, if this owner holds it."""

    async def mark_published(self, events: Sequence[Event]) -> None:
        """Takes the events out of `list_unpublished`, and remembers when."""

    async def mark_unpublished(self, since: int) -> int:
        """Has everything that was marked since then (epoch ms) published again, as `retold`. Returns how many."""

    # -- records: what is no projection of events ------------------------------------------------------------------

    async def put_record(self, kind: str, id: str, record: Document) -> None:
        """Sets one record, whole. `kind` is a word; `id` has printable ASCII characters only."""

    async def replace_record(self, kind: str, id: str, record: Document) -> bool:
        """Sets one record that is there; False where there is none (any more): it stays away."""

    async def find_record(self, kind: str, id: str) -> Document | None: ...

    async def list_records(
        self, kind: str, prefix: str = "", *, after: str = "", limit: int = 100
    ) -> list[tuple[str, Document]]:
        """Ids and records, by id: those whose id begins with `prefix` and is above `after`."""

    async def delete_record(self, kind: str, id: str) -> bool:
        """Whether there was one."""

    # -- the log as stored -----------------------------------------------------------------------------------------

    async def get_head(self, stream: Stream) -> int:
        """The last `seq` of the stream; 0 when it has none."""

    async def get_heads(self, streams: Sequence[Stream]) -> list[int]: ...

    async def find_event(self, stream: Stream, command_id: str) -> Event | None: ...

    async def list_events(self, stream: Stream, after: int, limit: int = 1000) -> list[Event]:
        """Events with a `seq` above `after`, in order."""

    async def list_unpublished(self, older_than: int, limit: int = 1000, *, fresh_since: int = 0) -> list[Event]:
        """Events appended before `older_than` (epoch ms) that are not marked published, by stream and seq.

        With `fresh_since` only those that were appended since then, and that are not `retold`. One that can't be read
        is left out, counted and logged.
        """

    async def list_unpublished_before(self, seqs: Mapping[Stream, int], limit: int = 1000) -> list[Event]:
        """Of each of these streams the events below its `seq` that are not marked published, by stream and seq."""

    async def list_unapplied(self, older_than: int, limit: int = 100) -> list[Stream]:
        """Streams whose head, appended before `older_than` (epoch ms), is beyond their `applied_seq`."""

    async def list_streams(self, kind: str, *, after: str = "", limit: int = 1000) -> list[tuple[Stream, int]]:
        """The streams of a kind with an id above `after`, by id, each with the last event that is projected.

        One without a projected event is left out.
        """

    # -- documents ----------------------------------------------------------------------------------------------------

    async def get(self, collection: str, id: str) -> Document | None:
        """One document by its id, or None."""

    async def get_many(self, collection: str, ids: Sequence[str]) -> dict[str, Document]:
        """Documents by their ids; absent ones are left out."""

    async def find_one(self, collection: str, where: Filter) -> Document | None: ...

    async def find(
        self, collection: str, where: Filter, *, sort: Sort = (), skip: int = 0, limit: int = 0
    ) -> list[Document]:
        """Documents that match; `limit` 0 is all of them. Fields must be declared in `schema.py`."""

    async def list_values(self, collection: str, name: str, where: Filter) -> list[Any]:
        """One declared text field of each document that matches: from an index alone, where one has it all."""

    async def list_groups(
        self, collection: str, where: Filter, by: str, at: str, ascending: bool = False, skip: int = 0, limit: int = 0
    ) -> tuple[list[Group], int]:
        """Matching documents grouped by a declared text field, and how many groups there are.

        They are sorted by the newest document of each, `at` being the declared date; `limit` 0 is all of them.
        """

    async def count(self, collection: str, where: Filter) -> int: ...

    async def count_all(self, collection: str) -> int:
        """How many documents there are. May take minutes."""
