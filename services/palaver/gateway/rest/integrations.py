"""Integrations: made, changed, listed and removed. Posting to an incoming one is `gateway/hooks.py`."""

from typing import Any, Literal

import msgspec

from palaver.errors import NotFound
from palaver.gateway.call import Call
from palaver.gateway.operations import integrations
from palaver.gateway.operations.integrations import QUERY_FIELDS, SORT_FIELDS
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, endpoint
from palaver.gateway.rest.errors import Failure
from palaver.gateway.rest.query import page, parse_query, parse_sort
from palaver.gateway.rest.room_faces import Face, PageOfRoom

Type = Literal["webhook-incoming", "webhook-outgoing"]

_UNKNOWN = "No integration found."
_PERMISSIONS = (
    "manage-incoming-integrations",
    "manage-own-incoming-integrations",
    "manage-outgoing-integrations",
    "manage-own-outgoing-integrations",
)


class CreateBody(LooseParams, rename="camel", kw_only=True):
    """An integration to be. What an incoming one has no use for may be said of outgoing ones only, and the reverse."""

    type: Type
    name: str
    enabled: bool
    username: str
    script_enabled: bool
    channel: str | None = None
    alias: str | None = None
    avatar: str | None = None
    emoji: str | None = None
    script: str | None = None
    script_engine: str | None = None
    override_destination_channel_enabled: bool | None = None
    event: str | None = None
    target_room: str | None = None
    urls: list[str] | None = None
    trigger_words: list[str] | None = None
    trigger_word_anywhere: bool | None = None
    token: str | None = None
    run_on_edits: bool | None = None
    retry_failed_calls: bool | None = None
    retry_count: int | None = None
    retry_delay: str | None = None
    impersonate_user: bool | None = None


class UpdateBody(CreateBody, rename="camel", kw_only=True):
    integration_id: str = ""
    target_url: str = msgspec.field(name="target_url", default="")


class OneQuery(LooseParams, rename="camel"):
    integration_id: str = ""
    created_by: str = ""


class RemoveBody(LooseParams, rename="camel"):
    type: Type
    integration_id: str = ""
    target_url: str = msgspec.field(name="target_url", default="")


class HistoryQuery(Page):
    id: str = ""


class OfRoomQuery(PageOfRoom, rename="camel"):
    """A page of a room's integrations; by default with those of all rooms of its kind."""

    include_all_public_channels: str = "true"
    include_all_private_groups: str = "true"


def _fields(body: CreateBody) -> dict[str, Any]:
    given: dict[str, Any] = msgspec.to_builtins(body)
    for name in ("type", "integrationId", "target_url"):
        given.pop(name, None)
    return given


@endpoint(
    "POST", "integrations.create", body=CreateBody, permissions=_PERMISSIONS, any_permission=True, shows="integration"
)
async def create(call: Call, body: CreateBody) -> Answer:
    return {"integration": await integrations.save(call, body.type, _fields(body))}


@endpoint("PUT", "integrations.update", body=UpdateBody, permissions=_PERMISSIONS, any_permission=True)
async def update(call: Call, body: UpdateBody) -> Answer:
    """The one with this id, or the outgoing one that posts to this address."""
    _check_named(body)
    try:
        integration_id = body.integration_id or await integrations.get_id(call, body.target_url)
        return {"integration": await integrations.save(call, body.type, _fields(body), integration_id)}
    except NotFound as error:
        raise Failure(_UNKNOWN) from error


@endpoint("GET", "integrations.get", query=OneQuery, shows="integration")
async def get(call: Call, query: OneQuery) -> Answer:
    if not query.integration_id.strip():
        raise Failure("The query parameter 'integrationId' must be provided.")
    try:
        return {"integration": await integrations.get(call, query.integration_id, created_by=query.created_by)}
    except NotFound as error:
        raise _not_found(error) from error


@endpoint("GET", "integrations.list", query=Page, permissions=_PERMISSIONS, any_permission=True, lists="integrations")
async def list_all(call: Call, query: Page) -> Answer:
    return await _list(call, query)


@endpoint("POST", "integrations.remove", body=RemoveBody, permissions=_PERMISSIONS, any_permission=True)
async def remove(call: Call, body: RemoveBody) -> Answer:
    _check_named(body)
    try:
        return {"integration": await integrations.remove(call, body.type, body.integration_id, body.target_url)}
    except NotFound as error:
        raise Failure(_UNKNOWN) from error


@endpoint(
    "GET",
    "integrations.history",
    query=HistoryQuery,
    permissions=("manage-outgoing-integrations", "manage-own-outgoing-integrations"),
    any_permission=True,
    lists="history",
)
async def history(call: Call, query: HistoryQuery) -> Answer:
    if not query.id.strip():
        raise Failure("Invalid integration id.")
    offset, count = page(call, query)
    try:
        found, total = await integrations.list_deliveries(call, query.id, offset=offset, count=count)
    except NotFound as error:
        raise _not_found(error) from error
    return {"history": found, "offset": offset, "items": len(found), "count": len(found), "total": total}


async def of_room(face: Face, call: Call, query: OfRoomQuery) -> Answer:
    """Those that the caller may manage of a room that they may see. Declared by `channels.py` and `groups.py`."""
    found = await face.find(call, query, archived_too=True)
    channels = [f"#{found.name}"]
    if face.room_type == "c" and query.include_all_public_channels.lower() == "true":
        channels.append("all_public_channels")
    if face.room_type == "p" and query.include_all_private_groups.lower() == "true":
        channels.append("all_private_groups")
    return await _list(call, query, channels)


async def _list(call: Call, query: Page, channels: list[str] | None = None) -> Answer:
    offset, count = page(call, query)
    found, total = await integrations.list_integrations(
        call,
        where=parse_query(query.query, QUERY_FIELDS) if query.query else None,
        sort=parse_sort(query.sort, SORT_FIELDS) if query.sort else (),
        offset=offset,
        count=count,
        channels=channels or (),
    )
    return {"integrations": found, "offset": offset, "items": len(found), "count": len(found), "total": total}


def _check_named(body: UpdateBody | RemoveBody) -> None:
    if not body.integration_id and not body.target_url:
        raise Failure("An integrationId or target_url needs to be provided.")


def _not_found(error: NotFound) -> Failure:
    """The words that clients know of these endpoints."""
    return Failure(error.error_reason)
