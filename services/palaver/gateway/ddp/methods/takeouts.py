"""The caller's own data to take away. Its REST twin is in `rest/takeouts.py`."""

from typing import Any

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import takeouts


class Wanted(msgspec.Struct, rename="camel"):
    """What `requestDataDownload` takes."""

    full_export: bool = False


@method("requestDataDownload", Wanted | None)
async def request_data_download(call: Call, wanted: Wanted | None) -> dict[str, Any]:
    return await takeouts.request_takeout(call, full=wanted is not None and wanted.full_export)
