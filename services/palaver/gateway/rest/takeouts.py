"""The caller's own data to take away."""

from palaver.gateway.call import Call
from palaver.gateway.operations import takeouts
from palaver.gateway.rest.endpoint import Answer, LooseParams, endpoint


class TakeoutQuery(LooseParams, rename="camel"):
    full_export: bool = False


@endpoint("GET", "users.requestDataDownload", query=TakeoutQuery)
async def request_data_download(call: Call, query: TakeoutQuery) -> Answer:
    """Has it gathered in the background; asked again, says how far that is, and where it is."""
    return await takeouts.request_takeout(call, full=query.full_export)
