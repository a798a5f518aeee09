"""Posts what outgoing webhooks have to post: one process of those that play messaging, under a lease.

Each delivery is posted until the other end takes it or its tries are used up; the pauses grow. A process that dies
leaves the record as it was, so another one posts: once more, if it died between the answer and the record of it.
`X-Palaver-Delivery` is the same each time. What the other end answers is said in the room, with an id that follows from
the delivery: it is said once.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections import Counter as Counts

import msgspec
import orjson
from prometheus_client import Counter

from palaver import failpoints
from palaver.access import User
from palaver.commit import now
from palaver.database import Document
from palaver.errors import InvalidInput, PalaverError, Unavailable
from palaver.http import AddressRefused, Fetched, FetchFailed, Limits
from palaver.messaging.integrations import triggers
from palaver.messaging.integrations.deliveries import DUE_SUBJECT, Deliveries
from palaver.messaging.integrations.incoming import Posting
from palaver.node import Node

logger = logging.getLogger(__name__)

POSTED = Counter("palaver_webhooks_posted_total", "Posts of outgoing webhooks, by how they ended", ["outcome"])

_LEASE = "webhooks"
_LEASE_SECONDS = 6.0
_ROUND_SECONDS = 1.0
_AT_ONCE = 64
_AT_ONCE_EACH = 4  # of one integration
_LIMITS = Limits(seconds=10.0, bytes=64 * 1024, redirects=3)
_KEPT_RESULT = 2000
_DRAIN_SECONDS = 3.0


class Said(msgspec.Struct, rename="camel"):
    """What the other end wants to be said in the room."""

    text: str = ""
    attachments: list[Document] = []
    alias: str = ""
    username: str = ""
    emoji: str = ""
    icon_emoji: str = msgspec.field(name="icon_emoji", default="")
    avatar: str = ""
    icon_url: str = msgspec.field(name="icon_url", default="")


class Sender:
    """The sender of one process, which may have the lease or not."""

    def __init__(self, node: Node, deliveries: Deliveries, posting: Posting) -> None:
        self._node = node
        self._deliveries = deliveries
        self._posting = posting
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._of_integration: Counts[str] = Counts()
        self._wake = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """The background task. Runs until `stop`."""
        node = self._node
        subscription = await node.live.subscribe(DUE_SUBJECT, lambda _: self._wake.set())
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    await node.access.find_users(
                        ()
                    )  # the settings are known from here on, also in a process that starts
                    if await node.live.acquire(_LEASE, node.config.node_id, _LEASE_SECONDS):
                        await self._start_due()
                except Unavailable as error:
                    logger.warning("webhooks have to wait: %s", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_ROUND_SECONDS):
                        await self._wake.wait()
        finally:
            await subscription.stop()

    async def stop(self) -> None:
        """Begins nothing new, and gives what is under way a moment."""
        self._stopping = True
        self._wake.set()
        if self._busy:
            await asyncio.wait(self._busy.values(), timeout=_DRAIN_SECONDS)
        for task in list(self._busy.values()):
            task.cancel()
        with contextlib.suppress(Unavailable):
            await self._node.live.release(_LEASE, self._node.config.node_id)

    async def _start_due(self) -> None:
        async for due_key, key in self._deliveries.list_due(now()):
            integration_id = key.partition("/")[0]
            if len(self._busy) >= _AT_ONCE or self._stopping:
                return
            if due_key in self._busy or self._of_integration[integration_id] >= _AT_ONCE_EACH:
                continue
            self._of_integration[integration_id] += 1
            self._busy[due_key] = self._node.spawn(self._work(due_key, key, integration_id), f"webhook {key}")

    async def _work(self, due_key: str, key: str, integration_id: str) -> None:
        try:
            await self._deliver(due_key, key, integration_id)
        except Unavailable as error:
            logger.warning("webhook %s has to wait: %s", key, error)
            await asyncio.sleep(_ROUND_SECONDS)
        except Exception as error:  # one that can't be posted, whatever the reason, is no reason to post no other
            logger.exception("webhook %s is given up", key)
            POSTED.labels("failed").inc()
            await self._give_up(due_key, key, error)
        finally:
            del self._busy[due_key]
            self._of_integration[integration_id] -= 1
            self._wake.set()

    async def _deliver(self, due_key: str, key: str, integration_id: str) -> None:
        delivery = await self._deliveries.find(key)
        if delivery is None or delivery["finished"] or delivery["due"] != int(due_key[:14]):
            await self._deliveries.forget(due_key)
            return
        integration = await self._node.database.get("integrations", integration_id)
        if integration is None or not integration["enabled"]:
            await self._deliveries.finish(
                due_key, key, {**delivery, "error": "The integration is no more, or disabled"}
            )
            return
        failpoints.reach("webhook.before_post")
        tried = {**delivery, "attempts": delivery["attempts"] + 1, "tried_at": now()}
        try:
            fetched = await self._post(integration, delivery, key)
        except (AddressRefused, InvalidInput) as error:
            POSTED.labels("refused").inc()
            await self._deliveries.finish(due_key, key, {**tried, "error": str(error)})
            return
        except FetchFailed as error:
            await self._fail(due_key, key, tried, integration, str(error))
            return
        failpoints.reach("webhook.after_post")
        shown = fetched.body[:_KEPT_RESULT].decode(errors="replace")
        tried |= {"result": shown}
        if fetched.is_success:
            POSTED.labels("taken").inc()
            tried.pop("error", None)
            if problem := await self._say(integration, delivery, key, fetched):
                tried["error"] = problem
            await self._deliveries.finish(due_key, key, tried)
        elif fetched.status == 410:  # it is gone, and says that it stays so
            POSTED.labels("refused").inc()
            await self._deliveries.finish(due_key, key, {**tried, "error": "The answer was 410"})
        else:
            await self._fail(due_key, key, tried, integration, f"The answer was {fetched.status}")

    async def _give_up(self, due_key: str, key: str, error: Exception) -> None:
        try:
            delivery = await self._deliveries.find(key) or {}
            await self._deliveries.finish(
                due_key, key, {**delivery, "error": f"It failed here: {type(error).__name__}"}
            )
        except Unavailable:
            await asyncio.sleep(_ROUND_SECONDS)

    async def _fail(self, due_key: str, key: str, tried: Document, integration: Document, problem: str) -> None:
        """The next try, or none."""
        POSTED.labels("failed").inc()
        pause = triggers.retry_delay(integration, tried["attempts"])
        if pause is None:
            await self._deliveries.finish(due_key, key, {**tried, "error": problem})
        else:
            await self._deliveries.postpone(due_key, key, {**tried, "error": problem}, now() + pause)

    async def _post(self, integration: Document, delivery: Document, key: str) -> Fetched:
        data = {"token": integration.get("token", ""), **delivery["data"]}
        return await self._node.http.fetch(
            "webhook",
            delivery["url"],
            method="POST",
            headers={"Content-Type": "application/json", "X-Palaver-Delivery": _name(key)},
            body=orjson.dumps(data),
            verify=not self._node.access.setting("Allow_Invalid_SelfSigned_Certs"),
            limits=_LIMITS,
        )

    async def _say(self, integration: Document, delivery: Document, key: str, fetched: Fetched) -> str:
        """Says in the room what the other end answered, if it did. Returns what went wrong, or ""."""
        try:
            said = msgspec.json.decode(fetched.body, type=Said) if fetched.body.strip().startswith(b"{") else Said()
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return ""  # an answer that is not meant for us
        if not said.text.strip() and not said.attachments:
            return ""
        user = await self._find_user(integration, delivery)
        target = integration["targetRoom"] or delivery["room_id"]
        if user is None or not target:
            return "There is nobody who could say the answer, or no room for it"
        shown = {
            "alias": said.username or said.alias,
            "emoji": said.icon_emoji or said.emoji,
            "avatar": said.icon_url or said.avatar,
            "attachments": said.attachments or None,
        }
        extra = {name: value for name, value in shown.items() if value}
        try:
            room_id = await self._posting.find_room_id(user, target)
            await self._posting.post(integration, user, room_id, said.text.strip(), extra, message_id=_name(key))
        except Unavailable:
            raise
        except PalaverError as error:
            return f"The answer could not be said: {error}"
        return ""

    async def _find_user(self, integration: Document, delivery: Document) -> User | None:
        wanted = delivery["user_id"] if integration["impersonateUser"] else integration["userId"]
        user = await self._node.access.find_user(wanted) if wanted else None
        return user if user is not None and user.active else None


def _name(key: str) -> str:
    """An id that follows from a delivery's."""
    return hashlib.sha256(key.encode()).hexdigest()[:17]
