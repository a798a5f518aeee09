"""Endpoints of the tests' own, and a REST surface of them: what every endpoint gets from its declaration."""

import sys
from typing import cast

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from palaver.errors import (
    Conflict,
    NotAllowed,
    NotBuilt,
    NotFound,
    RoomNotFound,
    SecondFactorRequired,
    TooManyRequests,
    Unavailable,
)
from palaver.gateway.admission import Admission
from palaver.gateway.call import Call
from palaver.gateway.rest.dispatch import RestSurface
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, Params, RateLimit, endpoint, endpoints_of
from palaver.gateway.rest.errors import Failure, Forbidden
from palaver.gateway.rest.query import page
from palaver.gateway.role import Gateway
from tests.gateway.rest import Client


class Inner(Params):
    name: str


class Body(Params, rename="camel"):
    name: str
    room_id: str | None = None
    members: list[str] = msgspec.field(default_factory=list)
    is_open: bool = False
    count: int = 0
    inner: Inner | None = None


class LooseBody(LooseParams):
    name: str
    inner: dict[str, str] = msgspec.field(default_factory=dict)
    names: list[str] = msgspec.field(default_factory=list)


class Query(Params):
    name: str
    count: int = 0
    ids: list[str] | str = ""
    wanted: bool = False


ERRORS = {
    "not-allowed": NotAllowed(),
    "unauthorized": NotAllowed(code="unauthorized"),
    "forbidden": Forbidden(),
    "not-found": NotFound(),
    "room": RoomNotFound(),
    "conflict": Conflict("It is there", code="error-there", details={"field": "name"}),
    "no-reason": Conflict("", code="error-bare"),
    "failure": Failure("Just text"),
    "empty-failure": Failure(),
    "too-many": TooManyRequests("Error, too many requests. Please slow down."),
    "second-factor": SecondFactorRequired(details={"method": "totp", "availableMethods": ["totp"]}),
    "not-built": NotBuilt(),
    "unavailable": Unavailable(),
    "crash": RuntimeError("secret of the inside"),
}


@endpoint("POST", "things.create", "things.make", body=Body, login="none")
async def create(call: Call, body: Body) -> Answer:
    return {"thing": msgspec.to_builtins(body)}


@endpoint("POST", "things.loose", body=LooseBody, login="none")
async def loose(call: Call, body: LooseBody) -> Answer:
    return {"thing": msgspec.to_builtins(body)}


@endpoint("GET", "things.find", query=Query, login="none")
async def find(call: Call, query: Query) -> Answer:
    return {"query": msgspec.to_builtins(query)}


@endpoint("GET", "things.page", query=Page, login="none")
async def list_page(call: Call, query: Page) -> Answer:
    offset, count = page(call, query)
    return {"page": [offset, count], "when": {"$date": 1700000000123}}


@endpoint("POST", "things.known", body=Body, permissions=["view-statistics"])
async def known(call: Call, body: Body) -> Answer:
    return {"user": call.me.username}


@endpoint("POST", "things.any", permissions=["view-statistics", "view-c-room"], any_permission=True)
async def any_permission(call: Call) -> Answer:
    return {}


@endpoint("POST", "things.own-error", body=Body, login="none", invalid=("error-odd", "Odd."))
async def own_error(call: Call, body: Body) -> Answer:
    return {}


@endpoint("GET", "things.optional", login="optional")
async def optional(call: Call) -> Answer:
    return {"user": None if call.user is None else call.user.username}


@endpoint("GET", "things.limited", login="none", rate_limit=RateLimit(2, 60))
async def limited(call: Call) -> Answer:
    return {}


@endpoint("GET", "things.usual", login="none")
async def usual(call: Call) -> Answer:
    return {}


@endpoint("GET", "things/:id/parts/:part", login="none")
async def get_part(call: Call, id: str, part: str) -> Answer:
    return {"id": id, "part": part}


@endpoint("DELETE", "things/:id/parts/:part", login="none")
async def delete_part(call: Call, id: str, part: str) -> Answer:
    return {"deleted": part}


@endpoint("GET", "things.image", login="none")
async def image(call: Call) -> Answer:
    return Response(b"<svg/>", media_type="image/svg+xml")


@endpoint("GET", "things.error/:name", login="none")
async def error(call: Call, name: str) -> Answer:
    raise ERRORS[name]


@endpoint("GET", "things.status", login="none")
async def status(call: Call) -> Answer:
    return {"status": "online"}


def surface(client: Client) -> Client:
    """These endpoints over the node of a running API."""
    endpoints = endpoints_of(sys.modules[__name__])
    gateway = cast(Gateway, client.node.roles["gateway"])
    rest = RestSurface(
        client.node, endpoints, Admission(client.node.config), gateway.presence, gateway.pictures, gateway.limiter
    )
    app = Starlette(routes=[Route("/api/v1/{path:path}", rest)])
    http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://chat.example.org/api/v1/")
    found = Client(http, client.node)
    found.headers, found.user_id = client.headers, client.user_id
    return found
