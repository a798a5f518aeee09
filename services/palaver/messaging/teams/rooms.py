"""The rooms of a team besides its main room: added, removed, listed; which of them are for everybody who comes."""

import orjson

from palaver.commit import Draft, now
from palaver.database import Document, Filter
from palaver.database.schema import COLLECTIONS, FieldType
from palaver.errors import InvalidInput, NotAllowed, TeamNotFound, UserNotFound
from palaver.events import room_stream
from palaver.filters import read_filter, read_sort
from palaver.messaging import rules
from palaver.messaging.paging import MAX_BYTES
from palaver.messaging.rooms import Rooms
from palaver.messaging.store import Store
from palaver.messaging.teams.following import TEAM_FIELDS, Following
from palaver.messaging.teams.members import find_last_owned
from palaver.messaging.teams.sight import Sight, is_of_team
from palaver.messaging.views import View, Views, find_member
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import RoomReply
from palaver.v1.team_pb2 import (
    AddTeamRoomsRequest,
    ListTeamRoomsRequest,
    RemoveTeamRoomRequest,
    SetTeamDefaultRequest,
)

_MAX_AT_ONCE = 100
_MAX_COUNT = 1000
_KINDS = ("c", "p")
_FILTERED: dict[str, FieldType] = {"_id": "text", **COLLECTIONS["rooms"].fields}


class TeamRooms:
    """The use cases of a team's rooms."""

    def __init__(
        self, node: Node, store: Store, views: Views, sight: Sight, rooms: Rooms, following: Following
    ) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._sight = sight
        self._rooms = rooms
        self._following = following

    async def add(self, request: AddTeamRoomsRequest) -> DocumentsReply:
        """Rooms become the team's: all, or none where one can't. Who adds a room must own it, or may add any.

        Raises TeamNotFound, NotAllowed, InvalidInput.
        """
        view = await self._sight.get_view(request.actor, request.room_id)
        self._check_may_add(view)
        room_ids = list(dict.fromkeys(request.added_room_ids))
        if not 0 < len(room_ids) <= _MAX_AT_ONCE:
            raise InvalidInput("", code="missing-rooms" if not room_ids else "error-invalid-params")

        async def check(draft: Draft) -> View:
            room = await draft.get_own()
            if room is None or room.get("deleted_at"):
                raise InvalidInput("", code="invalid-room")
            child = View(view.user, room, await find_member(draft, view.user.id))
            if room["t"] not in _KINDS or room.get("prid") or (child.subscription is None and room["t"] != "c"):
                raise InvalidInput("", code="invalid-room")
            if room.get("teamId"):
                raise InvalidInput("", code="room-already-on-team")
            if "owner" not in child.roles and not self._views.may(view.user, "add-team-channel"):
                raise NotAllowed("", code="error-no-owner-channel")
            return child

        async def decide(draft: Draft) -> Event:
            child = await check(draft)
            main = await self._store.find_room(request.room_id)
            if main is None or not main.get("teamMain"):
                raise TeamNotFound()
            event = Event()
            event.room_changed.set = orjson.dumps(rules.team_fields(main))
            return draft.append(event, actor=request.actor, at=rules.event_time(child.room, now()))

        for room_id in room_ids:
            await self._node.commits.execute(room_stream(room_id), check)
        documents = []
        for room_id in room_ids:
            event = await self._node.commits.execute(room_stream(room_id), decide)
            await self._following.settle_soon(event)
            documents.append((await self._rooms.reply(room_id, view.user)).room)
        return DocumentsReply(documents=documents, total=len(documents))

    def _check_may_add(self, view: View) -> None:
        if not self._views.may(view.user, "add-team-channel", view.roles):
            raise NotAllowed(code="unauthorized", details={"permission": "add-team-channel"})

    async def remove(self, request: RemoveTeamRoomRequest) -> RoomReply:
        """The room belongs to no team from now on. Raises TeamNotFound, NotAllowed, InvalidInput."""
        view = await self._sight.get_view(request.actor, request.room_id)
        self._views.check(view.user, "remove-team-channel", view.roles, code="unauthorized")

        async def decide(draft: Draft) -> Event:
            room = await self._get_child(draft, view)
            event = Event()
            event.room_changed.set = b"{}"
            event.room_changed.unset.extend(TEAM_FIELDS)
            event.room_changed.left_team_id = request.room_id
            return draft.append(event, actor=request.actor, at=rules.event_time(room, now()))

        event = await self._node.commits.execute(room_stream(request.removed_room_id), decide)
        await self._following.settle_soon(event)
        return await self._rooms.reply(request.removed_room_id, view.user)

    async def set_default(self, request: SetTeamDefaultRequest) -> RoomReply:
        """Whoever enters the team enters this room, too; now everybody who is in it. Raises RoomNotFound, …"""
        room = await self._store.find_room(request.room_id)
        if room is None or not is_of_team(room, room.get("teamId", "")):
            raise InvalidInput("", code="invalid-room")
        view = await self._sight.get_view(request.actor, room["teamId"])
        self._views.check(view.user, "edit-team-channel", view.roles, code="unauthorized")

        async def decide(draft: Draft) -> Event | None:
            current = await self._get_child(draft, view)
            if bool(current.get("teamDefault")) == request.is_default:
                return None
            event = Event()
            event.room_changed.set = orjson.dumps({"teamDefault": request.is_default})
            return draft.append(event, actor=request.actor, at=rules.event_time(current, now()))

        event = await self._node.commits.execute(room_stream(request.room_id), decide)
        if event is not None:
            await self._following.settle_soon(event)
        return await self._rooms.reply(request.room_id, view.user)

    async def _get_child(self, draft: Draft, view: View) -> Document:
        """The draft's room, if it is one of the team that its viewer sees. Raises InvalidInput."""
        room = await draft.get_own()
        if room is None or not is_of_team(room, view.room_id):
            raise InvalidInput("", code="room-not-on-that-team")
        hidden = room["t"] != "c" and await find_member(draft, view.user.id) is None
        if hidden and not self._views.may(view.user, "view-all-team-channels", view.roles):
            raise InvalidInput("", code="room-not-on-that-team")
        return room

    # -- listed --------------------------------------------------------------------------------------------------------

    async def list_rooms(self, request: ListTeamRoomsRequest) -> DocumentsReply:
        """A page of the team's rooms that the actor sees: as many as fit. With a user, whether they are a room's last
        owner. Raises TeamNotFound, UserNotFound, InvalidInput."""
        view = await self._sight.get_view(request.actor, request.room_id)
        where = await self._where(request, view)
        sort = read_sort(request.sort, _FILTERED) or [("name", 1)]
        count = min(request.count or _MAX_COUNT, _MAX_COUNT)
        database = self._node.database
        rooms = await database.find("rooms", where, sort=sort, skip=request.offset, limit=count)
        total = len(rooms)
        if request.offset or total == count:
            total = await database.count("rooms", where)
        return DocumentsReply(documents=await self._present(request, view, rooms), total=total)

    async def _where(self, request: ListTeamRoomsRequest, view: View) -> Filter:
        of_team = {"teamId": request.room_id}
        discussions = {"prid": request.room_id}
        parts: list[Filter] = [{"deleted_at": None}]
        if request.scope == ListTeamRoomsRequest.ROOMS:
            parts.append({**of_team, "teamMain": None})
        elif request.scope == ListTeamRoomsRequest.CHILDREN:
            parts.append({"$or": [of_team, discussions]})
        else:
            parts.append(of_team if request.scope == ListTeamRoomsRequest.CHANNELS else discussions)
        parts.append(await self._sight.visible_rooms(view))
        if request.user_id:
            if await self._node.access.find_user(request.user_id) is None:
                raise UserNotFound("", code="invalid-user")
            parts.append({"_id": {"$in": await self._store.list_room_ids(request.user_id)}})
        if request.only_default:
            parts.append({"teamDefault": True})
        if request.only_deletable:
            parts.append(await self._deletable(view))
        parts.append(read_filter(request.filter, _FILTERED))
        return {"$and": [part for part in parts if part]}

    async def _deletable(self, view: View) -> Filter:
        """The filter for rooms that the viewer may delete: of each type all, or those in which a role lets them."""
        own = await self._store.list_subscriptions_with_roles(view.user.id)
        kinds: list[Filter] = []
        for kind in _KINDS:
            permission = f"delete-{kind}"
            if self._views.may(view.user, permission):
                kinds.append({"t": kind})
            else:
                ids = [one["rid"] for one in own if self._views.may(view.user, permission, one["roles"])]
                kinds.append({"t": kind, "_id": {"$in": ids}})
        return {"$or": kinds}

    async def _present(self, request: ListTeamRoomsRequest, view: View, rooms: list[Document]) -> list[bytes]:
        ids = [room["_id"] for room in rooms]
        own = {one["rid"] for one in await self._store.list_subscriptions(view.user.id, ids)} if ids else set()
        theirs: dict[str, Document] = {}
        if request.user_id and ids:
            theirs = {one["rid"]: one for one in await self._store.list_subscriptions(request.user_id, ids)}
        last_owned = await find_last_owned(self._store, list(theirs.values()), rooms)
        documents: list[bytes] = []
        size = 0
        for room in rooms:
            shown = self._views.show_room(room, view.user, is_member=room["_id"] in own)
            if room["_id"] in theirs:
                shown["isLastOwner"] = room["_id"] in last_owned
            documents.append(orjson.dumps(shown))
            size += len(documents[-1])
            if size > MAX_BYTES:
                break
        return documents
