"""The workspace's own kinds of status."""

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.operations import statuses
from palaver.gateway.rest.endpoint import Answer, LooseParams, Page, endpoint
from palaver.gateway.rest.errors import Failure
from palaver.gateway.rest.query import page, parse_query, parse_sort


class ListQuery(Page, rename="camel"):
    name: str = ""
    id: str = msgspec.field(name="_id", default="")


class CreateBody(LooseParams, rename="camel"):
    name: str
    status_type: str = ""


class UpdateBody(LooseParams, rename="camel"):
    id: str = msgspec.field(name="_id")
    name: str = ""
    status_type: str = ""


class DeleteBody(LooseParams, rename="camel"):
    custom_user_status_id: str = ""


@endpoint("GET", "custom-user-status.list", query=ListQuery, lists="statuses")
async def list_statuses(call: Call, query: ListQuery) -> Answer:
    offset, count = page(call, query)
    named = {name: value for name, value in (("name", query.name), ("_id", query.id)) if value}
    found, total = await statuses.list_statuses(
        call,
        where={**dict(parse_query(query.query, statuses.FIELDS)), **named},
        sort=parse_sort(query.sort, statuses.FIELDS),
        offset=offset,
        count=count,
    )
    return {"statuses": found, "count": len(found), "offset": offset, "total": total}


@endpoint("POST", "custom-user-status.create", body=CreateBody, shows="customUserStatus")
async def create(call: Call, body: CreateBody) -> Answer:
    return {"customUserStatus": await statuses.save_status(call, "", body.name, body.status_type)}


@endpoint("POST", "custom-user-status.update", body=UpdateBody, shows="customUserStatus")
async def update(call: Call, body: UpdateBody) -> Answer:
    known, _ = await statuses.list_statuses(call, where={"_id": body.id})
    if not known:
        raise Failure(f'No custom user status found with the id of "{body.id[:100]}".')
    name = body.name or known[0]["name"]
    return {"customUserStatus": await statuses.save_status(call, body.id, name, body.status_type)}


@endpoint("POST", "custom-user-status.delete", body=DeleteBody)
async def delete(call: Call, body: DeleteBody) -> Answer:
    if not body.custom_user_status_id:
        raise Failure('The "customUserStatusId" params is required!')
    await statuses.delete_status(call, body.custom_user_status_id)
    return {}
