"""Figures of the workspace, for its administrators. Nothing of them is sent anywhere."""

from typing import Any

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.operations import statistics
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, endpoint
from palaver.gateway.rest.query import page


class RefreshQuery(LooseParams):
    refresh: bool = False


class TelemetryBody(LooseParams):
    params: list[dict[str, Any]] = msgspec.field(default_factory=list)


@endpoint("GET", "statistics", query=RefreshQuery)
async def get_statistics(call: Call, query: RefreshQuery) -> Answer:
    return await statistics.get_statistics(call, refresh=query.refresh)


@endpoint("GET", "statistics.list", query=Page, lists="statistics")
async def list_statistics(call: Call, query: Page) -> Answer:
    offset, count = page(call, query)
    found, total = await statistics.list_statistics(call, offset, count)
    return {"statistics": found, "count": len(found), "offset": offset, "total": total}


@endpoint("POST", "statistics.telemetry", body=TelemetryBody)
async def telemetry(call: Call, body: TelemetryBody) -> Answer:
    """What clients tell of their use is neither kept nor sent on."""
    return {}
