"""The workspace's own kinds of status. Shared by `rest/statuses.py` and `ddp/methods/statuses.py`."""

from collections.abc import Sequence
from typing import Any

import orjson

from palaver.access import STATUS_CHANGED
from palaver.gateway.call import Call
from palaver.v1.auth_pb2 import CustomStatusRequest, ListCustomStatusesRequest, SaveCustomStatusRequest

Document = dict[str, Any]

FIELDS = ("_id", "name")


async def save_status(call: Call, status_id: str, name: str, status_type: str) -> Document:
    """Makes one (without an id) or changes one. Raises NotAllowed, InvalidInput, NotFound, Conflict."""
    reply = await call.services.auth.save_custom_status(
        SaveCustomStatusRequest(actor=call.actor, status_id=status_id, name=name, status_type=status_type)
    )
    return await _tell(call, "updateCustomUserStatus", orjson.loads(reply.status))


async def delete_status(call: Call, status_id: str) -> None:
    """Raises NotAllowed, NotFound."""
    request = CustomStatusRequest(actor=call.actor, status_id=status_id)
    reply = await call.services.auth.delete_custom_status(request)
    await _tell(call, "deleteCustomUserStatus", orjson.loads(reply.status))


async def list_statuses(
    call: Call,
    *,
    where: Document | None = None,
    sort: Sequence[tuple[str, int]] = (),
    offset: int = 0,
    count: int = 0,
) -> tuple[list[Document], int]:
    """A page of them, and how many there are in all. A count of 0 is all of them."""
    reply = await call.services.auth.list_custom_statuses(
        ListCustomStatusesRequest(
            actor=call.actor,
            filter=orjson.dumps(where) if where else b"",
            sort=orjson.dumps(sort) if sort else b"",
            offset=offset,
            count=count,
        )
    )
    return [orjson.loads(document) for document in reply.documents], reply.total


async def _tell(call: Call, event: str, status: Document) -> Document:
    """Has every client show the change. Who misses it reads them anew at the next login."""
    await call.show(STATUS_CHANGED, orjson.dumps([event, {"userStatusData": status}]))
    return status
