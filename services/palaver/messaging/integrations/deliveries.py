"""What outgoing webhooks have to post, and what became of it: durable, and never more than a little of each.

A delivery is a record of the database: what is posted where, and how that went. Its id is the integration's and one
that follows from the event, newest first, so that an event that is handled twice is one delivery. While something is to
be done for it, a second record names the moment: `due`. Written by `outgoing.py`, worked off by `sending.py`.
"""

import hashlib
from collections import Counter as Counts
from collections.abc import AsyncIterator

import orjson
from prometheus_client import Counter

from palaver.commit import now
from palaver.database import Database, Document
from palaver.errors import NotFound
from palaver.live import Live
from palaver.messaging.integrations.catalogue import Catalogue
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, Empty
from palaver.v1.event_pb2 import Event
from palaver.v1.integration_pb2 import DeliveryRequest, IntegrationRequest, ListDeliveriesRequest

DROPPED = Counter("palaver_webhooks_dropped_total", "Posts given up because too many waited for one integration")

KEPT = 500
"""Deliveries that are remembered of each integration, those that wait included; for a moment there are some more."""
DUE_SUBJECT = "webhooks"
"""Live subject: something is due."""

_DELIVERIES = "webhook_deliveries"
_DUE = "webhook_due"
_LATEST = 10**14  # epoch milliseconds of the year 5138
_PAGE = 100
_PRUNED_EVERY = 50
_LATE = 60_000  # milliseconds


class DeliveryNotFound(NotFound):
    code = "error-invalid-integration-history"
    reason = "Invalid Integration History"


def delivery_id(event: Event, url: str) -> str:
    """The part of a delivery's id that follows from the event: newer ones sort before older ones."""
    name = f"{event.stream_kind}/{event.stream_id}/{event.seq}/{url}"
    return f"{_LATEST - event.at:014d}-{hashlib.sha256(name.encode()).hexdigest()[:24]}"


class Deliveries:
    """The records of all integrations."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._added: Counts[str] = Counts()  # by this process, of each integration

    async def add(self, integration_id: str, id: str, delivery: Document) -> bool:
        """A new delivery, due at once; False where it is known and done, or older than what is remembered."""
        key = f"{integration_id}/{id}"
        known = await self._database.find_record(_DELIVERIES, key)
        if known is None:
            # What is handled long after it happened may be known no longer.
            if delivery["created_at"] < now() - _LATE and await self._is_forgotten(integration_id, id):
                return False
            known = {**delivery, "due": delivery["created_at"], "attempts": 0, "finished": False}
            await self._database.put_record(_DELIVERIES, key, known)
            self._added[integration_id] += 1
            if self._added[integration_id] % _PRUNED_EVERY == 0:
                await self._prune(integration_id)
        elif known["finished"] or known["attempts"]:
            return False
        await self._database.put_record(_DUE, _due_key(known["due"], key), {})
        return True

    async def _is_forgotten(self, integration_id: str, id: str) -> bool:
        found = await self.list_all(integration_id)
        return len(found) >= KEPT and id > found[-1][0]

    async def _prune(self, integration_id: str) -> None:
        """Forgets what is too much: the oldest, whether it could be posted or not."""
        for id, old in (await self.list_all(integration_id))[KEPT:]:
            await self._forget(f"{integration_id}/{id}", old)
            if not old["finished"]:
                DROPPED.inc()

    async def _forget(self, key: str, delivery: Document) -> None:
        """The delivery, and that it is due: what waits for a slow server would else become ever more."""
        await self._database.delete_record(_DELIVERIES, key)
        if not delivery["finished"]:
            await self._database.delete_record(_DUE, _due_key(delivery["due"], key))

    async def list_due(self, before: int) -> AsyncIterator[tuple[str, str]]:
        """What is due before a moment (epoch milliseconds), the oldest first: its key, and the delivery's."""
        after = ""
        while page := await self._database.list_records(_DUE, after=after, limit=_PAGE):
            for due_key, _ in page:
                if int(due_key[:14]) > before:
                    return
                yield due_key, due_key[15:]
            after = page[-1][0]

    async def find(self, key: str) -> Document | None:
        return await self._database.find_record(_DELIVERIES, key)

    async def finish(self, due_key: str, key: str, delivery: Document) -> None:
        """Nothing is left to do."""
        # Nothing stays that somebody has cleared meanwhile.
        await self._database.replace_record(_DELIVERIES, key, {**delivery, "finished": True})
        await self._database.delete_record(_DUE, due_key)

    async def postpone(self, due_key: str, key: str, delivery: Document, due: int) -> None:
        """It is tried again later."""
        if await self._database.replace_record(_DELIVERIES, key, {**delivery, "due": due}):
            await self._database.put_record(_DUE, _due_key(due, key), {})
        await self._database.delete_record(_DUE, due_key)

    async def forget(self, due_key: str) -> None:
        """There is no such delivery any more, or it is due at another moment."""
        await self._database.delete_record(_DUE, due_key)

    async def replay(self, integration_id: str, id: str, at: int) -> None:
        """Has a delivery made once more. Raises DeliveryNotFound."""
        key = f"{integration_id}/{id}"
        known = await self.find(key)
        if known is None:
            raise DeliveryNotFound
        again = {**known, "due": at, "attempts": 0, "finished": False}
        if not await self._database.replace_record(_DELIVERIES, key, again):
            raise DeliveryNotFound
        await self._database.put_record(_DUE, _due_key(at, key), {})

    async def clear(self, integration_id: str) -> None:
        """Forgets all of an integration's, and what is due of them."""
        for id, delivery in await self.list_all(integration_id):
            await self._forget(f"{integration_id}/{id}", delivery)

    async def list_all(self, integration_id: str) -> list[tuple[str, Document]]:
        """Everything that is remembered of an integration, newest first."""
        found: list[tuple[str, Document]] = []
        prefix = f"{integration_id}/"
        after = ""
        while page := await self._database.list_records(_DELIVERIES, prefix, after=after, limit=_PAGE):
            found += [(key.removeprefix(prefix), delivery) for key, delivery in page]
            after = page[-1][0]
        return found


class WebhookHistory:
    """The use cases of looking at deliveries."""

    def __init__(self, node: Node, catalogue: Catalogue, deliveries: Deliveries) -> None:
        self._node = node
        self._catalogue = catalogue
        self._deliveries = deliveries

    async def list_deliveries(self, request: ListDeliveriesRequest) -> DocumentsReply:
        """A page of an integration's, newest first. Raises IntegrationNotFound, NotAllowed."""
        await self._check(IntegrationRequest(actor=request.actor, integration_id=request.integration_id))
        found = await self._deliveries.list_all(request.integration_id)
        page = found[request.offset : request.offset + request.count if request.count else None]
        documents = [orjson.dumps(present(request.integration_id, id, delivery)) for id, delivery in page]
        return DocumentsReply(documents=documents, total=len(found))

    async def clear(self, request: IntegrationRequest) -> Empty:
        """Forgets what was posted, and what is still to be posted. Raises IntegrationNotFound, NotAllowed."""
        await self._check(request)
        await self._deliveries.clear(request.integration_id)
        return Empty()

    async def replay(self, request: DeliveryRequest) -> Empty:
        """Raises IntegrationNotFound, DeliveryNotFound, NotAllowed."""
        await self._check(IntegrationRequest(actor=request.actor, integration_id=request.integration_id))
        await self._deliveries.replay(request.integration_id, request.delivery_id, now())
        await tell_due(self._node.live)
        return Empty()

    async def _check(self, request: IntegrationRequest) -> None:
        await self._catalogue.get_document(
            IntegrationRequest(actor=request.actor, integration_id=request.integration_id, type="webhook-outgoing")
        )


async def tell_due(live: Live) -> None:
    """Wakes who posts."""
    await live.publish(DUE_SUBJECT, b"")


def present(integration_id: str, id: str, delivery: Document) -> Document:
    """A delivery as clients know an integration's history."""
    shown: Document = {
        "_id": id,
        "type": "outgoing-webhook",
        "step": "after-http-call" if delivery["attempts"] else "mapping-args-to-data",
        "integration": {"_id": integration_id},
        "event": delivery["event"],
        "url": delivery["url"],
        "data": delivery["data"],
        "attempts": delivery["attempts"],
        "finished": delivery["finished"],
        "error": bool(delivery.get("error")),
        "ranPrepareScript": False,
        "_createdAt": {"$date": delivery["created_at"]},
        "_updatedAt": {"$date": delivery.get("tried_at", delivery["created_at"])},
    }
    for name, shown_as in (("error", "httpError"), ("result", "httpResult"), ("trigger_word", "triggerWord")):
        if delivery.get(name):
            shown[shown_as] = delivery[name]
    return shown


def _due_key(due: int, key: str) -> str:
    return f"{due:014d}/{key}"
