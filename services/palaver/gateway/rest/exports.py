"""Rooms taken out: as a file, or some messages by mail. `rooms.export`."""

import re
from typing import Literal

from palaver.errors import InvalidInput, RoomNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import parse_iso
from palaver.gateway.rest.endpoint import Answer, Params, endpoint
from palaver.v1.messaging_pb2 import ExportRoomRequest

_DAY_MILLISECONDS = 86_400_000
_EVER = 253_402_300_799_999  # the end of the year 9999
_is_day = re.compile(r"\d{4}-\d\d-\d\d").fullmatch


class ExportBody(Params, rename="camel", kw_only=True):
    """A file of what was said between two dates, or a letter with some messages."""

    rid: str
    type: Literal["file", "email"]
    format: str = ""
    date_from: str | None = None
    date_to: str | None = None
    to_users: list[str] | None = None
    to_emails: list[str] | None = None
    additional_emails: str | None = None
    subject: str = ""
    messages: list[str] | None = None


@endpoint("POST", "rooms.export", body=ExportBody)
async def export(call: Call, body: ExportBody) -> Answer:
    """Done in the background: rocket.cat brings the file. Of a letter: whom it can't be sent to."""
    request = ExportRoomRequest(actor=call.actor, room_id=body.rid)
    if body.type == "file":
        request.format = body.format or "none"
        request.oldest = parse_iso(body.date_from) if body.date_from else 0
        request.latest = _end_of(body.date_to) if body.date_to else _EVER
    else:
        others = re.split(r"[,;\s]+", body.additional_emails or "")
        request.emails.extend([email for email in [*(body.to_emails or ()), *others] if email])
        request.usernames.extend(body.to_users or ())
        request.message_ids.extend(body.messages or ())
        request.subject = body.subject
    try:
        reply = await call.services.messaging.export_room(request)
    except RoomNotFound as error:
        raise InvalidInput("Invalid room", code="error-invalid-room") from error
    return {"missing": list(reply.missing)} if body.type == "email" else {}


def _end_of(date: str) -> int:
    """A day counts up to its end; a time is what it is."""
    return parse_iso(date) + (_DAY_MILLISECONDS - 1 if _is_day(date) else 0)
