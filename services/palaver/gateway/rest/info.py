"""What this server is: the first thing that every client asks, and which processes serve it."""

from palaver.gateway.call import Call
from palaver.gateway.operations.info import describe_server
from palaver.gateway.rest.endpoint import Answer, endpoint
from palaver.gateway.rest.errors import Forbidden
from palaver.v1.presence_pb2 import ListGatewaysRequest

MINIMUM_CLIENT_VERSIONS = {"desktop": "3.9.6", "mobile": "4.39.0"}


@endpoint("GET", "info", login="optional")
async def info(call: Call) -> Answer:
    return {**describe_server(call), "minimumClientVersions": MINIMUM_CLIENT_VERSIONS}


@endpoint("GET", "instances.get")
async def list_instances(call: Call) -> Answer:
    """The gateway processes that live, with their connections."""
    if not call.may("view-statistics"):
        raise Forbidden
    reply = await call.services.presence.list_gateways(ListGatewaysRequest(actor=call.actor))
    return {
        "instances": [
            {
                "_id": node.node_id,
                "address": node.node_id,
                "currentStatus": {"connected": True},
                "connections": node.connections,
            }
            for node in reply.nodes
        ]
    }
