"""Use cases: the workspace's own kinds of status, which users choose from besides online, away, busy and offline.

Called by role.py.
"""

import orjson

from palaver.auth import rules
from palaver.auth.store import Store
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.database.schema import FieldType
from palaver.errors import Conflict, InvalidInput, NotAllowed, NotFound
from palaver.events import WORKSPACE, user_actor
from palaver.filters import read_filter, read_sort, with_id
from palaver.ids import new_id
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    CustomStatusReply,
    CustomStatusRequest,
    DocumentsReply,
    ListCustomStatusesRequest,
    SaveCustomStatusRequest,
)
from palaver.v1.event_pb2 import Actor, CustomStatusDeleted, CustomStatusSaved, Event

_FIELDS: dict[str, FieldType] = {"_id": "text", "name": "text"}
_MARKUP = frozenset("<>&\"'")
_INSIDE = ("deleted_at",)


class StatusNotFound(NotFound):
    code = "Custom_User_Status_Error_Invalid_User_Status"
    reason = "Invalid user status"


class Statuses:
    """Saves, deletes and lists them."""

    def __init__(self, node: Node, store: Store) -> None:
        self._node = node
        self._store = store

    async def save(self, request: SaveCustomStatusRequest) -> CustomStatusReply:
        """Makes one, or changes one. Raises NotAllowed, InvalidInput, StatusNotFound, Conflict (of the name)."""
        actor = await self._checked_actor(request.actor)
        name, kind = request.name.strip(), request.status_type
        if not name:
            raise InvalidInput(
                "The field Name is required", code="error-the-field-is-required", details={"field": "Name"}
            )
        if len(name) > rules.MAX_STATUS_TEXT or not _MARKUP.isdisjoint(name) or not name.isprintable():
            raise _invalid("Name", name)
        if kind and kind not in rules.STATUSES:
            raise _invalid("StatusType", kind)
        status_id = request.status_id or new_id()

        async def decide(draft: Draft) -> Document:
            before = await draft.get("custom_statuses", status_id)
            if request.status_id and (before is None or "deleted_at" in before):
                raise StatusNotFound()
            other = await draft.find_one("custom_statuses", name=name)
            if other is not None and other["_id"] != status_id:
                raise Conflict(
                    "The custom user status name is already in use",
                    code="Custom_User_Status_Error_Name_Already_In_Use",
                )
            at = now()
            kept = {} if before is None else before
            status = {
                **kept,
                "_id": status_id,
                "name": name,
                "statusType": kind or kept.get("statusType", ""),
                "_updatedAt": {"$date": at},
            }
            fact = CustomStatusSaved(status_id=status_id, status=orjson.dumps(status))
            draft.append(Event(custom_status_saved=fact), actor=actor, at=at)
            return status

        return _reply(await self._node.commits.execute(WORKSPACE, decide))

    async def delete(self, request: CustomStatusRequest) -> CustomStatusReply:
        """Deletes one, and answers what it was. Raises NotAllowed, StatusNotFound."""
        actor = await self._checked_actor(request.actor)

        async def decide(draft: Draft) -> Document:
            status = await draft.get("custom_statuses", request.status_id) if request.status_id else None
            if status is None or "deleted_at" in status:
                raise StatusNotFound()
            fact = CustomStatusDeleted(status_id=request.status_id)
            draft.append(Event(custom_status_deleted=fact), actor=actor)
            return status

        return _reply(await self._node.commits.execute(WORKSPACE, decide))

    async def list_some(self, request: ListCustomStatusesRequest) -> DocumentsReply:
        """A page of them, for everybody who is logged in."""
        await self._node.access.get_actor(request.actor)
        if request.offset < 0 or request.count < 0:
            raise InvalidInput("offset and count can't be negative")
        found, total = await self._store.find_statuses(
            read_filter(request.filter, _FIELDS),
            with_id(read_sort(request.sort, _FIELDS) or [("name", 1)]),
            request.offset,
            request.count,
        )
        return DocumentsReply(documents=[orjson.dumps(_public(status)) for status in found], total=total)

    async def _checked_actor(self, actor: Actor) -> Actor:
        access = self._node.access
        user = await access.get_actor(actor)
        if not access.may(user, "manage-user-status"):
            raise NotAllowed("Not authorized", code="not_authorized")
        return user_actor(user.id)


def _public(status: Document) -> Document:
    return {name: value for name, value in status.items() if name not in _INSIDE}


def _reply(status: Document) -> CustomStatusReply:
    return CustomStatusReply(status=orjson.dumps(_public(status)))


def _invalid(field: str, value: str) -> InvalidInput:
    shown = value[: rules.MAX_STATUS_TEXT]
    return InvalidInput(
        f"{shown} is not a valid {field}",
        code="error-input-is-not-a-valid-field",
        details={"input": shown, "field": field},
    )
