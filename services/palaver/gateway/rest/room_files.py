"""Lists of what was sent into a room: its files, under the three faces of rooms, and its pictures."""

from typing import Any

from palaver.errors import NotAllowed, RoomNotFound
from palaver.gateway.call import Call
from palaver.gateway.operations import files
from palaver.gateway.rest.endpoint import Answer, Page, Params, endpoint
from palaver.gateway.rest.errors import Forbidden
from palaver.gateway.rest.query import page, parse_query, parse_sort
from palaver.gateway.rest.room_faces import Face, PageOfOneDirectRoom, PageOfRoom
from palaver.gateway.rest.room_reading import shown_messages as shown_files

IMAGES = {"typeGroup": "image"}


class FilesQuery(PageOfRoom, rename="camel"):
    """`name`: a part of the file's name. Files that no message is of are in no list, `onlyConfirmed` or not."""

    name: str = ""
    type_group: str = ""
    only_confirmed: bool = True


class DirectFilesQuery(PageOfOneDirectRoom, rename="camel", forbid_unknown_fields=True):
    name: str = ""
    type_group: str = ""
    only_confirmed: bool = True


class ImagesQuery(Params, rename="camel", kw_only=True):
    room_id: str
    starting_from_id: str = ""
    offset: int = 0
    count: int | None = None


async def list_files(face: Face, call: Call, query: FilesQuery | DirectFilesQuery) -> Answer:
    """A page of the room's files, newest first unless asked otherwise."""
    found = await face.find(call, query, archived_too=True)
    named: dict[str, Any] = {"name": {"$contains": query.name}} if query.name else {}
    if query.type_group:
        named["typeGroup"] = query.type_group
    offset, count = page(call, query)
    reply = await files.list_files(
        call,
        found.id,
        where=[parse_query(query.query, files.QUERY_FIELDS), named],
        sort=parse_sort(query.sort, files.SORT_FIELDS),
        offset=offset,
        count=count,
    )
    return {
        "files": shown_files(reply.documents, query.fields),
        "count": len(reply.documents),
        "offset": offset,
        "total": reply.total,
    }


@endpoint("GET", "rooms.images", "channels.images", query=ImagesQuery, lists="files")
async def list_images(call: Call, query: ImagesQuery) -> Answer:
    """A page of the room's pictures, newest first: all, or one and those before it."""
    offset, count = page(call, Page(offset=query.offset, count=query.count))
    try:
        reply = await files.list_files(
            call,
            query.room_id,
            where=[IMAGES],
            offset=offset,
            count=count,
            starting_from_id=query.starting_from_id,
        )
    except (RoomNotFound, NotAllowed) as error:
        raise Forbidden from error
    return {
        "files": shown_files(reply.documents, ""),
        "count": len(reply.documents),
        "offset": offset,
        "total": reply.total,
    }
