"""Methods of integrations. Their REST twins are in `rest/integrations.py`."""

from typing import Any

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.ejson import Fragment
from palaver.gateway.operations import integrations
from palaver.gateway.operations.integrations import INCOMING, OUTGOING

Document = dict[str, Any]


class Delivery(msgspec.Struct, rename="camel"):
    integration_id: str
    history_id: str


# What clients send along of the document that they have, and that is not theirs to say.
_NOT_SAID = ("_id", "type", "userId", "_createdAt", "_createdBy", "_updatedAt", "scriptCompiled", "scriptError")


def _fields(integration: Document, *, incoming: bool) -> Document:
    fields = {name: value for name, value in integration.items() if name not in _NOT_SAID}
    if isinstance(fields.get("channel"), list):
        fields["channel"] = ",".join(map(str, fields["channel"]))
    if incoming:
        fields.pop("token", None)
    return fields


@method("addIncomingIntegration", Document)
async def add_incoming(call: Call, integration: Document) -> Fragment:
    return await integrations.save(call, INCOMING, _fields(integration, incoming=True))


@method("addOutgoingIntegration", Document)
async def add_outgoing(call: Call, integration: Document) -> Fragment:
    return await integrations.save(call, OUTGOING, _fields(integration, incoming=False))


@method("updateIncomingIntegration", str, Document)
async def update_incoming(call: Call, integration_id: str, integration: Document) -> Fragment:
    return await integrations.save(call, INCOMING, _fields(integration, incoming=True), integration_id)


@method("updateOutgoingIntegration", str, Document)
async def update_outgoing(call: Call, integration_id: str, integration: Document) -> Fragment:
    return await integrations.save(call, OUTGOING, _fields(integration, incoming=False), integration_id)


@method("deleteIncomingIntegration", str)
async def delete_incoming(call: Call, integration_id: str) -> bool:
    await integrations.remove(call, INCOMING, integration_id)
    return True


@method("deleteOutgoingIntegration", str)
async def delete_outgoing(call: Call, integration_id: str) -> bool:
    await integrations.remove(call, OUTGOING, integration_id)
    return True


@method("clearIntegrationHistory", str)
async def clear_history(call: Call, integration_id: str) -> bool:
    await integrations.clear_deliveries(call, integration_id)
    return True


@method("replayOutgoingIntegration", Delivery)
async def replay(call: Call, delivery: Delivery) -> bool:
    await integrations.replay_delivery(call, delivery.integration_id, delivery.history_id)
    return True
