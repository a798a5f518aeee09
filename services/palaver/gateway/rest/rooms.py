"""Rooms of any type: `rooms.*`."""

from typing import Any

import msgspec
import orjson

from palaver.errors import InvalidInput, RoomNotFound, UserNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, fragments
from palaver.gateway.operations import rooms, subscriptions, teams, users
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, Params, endpoint
from palaver.gateway.rest.errors import Failure, check_one_given
from palaver.gateway.rest.permissions import parse_since
from palaver.gateway.rest.query import page, parse_fields, parse_sort, select
from palaver.gateway.rest.room_faces import WhichRoom
from palaver.v1.messaging_pb2 import ListRoomsRequest

_ROOMS_OF_ADMINISTRATORS = {"c": "c", "p": "p", "d": "d", "l": "l", "v": "v", "channels": "c", "privateGroups": "p"}
_AUTOCOMPLETED = ("_id", "fname", "name", "t", "avatarETag", "encrypted", "prid")
_AUTOCOMPLETE_COUNT = 10
_MOST_ROOMS = 1000
_SHOWN_OF_PARENT = ("_id", "name", "fname", "t", "prid", "u")
_SHOWN_OF_TEAM = ("_id", "name", "roomId", "type")


class SinceQuery(LooseParams, rename="camel"):
    updated_since: str | None = None


class InfoQuery(WhichRoom):
    fields: str = ""


class FavoriteBody(WhichRoom):
    favorite: bool | None = None


class NameQuery(Params, rename="camel"):
    room_name: str


class MemberQuery(Params, rename="camel", kw_only=True):
    room_id: str
    user_id: str | None = None
    username: str | None = None


class RoomIdBody(LooseParams, rename="camel"):
    room_id: str = ""


class NotificationsBody(LooseParams, rename="camel"):
    room_id: str = ""
    notifications: dict[str, str] | None = None


class AdministratedQuery(Page):
    types: list[str] | str = ""
    filter: str = ""


class RoomIdQuery(LooseParams):
    rid: str


class SelectorQuery(Page):
    selector: str = ""


class TeamlessQuery(Page):
    name: str = ""


class Selector(msgspec.Struct):
    name: str = ""


@endpoint("GET", "rooms.get", query=SinceQuery)
async def list_own(call: Call, query: SinceQuery) -> Answer:
    """All rooms of the caller, or what changed."""
    since = parse_since(query.updated_since or None, code="error-updatedSince-param-invalid")
    reply = await rooms.list_rooms(call, ListRoomsRequest.JOINED, since=-1 if since is None else since)
    return {"update": fragments(reply.rooms), "remove": fragments(reply.removed)}


@endpoint("GET", "rooms.info", query=InfoQuery, shows="room")
async def info(call: Call, query: InfoQuery) -> Answer:
    """The room, its team, and the room that it belongs to: of a discussion the parent, of a team's room the main room;
    where the caller may see these."""
    data, room = await find_room(call, query)
    shown = select(room, parse_fields(query.fields)) if query.fields else Fragment(data)
    answer: dict[str, Any] = {"room": shown}
    if (team_id := room.get("teamId")) and (team := await teams.find_team(call, team_id)) is not None:
        answer["team"] = {name: team[name] for name in _SHOWN_OF_TEAM}
    parent_id = room.get("prid") or ("" if room.get("teamMain") else team_id)
    if parent_id:
        try:
            parent = orjson.loads((await rooms.get_room(call, room_id=parent_id)).room)
            answer["parent"] = {name: parent[name] for name in _SHOWN_OF_PARENT if name in parent}
        except RoomNotFound:
            pass  # it is not shown to those who may not see it
    return answer


@endpoint("POST", "rooms.leave", body=WhichRoom)
async def leave(call: Call, body: WhichRoom) -> Answer:
    _, room = await find_room(call, body)
    await rooms.leave(call, room["_id"])
    return {}


@endpoint("POST", "rooms.delete", body=RoomIdBody)
async def delete(call: Call, body: RoomIdBody) -> Answer:
    if not body.room_id:
        raise Failure("The 'roomId' param is required")
    await rooms.delete_room(call, body.room_id)
    return {}


@endpoint("POST", "rooms.favorite", body=FavoriteBody)
async def favorite(call: Call, body: FavoriteBody) -> Answer:
    if body.favorite is None:
        raise Failure("The 'favorite' param is required")
    _, room = await find_room(call, body)
    await subscriptions.prefer(call, room["_id"], f=body.favorite)
    return {}


@endpoint("GET", "rooms.nameExists", query=NameQuery)
async def name_exists(call: Call, query: NameQuery) -> Answer:
    return {"exists": await rooms.has_name(call, query.room_name)}


@endpoint("GET", "rooms.isMember", query=MemberQuery)
async def is_member(call: Call, query: MemberQuery) -> Answer:
    check_one_given(userId=query.user_id, username=query.username)
    try:
        user = await users.get_user(call, query.user_id, query.username)
    except UserNotFound as error:
        raise Failure("error-user-not-found") from error
    return {"isMember": await rooms.is_member(call, query.room_id, user.id)}


@endpoint("POST", "rooms.saveNotification", body=NotificationsBody)
async def save_notification(call: Call, body: NotificationsBody) -> Answer:
    if not body.room_id:
        raise Failure("The 'roomId' param is required")
    if not body.notifications:
        raise Failure("The 'notifications' param is required")
    await subscriptions.save_notifications(call, body.room_id, body.notifications)
    return {}


@endpoint("GET", "rooms.adminRooms", query=AdministratedQuery, lists="rooms")
async def list_administrated(call: Call, query: AdministratedQuery) -> Answer:
    """Every room, for administrators."""
    _check_administrator(call)
    asked = [query.types] if isinstance(query.types, str) else query.types
    types = {_ROOMS_OF_ADMINISTRATORS[one] for one in asked if one in _ROOMS_OF_ADMINISTRATORS}
    where = rooms.named(query.filter)
    if "teams" in asked and not types:  # with other types, teams are found among their main rooms
        where = {"$and": [where, {"teamMain": True}]} if where else {"teamMain": True}
    offset, count = page(call, query)
    reply = await rooms.list_rooms(
        call,
        ListRoomsRequest.EVERYTHING,
        sorted(types),
        where=where,
        sort=parse_sort(query.sort, rooms.SORT_FIELDS) or rooms.BY_NAME,
        offset=offset,
        count=count,
    )
    return {"rooms": fragments(reply.rooms), "count": len(reply.rooms), "offset": offset, "total": reply.total}


@endpoint("GET", "rooms.adminRooms.getRoom", query=RoomIdQuery)
async def get_administrated(call: Call, query: RoomIdQuery) -> Answer:
    _check_administrator(call)
    reply = await rooms.list_rooms(call, ListRoomsRequest.EVERYTHING, where={"_id": query.rid}, count=1)
    if not reply.rooms:
        raise Failure("not-found")
    found: Answer = orjson.loads(reply.rooms[0])
    return found


def _check_administrator(call: Call) -> None:
    if not call.may("view-room-administration"):
        raise Failure("error-not-authorized")


@endpoint("GET", "rooms.autocomplete.channelAndPrivate", query=SelectorQuery)
async def autocomplete(call: Call, query: SelectorQuery) -> Answer:
    """A few rooms of the caller with such a name."""
    return {"items": (await _autocomplete(call, query.selector, 0, _AUTOCOMPLETE_COUNT))[0]}


@endpoint("GET", "rooms.autocomplete.channelAndPrivate.withPagination", query=SelectorQuery)
async def autocomplete_page(call: Call, query: SelectorQuery) -> Answer:
    items, total = await _autocomplete(call, query.selector, *page(call, query))
    return {"items": items, "total": total}


@endpoint(
    "GET",
    "rooms.autocomplete.adminRooms",
    query=SelectorQuery,
    permissions=["view-room-administration"],
)
async def autocomplete_administrated(call: Call, query: SelectorQuery) -> Answer:
    """A few of all rooms with such a name, for administrators."""
    scope = ListRoomsRequest.EVERYTHING
    return {"items": (await _autocomplete(call, query.selector, 0, _AUTOCOMPLETE_COUNT, scope))[0]}


@endpoint("GET", "rooms.autocomplete.availableForTeams", query=TeamlessQuery)
async def autocomplete_teamless(call: Call, query: TeamlessQuery) -> Answer:
    """A few rooms with such a name that the caller owns and that belong to no team and no other room."""
    own = map(orjson.loads, (await subscriptions.list_subscriptions(call)).subscriptions)
    ids = [one["rid"] for one in own if "owner" in one.get("roles", ()) and not one.get("teamId")]
    reply = await rooms.list_rooms(
        call,
        ListRoomsRequest.JOINED,
        ("c", "p"),
        where={"_id": {"$in": ids[:_MOST_ROOMS]}, "prid": None, **rooms.named(query.name)},
        sort=rooms.BY_NAME,
        count=_AUTOCOMPLETE_COUNT,
    )
    return {"items": [_autocompleted(room) for room in reply.rooms]}


async def _autocomplete(
    call: Call,
    selector: str,
    offset: int,
    count: int,
    scope: ListRoomsRequest.Scope.ValueType = ListRoomsRequest.JOINED,
) -> tuple[list[dict[str, Any]], int]:
    if not selector:
        raise Failure("The 'selector' param is required")
    try:
        name = msgspec.json.decode(selector, type=Selector).name
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidInput("Invalid selector parameter", code="error-invalid-selector") from error
    reply = await rooms.list_rooms(
        call,
        scope,
        ("c", "p"),
        where=rooms.named(name),
        sort=rooms.BY_NAME,
        offset=offset,
        count=count,
    )
    return [_autocompleted(room) for room in reply.rooms], reply.total


def _autocompleted(data: bytes) -> dict[str, Any]:
    room = orjson.loads(data)
    return {name: room[name] for name in _AUTOCOMPLETED if name in room}


async def find_room(call: Call, which: WhichRoom) -> tuple[bytes, dict[str, Any]]:
    """The room that parameters name, encoded and decoded. Raises InvalidInput, RoomNotFound."""
    id, name = (which.room_id or "").strip(), (which.room_name or "").strip()
    if not id and not name:
        raise InvalidInput('The parameter "roomId" or "roomName" is required', code="error-roomid-param-not-provided")
    reply = await rooms.get_room(call, room_id=id, name="" if id else name)
    return reply.room, orjson.loads(reply.room)
