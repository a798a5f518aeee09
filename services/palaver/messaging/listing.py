"""Listing a room's members, whose presence and public facts are other services' to tell."""

from typing import Any

import orjson

from palaver.database import Document
from palaver.errors import NotAllowed, Unavailable
from palaver.filters import check_text
from palaver.messaging.views import View, Views
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, GetUsersRequest
from palaver.v1.messaging_pb2 import ListMembersRequest
from palaver.v1.presence_pb2 import GetPresenceRequest, Status

_MAX_COUNT = 1000
_SHOWN = ("_id", "username", "name", "nickname", "statusText", "utcOffset", "avatarETag", "_updatedAt")


class Listing:
    """The use case of seeing who is in a room."""

    def __init__(self, node: Node, views: Views) -> None:
        self._node = node
        self._views = views

    async def list_members(self, request: ListMembersRequest) -> DocumentsReply:
        """A page of members by username, each with their roles in the room. Raises RoomNotFound, NotAllowed."""
        view = await self._views.get_readable(request.actor, request.room_id)
        self.check(view)
        found, total = await self.read(request)
        return DocumentsReply(documents=[orjson.dumps(member) for _, member in found], total=total)

    def check(self, view: View) -> None:
        """Raises NotAllowed for who may not know who hears a broadcast."""
        if view.room.get("broadcast") and not self._views.may(view.user, "view-broadcast-member-list", view.roles):
            raise NotAllowed()

    async def read(
        self, request: ListMembersRequest, *, username: str = ""
    ) -> tuple[list[tuple[Document, Document]], int]:
        """The page for whoever may see it: each subscription with its member as others see them; and how many.

        `username`: a part of it alone, where a `term` may be one of the name, too.
        """
        count = min(request.count or _MAX_COUNT, _MAX_COUNT)
        where = _where(request, username)
        if request.status:
            subscriptions, total, statuses = await self._find_by_status(where, request, count)
        else:
            subscriptions = await self._find(where, request, count)
            total = len(subscriptions)
            if request.offset or total == count:
                total = await self._node.database.count("subscriptions", where)
            statuses = await self._get_statuses([subscription["u"]["_id"] for subscription in subscriptions])
        reply = await self._node.services.auth.get_users(
            GetUsersRequest(user_ids=[subscription["u"]["_id"] for subscription in subscriptions])
        )
        users = {user["_id"]: user for user in map(orjson.loads, reply.documents)}
        found = [
            (subscription, _member(subscription, users.get(subscription["u"]["_id"], {}), statuses))
            for subscription in subscriptions
        ]
        return found, total

    async def _find(self, where: dict[str, Any], request: ListMembersRequest, count: int) -> list[Document]:
        direction = _direction(request.sort)
        return await self._node.database.find(
            "subscriptions", where, sort=[("u.username", direction)], skip=request.offset, limit=count
        )

    async def _find_by_status(
        self, where: dict[str, Any], request: ListMembersRequest, count: int
    ) -> tuple[list[Document], int, dict[str, str]]:
        """Those of one status among the members: few are online, so it begins with them."""
        reply = await self._node.services.presence.get_presence(GetPresenceRequest())
        statuses = {user.user_id: Status.Name(user.status).lower() for user in reply.users}
        if "offline" in request.status:
            away = [id for id, status in statuses.items() if status not in request.status]
            if away:
                where["u._id"] = {"$nin": away}
        else:
            where["u._id"] = {"$in": [id for id, status in statuses.items() if status in request.status]}
        found = await self._find(where, request, count)
        total = len(found)
        if request.offset or total == count:
            total = await self._node.database.count("subscriptions", where)
        return found, total, statuses

    async def _get_statuses(self, user_ids: list[str]) -> dict[str, str]:
        if not user_ids:
            return {}
        try:
            reply = await self._node.services.presence.get_presence(GetPresenceRequest(user_ids=user_ids))
        except Unavailable:
            return {}  # who they are matters more than whether they are there
        return {user.user_id: Status.Name(user.status).lower() for user in reply.users}


def _where(request: ListMembersRequest, username: str) -> dict[str, Any]:
    where: dict[str, Any] = {"rid": request.room_id, "left_at": None}
    if request.term:
        term = {"$contains": check_text(request.term)}
        where["$or"] = [{"u.username": term}, {"u.name": term}]
    if username:
        where["u.username"] = {"$contains": check_text(username)}
    if request.name:
        where["u.name"] = {"$contains": check_text(request.name)}
    if request.role:
        where["roles"] = request.role
    elif request.with_roles:
        where["roles"] = {"$exists": True}
    return where


def _direction(sort: bytes) -> int:
    """Members are sorted by username; a client may ask for the opposite direction."""
    chosen = orjson.loads(sort) if sort else []
    return -1 if chosen and chosen[0][0] == "username" and chosen[0][1] == -1 else 1


def _member(subscription: Document, user: Document, statuses: dict[str, str]) -> Document:
    member = {**subscription["u"], **{name: user[name] for name in _SHOWN if name in user}}
    member["status"] = statuses.get(member["_id"], "offline")
    if roles := subscription.get("roles"):
        member["roles"] = roles
    return member
