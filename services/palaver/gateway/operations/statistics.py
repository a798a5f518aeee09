"""Figures of the workspace. Shared by `rest/statistics.py` and `ddp/methods/statistics.py`."""

from typing import Any

import orjson

from palaver.gateway.call import Call
from palaver.v1.messaging_pb2 import GetStatisticsRequest, ListStatisticsRequest

Document = dict[str, Any]


async def get_statistics(call: Call, *, refresh: bool) -> Document:
    """The last figures, or those of this minute. Raises NotAllowed."""
    request = GetStatisticsRequest(actor=call.actor, refresh=refresh)
    found: Document = orjson.loads((await call.services.messaging.get_statistics(request)).statistics)
    return found


async def list_statistics(call: Call, offset: int, count: int) -> tuple[list[Document], int]:
    """What was counted within a month, the last first, and how often that was. Raises NotAllowed."""
    request = ListStatisticsRequest(actor=call.actor, offset=offset, count=count)
    reply = await call.services.messaging.list_statistics(request)
    return [orjson.loads(document) for document in reply.documents], reply.total
