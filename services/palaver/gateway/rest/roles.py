"""Roles, and who has them."""

from palaver.errors import InvalidInput, NotAllowed
from palaver.gateway.call import Call
from palaver.gateway.operations import policy
from palaver.gateway.rest.endpoint import Answer, Page, Params, endpoint
from palaver.gateway.rest.permissions import SinceQuery, parse_since
from palaver.gateway.rest.query import page

_INVALID = ("error-invalid-role-properties", "The role properties are invalid.")


class CreateBody(Params):
    name: str
    scope: str = "Users"
    description: str = ""
    mandatory2fa: bool = False


class UpdateBody(Params, rename="camel"):
    role_id: str
    name: str
    scope: str | None = None
    description: str | None = None
    mandatory2fa: bool | None = None


class DeleteBody(Params, rename="camel"):
    role_id: str


class MemberBody(Params, rename="camel"):
    username: str
    role_id: str = ""
    role_name: str = ""
    room_id: str = ""
    scope: str = ""


class UsersQuery(Page, rename="camel"):
    role: str = ""
    room_id: str = ""


@endpoint("GET", "roles.list")
async def list_roles(call: Call) -> Answer:
    return {"roles": policy.list_roles(call)}


@endpoint("GET", "roles.sync", query=SinceQuery)
async def sync(call: Call, query: SinceQuery) -> Answer:
    since = parse_since(query.updated_since or "", code="error-updatedSince-param-invalid")
    return {"roles": {"update": policy.list_roles(call, since), "remove": []}}


@endpoint("POST", "roles.create", body=CreateBody, invalid=_INVALID, shows="role")
async def create(call: Call, body: CreateBody) -> Answer:
    _check_allowed(call)
    role = await policy.save_role(
        call,
        name=body.name,
        scope=body.scope,
        description=body.description,
        mandatory_second_factor=body.mandatory2fa,
    )
    return {"role": role}


@endpoint("POST", "roles.update", body=UpdateBody, invalid=_INVALID, shows="role")
async def update(call: Call, body: UpdateBody) -> Answer:
    _check_allowed(call)
    known = policy.get_role(call, body.role_id)
    role = await policy.save_role(
        call,
        role_id=known["_id"],
        name=body.name,
        scope=body.scope or known.get("scope", "Users"),
        description=known.get("description", "") if body.description is None else body.description,
        mandatory_second_factor=bool(known.get("mandatory2fa")) if body.mandatory2fa is None else body.mandatory2fa,
    )
    return {"role": role}


@endpoint("POST", "roles.delete", body=DeleteBody, invalid=_INVALID)
async def delete(call: Call, body: DeleteBody) -> Answer:
    _check_allowed(call)
    try:
        role = policy.get_role(call, body.role_id)
    except policy.RoleNotFound as error:
        raise InvalidInput("This role does not exist", code="error-invalid-roleId") from error
    if role.get("protected"):  # clients of DDP know another code
        raise InvalidInput("Cannot delete a protected role", code="error-role-protected")
    await policy.delete_role(call, role["_id"])
    return {}


@endpoint("POST", "roles.addUserToRole", body=MemberBody, invalid=_INVALID)
async def add_user_to_role(call: Call, body: MemberBody) -> Answer:
    role = policy.get_role(call, body.role_id or body.role_name)
    await policy.set_user_role(call, role, body.username, room_id=body.room_id, granted=True)
    return {"role": role}


@endpoint("POST", "roles.removeUserFromRole", body=MemberBody, invalid=_INVALID)
async def remove_user_from_role(call: Call, body: MemberBody) -> Answer:
    if not call.may("access-permissions"):
        raise NotAllowed("Accessing permissions is not allowed", code="error-not-allowed")
    try:
        role = policy.get_role(call, body.role_id or body.role_name)
    except policy.RoleNotFound as error:
        raise InvalidInput("This role does not exist", code="error-invalid-roleId") from error
    await policy.set_user_role(call, role, body.username, room_id=body.room_id or body.scope, granted=False)
    return {"role": role}


@endpoint("GET", "roles.getUsersInRole", query=UsersQuery, lists="users")
async def list_users_in_role(call: Call, query: UsersQuery) -> Answer:
    if not query.role:
        raise InvalidInput('Query param "role" is required', code="error-param-not-provided")
    if not call.may("access-permissions") or (query.room_id and not call.may("view-other-user-channels")):
        raise NotAllowed("Not allowed", code="error-not-allowed")
    try:
        role = policy.get_role(call, query.role)
    except policy.RoleNotFound as error:
        raise InvalidInput("This role does not exist", code="error-invalid-roleId") from error
    offset, count = page(call, query)
    found, total = await policy.list_users_in_role(call, role, room_id=query.room_id, offset=offset, count=count)
    return {"users": found, "count": len(found), "offset": offset, "total": total}


def _check_allowed(call: Call) -> None:
    if not call.may("access-permissions"):
        raise NotAllowed("Accessing permissions is not allowed", code="error-action-not-allowed")
