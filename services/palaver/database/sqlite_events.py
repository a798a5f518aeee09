"""The log as stored in SQLite: the SQL of events, and reads that take more than one line. Called by `sqlite.py`."""

import sqlite3
from collections.abc import Mapping, Sequence

from palaver.database import STREAM_COLLECTIONS, Stream
from palaver.database.sqlite_names import quote
from palaver.database.unpublished import decode
from palaver.v1.event_pb2 import Event

HEAD = "SELECT max(seq) FROM events WHERE stream_kind = ? AND stream_id = ?"
EVENT = "SELECT blob FROM events WHERE stream_kind = ? AND stream_id = ? AND command_id = ?"
EVENTS = "SELECT blob FROM events WHERE stream_kind = ? AND stream_id = ? AND seq > ? ORDER BY seq LIMIT ?"
UNPUBLISHED = (
    "SELECT blob, retold, rowid FROM events WHERE published = 0 AND at < ? ORDER BY stream_kind, stream_id, seq LIMIT ?"
)
FRESH = (
    "SELECT blob, retold, rowid FROM events WHERE published = 0 AND retold = 0 AND at < ? AND at >= ?"
    " ORDER BY stream_kind, stream_id, seq LIMIT ?"
)
UNPUBLISHED_BEFORE = (
    "SELECT blob, retold, rowid FROM events WHERE published = 0 AND stream_kind = ? AND stream_id = ? AND seq < ?"
    " ORDER BY seq LIMIT ?"
)
# By the table's own row numbers: one writer gives them in the order of commits, and no event is ever removed.
COMMITTED = "SELECT rowid, CASE stream_kind WHEN ? THEN blob END FROM events WHERE rowid > ? ORDER BY rowid LIMIT ?"
# What is not applied is not published either, so the few unpublished events are all there is to look at.
UNAPPLIED = (
    "SELECT stream_kind, stream_id FROM"
    " (SELECT stream_kind, stream_id, max(seq) AS head, at FROM events WHERE published = 0 GROUP BY 1, 2)"
    " WHERE at < ? AND head > coalesce(CASE stream_kind {cases} END, 0) LIMIT ?"
).format(
    cases=" ".join(
        f"WHEN '{kind}' THEN (SELECT applied_seq FROM {quote(collection)}"
        " WHERE _id = iif(stream_id = '', 'workspace', stream_id))"
        for kind, collection in STREAM_COLLECTIONS.items()
    )
)
STREAMS = {
    kind: f"SELECT _id, applied_seq FROM {quote(collection)} WHERE _id > ? AND applied_seq > 0 ORDER BY _id LIMIT ?"
    for kind, collection in STREAM_COLLECTIONS.items()
}
MARK = "UPDATE events SET published = ? WHERE stream_kind = ? AND stream_id = ? AND seq = ?"
UNMARK = "UPDATE events SET published = 0, retold = 1 WHERE published >= max(?, 2)"


def read_heads(connection: sqlite3.Connection, streams: Sequence[Stream]) -> list[int]:
    """The heads in the order asked for."""
    # Few statements serve every number of streams: they are filled up to the next power of two.
    size = 1 << (len(streams) - 1).bit_length()
    values = [part for stream in streams for part in stream]
    values += values[-2:] * (size - len(streams))
    listed = ", ".join(f"({index}, ?, ?)" for index in range(size))
    rows = connection.execute(
        f"WITH wanted (place, kind, id) AS (VALUES {listed}) SELECT place, (SELECT max(seq) FROM events"
        " WHERE stream_kind = kind AND stream_id = id) FROM wanted",
        values,
    )
    heads = dict(rows.fetchall())
    return [heads[index] or 0 for index in range(len(streams))]


def list_unpublished(connection: sqlite3.Connection, older_than: int, limit: int, fresh_since: int) -> list[Event]:
    """Events that nobody has marked, by stream and seq."""
    if fresh_since:
        rows = connection.execute(FRESH, (older_than, fresh_since, limit))
    else:
        rows = connection.execute(UNPUBLISHED, (older_than, limit))
    return [event for row in rows.fetchall() for event in decode(*row)]


def list_unpublished_before(connection: sqlite3.Connection, seqs: Mapping[Stream, int], limit: int) -> list[Event]:
    """The same of these streams, below a seq of each."""
    found: list[Event] = []
    for stream, seq in sorted(seqs.items()):
        rows = connection.execute(UNPUBLISHED_BEFORE, (*stream, seq, limit - len(found))).fetchall()
        found += [event for row in rows for event in decode(*row)]
    return found


def list_committed(
    connection: sqlite3.Connection, kind: str, after: int, limit: int
) -> tuple[list[tuple[int, Event]], int]:
    """Events of this kind of stream with their places, and the place up to where this has looked."""
    rows = connection.execute(COMMITTED, (kind, after, limit)).fetchall()
    events = [(place, Event.FromString(blob)) for place, blob in rows if blob is not None]
    return events, rows[-1][0] if rows else after
