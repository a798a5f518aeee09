"""The logins that stand: one's own, and for who may, everybody's."""

from palaver.errors import InvalidInput
from palaver.gateway.call import Call
from palaver.gateway.operations import sessions
from palaver.gateway.rest.endpoint import Answer, Page, Params, endpoint
from palaver.gateway.rest.query import page, parse_sort

_SORT_KEYS = ("loginAt", "device.name", "device.os.name")


class SessionsQuery(Page, rename="camel"):
    filter: str = ""


class SessionQuery(Params, rename="camel"):
    session_id: str


@endpoint("GET", "sessions/list", query=SessionsQuery, lists="sessions")
async def list_own(call: Call, query: SessionsQuery) -> Answer:
    return await _list(call, query, of_all=False)


@endpoint(
    "GET",
    "sessions/list.all",
    query=SessionsQuery,
    permissions=["view-device-management"],
    second_factor=True,
    lists="sessions",
)
async def list_all(call: Call, query: SessionsQuery) -> Answer:
    return await _list(call, query, of_all=True)


@endpoint("GET", "sessions/info", query=SessionQuery)
async def info(call: Call, query: SessionQuery) -> Answer:
    return await sessions.get_session(call, query.session_id, of_all=False)


@endpoint("GET", "sessions/info.admin", query=SessionQuery, permissions=["view-device-management"], second_factor=True)
async def info_of_anybody(call: Call, query: SessionQuery) -> Answer:
    return await sessions.get_session(call, query.session_id, of_all=True)


@endpoint("POST", "sessions/logout.me", body=SessionQuery)
async def end_own(call: Call, body: SessionQuery) -> Answer:
    return {"sessionId": await sessions.end_session(call, body.session_id, of_all=False)}


@endpoint("POST", "sessions/logout", body=SessionQuery, permissions=["logout-device-management"], second_factor=True)
async def end_of_anybody(call: Call, body: SessionQuery) -> Answer:
    return {"sessionId": await sessions.end_session(call, body.session_id, of_all=True)}


async def _list(call: Call, query: SessionsQuery, *, of_all: bool) -> Answer:
    offset, count = page(call, query)
    sort = parse_sort(query.sort, _SORT_KEYS) if query.sort else [("loginAt", -1)]
    if len(sort) != 1:
        raise InvalidInput("Invalid sort keys", code="error-invalid-sort-keys")
    found, total = await sessions.list_sessions(
        call, of_all=of_all, term=query.filter, sort=sort[0], offset=offset, count=count
    )
    return {"sessions": found, "count": len(found), "offset": offset, "total": total}
