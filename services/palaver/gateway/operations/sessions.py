"""The logins that stand. Called by `rest/sessions.py`; no method of DDP has them."""

from typing import Any

import orjson

from palaver.gateway.call import Call
from palaver.v1.auth_pb2 import EndSessionRequest, GetSessionRequest, ListSessionsRequest

Document = dict[str, Any]


async def list_sessions(
    call: Call, *, of_all: bool, term: str, sort: tuple[str, int], offset: int, count: int
) -> tuple[list[Document], int]:
    """A page of the caller's own, or of everybody's; and how many there are. A count of 0 is all."""
    key, direction = sort
    reply = await call.services.auth.list_sessions(
        ListSessionsRequest(
            actor=call.actor,
            of_all=of_all,
            filter=term,
            sort=key,
            ascending=direction > 0,
            offset=offset,
            count=count,
            hashed_token=call.hashed_token,
        )
    )
    return [orjson.loads(session) for session in reply.documents], reply.total


async def get_session(call: Call, session_id: str, *, of_all: bool) -> Document:
    reply = await call.services.auth.get_session(
        GetSessionRequest(actor=call.actor, session_id=session_id, of_all=of_all, hashed_token=call.hashed_token)
    )
    session: Document = orjson.loads(reply.document)
    return session


async def end_session(call: Call, session_id: str, *, of_all: bool) -> str:
    reply = await call.services.auth.end_session(
        EndSessionRequest(actor=call.actor, session_id=session_id, of_all=of_all, hashed_token=call.hashed_token)
    )
    return reply.session_id
