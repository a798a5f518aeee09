"""Roles, and who has them."""

import asyncio
from typing import Any

import pytest

from palaver.api import Auth
from palaver.errors import Conflict, InvalidInput, NotAllowed
from palaver.events import user_actor
from palaver.v1.auth_pb2 import DeleteRoleRequest, GetUserRequest, SaveRoleRequest, UserRoleRequest
from tests.auth.helpers import ADMIN, create_user, grant, loaded
from tests.auth.test_policy import get_policy
from tests.services import ADMIN_ID, RunningServices


async def save_role(auth: Auth, actor_id: str = ADMIN_ID, **fields: Any) -> dict[str, Any]:
    return loaded((await auth.save_role(SaveRoleRequest(actor=user_actor(actor_id), **fields))).role)


async def roles_of(auth: Auth, user_id: str) -> list[str]:
    roles: list[str] = loaded((await auth.get_user(GetUserRequest(actor=ADMIN, user_id=user_id))).user)["roles"]
    return roles


async def give(auth: Auth, role_id: str, username: str, actor_id: str = ADMIN_ID) -> None:
    await auth.add_user_to_role(UserRoleRequest(actor=user_actor(actor_id), role_id=role_id, username=username))


async def take(auth: Auth, role_id: str, username: str, actor_id: str = ADMIN_ID) -> None:
    await auth.remove_user_from_role(UserRoleRequest(actor=user_actor(actor_id), role_id=role_id, username=username))


async def test_a_role_comes_changes_and_goes(auth: Auth, running: RunningServices) -> None:
    role = await save_role(auth, name=" helpers ", description="They help", mandatory_second_factor=True)
    at = role.pop("_updatedAt")
    assert role == {
        "_id": role["_id"],
        "name": "helpers",
        "scope": "Users",
        "description": "They help",
        "protected": False,
        "mandatory2fa": True,
    }
    assert running.node.access.policy.roles[role["_id"]]["name"] == "helpers"
    changed = await save_role(auth, role_id=role["_id"], name="guides", scope="Users", description="")
    assert (changed["_id"], changed["name"], changed["mandatory2fa"]) == (role["_id"], "guides", False)
    assert changed["_updatedAt"]["$date"] >= at["$date"]
    await auth.delete_role(DeleteRoleRequest(actor=ADMIN, role_id=role["_id"]))
    assert role["_id"] not in running.node.access.policy.roles
    assert role["_id"] not in (await get_policy(auth))[1]
    with pytest.raises(InvalidInput) as raised:
        await auth.delete_role(DeleteRoleRequest(actor=ADMIN, role_id=role["_id"]))
    assert raised.value.error_code == "error-invalid-roleId"
    assert (await save_role(auth, name="guides"))["_id"] != role["_id"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": ""}, "error-invalid-role-properties"),
        ({"name": "  "}, "error-invalid-role-properties"),
        ({"name": "x" * 101}, "error-invalid-role-properties"),
        ({"name": "x", "scope": "Everything"}, "error-invalid-scope"),
        ({"role_id": "nothing", "name": "x"}, "error-invalid-roleId"),
        ({"role_id": "admin", "name": "boss"}, "error-role-protected"),
        ({"role_id": "admin", "name": "admin", "scope": "Subscriptions"}, "error-role-protected"),
    ],
)
async def test_roles_that_can_not_be(auth: Auth, fields: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await save_role(auth, **fields)
    assert raised.value.error_code == code


async def test_two_roles_have_two_names(auth: Auth) -> None:
    await save_role(auth, name="helpers")
    for name in ("helpers", "admin"):
        with pytest.raises(Conflict) as raised:
            await save_role(auth, name=name)
        assert raised.value.error_code == "error-duplicate-role-names-not-allowed"
    results = await asyncio.gather(*(save_role(auth, name="guides") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, dict) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 4


async def test_a_protected_role_may_be_described(auth: Auth) -> None:
    role = await save_role(auth, role_id="admin", name="admin", description="The bosses")
    assert (role["description"], role["protected"]) == ("The bosses", True)
    with pytest.raises(InvalidInput) as raised:
        await auth.delete_role(DeleteRoleRequest(actor=ADMIN, role_id="admin"))
    assert raised.value.error_code == "error-delete-protected-role"


async def test_a_role_in_use_stays(auth: Auth) -> None:
    role = await save_role(auth, name="helpers")
    await create_user(auth, "alice")
    await give(auth, role["_id"], "alice")
    with pytest.raises(InvalidInput) as raised:
        await auth.delete_role(DeleteRoleRequest(actor=ADMIN, role_id=role["_id"]))
    assert raised.value.error_code == "error-role-in-use"
    await take(auth, role["_id"], "alice")
    await auth.delete_role(DeleteRoleRequest(actor=ADMIN, role_id=role["_id"]))


async def test_giving_and_taking(auth: Auth, running: RunningServices) -> None:
    alice = await create_user(auth, "alice")
    role = await save_role(auth, name="helpers")
    await grant(auth, "create-user", role["_id"], "admin")
    await give(auth, role["_id"], "ALICE")
    assert await roles_of(auth, alice["_id"]) == ["user", role["_id"]]
    await create_user(auth, "bob")
    with pytest.raises(InvalidInput) as already:
        await give(auth, role["_id"], "alice")
    assert already.value.error_code == "error-user-already-in-role"
    user = await running.node.access.find_user(alice["_id"])
    assert user is not None
    assert running.node.access.may(user, "create-user")
    await take(auth, role["_id"], "alice")
    assert await roles_of(auth, alice["_id"]) == ["user"]
    with pytest.raises(InvalidInput) as not_in:
        await take(auth, role["_id"], "alice")
    assert not_in.value.error_code == "error-user-not-in-role"
    user = await running.node.access.find_user(alice["_id"])
    assert user is not None
    assert not running.node.access.may(user, "create-user")


async def test_roles_given_at_once_are_all_kept(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    ids = [(await save_role(auth, name=f"role{n}"))["_id"] for n in range(4)]
    await asyncio.gather(*(give(auth, id, "alice") for id in ids))
    assert sorted(await roles_of(auth, alice["_id"])) == sorted(["user", *ids])


async def test_what_can_not_be_given(auth: Auth) -> None:
    await create_user(auth, "alice")
    for role_id, username, code in (
        ("nothing", "alice", "error-invalid-roleId"),
        ("guest", "nobody", "error-invalid-user"),
        ("guest", "", "error-invalid-user"),
        ("owner", "alice", "error-invalid-scope"),
    ):
        for command in (give, take):
            with pytest.raises(InvalidInput) as raised:
                await command(auth, role_id, username)
            assert raised.value.error_code == code
    with pytest.raises(InvalidInput):
        await auth.add_user_to_role(UserRoleRequest(actor=ADMIN, role_id="guest", username="alice", room_id="GENERAL"))


async def test_roles_need_permissions(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    commands = [
        save_role(auth, alice["_id"], name="mine"),
        auth.delete_role(DeleteRoleRequest(actor=user_actor(alice["_id"]), role_id="guest")),
        give(auth, "guest", "alice", alice["_id"]),
        take(auth, "user", "alice", alice["_id"]),
    ]
    for command in commands:
        with pytest.raises(NotAllowed) as raised:
            await command
        assert raised.value.error_code == "unauthorized"
    await grant(auth, "access-permissions", "admin", "user")
    await give(auth, "guest", "alice", alice["_id"])
    for command in (give(auth, "admin", "alice", alice["_id"]), take(auth, "admin", "boss", alice["_id"])):
        with pytest.raises(NotAllowed, match="Assigning admin"):
            await command


async def test_there_is_always_an_administrator(auth: Auth) -> None:
    with pytest.raises(InvalidInput) as raised:
        await take(auth, "admin", "boss")
    assert raised.value.error_code == "error-admin-required"
    await create_user(auth, "second", roles=["user", "admin"])
    results = await asyncio.gather(
        take(auth, "admin", "boss"), take(auth, "admin", "second", ADMIN_ID), return_exceptions=True
    )
    assert sum(result is None for result in results) == 1
