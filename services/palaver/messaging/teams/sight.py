"""Which teams an actor sees, and teams as the clients see them. Every use case of teams begins here.

A team that the actor may not see raises the very error of an unknown one.
"""

from collections import Counter
from collections.abc import Sequence

from palaver.access import User
from palaver.commit import Draft
from palaver.database import Document, Filter
from palaver.errors import TeamNotFound
from palaver.messaging.store import Store
from palaver.messaging.views import View, Views, find_member
from palaver.node import Node
from palaver.v1.event_pb2 import Actor


class Sight:
    """The way from an actor and a team's id to the View of its main room."""

    def __init__(self, node: Node, store: Store, views: Views) -> None:
        self._node = node
        self._store = store
        self._views = views

    async def get_view(self, actor: Actor, team_id: str) -> View:
        """The main room as it stands. Raises TeamNotFound."""
        user = await self._views.get_actor(actor)
        room = await self._store.find_room(team_id)
        return self._check(user, room, await self._store.find_subscription(team_id, user.id))

    async def get_drafted(self, draft: Draft, user: User) -> View:
        """The main room of a draft, at its head. Raises TeamNotFound."""
        return self._check(user, await draft.get_own(), await find_member(draft, user.id))

    def _check(self, user: User, room: Document | None, subscription: Document | None) -> View:
        if room is None or room.get("deleted_at") or not room.get("teamMain"):
            raise TeamNotFound()
        view = View(user, room, subscription)
        if not self._views.may_see(view) and not self._views.may(user, "view-all-teams"):
            raise TeamNotFound()
        return view

    async def visible_teams(self, user: User) -> Filter:
        """The filter for main rooms that the user sees."""
        if self._views.may(user, "view-all-teams"):
            return {}
        own: Filter = {"_id": {"$in": await self._store.list_room_ids(user.id)}}
        return {"$or": [{"t": "c"}, own]} if self._views.may(user, "view-c-room") else own

    async def visible_rooms(self, view: View) -> Filter:
        """The filter for rooms of the team that its viewer sees: public ones, and their own."""
        if self._views.may(view.user, "view-all-team-channels", view.roles):
            return {}
        return {"$or": [{"t": "c"}, {"_id": {"$in": await self._store.list_room_ids(view.user.id)}}]}

    async def present(self, mains: Sequence[Document]) -> list[Document]:
        """The teams of these main rooms, each with how many rooms and members it has."""
        ids = [main["_id"] for main in mains]
        where = {"teamId": {"$in": ids}, "teamMain": None, "deleted_at": None}
        rooms = Counter(await self._node.database.list_values("rooms", "teamId", where)) if ids else Counter()
        makers = await self._node.access.find_users({_made(main)["u"]["_id"] for main in mains if "u" in _made(main)})
        return [
            {**present_team(main, makers), "rooms": rooms[main["_id"]], "numberOfUsers": main.get("usersCount", 0)}
            for main in mains
        ]


def present_team(main: Document, makers: dict[str, User]) -> Document:
    """The team of this main room. `makers`: those who made teams, by their ids, under their names of now."""
    made = _made(main)
    team: Document = {
        "_id": main["_id"],
        "name": main.get("name", ""),
        "type": 0 if main["t"] == "c" else 1,
        "roomId": main["_id"],
        "createdAt": made["ts"],
        "_updatedAt": main["_updatedAt"],
    }
    if (maker := made.get("u")) is not None:
        known = makers.get(maker["_id"])
        team["createdBy"] = {"_id": maker["_id"], "username": known.username if known else maker["username"]}
    return team


def _made(main: Document) -> Document:
    found: Document = main["team_created"]
    return found


def is_of_team(room: Document | None, team_id: str) -> bool:
    """Whether this is one of the team's rooms, and not the main one."""
    return (
        room is not None
        and not room.get("deleted_at")
        and not room.get("teamMain")
        and room.get("teamId") == team_id != ""
    )
