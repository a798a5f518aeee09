"""What this server is: the first thing that every client asks, and which processes serve it."""

import platform
import sys
from typing import Any

from palaver import __version__
from palaver.gateway.call import Call
from palaver.gateway.rest.endpoint import Answer, endpoint
from palaver.gateway.rest.errors import Forbidden
from palaver.v1.presence_pb2 import ListGatewaysRequest

MINIMUM_CLIENT_VERSIONS = {"desktop": "3.9.6", "mobile": "4.39.0"}


@endpoint("GET", "info", login="optional")
async def info(call: Call) -> Answer:
    """The version of the API: the whole of it for those who may know, else without the patch."""
    version = call.config.api_version
    knows = call.may("view-statistics")
    return {
        "version": version if knows else ".".join(version.split(".")[:2]),
        "minimumClientVersions": MINIMUM_CLIENT_VERSIONS,
        **({"info": _describe(version)} if knows else {}),
    }


def _describe(version: str) -> dict[str, Any]:
    """For administrators; `commit` and the marketplace are there because clients read them."""
    return {
        "version": version,
        "server": {"name": "Palaver", "version": __version__},
        "build": {"platform": sys.platform, "arch": platform.machine(), "osRelease": platform.release()},
        "commit": {},
        "marketplaceApiVersion": "",
    }


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
