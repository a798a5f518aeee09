"""Who hears of which role: clients show roles beside the names."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.ddp import RunningGateway, running_gateway
from tests.services import TRANSPORTS


@pytest.fixture(params=TRANSPORTS)
async def gateway(tmp_path: Path, request: pytest.FixtureRequest, cheap_hashes: None) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, request.param) as running:
        yield running


async def test_members_hear_of_a_rooms_roles_and_everybody_of_the_workspaces(gateway: RunningGateway) -> None:
    alice, bob, carol = [await gateway.make_user(name) for name in ("alice", "bob", "carol")]
    room = (await gateway.post("groups.create", alice, name="inner", members=["bob"]))["group"]["_id"]
    his, hers = await gateway.client(bob), await gateway.client(carol)
    for client in (his, hers):
        await client.sub("stream-notify-user", f"{client.user_id}/rooms-changed", False)
        await client.sub("stream-notify-logged", "roles-change", False)

    def told(type: str, role: str, name: str, **scope: str) -> list[Any]:
        id = (bob if name == "bob" else carol)["X-User-Id"]
        return [{"type": type, "_id": role, "u": {"_id": id, "username": name, "name": name.title()}, **scope}]

    room_roles = [told(type, "moderator", "bob", scope=room) for type in ("added", "removed")]
    await gateway.post("groups.addModerator", alice, roomId=room, userId=bob["X-User-Id"])
    await gateway.post("groups.removeModerator", alice, roomId=room, userId=bob["X-User-Id"])
    await gateway.post("roles.addUserToRole", gateway.admin, roleId="bot", username="carol")
    await gateway.post("roles.removeUserFromRole", gateway.admin, roleId="bot", username="carol")
    workspace_roles = [told(type, "bot", "carol") for type in ("added", "removed")]
    for client in (his, hers):
        await client.wait_change("stream-notify-logged", "roles-change", lambda args: args == workspace_roles[1])
    assert his.changes("stream-notify-logged", "roles-change") == room_roles + workspace_roles
    assert hers.changes("stream-notify-logged", "roles-change") == workspace_roles


async def test_where_roles_are_not_shown_nobody_is_told(gateway: RunningGateway) -> None:
    carol = await gateway.make_user("carol")
    hers = await gateway.client(carol)
    await hers.sub("stream-notify-logged", "roles-change", False)
    await gateway.post("settings/UI_DisplayRoles", gateway.admin, value=False)
    await gateway.post("roles.addUserToRole", gateway.admin, roleId="bot", username="carol")
    await gateway.post("settings/UI_DisplayRoles", gateway.admin, value=True)
    await gateway.post("roles.removeUserFromRole", gateway.admin, roleId="bot", username="carol")
    await hers.wait_change("stream-notify-logged", "roles-change")
    assert [args[0]["type"] for args in hers.changes("stream-notify-logged", "roles-change")] == ["removed"]
