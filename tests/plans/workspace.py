"""A workspace in which the large collections have 100,000 documents, written straight into SQLite.

One room has half of all memberships, messages and whatever else a room has; one user half of what a user has. So a
query that reads more than its page of the large room or of the busy user reads tens of thousands of documents.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from palaver.auth.accounts import new_user
from palaver.auth.tokens import hash_token
from palaver.database import Document
from palaver.database.sqlite_schema import SEARCHED, connect, get_table
from palaver.database.sqlite_text import get_progress, index_some, prepare_writer
from palaver.messaging.rooms import new_room
from palaver.messaging.rules import new_subscription

ROWS = 100_000
MANY = ROWS // 2
FEW = 500
"""What one thread, one message or one room has of what nobody has much of."""

ROOM = "room0"
USER = "user0"
"""An administrator, logged in with `TOKEN`."""
TOKEN = "the token of the user of the large room"
THREAD = "message0"
TEAM_NUMBER = 2000
TEAM = f"room{TEAM_NUMBER}"
"""The main room of a team; the rooms that follow it are the team's. The user of the large room owns it and some."""
NOW = 1_700_000_000_000


def fill(path: Path) -> None:
    """Adds the documents to an empty database of the present schema."""
    connection = connect(path, busy_timeout=5)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -200000")
    connection.execute("BEGIN")
    for collection, documents in _COLLECTIONS.items():
        table = get_table(collection)
        kind = "workspace"
        rows = (table.row(document, orjson.dumps(document).decode(), kind, 0) for document in documents())
        connection.executemany(table.insert, rows)
    for collection, field in SEARCHED.items():
        prepare_writer(connection, collection, field)
        while not get_progress(connection, collection).is_complete:
            index_some(connection, collection, field)
    connection.execute("COMMIT")
    connection.close()


def cost_of(connection: sqlite3.Connection, sql: str, parameters: Any) -> tuple[int, int]:
    """How many instructions SQLite's machine runs for the statement, and for how many documents, or what it counts."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    connection.set_progress_handler(count, 1)
    try:
        rows = connection.execute(sql, parameters).fetchall()
    finally:
        connection.set_progress_handler(None, 0)
    return steps, rows[0][0] if sql.startswith("SELECT count") else len(rows)


def _date(number: int) -> Document:
    return {"$date": NOW + 1000 * number}


def _reference(number: int) -> dict[str, str]:
    return {"_id": f"user{number}", "username": f"user{number}", "name": f"User {number}"}


def _users() -> Iterator[Document]:
    for number in range(ROWS):
        fields: dict[str, Any] = {"name": f"User {number}", "emails_lower": [f"user{number}@example.org"]}
        if number % 2:
            fields["lastLogin"] = _date(number)
        user = new_user(f"user{number}", f"user{number}", **fields)
        roles = ["user"] if number else ["admin", "user"]
        yield {**user, "roles": roles, "createdAt": _date(number), "avatarETag": f"picture{number}"}


def _room(number: int) -> Document:
    room = new_room(f"room{number}", "d" if number % 10 == 9 else "p" if number % 5 == 4 else "c", NOW, 2)
    room |= {"ts": _date(number), "lm": _date(number), "usersCount": number % 1000, "msgs": number % 7000}
    if room["t"] != "d":
        room |= {"name": f"room-{number}", "fname": f"room-{number}", "u": _reference(number)}
    if 0 < number <= FEW:
        room["prid"] = ROOM
    if number == TEAM_NUMBER:
        room |= {"teamMain": True, "team_created": {"ts": _date(0), "u": _reference(0)}, "usersCount": 2}
    if 0 <= number - TEAM_NUMBER <= FEW and room["t"] != "d":
        room |= {"teamId": TEAM, "teamDefault": True} if number % 50 == 1 else {"teamId": TEAM}
    return room


def _rooms() -> Iterator[Document]:
    yield {**_room(0), "usersCount": MANY, "msgs": MANY}
    yield from map(_room, range(1, ROWS))


def _subscriptions() -> Iterator[Document]:
    large = _room(0)
    for number in range(MANY):
        member = {**new_subscription(f"member{number}", large, _reference(number), NOW), "ts": _date(number)}
        if number % 100 == 0:
            member["roles"] = ["owner"] if number % 1000 == 0 else ["moderator"]
        yield {**member, "ls": _date(number), "open": True}
    for number in range(1, ROWS - MANY):
        yield {**new_subscription(f"other{number}", _room(number), _reference(number), NOW), "ts": _date(number)}
    for number in range(1, FEW):
        yield new_subscription(f"own{number}", _room(number), _reference(0), NOW)
    for number in range(TEAM_NUMBER, TEAM_NUMBER + FEW, 7):
        yield new_subscription(f"own{number}", _room(number), _reference(0), NOW, roles=["owner"])


def _messages() -> Iterator[Document]:
    for number in range(ROWS):
        room_id = ROOM if number < MANY else f"room{number % 1000 + 1}"
        message: Document = {"_id": f"message{number}", "rid": room_id}
        message |= {"ts": _date(number), "_updatedAt": _date(number)}
        message |= {"u": _reference(number % 50), "msg": f"common word{number}", "urls": [], "mentions": []}
        if 0 < number <= FEW:
            message["tmid"] = THREAD
        elif number % 10 == 3:
            message |= {"tcount": 1, "tlm": _date(number), "replies": [USER]}
        elif number % 10 == 4:
            message |= {"pinned": True}
        elif number % 100 == 5:
            message |= {"_hidden": True, "deleted_at": _date(number)}
        elif number % 100 == 6:
            message |= {"t": "discussion-created", "drid": f"room{number}"}
        yield message


def _of_room(kind: str, /, *dates: str, **fields: Any) -> Iterator[Document]:
    for number in range(ROWS):
        room_id = ROOM if number < MANY else f"room{number}"
        yield {"_id": f"{kind}{number}", "rid": room_id, **{date: _date(number) for date in dates}, **fields}


def _of_user(*, most: int, **fields: Any) -> Iterator[Document]:
    for number in range(ROWS):
        user, room = (0, 0) if number < most else (number % 1000 + 1, number % 100)
        message = {"message_id": f"message{number}", "thread_id": f"message{number}"}
        yield {
            "_id": f"user{user}/message{number}",
            "user_id": f"user{user}",
            "rid": f"room{room}",
            "ts": _date(number),
            **message,
            **fields,
        }


def _uploads() -> Iterator[Document]:
    shown = {"name": "file.txt", "type": "text/plain", "size": 5, "complete": True, "message_id": THREAD}
    shown |= {"userId": USER, "user": _reference(0)}
    return _of_room("upload", "uploadedAt", **shown)


def _invites() -> Iterator[Document]:
    shown = {"uses": 0, "days": 0, "maxUses": 0, "_updatedAt": _date(0), "expires": None}
    for invite in _of_room("invite", "createdAt", **shown):
        yield {**invite, "userId": f"user{invite['_id'][6:]}"}


def _reports() -> Iterator[Document]:
    """Few are open: a moderator looks at all of them."""
    for number in range(ROWS):
        message = {"_id": THREAD, "rid": ROOM, "u": _reference(0), "msg": "spam", "ts": _date(0)}
        report = {"_id": f"report{number}", "description": "spam", "reportedBy": _reference(1), "ts": _date(number)}
        report |= {"user_id": USER, "_updatedAt": _date(number)}
        if number >= FEW:
            report["closed_at"] = _date(number)
        if number % 2:
            yield {**report, "kind": "user", "reportedUser": _reference(0)}
        else:
            of = {"message_id": THREAD, "message": message, "rid": ROOM, "room": {"_id": ROOM, "t": "c"}}
            yield {**report, "kind": "message", **of}


def _tokens() -> Iterator[Document]:
    for number in range(ROWS):
        yield {
            "_id": f"token{number}" if number else hash_token(TOKEN),
            "user_id": USER if number < FEW else f"user{number}",
            "issued_at": _date(number),
            "expires_at": {"$date": NOW + 10**12},
            "session_id": f"session{number}",
            "type": "password",
        }


_COLLECTIONS = {
    "users": _users,
    "rooms": _rooms,
    "subscriptions": _subscriptions,
    "messages": _messages,
    "uploads": _uploads,
    "invites": _invites,
    "stars": lambda: _of_user(most=FEW, starred=True),
    "mentions": lambda: _of_user(most=MANY),
    "thread_reads": lambda: _of_user(most=FEW, following=True, read_at=_date(0)),
    "reports": _reports,
    "tokens": _tokens,
}
