"""What the tests of the auth service say often."""

from typing import Any

import orjson

from palaver.api import Auth
from palaver.events import user_actor
from palaver.v1.auth_pb2 import (
    AuthenticateReply,
    AuthenticateRequest,
    CreateUserRequest,
    LoginReply,
    LoginRequest,
    SetUserActiveRequest,
    UpdatePermissionsRequest,
    UpdateSettingRequest,
    UpdateUserRequest,
)
from tests.services import ADMIN_ID

PASSWORD = "correct horse"
ADMIN = user_actor(ADMIN_ID)


async def create_user(auth: Auth, username: str, **fields: Any) -> dict[str, Any]:
    """The administrator creates a user with PASSWORD and an address of their name."""
    fields = {"email": f"{username}@example.org", "password": PASSWORD, "name": username.title(), **fields}
    reply = await auth.create_user(CreateUserRequest(actor=ADMIN, username=username, **fields))
    return loaded(reply.user)


async def login(auth: Auth, username: str, password: str = PASSWORD, **fields: Any) -> LoginReply:
    given = LoginRequest.Password(username=username, plain=password)
    return await auth.login(LoginRequest(password=given, **fields))


async def authenticate(auth: Auth, token: str, user_id: str = "") -> AuthenticateReply:
    return await auth.authenticate(AuthenticateRequest(token=token, user_id=user_id))


async def set_setting(auth: Auth, setting_id: str, value: Any, actor_id: str = ADMIN_ID) -> None:
    await auth.update_setting(
        UpdateSettingRequest(actor=user_actor(actor_id), setting_id=setting_id, value=orjson.dumps(value))
    )


async def grant(auth: Auth, permission_id: str, *roles: str, actor_id: str = ADMIN_ID) -> None:
    """Gives the permission to exactly these roles."""
    request = UpdatePermissionsRequest(actor=user_actor(actor_id))
    request.permissions.add(permission_id=permission_id, roles=roles)
    await auth.update_permissions(request)


async def update_user(auth: Auth, actor_id: str, user_id: str, changes: Any, **fields: Any) -> dict[str, Any]:
    request = UpdateUserRequest(actor=user_actor(actor_id), user_id=user_id, set=orjson.dumps(changes), **fields)
    return loaded((await auth.update_user(request)).user)


async def set_active(auth: Auth, user_id: str, active: bool, actor_id: str = ADMIN_ID) -> dict[str, Any]:
    request = SetUserActiveRequest(actor=user_actor(actor_id), user_id=user_id, active=active)
    return loaded((await auth.set_user_active(request)).user)


def loaded(data: bytes) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(data)
    return document
