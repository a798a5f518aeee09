"""Methods of the workspace's own kinds of status. Their REST twins are in `rest/statuses.py`."""

from typing import Any

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import method
from palaver.gateway.operations import statuses


class StatusData(msgspec.Struct, rename="camel"):
    """What `insertOrUpdateUserStatus` takes."""

    id: str = msgspec.field(name="_id", default="")
    name: str = ""
    status_type: str = ""


@method("listCustomUserStatus")
async def list_statuses(call: Call) -> list[dict[str, Any]]:
    return (await statuses.list_statuses(call))[0]


@method("insertOrUpdateUserStatus", StatusData)
async def save_status(call: Call, data: StatusData) -> Any:
    """Answers the new one's id, or true for one that is changed."""
    saved = await statuses.save_status(call, data.id, data.name, data.status_type)
    return True if data.id else saved["_id"]


@method("deleteCustomUserStatus", str)
async def delete_status(call: Call, status_id: str) -> bool:
    await statuses.delete_status(call, status_id)
    return True
