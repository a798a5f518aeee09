"""Invites: links that let people into a room, for some days and for some of them.

An invite belongs to its room's stream, and so does every use: it is counted in the very event that lets somebody in, so
that no two can take the last place.
"""

from collections.abc import Sequence

import orjson

from palaver.commit import Draft, now
from palaver.database import Document
from palaver.documents import public_invite
from palaver.errors import InvalidInput, NotAllowed, RoomNotFound
from palaver.events import room_stream
from palaver.ids import new_id
from palaver.messaging import rules
from palaver.messaging.members import Members
from palaver.messaging.rooms import Rooms, check_not_direct
from palaver.messaging.rules import milliseconds
from palaver.messaging.store import Store
from palaver.messaging.views import View, Views, find_member
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, Empty
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import (
    FindOrCreateInviteRequest,
    InviteReply,
    InviteRequest,
    ListInvitesRequest,
    RoomReply,
)

_PERMISSION = "create-invite-links"
_DAYS = (0, 1, 7, 15, 30)
_USES = (0, 1, 5, 10, 25, 50, 100)
_DAY_MILLISECONDS = 86_400_000
_MAX_LISTED = 1000


class Invites:
    """The use cases of invites."""

    def __init__(self, node: Node, store: Store, views: Views, rooms: Rooms, members: Members) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._rooms = rooms
        self._members = members

    async def find_or_create(self, request: FindOrCreateInviteRequest) -> InviteReply:
        """The actor's invite with these limits. Raises RoomNotFound, NotAllowed, InvalidInput."""
        user = await self._node.access.get_actor(request.actor)
        if request.days not in _DAYS:
            raise InvalidInput(f"days must be one of {_words(_DAYS)}", code="invalid-number-of-days")
        if request.max_uses not in _USES:
            raise InvalidInput(f"maxUses must be one of {_words(_USES)}", code="invalid-number-of-uses")

        async def decide(draft: Draft) -> bytes:
            view = await self._views.get_drafted(draft, user, administered=True)
            self._check(view)
            at = rules.event_time(view.room, now())
            own = await self._node.database.find("invites", {"rid": view.room_id, "userId": user.id})
            for invite in own:
                same = (invite["days"], invite["maxUses"]) == (request.days, request.max_uses)
                if same and not _find_problem(invite, at):
                    return orjson.dumps(public_invite(invite))
            made: Document = {
                "_id": new_id(),
                "rid": view.room_id,
                "userId": user.id,
                "days": request.days,
                "maxUses": request.max_uses,
                "uses": 0,
                "createdAt": {"$date": at},
                "expires": {"$date": at + request.days * _DAY_MILLISECONDS} if request.days else None,
                "_updatedAt": {"$date": at},
            }
            event = Event()
            event.invite_made.invite_id = made["_id"]
            event.invite_made.invite = orjson.dumps(made)
            draft.append(event, actor=request.actor, at=at)
            return event.invite_made.invite

        return InviteReply(invite=await self._node.commits.execute(room_stream(request.room_id), decide))

    async def list_all(self, request: ListInvitesRequest) -> DocumentsReply:
        """The invites of the workspace, the newest first. Raises NotAllowed."""
        self._views.check(await self._node.access.get_actor(request.actor), _PERMISSION, code="error-not-authorized")
        found = await self._node.database.find(
            "invites", {"removed_at": None}, sort=[("createdAt", -1)], limit=_MAX_LISTED
        )
        return DocumentsReply(documents=[orjson.dumps(public_invite(invite)) for invite in found], total=len(found))

    async def remove(self, request: InviteRequest) -> Empty:
        """Nobody can use the invite any more. Raises NotAllowed, InvalidInput."""
        user = await self._node.access.get_actor(request.actor)
        unknown = InvalidInput("Invalid Invitation _id", code="invalid-invitation-id")
        invite = await self._find(request)
        if invite is None:
            raise unknown

        async def decide(draft: Draft) -> None:
            try:
                view = await self._views.get_drafted(draft, user, administered=True)
            except RoomNotFound as error:
                raise unknown from error
            self._views.check(user, _PERMISSION, view.roles, code="not_authorized")
            current = await draft.get("invites", request.invite_id)
            if current is None or "removed_at" in current:
                raise unknown
            event = Event()
            event.invite_removed.invite_id = request.invite_id
            draft.append(event, actor=request.actor, at=rules.event_time(view.room, now()))

        await self._node.commits.execute(room_stream(invite["rid"]), decide)
        return Empty()

    async def use(self, request: InviteRequest) -> RoomReply:
        """Lets the actor into the invite's room; whoever is in it already uses nothing. Raises InvalidInput."""
        user = await self._node.access.get_actor(request.actor)
        invite = await self._get(request)

        async def decide(draft: Draft) -> None:
            room = await draft.get_own()
            if room is None or room.get("deleted_at") or room.get("archived"):
                raise _invalid_room()
            if await find_member(draft, user.id) is not None:
                return
            current = await draft.get("invites", request.invite_id)
            _check(current, now())
            assert current is not None
            event = self._members.append_join(draft, room, user, actor=request.actor, author=user, notice="uj")
            event.member_joined.invite_id = request.invite_id
            event.member_joined.invite_uses = current["uses"] + 1

        await self._node.commits.execute(room_stream(invite["rid"]), decide)
        return await self._rooms.reply(invite["rid"], user)

    async def check(self, request: InviteRequest) -> Empty:
        """Raises InvalidInput for an invite that lets nobody in."""
        invite = await self._get(request)
        _check(invite, now())
        room = await self._store.find_room(invite["rid"])
        if room is None or room.get("archived"):
            raise _invalid_room()
        return Empty()

    async def _find(self, request: InviteRequest) -> Document | None:
        return await self._node.database.get("invites", request.invite_id) if request.invite_id else None

    async def _get(self, request: InviteRequest) -> Document:
        invite = await self._find(request)
        if invite is None:
            raise _invalid("The invite token is invalid.", "error-invalid-token")
        return invite

    def _check(self, view: View) -> None:
        check_not_direct(view)
        self._views.check(view.user, _PERMISSION, view.roles, code="not_authorized")
        if view.room.get("archived"):
            raise NotAllowed("Room is archived", code="error-room-archived")


def _find_problem(invite: Document, at: int) -> str:
    """The code of why an invite lets nobody in any more; nothing for one that does."""
    if "removed_at" in invite:
        return "error-invalid-token"
    expires = milliseconds(invite.get("expires"))
    if (expires and expires <= at) or (invite["maxUses"] and invite["uses"] >= invite["maxUses"]):
        return "error-invite-expired"
    return ""


def _check(invite: Document | None, at: int) -> None:
    problem = "error-invalid-token" if invite is None else _find_problem(invite, at)
    if problem == "error-invite-expired":
        raise _invalid("The invite token has expired.", problem)
    if problem:
        raise _invalid("The invite token is invalid.", problem)


def _invalid(reason: str, code: str) -> InvalidInput:
    return InvalidInput(reason, code=code, details={"field": "token"})


def _invalid_room() -> InvalidInput:
    return InvalidInput("The invite token is invalid.", code="error-invalid-room", details={"field": "rid"})


def _words(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
