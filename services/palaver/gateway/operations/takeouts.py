"""The caller's own data to take away. Shared by `rest/takeouts.py` and `ddp/methods/takeouts.py`."""

from typing import Any

from palaver.gateway.call import Call
from palaver.gateway.ejson import loads
from palaver.v1.messaging_pb2 import RequestTakeoutRequest


async def request_takeout(call: Call, *, full: bool) -> dict[str, Any]:
    """What has become of it: asked for now, under way, or there, with its address. Raises NotAllowed."""
    reply = await call.services.messaging.request_takeout(RequestTakeoutRequest(actor=call.actor, full=full))
    takeout = loads(reply.takeout)
    site = str(call.setting("Site_Url") or call.config.site_url).rstrip("/")
    return {
        "requested": reply.requested,
        "exportOperation": takeout,
        "url": f"{site}/data-export/{takeout['_id']}" if takeout["status"] == "completed" else None,
        "pendingOperationsBeforeMyRequest": reply.waiting,
    }
