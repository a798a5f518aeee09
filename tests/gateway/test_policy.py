"""Permissions, roles, settings and licenses over REST."""

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.rest import Client, as_admin, running_api

# -- permissions -------------------------------------------------------------------------------------------------------


async def test_list_permissions(admin: Client) -> None:
    answer = await admin.get("permissions.listAll")
    assert len(answer["update"]) == 196
    assert answer["remove"] == []
    found = {permission["_id"]: permission for permission in answer["update"]}
    assert found["create-c"]["roles"] == ["admin", "user", "bot", "app"]
    assert (await admin.get("permissions.listAll", updatedSince="2018-11-27T13:52:01Z"))["update"]
    answer = await admin.get("permissions.listAll", 400, updatedSince="no date")
    assert answer["error"] == ('The "updatedSince" query parameter must be a valid date. [error-roomId-param-invalid]')


async def test_permissions_since(admin: Client) -> None:
    await admin.post("permissions.update", permissions=[{"_id": "create-c", "roles": ["admin"]}])
    at = next(
        permission["_updatedAt"]
        for permission in (await admin.get("permissions.listAll"))["update"]
        if permission["_id"] == "create-c"
    )
    await admin.post("permissions.update", permissions=[{"_id": "create-p", "roles": ["admin"]}])
    update = (await admin.get("permissions.listAll", updatedSince=at))["update"]
    assert {permission["_id"] for permission in update} <= {"create-p"}
    assert (await admin.get("permissions.listAll", updatedSince="2999-01-01T00:00:00.000Z"))["update"] == []


async def test_update_permissions(admin: Client) -> None:
    alice = await admin.make_user("alice")
    await alice.get("users.autocomplete", selector='{"term":"a"}')
    answer = await admin.post("permissions.update", permissions=[{"_id": "view-d-room", "roles": ["admin"]}])
    found = {permission["_id"]: permission["roles"] for permission in answer["permissions"]}
    assert found["view-d-room"] == ["admin"]
    assert len(found) == 196
    await alice.get("users.list", 403)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Match error: Missing key 'permissions'"),
        ({"permissions": {}}, "Match error: Expected array, got object in field permissions"),
        ({"permissions": [{"_id": "create-c"}]}, "Match error: Missing key 'roles' in field permissions[0]"),
        (
            {"permissions": [{"_id": {"$ne": ""}, "roles": []}]},
            "Match error: Expected string, got object in field permissions[0]._id",
        ),
        ({"permissions": [{"_id": "unknown", "roles": ["admin"]}]}, "Invalid permission [error-invalid-permission]"),
        ({"permissions": [{"_id": "create-c", "roles": ["unknown"]}]}, "Invalid role [error-invalid-role]"),
    ],
)
async def test_update_permissions_refuses(admin: Client, body: dict[str, Any], error: str) -> None:
    assert (await admin.post("permissions.update", 400, **body))["error"] == error


async def test_update_permissions_needs_the_permission(admin: Client) -> None:
    alice = await admin.make_user("alice")
    answer = await alice.post("permissions.update", 400, permissions=[{"_id": "create-c", "roles": ["user"]}])
    assert answer["errorType"] == "error-edit-permissions-not-allowed"


# -- roles -------------------------------------------------------------------------------------------------------------


async def test_list_roles(admin: Client) -> None:
    roles = {role["_id"]: role for role in (await admin.get("roles.list"))["roles"]}
    assert len(roles) == 11
    assert roles["owner"]["scope"] == "Subscriptions"
    assert roles["admin"]["protected"] is True
    answer = await admin.get("roles.sync", updatedSince="2018-11-27T13:52:01Z")
    assert answer["roles"].keys() == {"update", "remove"}
    for parameters in ({}, {"updatedSince": "no date"}):
        answer = await admin.get("roles.sync", 400, **parameters)
        assert answer["errorType"] == "error-updatedSince-param-invalid"


async def test_role_lives(admin: Client) -> None:
    alice = await admin.make_user("alice")
    role = (await admin.post("roles.create", name="helper", description="Helps", mandatory2fa=False))["role"]
    assert (role["name"], role["scope"], role["description"]) == ("helper", "Users", "Helps")
    answer = await admin.post("roles.create", 400, name="helper")
    assert answer["errorType"] == "error-duplicate-role-names-not-allowed"
    updated = (await admin.post("roles.update", roleId=role["_id"], name="assistant"))["role"]
    assert (updated["name"], updated["description"]) == ("assistant", "Helps")
    answer = await admin.post("roles.addUserToRole", roleId=role["_id"], username="alice")
    assert answer["role"]["name"] == "assistant"
    answer = await admin.post("roles.addUserToRole", 400, roleName="assistant", username="alice")
    assert answer["errorType"] == "error-user-already-in-role"
    answer = await admin.get("roles.getUsersInRole", role=role["_id"])
    assert ([user["username"] for user in answer["users"]], answer["total"]) == (["alice"], 1)
    assert role["_id"] in (await alice.get("me"))["roles"]
    assert (await admin.post("roles.delete", 400, roleId=role["_id"]))["errorType"] == "error-role-in-use"
    await admin.post("roles.removeUserFromRole", roleId=role["_id"], username="alice")
    answer = await admin.post("roles.removeUserFromRole", 400, roleId=role["_id"], username="alice")
    assert answer["errorType"] == "error-user-not-in-role"
    assert await admin.post("roles.delete", roleId=role["_id"]) == {"success": True}
    assert (await admin.post("roles.delete", 400, roleId=role["_id"]))["errorType"] == "error-invalid-roleId"


async def test_new_role_may(admin: Client) -> None:
    """A role's permissions count at once, for whoever has it."""
    alice = await admin.make_user("alice")
    await alice.get("instances.get", 403)
    role = (await admin.post("roles.create", name="watcher"))["role"]
    await admin.post("roles.addUserToRole", roleId=role["_id"], username="alice")
    await admin.post("permissions.update", permissions=[{"_id": "view-statistics", "roles": ["admin", role["_id"]]}])
    await alice.get("instances.get")


async def test_roles_of_rooms(admin: Client) -> None:
    alice = await admin.make_user("alice")
    body = {"roleId": "moderator", "username": "alice", "roomId": "GENERAL"}
    assert (await admin.post("roles.addUserToRole", **body))["role"]["_id"] == "moderator"
    answer = await admin.get("roles.getUsersInRole", role="moderator", roomId="GENERAL")
    assert [user["_id"] for user in answer["users"]] == [alice.user_id]
    assert (await admin.get("roles.getUsersInRole", role="moderator"))["users"] == []
    await admin.post("roles.addUserToRole", roleId="moderator", username="boss", roomId="GENERAL")
    page = await admin.get("roles.getUsersInRole", role="moderator", roomId="GENERAL", offset=1, count=1)
    assert ([user["username"] for user in page["users"]], page["count"], page["total"]) == (["boss"], 1, 2)
    await admin.post("roles.removeUserFromRole", roleId="moderator", username="boss", scope="GENERAL")
    await admin.post("roles.removeUserFromRole", roleId="moderator", username="alice", scope="GENERAL")
    answer = await admin.get("roles.getUsersInRole", role="moderator", roomId="GENERAL")
    assert (answer["users"], answer["total"]) == ([], 0)
    answer = await admin.post("roles.addUserToRole", 400, roleId="moderator", username="alice")
    assert answer["errorType"] == "error-invalid-scope"


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("roles.create", {}, "error-invalid-role-properties"),
        ("roles.create", {"name": {"$ne": ""}}, "error-invalid-role-properties"),
        ("roles.create", {"name": "x", "surplus": 1}, "error-invalid-role-properties"),
        ("roles.create", {"name": "x", "scope": "Planets"}, "error-invalid-scope"),
        ("roles.update", {"roleId": "unknown", "name": "x"}, "error-role-not-found"),
        ("roles.update", {"roleId": "admin", "name": "x"}, "error-role-protected"),
        ("roles.delete", {"roleId": "admin"}, "error-role-protected"),
        ("roles.delete", {}, "error-invalid-role-properties"),
        ("roles.addUserToRole", {"username": "boss"}, "error-role-not-found"),
        ("roles.addUserToRole", {"roleId": "bot"}, "error-invalid-role-properties"),
        ("roles.addUserToRole", {"roleId": "bot", "username": "unknown"}, "error-invalid-user"),
        ("roles.removeUserFromRole", {"roleId": "unknown", "username": "boss"}, "error-invalid-roleId"),
        ("roles.removeUserFromRole", {"roleId": "admin", "username": "boss"}, "error-admin-required"),
    ],
)
async def test_roles_refuse(admin: Client, path: str, body: dict[str, Any], error: str) -> None:
    assert (await admin.post(path, 400, **body))["errorType"] == error


async def test_roles_need_the_permission(admin: Client) -> None:
    alice = await admin.make_user("alice")
    for path, body in (
        ("roles.create", {"name": "x"}),
        ("roles.update", {"roleId": "bot", "name": "x"}),
        ("roles.delete", {"roleId": "bot"}),
    ):
        answer = await alice.post(path, 400, **body)
        assert answer["error"] == "Accessing permissions is not allowed [error-action-not-allowed]"
    body = {"roleId": "admin", "username": "alice"}
    assert await alice.post("roles.addUserToRole", 403, **body) == {"success": False, "error": "unauthorized"}
    assert (await alice.post("roles.removeUserFromRole", 400, **body))["errorType"] == "error-not-allowed"
    assert (await alice.get("roles.getUsersInRole", 400, role="admin"))["errorType"] == "error-not-allowed"
    assert (await admin.get("roles.getUsersInRole", 400))["errorType"] == "error-param-not-provided"
    assert (await admin.get("roles.getUsersInRole", 400, role="unknown"))["errorType"] == "error-invalid-roleId"


# -- settings ----------------------------------------------------------------------------------------------------------


def count_public(client: Client) -> int:
    settings = client.node.access.policy.settings.values()
    return sum(bool(setting.get("public")) and not setting.get("hidden") for setting in settings)


async def test_public_settings(anybody: Client) -> None:
    answer = await anybody.get("settings.public")
    assert (answer["count"], answer["offset"], answer["total"]) == (50, 0, count_public(anybody))
    assert answer["total"] >= 404
    first = answer["settings"][0]
    assert {"_id", "value", "type", "enterprise"} <= first.keys() <= {
        "_id", "value", "type", "enterprise", "invalidValue", "modules",
    }  # fmt: skip


async def test_public_settings_end(anybody: Client) -> None:
    """Clients go on until they have as many as `total` says."""
    found: dict[str, Any] = {}
    while True:
        answer = await anybody.get("settings.public", offset=len(found), count=100)
        found |= {setting["_id"]: setting["value"] for setting in answer["settings"]}
        if not answer["settings"] or len(found) >= answer["total"]:
            break
    assert len(found) == answer["total"]
    assert "SMTP_Password" not in found
    assert len((await anybody.get("settings.public", count=0))["settings"]) == answer["total"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"_id": "uniqueID,Site_Url"},
        {"_id": " uniqueID , Site_Url , SMTP_Password, unknown"},
        {"query": '{"_id":{"$in":["uniqueID","Site_Url"]}}'},
        {"query": '{"_id":{"$in":["uniqueID","Site_Url","SMTP_Password"]}}', "_id": "uniqueID,Site_Url,Site_Name"},
        {"query": '{"$or":[{"_id":"uniqueID"},{"_id":{"$regex":"^Site_Url$"}}]}'},
    ],
)
async def test_public_settings_by_id(anybody: Client, parameters: dict[str, str]) -> None:
    answer = await anybody.get("settings.public", **parameters)
    assert [setting["_id"] for setting in answer["settings"]] == ["Site_Url", "uniqueID"]
    assert (answer["count"], answer["total"]) == (2, 2)
    assert answer["settings"][0]["value"] == "http://chat.example.org"


async def test_public_settings_refuse(anybody: Client) -> None:
    for query in ("{", '{"secret":true}', '{"_id":{"$where":"1"}}', '{"public":{"$regex":"(a+)+"}}'):
        assert (await anybody.get("settings.public", 400, query=query))["errorType"] == "error-invalid-query"
    assert (await anybody.get("settings.public", query='{"public":false}'))["total"] == 0


async def test_all_settings(admin: Client) -> None:
    alice = await admin.make_user("alice")
    assert (await alice.get("settings"))["total"] == count_public(alice)
    assert (await admin.get("settings"))["total"] > 800
    answer = await admin.get("settings", query='{"_id":"SMTP_Host"}', fields='{"group":1}')
    assert answer["settings"][0].keys() >= {"_id", "value", "group"}


async def test_one_setting(anybody: Client, admin: Client) -> None:
    alice = await admin.make_user("alice")
    await anybody.get("settings/Site_Name", 401)
    assert await alice.get("settings/Site_Name", 403) == {"success": False, "error": "unauthorized"}
    assert await admin.get("settings/Site_Name") == {"_id": "Site_Name", "value": "Palaver", "success": True}
    assert await admin.get("settings/Unknown", 400) == {"success": False}
    assert await admin.post("settings/Site_Name", value="Ours") == {"success": True}
    assert (await admin.get("settings/Site_Name"))["value"] == "Ours"
    assert (await anybody.get("settings.public", _id="Site_Name"))["settings"][0]["value"] == "Ours"
    assert await admin.post("settings/Site_Name", value="Ours") == {"success": True}
    assert await alice.post("settings/Site_Name", 403, value="Mine") == {"success": False, "error": "unauthorized"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("settings/Site_Name", {}),
        ("settings/Unknown", {"value": 1}),
        ("settings/Site_Name", {"value": 7}),
        ("settings/Site_Name", {"value": {"$set": "x"}}),
        ("settings/API_Default_Count", {"value": "fifty"}),
        ("settings/Accounts_RegistrationForm", {"value": "Perhaps"}),
        ("settings/Threads_enabled", {"value": "true"}),
        ("settings/CAS_button_color", {"value": "#ffffff", "editor": "expression"}),
    ],
)
async def test_setting_refuses(admin: Client, path: str, body: dict[str, Any]) -> None:
    assert (await admin.post(path, 400, **body))["success"] is False


async def test_a_setting_that_does_something_is_not_offered(admin: Client) -> None:
    answer = await admin.post("settings/API_Embed_clear_cache_now", 501, execute=True)
    assert answer["errorType"] == "error-not-implemented"


async def test_a_setting_that_the_server_decides(tmp_path: Path, cheap_hashes: None) -> None:
    file = tmp_path / "settings.json"
    file.write_text('{"Site_Name": "Ours"}')
    async with running_api(tmp_path / "data", settings_file=str(file)) as anybody:
        admin = await as_admin(anybody)
        assert (await admin.get("settings/Site_Name"))["value"] == "Ours"
        answer = await admin.post("settings/Site_Name", 400, value="Mine")
        assert answer["errorType"] == "error-setting-readonly"
        assert "Site_Name is decided by the server's configuration" in answer["error"]
        for method, parameters in (
            ("saveSetting", ("Site_Name", "Mine")),
            ("saveSettings", ([{"_id": "Site_Name", "value": "Mine"}],)),
        ):
            error = (await admin.call(method, *parameters))["error"]
            assert error["error"] == "error-setting-readonly"
        private = (await admin.call("private-settings/get"))["result"]
        shown = {setting["_id"]: setting for setting in private}
        assert (shown["Site_Name"]["value"], shown["Site_Name"]["blocked"]) == ("Ours", True)
        assert shown["Livechat_title"]["blocked"] is False


async def test_login_services(anybody: Client) -> None:
    assert await anybody.get("settings.oauth") == {"services": [], "success": True}
    assert await anybody.get("service.configurations") == {"configurations": [], "success": True}


# -- licenses ----------------------------------------------------------------------------------------------------------


async def test_licenses(anybody: Client, admin: Client) -> None:
    alice = await admin.make_user("alice")
    assert await anybody.get("licenses.isEnterprise") == {"isEnterprise": True, "success": True}
    await anybody.get("licenses.info", 401)
    license = (await alice.get("licenses.info"))["license"]
    assert "custom-roles" in license["activeModules"]
    assert not any(license["preventedActions"].values())
    assert (await admin.get("licenses.info", loadValues="true"))["license"]["limits"] == {}
    assert (await admin.get("licenses.get"))["licenses"] == []
    assert await alice.get("licenses.get", 403) == {"success": False, "error": "unauthorized"}
