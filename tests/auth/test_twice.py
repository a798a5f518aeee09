"""What the contract promises of its idempotent commands: made twice, each does and answers what it did once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palaver.events import WORKSPACE, user_actor, user_stream
from palaver.v1 import auth_pb2
from palaver.v1.auth_pb2 import (
    LoginReply,
    LogoutRequest,
    ResetKeysRequest,
    SetAssetRequest,
    SetUserActiveRequest,
    SetUserStatusRequest,
    UpdatePermissionsRequest,
    UpdateSettingRequest,
)
from tests.auth.helpers import ADMIN, create_user, login
from tests.contract import idempotent_methods
from tests.services import service_nodes

# By method: the request, given Ann's id and her login.
COMMANDS: dict[str, Callable[[str, LoginReply], Any]] = {
    "logout": lambda id, logged_in: LogoutRequest(actor=user_actor(id), hashed_token=logged_in.hashed_token),
    "reset_keys": lambda id, logged_in: ResetKeysRequest(actor=ADMIN, user_id=id),
    "set_user_active": lambda id, logged_in: SetUserActiveRequest(actor=ADMIN, user_id=id, active=False),
    "set_user_status": lambda id, logged_in: SetUserStatusRequest(
        actor=user_actor(id), status="busy", status_text="at lunch"
    ),
    "update_permissions": lambda id, logged_in: UpdatePermissionsRequest(
        actor=ADMIN,
        permissions=[UpdatePermissionsRequest.Permission(permission_id="view-d-room", roles=["admin"])],
    ),
    "set_asset": lambda id, logged_in: SetAssetRequest(actor=ADMIN, name="logo", file_id="file", extension="png"),
    "update_setting": lambda id, logged_in: UpdateSettingRequest(
        actor=ADMIN, setting_id="API_Default_Count", value=b"7"
    ),
}


def test_every_such_command_is_tried() -> None:
    assert idempotent_methods(auth_pb2.DESCRIPTOR.services_by_name["Auth"]) == COMMANDS.keys()


@pytest.mark.parametrize("method", COMMANDS)
async def test_a_command_made_twice(method: str, tmp_path: Path, cheap_hashes: None) -> None:
    async with service_nodes(tmp_path, ("auth",), "process") as running:
        auth, database = running.services.auth, running.node.database
        ann = (await create_user(auth, "ann"))["_id"]
        command, request = getattr(auth, method), COMMANDS[method](ann, await login(auth, "ann"))

        async def heads() -> list[int]:
            return [await database.get_head(stream) for stream in (WORKSPACE, user_stream(ann))]

        before = await heads()
        first = await command(request)
        once = await heads()
        assert once != before
        assert await command(request) == first
        assert await heads() == once
