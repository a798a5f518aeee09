"""Permissions and settings, as they are changed and as the node then obeys."""

import asyncio
from typing import Any

import pytest

from palaver.api import Auth
from palaver.errors import InvalidInput, LoginRequired, NotAllowed
from palaver.events import SYSTEM, WORKSPACE, user_actor
from palaver.v1.auth_pb2 import (
    DeleteRoleRequest,
    GetPolicyReply,
    GetPolicyRequest,
    SaveRoleRequest,
    UpdatePermissionsRequest,
    UpdateSettingRequest,
)
from palaver.v1.event_pb2 import Actor, Event
from tests.auth.helpers import ADMIN, create_user, grant, loaded, set_setting
from tests.services import ADMIN_ID, RunningServices
from tests.waiting import eventually


async def get_policy(auth: Auth) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], int]:
    """Permissions, roles and settings by id, and the seq."""
    reply = await auth.get_policy(GetPolicyRequest())
    permissions, roles, settings = (
        {document["_id"]: document for document in map(loaded, documents)}
        for documents in (reply.permissions, reply.roles, reply.settings)
    )
    return permissions, roles, settings, reply.seq


async def test_the_whole_policy(auth: Auth) -> None:
    permissions, roles, settings, seq = await get_policy(auth)
    assert (len(permissions), len(roles)) == (196, 11)
    assert len(settings) > 913
    assert seq > 0
    assert permissions["create-user"]["roles"] == ["admin"]
    assert permissions["create-user"].keys() == {"_id", "roles", "_updatedAt"}
    assert roles["admin"]["protected"] is True
    assert settings["Site_Url"]["value"] == "http://chat.example.org"
    assert settings["Show_Setup_Wizard"]["value"] == "completed"
    site_name = settings["Site_Name"]
    assert (site_name["type"], site_name["value"], site_name["public"]) == ("string", "Palaver", True)
    assert all("_updatedAt" in document for document in (*permissions.values(), *roles.values(), *settings.values()))


async def test_secrets_are_made_once(auth: Auth) -> None:
    _, _, settings, _ = await get_policy(auth)
    assert len(settings["uniqueID"]["value"]) == 17
    secret = settings["Accounts_RegistrationForm_SecretURL"]["value"]
    assert len(secret) > 20
    assert settings["uniqueID"]["public"] is True
    assert not settings["Accounts_RegistrationForm_SecretURL"]["public"]


async def test_a_setting_changes_everywhere(auth: Auth, running: RunningServices) -> None:
    followed: list[Event] = []
    await running.node.log.follow(WORKSPACE, followed.append)
    await set_setting(auth, "Site_Name", "Ours")
    assert running.node.access.setting("Site_Name") == "Ours"
    _, _, settings, seq = await get_policy(auth)
    assert settings["Site_Name"]["value"] == "Ours"
    assert settings["Site_Name"]["packageValue"] == "Palaver"
    await set_setting(auth, "Site_Name", "Ours")  # changes nothing
    assert (await get_policy(auth))[3] == seq
    await eventually(lambda: bool(followed))
    assert len(followed) == 1
    told = loaded(followed[0].setting_changed.setting)
    assert told == settings["Site_Name"]
    assert told["_updatedAt"] == {"$date": followed[0].at}
    assert followed[0].actor == ADMIN


@pytest.mark.parametrize(
    ("setting_id", "value", "code"),
    [
        ("Nothing", 1, "error-invalid-setting"),
        ("", 1, "error-invalid-setting"),
        ("Site_Name", 1, "error-invalid-setting-value"),
        ("Site_Name", {"$ne": ""}, "error-invalid-setting-value"),
        ("Accounts_LoginExpiration", "x", "error-invalid-setting-value"),
        ("Accounts_RegistrationForm", "nobody", "error-invalid-setting-value"),
        ("Accounts_AllowUserProfileChange", "false", "error-invalid-setting-value"),
        ("UTF8_User_Names_Validation", "(a+)+", "error-invalid-setting-value"),
        ("SMTP_Test_Button", "sendSMTPTestEmail", "error-invalid-setting-value"),
        ("uniqueID", "mine", "error-setting-readonly"),
        ("Show_Setup_Wizard", "pending", "error-setting-readonly"),
    ],
)
async def test_settings_that_can_not_be(auth: Auth, setting_id: str, value: Any, code: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await set_setting(auth, setting_id, value)
    assert raised.value.error_code == code


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"nul", b"[" * 100_000, b'"\\ud800"'])
async def test_settings_that_are_no_json(auth: Auth, data: bytes) -> None:
    with pytest.raises(InvalidInput):
        await auth.update_setting(UpdateSettingRequest(actor=ADMIN, setting_id="Site_Name", value=data))


async def test_settings_need_permissions(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    with pytest.raises(NotAllowed) as raised:
        await set_setting(auth, "Site_Name", "Mine", alice["_id"])
    assert raised.value.error_code == "unauthorized"
    await grant(auth, "manage-selected-settings", "user")
    with pytest.raises(NotAllowed):
        await set_setting(auth, "Site_Name", "Mine", alice["_id"])
    await grant(auth, "edit-privileged-setting", "admin", "user")
    await set_setting(auth, "Site_Name", "Mine", alice["_id"])
    for actor in (Actor(), SYSTEM):
        with pytest.raises(LoginRequired):
            await auth.update_setting(UpdateSettingRequest(actor=actor, setting_id="Site_Name", value=b'"x"'))


async def test_permissions_change_and_are_obeyed(auth: Auth, running: RunningServices) -> None:
    alice = await create_user(auth, "alice")
    request = UpdatePermissionsRequest(actor=ADMIN)
    request.permissions.add(permission_id="create-user", roles=["admin", "user", "admin"])
    request.permissions.add(permission_id="view-d-room", roles=[])
    reply = await auth.update_permissions(request)
    access = running.node.access
    user = await access.find_user(alice["_id"])
    assert user is not None
    assert access.may(user, "create-user")
    assert not access.may(user, "view-d-room")
    permissions, _, _, seq = await get_policy(auth)
    assert len(permissions) == 196
    assert permissions["create-user"]["roles"] == ["admin", "user"]
    assert permissions["view-d-room"]["roles"] == []
    assert reply.total == len(permissions)
    await auth.update_permissions(request)
    assert (await get_policy(auth))[3] == seq, "nothing has changed"


async def test_permissions_that_can_not_be(auth: Auth) -> None:
    before = await get_policy(auth)
    for permission_id, role, code in (
        ("nothing", "admin", "error-invalid-permission"),
        ("create-user", "nothing", "error-invalid-role"),
        ("create-user", "", "error-invalid-role"),
    ):
        request = UpdatePermissionsRequest(actor=ADMIN)
        request.permissions.add(permission_id="view-d-room", roles=["admin"])
        request.permissions.add(permission_id=permission_id, roles=[role])
        with pytest.raises(InvalidInput) as raised:
            await auth.update_permissions(request)
        assert raised.value.error_code == code
    with pytest.raises(InvalidInput):
        await auth.update_permissions(UpdatePermissionsRequest(actor=ADMIN))
    assert await get_policy(auth) == before  # nothing of a refused list is done


async def test_permissions_need_a_permission(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    with pytest.raises(NotAllowed) as raised:
        await grant(auth, "create-user", "user", actor_id=alice["_id"])
    assert raised.value.error_code == "unauthorized"
    with pytest.raises(LoginRequired):
        await auth.update_permissions(UpdatePermissionsRequest(actor=user_actor("nobody")))


async def test_changes_at_once_are_all_kept(auth: Auth, running: RunningServices) -> None:
    names = ["Site_Name", "Livechat_title", "First_Channel_After_Login", "Accounts_PasswordPlaceholder"]
    await asyncio.gather(
        *(set_setting(auth, name, f"value of {name}") for name in names),
        grant(auth, "create-user", "user", "admin"),
        grant(auth, "view-d-room", "admin"),
    )
    permissions, _, settings, seq = await get_policy(auth)
    assert all(settings[name]["value"] == f"value of {name}" for name in names)
    assert permissions["create-user"]["roles"] == ["user", "admin"]
    policy = running.node.access.policy
    await eventually(lambda: policy.seq >= seq)
    assert (policy.permissions, policy.settings) == (permissions, settings)


async def test_who_may_change_them_can_be_changed(auth: Auth) -> None:
    alice = await create_user(auth, "alice")
    await grant(auth, "access-permissions", "user", "admin")
    await grant(auth, "access-permissions", "user", actor_id=alice["_id"])
    with pytest.raises(NotAllowed):
        await grant(auth, "create-user", "admin", actor_id=ADMIN_ID)


async def test_whoever_knows_the_policy_is_told_so(auth: Auth) -> None:
    seq = (await get_policy(auth))[3]
    reply = await auth.get_policy(GetPolicyRequest(known_seq=seq))
    assert reply == GetPolicyReply(seq=seq)
    await set_setting(auth, "Site_Name", "Another")
    reply = await auth.get_policy(GetPolicyRequest(known_seq=seq))
    assert (reply.seq, len(reply.settings) > 100) == (seq + 1, True)
    reply = await auth.get_policy(GetPolicyRequest(known_seq=0))
    assert reply.settings


async def test_a_policy_that_is_read_again_shows_no_change(auth: Auth, running: RunningServices) -> None:
    """What an event says of a document is what the whole policy says of it afterwards."""
    access = running.node.access
    changes: list[Event] = []
    access.on_change(changes.append)
    await grant(auth, "view-c-room", "admin", "user")
    await set_setting(auth, "Site_Name", "Another")
    role = loaded((await auth.save_role(SaveRoleRequest(actor=ADMIN, name="pilot", scope="Users"))).role)
    await eventually(lambda: len(changes) >= 3)
    await access.reload()
    assert [change.WhichOneof("fact") for change in changes] == ["permission_changed", "setting_changed", "role_saved"]
    await auth.delete_role(DeleteRoleRequest(actor=ADMIN, role_id=role["_id"]))
    await eventually(lambda: len(changes) >= 4)
    await access.reload()
    assert len(changes) == 4
