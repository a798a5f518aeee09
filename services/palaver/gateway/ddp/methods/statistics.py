"""The method of the workspace's figures. Its REST twin is in `rest/statistics.py`."""

from typing import Any

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import statistics


@method("getStatistics", bool | None)
async def get_statistics(call: Call, refresh: bool | None) -> dict[str, Any]:
    return await statistics.get_statistics(call, refresh=bool(refresh))
