"""What the three faces of rooms have for reading: rooms themselves, lists of them, their messages and counters."""

from typing import Any, Literal

import msgspec
import orjson

from palaver.errors import InvalidInput, NotAllowed
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, fragments, parse_iso
from palaver.gateway.operations import reading, rooms, subscriptions
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page
from palaver.gateway.rest.errors import Failure, Forbidden
from palaver.gateway.rest.query import page, parse_fields, parse_query, parse_sort, select
from palaver.gateway.rest.room_faces import Face, OneRoom, PageOfRoom, WhichRoom
from palaver.v1.messaging_pb2 import ListRoomsReply, ListRoomsRequest

Bool = Literal["true", "false"]
"""A yes or no as clients write it into an address."""


class HistoryQuery(PageOfRoom, rename="camel"):
    latest: str = ""
    oldest: str = ""
    inclusive: Bool = "false"
    unreads: Bool = "false"
    show_thread_messages: Bool | None = None


class StrictHistoryQuery(HistoryQuery, forbid_unknown_fields=True):
    pass


class DirectHistoryQuery(Page, rename="camel", forbid_unknown_fields=True, kw_only=True):
    room_id: str
    latest: str = ""
    oldest: str = ""
    inclusive: Bool = "false"
    unreads: Bool = "false"
    show_thread_messages: Bool | None = None


class CountersQuery(WhichRoom, rename="camel"):
    user_id: str | None = None


class OnlineQuery(LooseParams):
    id: str | None = msgspec.field(name="_id", default=None)
    query: str = ""


# -- rooms -------------------------------------------------------------------------------------------------------------


async def info(face: Face, call: Call, query: WhichRoom) -> Answer:
    found = await face.find(call, query, archived_too=True)
    return {face.key: Fragment(found.data)}


async def list_visible(face: Face, call: Call, query: Page) -> Answer:
    """Public channels, for those who may see them; one's own for the others."""
    if not call.may("view-c-room") and not call.may("view-joined-room"):
        raise Forbidden
    return await _list_rooms(face, call, query, ListRoomsRequest.PUBLIC)


async def list_joined(face: Face, call: Call, query: Page) -> Answer:
    """The rooms of this type that the caller is in."""
    return await _list_rooms(face, call, query, ListRoomsRequest.JOINED)


async def list_every(face: Face, call: Call, query: Page) -> Answer:
    """All rooms of this type, for administrators."""
    if not call.may("view-room-administration"):
        raise Forbidden
    return await _list_rooms(face, call, query, ListRoomsRequest.EVERYTHING)


async def _list_rooms(face: Face, call: Call, query: Page, scope: ListRoomsRequest.Scope.ValueType) -> Answer:
    offset, count = page(call, query)
    reply = await rooms.list_rooms(
        call,
        scope,
        (face.room_type,),
        where=parse_query(query.query, rooms.QUERY_FIELDS),
        sort=parse_sort(query.sort, rooms.SORT_FIELDS) or rooms.BY_NAME,
        offset=offset,
        count=count,
    )
    return {
        face.list_key: shown_rooms(reply, query.fields),
        "count": len(reply.rooms),
        "offset": offset,
        "total": reply.total,
    }


def shown_rooms(reply: ListRoomsReply, fields: str) -> list[Any]:
    """The rooms of a page; decoded only to show some of their fields."""
    if not fields:
        return fragments(reply.rooms)
    chosen = parse_fields(fields)
    return [select(orjson.loads(room), chosen) for room in reply.rooms]


# -- messages ----------------------------------------------------------------------------------------------------------


async def history(face: Face, call: Call, query: HistoryQuery | DirectHistoryQuery) -> Answer:
    """Newest first, before `latest` and after `oldest`."""
    oldest = _date(query.oldest)
    latest = _date(query.latest)
    # Private groups show replies unless told otherwise, the other faces the other way round.
    with_threads = query.show_thread_messages == "true" or (
        query.show_thread_messages is None and face.room_type == "p"
    )
    found = await face.find(call, query, archived_too=True)
    offset, count = page(call, query)
    loaded = await reading.load_history(
        call,
        found.id,
        after=oldest,
        before=latest,
        inclusive=query.inclusive == "true",
        with_threads=with_threads,
        offset=offset,
        count=count,
        last_seen=oldest if query.unreads == "true" else None,
    )
    return {**loaded, "count": len(loaded["messages"]), "offset": offset}


async def list_messages(face: Face, call: Call, query: PageOfRoom) -> Answer:
    """A page of the room's messages, replies included, in any order."""
    found = await face.find(call, query, archived_too=True)
    return await page_of_messages(call, found.id, query)


async def read_anonymously(face: Face, call: Call, query: PageOfRoom) -> Answer:
    """The same for those who are not logged in, where the workspace allows it."""
    if not call.setting("Accounts_AllowAnonymousRead"):
        raise NotAllowed('Enable "Allow Anonymous Read"', details={"method": "channels.anonymousread"})
    found = await face.find(call, query)
    return await page_of_messages(call, found.id, query)


async def page_of_messages(call: Call, room_id: str, query: Page, *, of_others: bool = False) -> Answer:
    """A page of a room's messages, in the order and with the fields that are asked for."""
    offset, count = page(call, query)
    reply = await reading.list_messages(
        call,
        room_id,
        where=parse_query(query.query, reading.QUERY_FIELDS),
        sort=parse_sort(query.sort, reading.SORT_FIELDS),
        offset=offset,
        count=count,
        with_total=True,
        of_others=of_others,
    )
    return {
        "messages": shown_messages(reply.messages, query.fields),
        "count": len(reply.messages),
        "offset": offset,
        "total": reply.total,
    }


def shown_messages(documents: Any, fields: str) -> list[Any]:
    """The messages of a page; decoded only to show some of their fields."""
    if not fields:
        return fragments(documents)
    chosen = parse_fields(fields)
    return [select(orjson.loads(document), chosen) for document in documents]


def _date(text: str) -> int:
    """A bound of history as epoch milliseconds; 0 for none."""
    return parse_iso(text) if text else 0


# -- who and how many --------------------------------------------------------------------------------------------------


async def counters(face: Face, call: Call, query: CountersQuery) -> Answer:
    """How much of the room the caller has not read; with `userId` somebody else."""
    if query.user_id and query.user_id != call.me.id and not call.may("view-room-administration"):
        raise Forbidden
    found = await face.find(call, query)
    reply = await subscriptions.get_counters(call, found.id, query.user_id or "")
    answer: dict[str, Any] = {"joined": reply.joined, "members": reply.members, "msgs": reply.messages}
    latest = reply.latest or found.room["_updatedAt"]["$date"]
    answer["latest"] = {"$date": latest}
    unread = (reply.unreads, {"$date": reply.unreads_from}, reply.user_mentions) if reply.joined else (None,) * 3
    answer["unreads"], answer["unreadsFrom"], answer["userMentions"] = unread
    return answer


async def list_online(face: Face, call: Call, query: OnlineQuery) -> Answer:
    """The members who are not offline, of the room that `_id` or `query` names."""
    where = parse_query(query.query, ("_id", "name"))
    id, name = query.id or where.get("_id"), where.get("name")
    if not isinstance(id, str) and not isinstance(name, str):
        raise Failure("Invalid query")
    which = OneRoom(room_id=id) if isinstance(id, str) else OneRoom(room_name=name)
    try:
        found = await face.find(call, which, archived_too=True)
    except InvalidInput as error:
        raise Failure("Invalid query") from error
    members, _ = await rooms.list_members(call, found.id, status=("online", "away", "busy"))
    return {"online": [{name: member[name] for name in ("_id", "username")} for member in map(orjson.loads, members)]}
