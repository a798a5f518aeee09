"""Methods of permissions and roles. Their REST twins are in `rest/permissions.py` and `rest/roles.py`."""

from typing import Any

from palaver.gateway.call import Call
from palaver.gateway.ddp.method import Date, method
from palaver.gateway.operations import policy


@method("permissions/get", Date | None)
async def get_permissions(call: Call, since: Date | None) -> Any:
    if since is None:
        return policy.list_permissions(call)
    return {"update": policy.list_permissions(call, since.milliseconds), "remove": []}


@method("authorization:addPermissionToRole", str, str)
async def add_permission_to_role(call: Call, permission_id: str, role_id: str) -> None:
    await policy.set_role_permission(call, permission_id, role_id, granted=True)


@method("authorization:removeRoleFromPermission", str, str)
async def remove_role_from_permission(call: Call, permission_id: str, role_id: str) -> None:
    await policy.set_role_permission(call, permission_id, role_id, granted=False)


@method("getUserRoles")
async def get_user_roles(call: Call) -> Any:
    return await policy.list_public_roles(call)


@method("authorization:addUserToRole", str, str, str | None)
async def add_user_to_role(call: Call, role_id: str, username: str, room_id: str | None) -> bool:
    await policy.set_user_role(call, policy.get_role(call, role_id), username, room_id=room_id or "", granted=True)
    return True


@method("authorization:removeUserFromRole", str, str, str | None)
async def remove_user_from_role(call: Call, role_id: str, username: str, room_id: str | None) -> bool:
    await policy.set_user_role(call, policy.get_role(call, role_id), username, room_id=room_id or "", granted=False)
    return True


@method("authorization:deleteRole", str)
async def delete_role(call: Call, role_id: str) -> bool:
    await policy.delete_role(call, policy.get_role(call, role_id)["_id"])
    return True
