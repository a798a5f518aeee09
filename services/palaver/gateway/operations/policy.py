"""Permissions, roles and settings: read from the node's memory, changed through auth.

Shared by `rest/permissions.py`, `rest/roles.py`, `rest/settings.py` and the DDP methods of the same names.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from palaver.errors import InvalidInput, NotAllowed, NotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import encode
from palaver.gateway.operations import rooms, users
from palaver.v1.auth_pb2 import (
    DeleteRoleRequest,
    SaveRoleRequest,
    UpdatePermissionsRequest,
    UpdateSettingRequest,
    UserRoleRequest,
)

Document = dict[str, Any]

_SHOWN_SETTING = ("_id", "value", "type", "enterprise", "invalidValue", "modules")


class RoleNotFound(NotFound):
    code = "error-role-not-found"
    reason = "Role not found"


def changed_since(documents: Iterable[Document], since: int | None) -> list[Document]:
    """Those changed later than `since` (epoch milliseconds); all without it. What has no date was never changed."""
    if since is None:
        return list(documents)
    return [document for document in documents if _changed_at(document) > since]


def _changed_at(document: Document) -> int:
    return int(document.get("_updatedAt", {}).get("$date", 0))


# -- permissions -----------------------------------------------------------------------------------------------------


def list_permissions(call: Call, since: int | None = None) -> list[Document]:
    return changed_since(call.access.policy.permissions.values(), since)


async def update_permissions(call: Call, changes: Sequence[tuple[str, list[str]]]) -> list[Document]:
    """Sets the roles of permissions, and returns all permissions. Raises NotAllowed, InvalidInput."""
    request = UpdatePermissionsRequest(actor=call.actor)
    for permission_id, roles in changes:
        request.permissions.add(permission_id=permission_id, roles=roles)
    reply = await call.services.auth.update_permissions(request)
    # This node may hear of the change a moment later.
    changed = {document["_id"]: document for document in map(orjson.loads, reply.documents)}
    return list({**call.access.policy.permissions, **changed}.values())


async def set_role_permission(call: Call, permission_id: str, role_id: str, *, granted: bool) -> None:
    """Adds one role to a permission, or takes it away."""
    permission = call.access.policy.permissions.get(permission_id)
    if permission is None:
        raise InvalidInput("Permission is not valid", code="error-invalid-permission")
    roles = [role for role in permission["roles"] if role != role_id]
    await update_permissions(call, [(permission_id, [*roles, role_id] if granted else roles)])


# -- roles -----------------------------------------------------------------------------------------------------------


def list_roles(call: Call, since: int | None = None) -> list[Document]:
    return changed_since(call.access.policy.roles.values(), since)


def get_role(call: Call, id_or_name: str) -> Document:
    """A role by its id, else by its name. Raises RoleNotFound."""
    roles = call.access.policy.roles
    if (role := roles.get(id_or_name)) is not None:
        return role
    for role in roles.values():
        if role.get("name") == id_or_name:
            return role
    raise RoleNotFound


async def save_role(
    call: Call, *, role_id: str = "", name: str, scope: str, description: str, mandatory_second_factor: bool
) -> Document:
    """Makes a role, or changes one."""
    reply = await call.services.auth.save_role(
        SaveRoleRequest(
            actor=call.actor,
            role_id=role_id,
            name=name,
            scope=scope,
            description=description,
            mandatory_second_factor=mandatory_second_factor,
        )
    )
    role: Document = orjson.loads(reply.role)
    return role


async def delete_role(call: Call, role_id: str) -> None:
    await call.services.auth.delete_role(DeleteRoleRequest(actor=call.actor, role_id=role_id))


async def set_user_role(call: Call, role: Document, username: str, *, room_id: str = "", granted: bool) -> None:
    """Gives a user a role or takes it away: in the workspace, or in a room where the role belongs to rooms."""
    if role.get("scope") == "Subscriptions":
        if not room_id:
            raise InvalidInput("The role needs a room", code="error-invalid-scope")
        user = await users.get_user(call, None, username)
        await rooms.set_role(call, room_id, user.id, role["_id"], granted=granted)
        return
    request = UserRoleRequest(actor=call.actor, role_id=role["_id"], username=username)
    if granted:
        await call.services.auth.add_user_to_role(request)
    else:
        await call.services.auth.remove_user_from_role(request)
    for user in (await call.access.find_users_by_name([username])).values():
        await rooms.tell_role(call, role["_id"], user, granted=granted)


async def list_users_in_role(
    call: Call, role: Document, *, room_id: str = "", offset: int, count: int
) -> tuple[list[Document], int]:
    """A page of the users with a role, by name, and how many there are; with a room's role, in that room."""
    if role.get("scope") != "Subscriptions":
        return await users.list_users(call, role=role["_id"], offset=offset, count=count)
    if not room_id:
        return [], 0
    members, total = await rooms.list_members(call, room_id, role=role["_id"], offset=offset, count=count)
    return list(map(orjson.loads, members)), total


async def list_public_roles(call: Call) -> list[Document]:
    """Users with the workspace's roles that have a description: clients show these beside the name."""
    roles = [r["_id"] for r in list_roles(call) if r.get("scope", "Users") == "Users" and r.get("description")]
    if not roles:
        return []
    try:
        found, _ = await users.list_users(call, where={"$or": [{"roles": role} for role in roles]})
    except NotAllowed:
        return []
    known = await call.access.find_users([user["_id"] for user in found])
    return [
        {"_id": user.id, "username": user.username, "roles": [role for role in user.roles if role in roles]}
        for user in known.values()
    ]


# -- settings ----------------------------------------------------------------------------------------------------------


def may_view_settings(call: Call) -> bool:
    return call.may("view-privileged-setting") or call.may("edit-privileged-setting")


def list_settings(call: Call, *, public_only: bool, since: int | None = None) -> list[Document]:
    """Settings as they are stored; never the hidden ones."""
    settings = changed_since(call.access.policy.settings.values(), since)
    return [setting for setting in settings if not setting.get("hidden") and (setting.get("public") or not public_only)]


def list_organization_settings(call: Call) -> list[Document]:
    """What the set-up asks for, for whoever may see settings. Raises NotAllowed."""
    if not may_view_settings(call):
        raise NotAllowed
    found = list_settings(call, public_only=False)
    return [setting for setting in found if setting.get("section") == "Organization_Info"]


def find_setting(call: Call, setting_id: str) -> Document | None:
    """A setting by its id; None for an unknown or hidden one."""
    setting = call.access.policy.settings.get(setting_id)
    return None if setting is None or setting.get("hidden") else setting


def shown_setting(setting: Document) -> Document:
    """What lists show of a setting."""
    return {name: setting[name] for name in _SHOWN_SETTING if name in setting}


async def update_setting(call: Call, setting_id: str, value: Any) -> None:
    """Sets a value. Raises NotAllowed, InvalidInput."""
    await call.services.auth.update_setting(
        UpdateSettingRequest(
            actor=call.actor, setting_id=setting_id, value=encode(value), hashed_token=call.hashed_token
        )
    )
