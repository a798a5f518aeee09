"""Deleting what was said in a room up to some time: `rooms.cleanHistory`."""

from typing import Annotated

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ejson import parse_iso
from palaver.gateway.operations import rooms
from palaver.gateway.rest.endpoint import Answer, Params, endpoint
from palaver.v1.messaging_pb2 import PruneMessagesRequest

Limit = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class PruneBody(Params, rename="camel", kw_only=True):
    room_id: str
    latest: str
    oldest: str
    inclusive: bool = False
    limit: Limit = 0
    users: list[str] | None = None
    exclude_pinned: bool = False
    files_only: bool = False
    ignore_threads: bool = False
    ignore_discussion: bool = False


@endpoint("POST", "rooms.cleanHistory", body=PruneBody)
async def prune(call: Call, body: PruneBody) -> Answer:
    count = await rooms.prune(
        call,
        PruneMessagesRequest(
            room_id=body.room_id,
            oldest=parse_iso(body.oldest),
            latest=parse_iso(body.latest),
            inclusive=body.inclusive,
            limit=body.limit,
            usernames=body.users or (),
            exclude_pinned=body.exclude_pinned,
            files_only=body.files_only,
            ignore_threads=body.ignore_threads,
            ignore_discussions=body.ignore_discussion,
        ),
    )
    return {"_id": body.room_id, "count": count}
