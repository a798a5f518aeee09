"""What was reported to the moderators."""

from palaver.database import Put
from palaver.projections.values import date, loaded
from palaver.v1.event_pb2 import Event, MessageReported, MessageReportsClosed, UserReported, UserReportsClosed


def message_reported(event: Event) -> list[Put]:
    return _reported(event.message_reported)


def user_reported(event: Event) -> list[Put]:
    return _reported(event.user_reported)


def _reported(fact: MessageReported | UserReported) -> list[Put]:
    return [Put("reports", fact.report_id, insert=loaded(fact.report))]


def message_reports_closed(event: Event) -> list[Put]:
    return _reports_closed(event, event.message_reports_closed)


def user_reports_closed(event: Event) -> list[Put]:
    return _reports_closed(event, event.user_reports_closed)


def _reports_closed(event: Event, fact: MessageReportsClosed | UserReportsClosed) -> list[Put]:
    closed = {"closed_at": date(event.at), "moderationInfo": loaded(fact.moderation), "_updatedAt": date(event.at)}
    return [Put("reports", report_id, set=closed) for report_id in fact.report_ids]
