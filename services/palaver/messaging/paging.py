"""Lists of messages: read a part at a time, and ended before they are too large for one answer.

What a list has not brought begins at a place in the order, and not at a number: messages that come, change or go
meanwhile move no other one out of it. Called by the use cases that list messages.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from palaver.database import Database, Document, Filter
from palaver.errors import InvalidInput
from palaver.messaging.rules import milliseconds
from palaver.v1.auth_pb2 import DocumentsReply

MAX_BYTES = 24 * 1024 * 1024
"""A hundred messages of the largest kind that members may send come in one answer."""
_PART = 101  # messages in memory at a time

Show = Callable[[list[Document]], Awaitable[list[bytes]]]
"""Encodes messages for who reads them, one for one."""

Order = tuple[str, int]
"""A date that every message of the list has, and 1 or -1. Ties are settled by `_id`, the same way round."""


@dataclass(slots=True)
class Page:
    """Some messages in their order, encoded, and how the list goes on."""

    messages: list[bytes] = field(default_factory=list)
    times: list[int] = field(default_factory=list)  # the date that each is sorted by, in epoch milliseconds
    more: bool = False
    next: str = ""  # where the rest begins, if there is more


async def read_page(
    database: Database,
    where: list[Filter],
    order: Order,
    show: Show,
    *,
    count: int,
    offset: int = 0,
    start: str = "",
) -> Page:
    """At most `count` messages that match all of `where`, from `offset` on or behind the place `start`, and as many as
    fit: at least one, if there is one. Raises InvalidInput for a `start` that no page has named."""
    page = Page()
    size = 0
    name, direction = order
    sort = [(name, direction), ("_id", direction)]
    rest = behind(order, *parse_place(start)) if start else []
    skip = 0 if start else offset
    while True:
        limit = min(_PART, count + 1 - len(page.messages))
        found = await database.find("messages", {"$and": [*where, *rest]}, sort=sort, skip=skip, limit=limit)
        for message, data in zip(found, await show(found), strict=True):
            size += len(data)
            if len(page.messages) == count or (page.messages and size > MAX_BYTES):
                page.more = True
                return page
            page.messages.append(data)
            page.times.append(milliseconds(message[name]))
            page.next = place(message, name)
        if len(found) < limit:
            page.next = ""
            return page
        rest, skip = behind(order, page.times[-1], found[-1]["_id"]), 0


async def list_page(
    database: Database, where: Filter, order: Order, show: Show, *, count: int, offset: int = 0, start: str = ""
) -> DocumentsReply:
    """A page as a reply, with how many messages match: counted only if the page doesn't show that already. Raises as
    `read_page` does."""
    page = await read_page(database, [where], order, show, count=count, offset=offset, start=start)
    total = len(page.messages)
    if offset or start or page.more:
        total = await database.count("messages", where)
    return DocumentsReply(documents=page.messages, total=total, next=page.next)


def place(message: Document, name: str) -> str:
    """The place of a message in an order by this field."""
    return f"{milliseconds(message[name])}/{message['_id']}"


def parse_place(text: str) -> tuple[int, str]:
    """The date and the id of a place. Raises InvalidInput."""
    at, _, id = text.partition("/")
    if not (at.isascii() and at.isdecimal() and len(at) < 16 and id):
        raise InvalidInput("No page has ended there")
    return int(at), id


def behind(order: Order, at: int, id: str) -> list[Filter]:
    """The conditions for what comes after a place."""
    name, direction = order
    beyond, bound = ("$gt", "$gte") if direction > 0 else ("$lt", "$lte")
    date = {"$date": at}
    # The plain bound lets the index skip to the place; the alternatives only settle messages of the same moment.
    return [{name: {bound: date}}, {"$or": [{name: {beyond: date}}, {name: date, "_id": {beyond: id}}]}]
