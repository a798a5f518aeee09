"""Teams as such: made, found, listed, changed, ended."""

from collections.abc import Sequence
from typing import Any

import orjson

from palaver.access import User
from palaver.commit import Draft, now
from palaver.database import Document, Filter
from palaver.database.schema import COLLECTIONS, FieldType
from palaver.errors import Conflict, InvalidInput, RoomNotFound, TeamNotFound, UserNotFound
from palaver.events import room_stream
from palaver.filters import read_filter, read_sort
from palaver.ids import new_id
from palaver.messaging import rules
from palaver.messaging.changes import Changes, parse_sidepanel
from palaver.messaging.names import Names
from palaver.messaging.notices import Notices, reference
from palaver.messaging.rooms import Rooms, check_not_direct, new_room, parse_fields
from palaver.messaging.store import Store
from palaver.messaging.teams.following import TEAM_FIELDS, Following
from palaver.messaging.teams.sight import Sight
from palaver.messaging.views import View, Views
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, Empty
from palaver.v1.event_pb2 import Actor, Event
from palaver.v1.messaging_pb2 import RoomRequest, UpdateRoomRequest
from palaver.v1.team_pb2 import (
    CreateTeamRequest,
    EndTeamRequest,
    GetTeamRequest,
    ListTeamsRequest,
    TeamReply,
    UpdateTeamRequest,
)

_MAX_MEMBERS = 1000
_MAX_COUNT = 1000
_FILTERED: dict[str, FieldType] = {"_id": "text", **COLLECTIONS["rooms"].fields}
_EXTRA: dict[str, type] = {
    "description": str,
    "topic": str,
    "announcement": str,
    "broadcast": bool,
    "encrypted": bool,
}


class Teams:
    """The use cases of whole teams."""

    def __init__(
        self,
        node: Node,
        store: Store,
        views: Views,
        sight: Sight,
        rooms: Rooms,
        changes: Changes,
        names: Names,
        notices: Notices,
        following: Following,
    ) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._sight = sight
        self._rooms = rooms
        self._changes = changes
        self._names = names
        self._notices = notices
        self._following = following

    # -- made ----------------------------------------------------------------------------------------------------------

    async def create(self, request: CreateTeamRequest) -> TeamReply:
        """A new team with its first members, of whom there may be fewer than are named.

        Raises NotAllowed, InvalidInput, UserNotFound (of the owner), Conflict.
        """
        user = await self._views.get_actor(request.actor)
        self._views.check(user, "create-team", code="unauthorized")
        name, shown = self._names.parse(request.name)
        await self._check_no_user(name)
        extra = parse_fields(request.extra, _EXTRA)
        if len(request.members) > _MAX_MEMBERS:
            raise InvalidInput("Too many members at once", code="error-user-limit-exceeded")
        owner = user if not request.owner else next(iter(await self._find_users([request.owner])), None)
        if owner is None:
            raise UserNotFound("", code="invalid-user")
        members = [owner, *(one for one in await self._find_users(request.members) if one.id != owner.id)]
        at = now()
        room = new_room(new_id(), "p" if request.private else "c", at, len(members))
        room |= {"name": name, "fname": shown, "ro": request.read_only or bool(extra.get("broadcast")), **extra}
        room |= {"u": reference(owner), **_main_fields(room, user, at)}
        if request.sidepanel:
            room["sidepanel"] = parse_sidepanel({"items": list(request.sidepanel)})
        subscriptions = [
            rules.new_subscription(new_id(), room, reference(one), at, roles=["owner"] if one is owner else [])
            for one in members
        ]
        try:
            await self._rooms.add(request.actor, room, subscriptions)
        except Conflict as error:
            raise await self._say_taken(name) from error
        return await self._reply(room["_id"])

    async def convert(self, request: RoomRequest) -> TeamReply:
        """A room becomes the main room of a team. Raises RoomNotFound, NotAllowed, InvalidInput."""
        user = await self._views.get_actor(request.actor)
        self._views.check(user, "create-team", code="unauthorized")

        async def decide(draft: Draft) -> None:
            view = await self._views.get_drafted(draft, user, administered=True)
            check_not_direct(view)
            self._views.check(user, "edit-room", view.roles, code="unauthorized")
            if view.room.get("teamId") or view.room.get("prid"):
                raise InvalidInput("The room belongs to a team or to another room", code="error-invalid-room")
            if view.room.get("archived"):
                raise InvalidInput("Room is archived", code="error-room-archived")
            await self._check_no_user(view.room["name"])
            at = rules.event_time(view.room, now())
            event = Event()
            event.room_changed.set = orjson.dumps(_main_fields(view.room, user, at))
            shown = view.room.get("fname") or view.room["name"]
            self._notices.add(event.room_changed.message, view.room, "user-converted-to-team", shown, user, at)
            draft.append(event, actor=request.actor, at=at)

        await self._node.commits.execute(room_stream(request.room_id), decide)
        return await self._reply(request.room_id)

    async def _find_users(self, named: Sequence[str]) -> list[User]:
        """Active users by their ids or usernames, once each."""
        wanted = list(filter(None, named))
        access = self._node.access
        by_id = await access.find_users(wanted) if wanted else {}
        by_name = await access.find_users_by_name([one for one in wanted if one not in by_id]) if wanted else {}
        found = [by_id.get(one) or by_name.get(one) for one in wanted]
        return list({user.id: user for user in found if user is not None and user.active}.values())

    async def _check_no_user(self, name: str) -> None:
        """A team is mentioned as a user is: raises Conflict for the name of one."""
        if await self._node.access.find_users_by_name([name]):
            raise Conflict("", code="team-name-already-exists")

    async def _say_taken(self, name: str) -> Conflict:
        other = await self._store.find_room_by_name(name)
        is_team = other is not None and other.get("teamMain")
        return Conflict("", code="team-name-already-exists" if is_team else "room-name-already-exists")

    # -- found ---------------------------------------------------------------------------------------------------------

    async def get(self, request: GetTeamRequest) -> TeamReply:
        """A team by its id or name. Raises TeamNotFound."""
        team_id = request.room_id
        if request.WhichOneof("which") == "name":
            found = await self._store.find_room_by_name(request.name)
            team_id = "" if found is None else found["_id"]
        view = await self._sight.get_view(request.actor, team_id)
        return await self._show(view.room)

    async def list_teams(self, request: ListTeamsRequest) -> DocumentsReply:
        """A page of teams, or of their main rooms, by name. Raises NotAllowed, UserNotFound, InvalidInput."""
        user = await self._views.get_actor(request.actor)
        parts: list[Filter] = [{"teamMain": True, "deleted_at": None}]
        if request.scope == ListTeamsRequest.ALL:
            self._views.check(user, "view-all-teams", code="unauthorized")
        elif request.scope == ListTeamsRequest.VISIBLE:
            parts.append(await self._sight.visible_teams(user))
        else:
            user_id = request.user_id if request.scope == ListTeamsRequest.OF_USER else user.id
            if user_id != user.id and await self._node.access.find_user(user_id) is None:
                raise UserNotFound("", code="invalid-user")
            parts.append({"_id": {"$in": await self._store.list_room_ids(user_id)}})
            if user_id != user.id:
                parts.append(await self._sight.visible_teams(user))
        parts.append(read_filter(request.filter, _FILTERED))
        where = {"$and": [part for part in parts if part]}
        sort = read_sort(request.sort, _FILTERED) or [("name", 1)]
        count = min(request.count or _MAX_COUNT, _MAX_COUNT)
        database = self._node.database
        mains = await database.find("rooms", where, sort=sort, skip=request.offset, limit=count)
        total = len(mains)
        if request.offset or total == count:
            total = await database.count("rooms", where)
        teams = await self._sight.present(mains)
        if request.main_rooms:
            own = set(await self._store.list_room_ids(user.id))
            teams = [
                {**self._views.show_room(main, user, is_member=main["_id"] in own), "roomsCount": team["rooms"]}
                for main, team in zip(mains, teams, strict=True)
            ]
        return DocumentsReply(documents=[orjson.dumps(team) for team in teams], total=total)

    # -- changed -------------------------------------------------------------------------------------------------------

    async def update(self, request: UpdateTeamRequest) -> TeamReply:
        """Renames the team, makes it private or public: its main room. Raises TeamNotFound, NotAllowed, Conflict, …"""
        view = await self._sight.get_view(request.actor, request.room_id)
        self._views.check(view.user, "edit-team", view.roles, code="unauthorized")
        changes: dict[str, Any] = {}
        if request.name and request.name != view.room["name"]:
            await self._check_no_user(self._names.parse(request.name)[0])
            changes["name"] = request.name
        room_type = "p" if request.private else "c"
        if request.HasField("private") and room_type != view.room["t"]:
            changes["t"] = room_type
        update = UpdateRoomRequest(actor=request.actor, room_id=request.room_id, set=orjson.dumps(changes))
        try:
            await self._changes.update(update, permission="edit-team")
        except Conflict as error:
            raise await self._say_taken(request.name) from error
        return await self._reply(request.room_id)

    # -- ended ---------------------------------------------------------------------------------------------------------

    async def end(self, request: EndTeamRequest) -> Empty:
        """The team is no more; the chosen ones of its rooms are deleted with it. Raises TeamNotFound, NotAllowed."""
        view = await self._sight.get_view(request.actor, request.room_id)
        permission = "convert-team" if request.keeps_room else "delete-team"
        self._views.check(view.user, permission, view.roles, code="unauthorized")
        deleted = await self._list_deletable(view, request.deleted_room_ids)

        async def get_view(draft: Draft) -> View:
            current = await self._sight.get_drafted(draft, view.user)
            self._views.check(view.user, permission, current.roles, code="unauthorized")
            return current

        if request.keeps_room:
            event = await self._convert_back(request.actor, request.room_id, get_view, deleted)
        else:
            event = await self._rooms.end(request.actor, request.room_id, get_view, deleted)
        await self._following.settle_soon(event)
        return Empty()

    async def _list_deletable(self, view: View, room_ids: Sequence[str]) -> list[str]:
        """Those of the rooms that belong to the team. Raises NotAllowed where the actor may not delete one of them."""
        if len(room_ids) > _MAX_COUNT:
            raise InvalidInput("Too many rooms at once", code="error-invalid-params")
        where = {"_id": {"$in": list(room_ids)}, "teamId": view.room_id, "teamMain": None, "deleted_at": None}
        rooms = await self._node.database.find("rooms", where) if room_ids else []
        for room in rooms:
            try:
                child = await self._views.view_for(view.user, room)
            except RoomNotFound:
                child = View(view.user, room, None)
            self._views.check(view.user, f"delete-{room['t']}", child.roles)
        return [room["_id"] for room in rooms]

    async def _convert_back(self, actor: Actor, room_id: str, get_view: Any, deleted: Sequence[str]) -> Event:
        async def decide(draft: Draft) -> Event:
            view = await get_view(draft)
            at = rules.event_time(view.room, now())
            event = Event()
            fact = event.room_changed
            fact.set = b"{}"
            fact.unset.extend(["teamMain", "team_created", "sidepanel", *TEAM_FIELDS])
            fact.deleted_room_ids.extend(deleted)
            shown = view.room.get("fname") or view.room["name"]
            self._notices.add(fact.message, view.room, "user-converted-to-channel", shown, view.user, at)
            return draft.append(event, actor=actor, at=at)

        return await self._node.commits.execute(room_stream(room_id), decide)

    async def _reply(self, team_id: str) -> TeamReply:
        main = await self._store.find_room(team_id)
        if main is None or not main.get("teamMain"):
            raise TeamNotFound()
        return await self._show(main)

    async def _show(self, main: Document) -> TeamReply:
        (team,) = await self._sight.present([main])
        return TeamReply(team=orjson.dumps(team))


def _main_fields(room: Document, maker: User, at: int) -> Document:
    """What makes a room the main room of a team."""
    made = {"u": {"_id": maker.id, "username": maker.username}, "ts": {"$date": at}}
    return {"teamId": room["_id"], "teamMain": True, "team_created": made}
