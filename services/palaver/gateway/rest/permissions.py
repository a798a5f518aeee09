"""Which roles may do what."""

import msgspec

from palaver.errors import InvalidInput, NotAllowed
from palaver.gateway.call import Call
from palaver.gateway.ejson import parse_iso
from palaver.gateway.operations import policy
from palaver.gateway.rest.endpoint import Answer, LooseParams, endpoint


class SinceQuery(LooseParams, rename="camel"):
    updated_since: str | None = None


class Permission(LooseParams):
    id: str = msgspec.field(name="_id")
    roles: list[str]


class UpdateBody(LooseParams):
    permissions: list[Permission]


@endpoint("GET", "permissions.listAll", query=SinceQuery)
async def list_all(call: Call, query: SinceQuery) -> Answer:
    return {"update": policy.list_permissions(call, parse_since(query.updated_since)), "remove": []}


@endpoint("POST", "permissions.update", body=UpdateBody)
async def update(call: Call, body: UpdateBody) -> Answer:
    if not call.may("access-permissions"):
        raise NotAllowed("Editing permissions is not allowed", code="error-edit-permissions-not-allowed")
    changes = [(permission.id, permission.roles) for permission in body.permissions]
    return {"permissions": await policy.update_permissions(call, changes)}


def parse_since(text: str | None, code: str = "error-roomId-param-invalid", name: str = "updatedSince") -> int | None:
    """A date in a query as epoch milliseconds. Raises InvalidInput."""
    if text is None:
        return None
    try:
        return parse_iso(text)
    except InvalidInput as error:
        raise InvalidInput(f'The "{name}" query parameter must be a valid date.', code=code) from error
