"""Finding people and rooms: `spotlight` for a few while somebody types, `directory` for pages of them."""

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ejson import fragments
from palaver.gateway.operations import directory, rooms
from palaver.gateway.rest.endpoint import Answer, Page, Params, endpoint
from palaver.gateway.rest.errors import Failure
from palaver.gateway.rest.query import InvalidQuery, page, parse_sort


class SpotlightQuery(Params):
    query: str


class DirectoryQuery(Page, forbid_unknown_fields=True):
    text: str | None = None
    type: str | None = None
    workspace: str | None = None


class Wanted(msgspec.Struct):
    """The same three inside `query`, as older clients send them."""

    text: str = ""
    type: str = ""
    workspace: str = ""


@endpoint("GET", "spotlight", query=SpotlightQuery)
async def spotlight(call: Call, query: SpotlightQuery) -> Answer:
    found = await rooms.spotlight(call, query.query)
    return {"users": fragments(found.users), "rooms": fragments(found.rooms)}


@endpoint("GET", "directory", query=DirectoryQuery, lists="result")
async def list_directory(call: Call, query: DirectoryQuery) -> Answer:
    """A page of the public rooms, or with the type `users` of the users."""
    wanted = Wanted()
    if query.query:
        try:
            wanted = msgspec.json.decode(query.query, type=Wanted)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise InvalidQuery("Invalid query parameter provided") from error
    kind = query.type or wanted.type or "channels"
    text = query.text if query.text is not None else wanted.text
    sort = parse_sort(query.sort, directory.SORT_FIELDS)
    if len(sort) > 1:
        raise Failure('This method support only one "sort" parameter')
    offset, count = page(call, query)
    found, total = await directory.browse(call, kind, text, sort=sort, offset=offset, count=count)
    return {"result": found, "count": len(found), "offset": offset, "total": total}
