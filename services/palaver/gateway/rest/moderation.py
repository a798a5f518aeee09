"""Reports of messages and users, and what moderators do with them."""

from typing import Any

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.operations import moderation
from palaver.gateway.rest.endpoint import Answer, Page, Params, endpoint
from palaver.gateway.rest.errors import Failure
from palaver.gateway.rest.permissions import parse_since
from palaver.gateway.rest.query import is_ascending, page
from palaver.v1.messaging_pb2 import CloseReportsRequest, ListReportedRequest, ListReportsRequest

_VIEW = ("view-moderation-console",)
_MANAGE = ("manage-moderation-actions",)


class ReportMessageBody(Params, rename="camel"):
    message_id: str
    description: str


class ReportUserBody(Params, rename="camel"):
    user_id: str
    description: str


class DismissBody(Params, rename="camel"):
    user_id: str = ""
    msg_id: str = ""
    reason: str = ""
    action: str = ""


class DeleteBody(Params, rename="camel"):
    user_id: str
    reason: str = ""


class InfoQuery(Params, rename="camel"):
    report_id: str


class ReportedQuery(Page, rename="camel"):
    latest: str = ""
    oldest: str = ""
    selector: str = ""


class MessageReportsQuery(Page, rename="camel", kw_only=True):
    msg_id: str
    selector: str = ""


class UserReportsQuery(Page, rename="camel", kw_only=True):
    user_id: str
    selector: str = ""


@endpoint("POST", "chat.reportMessage", body=ReportMessageBody)
async def report_message(call: Call, body: ReportMessageBody) -> Answer:
    await moderation.report_message(call, body.message_id, body.description)
    return {}


@endpoint("POST", "moderation.reportUser", body=ReportUserBody)
async def report_user(call: Call, body: ReportUserBody) -> Answer:
    await moderation.report_user(call, body.user_id, body.description)
    return {}


@endpoint("GET", "moderation.reportsByUsers", query=ReportedQuery, permissions=_VIEW, lists="reports")
async def list_authors(call: Call, query: ReportedQuery) -> Answer:
    """Users whose messages were reported."""
    return await _list_reported(call, query, users=False)


@endpoint("GET", "moderation.userReports", query=ReportedQuery, permissions=_VIEW, lists="reports")
async def list_users(call: Call, query: ReportedQuery) -> Answer:
    """Users who were reported as such."""
    return await _list_reported(call, query, users=True)


async def _list_reported(call: Call, query: ReportedQuery, *, users: bool) -> Answer:
    offset, count = page(call, query)
    request = ListReportedRequest(
        users=users,
        oldest=parse_since(query.oldest or None, name="oldest") or 0,
        latest=parse_since(query.latest or None, name="latest") or 0,
        text=query.selector,
        offset=offset,
        count=count,
        ascending=is_ascending(query.sort),
    )
    found, total = await moderation.list_reported(call, request)
    return {"reports": found, "count": len(found), "offset": offset, "total": total}


@endpoint("GET", "moderation.reports", query=MessageReportsQuery, permissions=_VIEW, lists="reports")
async def list_of_message(call: Call, query: MessageReportsQuery) -> Answer:
    """The open reports of one message."""
    return await _list_reports(call, query, ListReportsRequest(message_id=query.msg_id), "reports")


@endpoint("GET", "moderation.user.reportedMessages", query=UserReportsQuery, permissions=_VIEW, lists="messages")
async def list_messages(call: Call, query: UserReportsQuery) -> Answer:
    """One user's reported messages, each with its last report."""
    answer = await _list_reports(call, query, ListReportsRequest(messages_of_user_id=query.user_id), "messages")
    return {"user": await moderation.find_reported_user(call, query.user_id), **answer}


@endpoint("GET", "moderation.user.reportsByUserId", query=UserReportsQuery, permissions=_VIEW, lists="reports")
async def list_of_user(call: Call, query: UserReportsQuery) -> Answer:
    """The open reports of one user as such."""
    answer = await _list_reports(call, query, ListReportsRequest(user_id=query.user_id), "reports")
    return {"user": await moderation.find_reported_user(call, query.user_id), **answer}


async def _list_reports(
    call: Call, query: MessageReportsQuery | UserReportsQuery, request: ListReportsRequest, name: str
) -> dict[str, Any]:
    """The page of open reports that the request speaks of, under this name."""
    request.offset, request.count = page(call, query)
    request.text, request.ascending = query.selector, is_ascending(query.sort)
    found, total = await moderation.list_reports(call, request)
    return {name: found, "count": len(found), "offset": request.offset, "total": total}


@endpoint("GET", "moderation.reportInfo", query=InfoQuery, permissions=_VIEW)
async def get_report(call: Call, query: InfoQuery) -> Answer:
    return {"report": await moderation.get_report(call, query.report_id)}


@endpoint("POST", "moderation.dismissReports", body=DismissBody, permissions=_MANAGE)
async def dismiss_reports(call: Call, body: DismissBody) -> Answer:
    """Reports of one message, or of all messages of a user, are dealt with."""
    request = CloseReportsRequest(reason=body.reason, action=body.action)
    if body.msg_id:
        request.message_id = body.msg_id
    elif body.user_id:
        request.messages_of_user_id = body.user_id
    else:
        raise Failure("User ID or Message ID is required")
    await moderation.close_reports(call, request)
    return {}


@endpoint("POST", "moderation.dismissUserReports", body=DismissBody, permissions=_MANAGE)
async def dismiss_user_reports(call: Call, body: DismissBody) -> Answer:
    if not body.user_id:
        raise InvalidInput("Required user id is missing.", code="error-user-id-param-not-provided")
    await moderation.close_reports(
        call, CloseReportsRequest(user_id=body.user_id, reason=body.reason, action=body.action)
    )
    return {}


@endpoint("POST", "moderation.user.deleteReportedMessages", body=DeleteBody, permissions=_MANAGE)
async def delete_messages(call: Call, body: DeleteBody) -> Answer:
    """Deletes everything of a user's that was reported."""
    request = CloseReportsRequest(messages_of_user_id=body.user_id, reason=body.reason, delete_messages=True)
    await moderation.close_reports(call, request)
    return {}
