"""Pages that messages link to, shown in them: a durable follower writes down which messages have links, workers fetch
the pages, and what they say of themselves becomes a fact of the message.

Nobody waits for a page: not who sends the message, and not the event after it. What is written down stays until it is
worked off, so a process that dies leaves it to the others; a message that shows a page already is not changed again.
What could not be fetched stays a bare link, and a message that is an hour old is left as it is.

Nobody waits for somebody else's slow pages either (`turns.py`), and who sends very many links sends the last ones bare.
"""

import asyncio
import contextlib
import hashlib
import logging
from typing import Any
from urllib.parse import urlsplit

import orjson
from prometheus_client import Counter

from palaver import failpoints
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import PalaverError
from palaver.events import SYSTEM, room_stream
from palaver.log.durable import DurableFollower, Follower
from palaver.messaging import rules
from palaver.messaging.previews.fetching import PreviewFailed, Previews
from palaver.messaging.previews.turns import Piece, Turns
from palaver.node import Node
from palaver.v1.event_pb2 import Event, MessageChanged

logger = logging.getLogger(__name__)

SHOWN = Counter("palaver_previews_shown_total", "Links of messages that show a page, or could not", ["outcome"])

_RECORDS = "link_previews"
_MAX_LINKS = 5  # of a message
_MAX_BYTES = 8 * 1024  # of what is shown of one link
_WORKERS = 8
_OF_USER = 2  # messages that are looked at together
_OF_HOST = 4
_MAX_WAITING = 1000  # messages in memory; more stay written down
_MAX_WAITING_EACH = 100  # of one user
_WORTH = 3_600_000  # milliseconds after which nobody needs a preview any more
_LEFT_AFTER = 30_000  # milliseconds after which a process takes what others have written down
_SWEEP_SECONDS = 10.0
_PAGE = 100


class LinkPreviews:
    """Those of one process: each follows its share of the rooms."""

    def __init__(self, node: Node, previews: Previews) -> None:
        self._node = node
        self._previews = previews
        self._turns: Turns[Document] = Turns(of_user=_OF_USER, of_host=_OF_HOST)
        self._taken: set[str] = set()  # records that wait or are worked on here

    def make_follower(self) -> DurableFollower:
        """The follower of this node; its owner runs and stops it."""
        facts = frozenset({"message_sent", "message_changed"})
        follower = Follower("previews", ("room",), facts, self.on_event, _has_links)
        node = self._node
        return DurableFollower(follower, node.database, node.log, node.live, node_id=node.config.node_id)

    async def on_event(self, event: Event) -> None:
        """Writes down a message that has links to show."""
        if event.at < now() - _WORTH:
            return
        message: Document = orjson.loads(_written(event))
        await self._node.access.find_users(())  # the settings are known from here on, also in a process that starts
        if not (wanted := self._list_wanted(message)):
            return
        user_id, hosts = message["u"]["_id"], sorted({_host(url) for url in wanted})
        if self._turns.count(user_id) >= _MAX_WAITING_EACH:
            SHOWN.labels("too many").inc(len(wanted))
            return
        record: Document = {"room_id": event.stream_id, "message_id": message["_id"], "at": event.at}
        record |= {"user_id": user_id, "hosts": hosts}
        # In the order of time: whoever looks for what is left looks at nothing else.
        id = f"{event.at:014d}-{hashlib.sha256(f'{event.stream_id}/{event.seq}'.encode()).hexdigest()}"
        await self._node.database.put_record(_RECORDS, id, record)
        failpoints.reach("preview.after_record")
        self._take(id, record)

    async def run(self) -> None:
        """The background task. Runs until it is cancelled: what it has not done is written down."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_WORKERS):
                tasks.create_task(self._work())
            tasks.create_task(self._sweep())

    async def _work(self) -> None:
        while True:
            piece = await self._turns.begin()
            try:
                await self._show(piece.work)
                await self._node.database.delete_record(_RECORDS, piece.id)
            except PalaverError as error:
                logger.warning("a message's links are looked at later: %s", error)
            except Exception:  # no page may end this process
                logger.exception("a message's links can't be shown")
                await self._forget(piece.id)
            finally:
                self._turns.end(piece)
                self._taken.discard(piece.id)

    async def _forget(self, id: str) -> None:
        with contextlib.suppress(PalaverError):
            await self._node.database.delete_record(_RECORDS, id)

    async def _sweep(self) -> None:
        """Takes what a process has left, or could not do."""
        while True:
            try:
                await self._take_left()
            except PalaverError as error:
                logger.warning("links that are left are looked at later: %s", error)
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _take_left(self) -> None:
        """The oldest first, as far as there is room for them."""
        after, database = "", self._node.database
        while page := await database.list_records(_RECORDS, after=after, limit=_PAGE):
            for id, record in page:
                if record["at"] < now() - _WORTH:
                    await database.delete_record(_RECORDS, id)
                elif record["at"] >= now() - _LEFT_AFTER or len(self._taken) >= _MAX_WAITING:
                    return
                else:
                    self._take(id, record)
            after = page[-1][0]

    def _take(self, id: str, record: Document) -> None:
        if id not in self._taken and len(self._taken) < _MAX_WAITING:
            self._taken.add(id)
            # The version before writes down neither whose it is nor where it leads to.
            self._turns.add(Piece(id, record.get("user_id", ""), tuple(record.get("hosts", ())), record))

    def _list_wanted(self, message: Document) -> list[str]:
        """The links of a message that shall show their pages, and don't.

        None where something else is attached, and none of too many that lead to other sites.
        """
        setting = self._node.access.setting
        if not setting("API_Embed") or message.get("attachments"):
            return []
        site = str(setting("Site_Url")).rstrip("/")
        outside = [link for link in message.get("urls", ()) if not (site and str(link.get("url", "")).startswith(site))]
        if len(outside) > _MAX_LINKS:
            return []
        return list(dict.fromkeys(link["url"] for link in outside if _is_bare(link)))

    async def _show(self, record: Document) -> None:
        await self._node.access.find_users(())
        message = await self._node.database.get("messages", record["message_id"])
        if message is None or not (wanted := self._list_wanted(message)):
            return
        found = await asyncio.gather(*(self._find(url) for url in wanted))
        pages = {url: page for url, page in zip(wanted, found, strict=True) if page is not None}
        if pages:
            await self._add(record, pages)

    async def _find(self, url: str) -> Document | None:
        try:
            page = await self._previews.fetch(url)
        except PreviewFailed:
            page = None
        outcome = "failed" if page is None else "shown"
        if page is not None and len(orjson.dumps(page)) > _MAX_BYTES:
            page, outcome = None, "too large"
        SHOWN.labels(outcome).inc()
        return page

    async def _add(self, record: Document, pages: dict[str, Document]) -> None:
        """Makes them a fact of the message, as far as it still has these links bare."""

        async def decide(draft: Draft) -> None:
            room, message = await draft.get_own(), await draft.get("messages", record["message_id"])
            if room is None or room.get("deleted_at") or message is None or rules.is_gone(room, message):
                return
            links = message.get("urls", [])
            shown = [pages.get(link["url"], link) if _is_bare(link) else link for link in links]
            if shown == links:
                return
            at = rules.event_time(room, now())
            changed: dict[str, Any] = {**message, "urls": shown, "_updatedAt": {"$date": at}}
            event = Event()
            fact = event.message_changed
            fact.message_id = message["_id"]
            fact.change = MessageChanged.DISCUSSED
            fact.message = orjson.dumps(changed)
            fact.is_last = room.get("lastMessage", {}).get("_id") == message["_id"]
            draft.append(event, actor=SYSTEM, at=at)

        await self._node.commits.execute(room_stream(record["room_id"]), decide)
        failpoints.reach("preview.after_commit")


def _written(event: Event) -> bytes:
    """The message, if somebody wrote it with this event."""
    if event.HasField("message_sent"):
        return event.message_sent.message
    return event.message_changed.message if event.message_changed.change == MessageChanged.EDITED else b""


def _has_links(event: Event) -> bool:
    return b'"url"' in _written(event)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_bare(link: Document) -> bool:
    """Whether the link is to show a page, and doesn't."""
    url = str(link.get("url", ""))
    return "parsedUrl" not in link and not link.get("ignoreParse") and url.startswith(("http://", "https://"))
