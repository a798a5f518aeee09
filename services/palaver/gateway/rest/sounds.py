"""The workspace's own sounds. They are made and changed by methods (`ddp/methods/sounds.py`)."""

from palaver.gateway.call import Call
from palaver.gateway.operations import media
from palaver.gateway.rest.endpoint import Answer, Page, endpoint
from palaver.gateway.rest.query import page, parse_query, parse_sort
from palaver.v1.auth_pb2 import SOUND

_FIELDS = media.FIELDS[SOUND]


class ListQuery(Page, rename="camel"):
    """`name`: a part of it."""

    name: str = ""


@endpoint("GET", "custom-sounds.list", query=ListQuery, lists="sounds")
async def list_sounds(call: Call, query: ListQuery) -> Answer:
    offset, count = page(call, query)
    chosen = parse_query(query.query, _FIELDS)
    named = {"name": {"$contains": query.name}} if query.name else {}
    found, total = await media.list_media(
        call,
        SOUND,
        where={"$and": [chosen, named]} if chosen and named else chosen or named,
        sort=parse_sort(query.sort, _FIELDS),
        offset=offset,
        count=count,
    )
    return {"sounds": found, "count": len(found), "offset": offset, "total": total}
