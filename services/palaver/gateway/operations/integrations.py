"""Integrations: shared by `rest/integrations.py`, the faces of rooms and `ddp/methods/integrations.py`."""

from collections.abc import Sequence
from typing import Any

import orjson

from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, encode, fragments
from palaver.v1.integration_pb2 import (
    DeliveryRequest,
    IntegrationRequest,
    ListDeliveriesRequest,
    ListIntegrationsRequest,
    SaveIntegrationRequest,
)

Document = dict[str, Any]

INCOMING, OUTGOING = "webhook-incoming", "webhook-outgoing"
QUERY_FIELDS = ("name", "type", "enabled", "event", "username", "userId", "channel")
SORT_FIELDS = ("name", "type", "enabled", "event", "username", "userId", "_createdAt")


async def save(call: Call, integration_type: str, fields: Document, integration_id: str = "") -> Fragment:
    """Makes an integration, or changes the one with this id; returns it as it is now."""
    given = {name: value for name, value in fields.items() if value is not None}
    request = SaveIntegrationRequest(
        actor=call.actor, integration_id=integration_id, type=integration_type, set=encode(given)
    )
    return Fragment((await call.services.messaging.save_integration(request)).integration)


async def get(call: Call, integration_id: str, *, created_by: str = "") -> Fragment:
    """One of them, perhaps only if this user has made it."""
    request = IntegrationRequest(actor=call.actor, integration_id=integration_id, created_by=created_by)
    return Fragment((await call.services.messaging.get_integration(request)).integration)


async def get_id(call: Call, target_url: str) -> str:
    """The id of the outgoing one that posts to an address."""
    request = IntegrationRequest(actor=call.actor, type=OUTGOING, target_url=target_url)
    return str(orjson.loads((await call.services.messaging.get_integration(request)).integration)["_id"])


async def remove(call: Call, integration_type: str, integration_id: str = "", target_url: str = "") -> Fragment:
    """Ends an integration, by its id or (an outgoing one) an address that it posts to; returns it as it was."""
    request = IntegrationRequest(
        actor=call.actor, type=integration_type, integration_id=integration_id, target_url=target_url
    )
    return Fragment((await call.services.messaging.remove_integration(request)).integration)


async def list_integrations(
    call: Call,
    *,
    where: Document | None = None,
    sort: Sequence[tuple[str, int]] = (),
    offset: int = 0,
    count: int = 0,
    channels: Sequence[str] = (),
) -> tuple[list[Fragment], int]:
    """A page of those that the caller may manage (of some channels), and how many there are in all."""
    reply = await call.services.messaging.list_integrations(
        ListIntegrationsRequest(
            actor=call.actor,
            filter=orjson.dumps(where) if where else b"",
            sort=orjson.dumps(sort) if sort else b"",
            offset=offset,
            count=count,
            channels=channels,
        )
    )
    return fragments(reply.documents), reply.total


async def list_deliveries(
    call: Call, integration_id: str, *, offset: int = 0, count: int = 0
) -> tuple[list[Fragment], int]:
    """What became of an outgoing integration's posts, newest first, and how many are remembered."""
    reply = await call.services.messaging.list_deliveries(
        ListDeliveriesRequest(actor=call.actor, integration_id=integration_id, offset=offset, count=count)
    )
    return fragments(reply.documents), reply.total


async def clear_deliveries(call: Call, integration_id: str) -> None:
    request = IntegrationRequest(actor=call.actor, integration_id=integration_id)
    await call.services.messaging.clear_deliveries(request)


async def replay_delivery(call: Call, integration_id: str, delivery_id: str) -> None:
    """Has something posted once more."""
    await call.services.messaging.replay_delivery(
        DeliveryRequest(actor=call.actor, integration_id=integration_id, delivery_id=delivery_id)
    )
