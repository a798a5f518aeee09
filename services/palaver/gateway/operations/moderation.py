"""Reports to the moderators. Shared by `rest/moderation.py` and `ddp/methods/messages.py`."""

from typing import Any

import orjson

from palaver.gateway.call import Call
from palaver.gateway.ejson import Fragment, fragments
from palaver.v1.auth_pb2 import GetUsersRequest
from palaver.v1.messaging_pb2 import (
    CloseReportsRequest,
    GetReportRequest,
    ListReportedRequest,
    ListReportsRequest,
    ReportRequest,
)

_SHOWN_OF_USER = ("_id", "username", "name", "avatarETag", "active", "roles", "createdAt")


async def report_message(call: Call, message_id: str, description: str) -> None:
    """Raises InvalidInput, MessageNotFound."""
    request = ReportRequest(actor=call.actor, message_id=message_id, description=description)
    await call.services.messaging.report(request)


async def report_user(call: Call, user_id: str, description: str) -> None:
    """Raises InvalidInput, UserNotFound."""
    await call.services.messaging.report(ReportRequest(actor=call.actor, user_id=user_id, description=description))


async def get_report(call: Call, report_id: str) -> Fragment:
    """Raises NotFound."""
    request = GetReportRequest(actor=call.actor, report_id=report_id)
    return Fragment((await call.services.messaging.get_report(request)).report)


async def list_reports(call: Call, request: ListReportsRequest) -> tuple[list[Fragment], int]:
    """A page of open reports, and how many there are."""
    request.actor.CopyFrom(call.actor)
    reply = await call.services.messaging.list_reports(request)
    return fragments(reply.documents), reply.total


async def list_reported(call: Call, request: ListReportedRequest) -> tuple[list[Fragment], int]:
    """A page of users with open reports, and how many there are."""
    request.actor.CopyFrom(call.actor)
    reply = await call.services.messaging.list_reported(request)
    return fragments(reply.documents), reply.total


async def close_reports(call: Call, request: CloseReportsRequest) -> None:
    """Dismisses reports, or deletes what was reported."""
    request.actor.CopyFrom(call.actor)
    await call.services.messaging.close_reports(request)


async def find_reported_user(call: Call, user_id: str) -> dict[str, Any] | None:
    """The user as moderators see them; None for one who is gone."""
    reply = await call.services.auth.get_users(GetUsersRequest(user_ids=[user_id]))
    users = [orjson.loads(data) for data in reply.documents]
    return {name: users[0][name] for name in _SHOWN_OF_USER if name in users[0]} if users else None
