"""Reports to the moderators: made by anybody who reads a message or sees a user, listed and closed by moderators.

A report of a message is a fact of its room, one of a user a fact of the user's stream. It keeps the message as it was.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from palaver.commit import Draft, now
from palaver.database import Document, Filter, Group, Stream
from palaver.documents import public_message
from palaver.errors import InvalidInput, MessageNotFound, NotFound, UserNotFound
from palaver.events import SYSTEM, room_stream, user_stream
from palaver.filters import check_text
from palaver.ids import new_id
from palaver.messaging import rules
from palaver.messaging.messages import Messages
from palaver.messaging.notices import reference
from palaver.messaging.revisions import Revisions
from palaver.messaging.store import Store
from palaver.messaging.views import Views
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, Empty
from palaver.v1.event_pb2 import Actor, Event
from palaver.v1.messaging_pb2 import (
    CloseReportsRequest,
    DeleteMessageRequest,
    GetReportRequest,
    ListReportedRequest,
    ListReportsRequest,
    MessageRequest,
    ReportReply,
    ReportRequest,
)

_MAX_DESCRIPTION = 2000
_PART = 500
_MAX_ROOMS = 100
_AHEAD = 60_000
"""Milliseconds by which a report's time may be later than that of another process."""
_WORDS = (
    "description",
    "message.msg",
    "message.u.username",
    "message.u.name",
    "reportedUser.username",
    "reportedUser.name",
    "reportedBy.username",
)
_INSIDE = ("kind", "user_id", "message_id", "rid", "closed_at")


class ReportNotFound(NotFound):
    code = "error-report-not-found"
    reason = "Report not found"


class Reports:
    """The use cases of reporting and moderating."""

    def __init__(self, node: Node, store: Store, views: Views, messages: Messages, revisions: Revisions) -> None:
        self._node = node
        self._store = store
        self._views = views
        self._messages = messages
        self._revisions = revisions

    async def report(self, request: ReportRequest) -> Empty:
        """Tells the moderators of a message or a user. Raises InvalidInput, MessageNotFound, UserNotFound."""
        user = await self._views.get_actor(request.actor)
        description = request.description.strip()
        if not 0 < len(description) <= _MAX_DESCRIPTION:
            raise InvalidInput("Invalid description", code="error-invalid-description")
        report: Document = {"_id": new_id(), "description": description, "reportedBy": reference(user)}
        if request.WhichOneof("which") == "message_id":
            stream = await self._add_message(report, request)
        else:
            reported = await self._node.access.find_user(request.user_id) if request.user_id else None
            if reported is None:
                raise UserNotFound("Invalid user", code="error-invalid-user")
            report |= {"kind": "user", "user_id": reported.id, "reportedUser": reference(reported)}
            stream = user_stream(reported.id)

        async def decide(draft: Draft) -> None:
            at = rules.event_time(await draft.get_own() or {}, now()) if stream.kind == "room" else now()
            event = Event()
            fact = event.message_reported if stream.kind == "room" else event.user_reported
            fact.report_id = report["_id"]
            fact.report = orjson.dumps({**report, "ts": {"$date": at}, "_updatedAt": {"$date": at}})
            draft.append(event, actor=request.actor, at=at)

        await self._node.commits.execute(stream, decide)
        return Empty()

    async def _add_message(self, report: Document, request: ReportRequest) -> Stream:
        message = await self._messages.find_readable(MessageRequest(actor=request.actor, message_id=request.message_id))
        if message is None or rules.is_system(message):
            raise MessageNotFound("Invalid message id", code="error-invalid-message_id")
        room = await self._store.find_room(message["rid"]) or {}
        report |= {
            "kind": "message",
            "user_id": message["u"]["_id"],
            "message_id": message["_id"],
            "rid": message["rid"],
            "message": public_message(message),
            "room": {name: room[name] for name in ("_id", "t", "name", "fname") if name in room},
        }
        return room_stream(message["rid"])

    async def get(self, request: GetReportRequest) -> ReportReply:
        """One report, open or not. Raises NotAllowed, ReportNotFound."""
        await self._check(request.actor, "view-moderation-console")
        report = await self._node.database.get("reports", request.report_id) if request.report_id else None
        if report is None:
            raise ReportNotFound()
        return ReportReply(report=_shown(report))

    async def list_reports(self, request: ListReportsRequest) -> DocumentsReply:
        """A page of open reports of one message or user. Raises NotAllowed, InvalidInput."""
        await self._check(request.actor, "view-moderation-console")
        database = self._node.database
        where = _naming(request.text, _open(request))
        if request.WhichOneof("which") == "messages_of_user_id":
            groups, total = await self._list_groups(where, "message_id", request)
            found = await self._get_newest(groups)
        else:
            sort = [("ts", 1 if request.ascending else -1)]
            found = await database.find("reports", where, sort=sort, skip=request.offset, limit=request.count)
            total = await database.count("reports", where)
        return DocumentsReply(documents=[_shown(report) for report in found], total=total)

    async def list_reported(self, request: ListReportedRequest) -> DocumentsReply:
        """Who is reported, with the last report of each. Raises NotAllowed, InvalidInput."""
        await self._check(request.actor, "view-moderation-console")
        between: dict[str, Any] = {"$gte": {"$date": request.oldest}}
        if request.latest:
            between["$lte"] = {"$date": request.latest}
        kind = "user" if request.users else "message"
        where = _naming(request.text, {"kind": kind, "closed_at": None, "ts": between})
        groups, total = await self._list_groups(where, "user_id", request)
        users = await self._node.access.find_users([group.value for group in groups])
        rows: list[bytes] = []
        for group, report in zip(groups, await self._get_newest(groups), strict=True):
            row = _row(report, group.size, group.value not in users)
            if kind == "message":
                rooms = await self._list_rooms({"$and": [where, {"user_id": group.value}]})
                row |= {"rooms": rooms, "roomIds": [room["_id"] for room in rooms]}
            rows.append(orjson.dumps(row))
        return DocumentsReply(documents=rows, total=total)

    async def _list_groups(
        self, where: Filter, by: str, request: ListReportsRequest | ListReportedRequest
    ) -> tuple[list[Group], int]:
        return await self._node.database.list_groups(
            "reports", where, by, "ts", ascending=request.ascending, skip=request.offset, limit=request.count
        )

    async def _get_newest(self, groups: Sequence[Group]) -> list[Document]:
        """The newest report of each group."""
        found = await self._node.database.get_many("reports", [group.newest for group in groups])
        return [found[group.newest] for group in groups]

    async def _list_rooms(self, where: Filter) -> list[Document]:
        """The rooms of these reports, as the last report of each knows them."""
        groups, _ = await self._node.database.list_groups("reports", where, "rid", "ts", limit=_MAX_ROOMS)
        return [report["room"] for report in await self._get_newest(groups)]

    async def close(self, request: CloseReportsRequest) -> Empty:
        """Open reports are dealt with; what was reported is deleted, if that is asked for. Raises NotAllowed."""
        moderator = await self._check(request.actor, "manage-moderation-actions")
        where = {**_open(request), "ts": {"$lte": {"$date": now() + _AHEAD}}}
        action = request.action or ("Delete" if request.delete_messages else "None")
        moderation = {"moderatedBy": moderator, "actionTaken": action, "reason": request.reason or action}
        while reports := await self._node.database.find("reports", where, sort=[("ts", 1)], limit=_PART):
            await self._close_some(reports, moderation, request)
        return Empty()

    async def _close_some(self, reports: list[Document], moderation: Document, request: CloseReportsRequest) -> None:
        if request.delete_messages:
            for message_id in dict.fromkeys(report["message_id"] for report in reports if "message_id" in report):
                await self._delete(message_id)
        ids: dict[Stream, list[str]] = {}
        for report in reports:
            stream = room_stream(report["rid"]) if report["kind"] == "message" else user_stream(report["user_id"])
            ids.setdefault(stream, []).append(report["_id"])
        for stream, report_ids in ids.items():
            await self._node.commits.execute(stream, _closing(stream, report_ids, moderation, request.actor))

    async def _delete(self, message_id: str) -> None:
        """On the workspace's behalf: the moderator need not be a member of the room."""
        try:
            await self._revisions.delete(DeleteMessageRequest(actor=SYSTEM, message_id=message_id))
        except MessageNotFound:
            return  # it is gone already

    async def _check(self, actor: Actor, permission: str) -> str:
        """The id of a moderator. Raises NotAllowed."""
        user = await self._views.get_actor(actor)
        self._views.check(user, permission)
        return user.id


def _closing(stream: Stream, report_ids: list[str], moderation: Document, actor: Actor) -> Any:
    async def decide(draft: Draft) -> None:
        at = rules.event_time(await draft.get_own() or {}, now()) if stream.kind == "room" else now()
        event = Event()
        fact = event.message_reports_closed if stream.kind == "room" else event.user_reports_closed
        fact.report_ids.extend(report_ids)
        fact.moderation = orjson.dumps({**moderation, "hiddenAt": {"$date": at}})
        draft.append(event, actor=actor, at=at)

    return decide


def _open(request: ListReportsRequest | CloseReportsRequest) -> dict[str, Any]:
    """The conditions for the open reports that a request speaks of. Raises InvalidInput for none."""
    which = request.WhichOneof("which")
    if which == "message_id" and request.message_id:
        return {"message_id": request.message_id, "closed_at": None}
    if which == "messages_of_user_id" and request.messages_of_user_id:
        return {"user_id": request.messages_of_user_id, "kind": "message", "closed_at": None}
    if which == "user_id" and request.user_id:
        return {"user_id": request.user_id, "kind": "user", "closed_at": None}
    raise InvalidInput("A user or a message is missing")


def _row(last: Document, count: int, gone: bool) -> Document:
    """A user with their open reports, of which the last one speaks for all."""
    row: Document = {"userId": last["user_id"], "ts": last["ts"], "count": count, "isUserDeleted": gone}
    if last["kind"] == "user":
        return {**row, "_id": last["user_id"], "reportedUser": last["reportedUser"]}
    author = last["message"]["u"]
    return {
        **row,
        "username": author.get("username", ""),
        "name": author.get("name", ""),
        "message": last["message"].get("msg", ""),
        "msgId": last["message_id"],
    }


def _naming(text: str, where: Filter) -> Filter:
    """The conditions, and that the text, if there is one, is a part of the report's words or names."""
    return {"$and": [where, {"$or": [{name: {"$contains": check_text(text)}} for name in _WORDS]}]} if text else where


def _shown(report: Document) -> bytes:
    return orjson.dumps({name: value for name, value in report.items() if name not in _INSIDE})
