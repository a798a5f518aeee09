"""DDP methods over REST, and the methods of logins, users, presence, permissions, settings and licenses."""

import hashlib
import json
from typing import Any

import pytest

from palaver.errors import UserNotFound
from palaver.gateway.ddp.errors import error_object
from tests.gateway.rest import PASSWORD, Client
from tests.services import ADMIN_ID


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        "null",
        '"method"',
        '{"msg":"method","id":"1"}',
        '{"msg":"method","method":"x","id":1,"params":[]}',
        '{"msg":"method","method":{"$ne":""},"id":"1","params":[]}',
        '{"msg":"method","method":"x","id":"1","params":{}}',
        '{"msg":"sub","method":"x","id":"1","params":[]}',
        "[" * 50_000,
    ],
)
async def test_malformed(admin: Client, message: str) -> None:
    answer = await admin.post("method.call/x", 400, message=message)
    assert answer == {"success": False, "error": "Invalid method call"}


async def test_body_is_checked(admin: Client) -> None:
    assert (await admin.post("method.call/x", 400))["error"] == "must have required property 'message' [invalid-params]"
    assert (await admin.post("method.call/x", 400, message={"$ne": ""}))["errorType"] == "invalid-params"
    assert (await admin.post("method.call/x", 400, message="{}", surplus=1))["errorType"] == "invalid-params"


async def test_errors_arrive_with_200(anybody: Client, admin: Client) -> None:
    frame = await admin.call("noSuchMethod")
    assert frame["error"] == {
        "isClientSafe": True,
        "error": 404,
        "reason": "Method 'noSuchMethod' not found",
        "message": "Method 'noSuchMethod' not found [404]",
        "errorType": "Meteor.Error",
    }
    assert "result" not in frame
    assert (await admin.call("setUserStatus", {"$ne": ""}))["error"]["error"] == 400
    assert (await admin.call("UserPresence:setDefaultStatus", "gone"))["error"]["error"] == "error-invalid-status"
    frame = await anybody.call("getUserRoles", anonymous=True)
    assert frame["error"]["error"] == "error-invalid-user"
    await anybody.post("method.call/getUserRoles", 401, message="{}")


async def test_route_is_in_the_message(admin: Client) -> None:
    message = json.dumps({"msg": "method", "id": "7", "method": "license:isEnterprise", "params": []})
    answer = await admin.post("method.call/anything", message=message)
    assert json.loads(answer["message"]) == {"msg": "result", "id": "7", "result": True}


async def test_login(anybody: Client) -> None:
    digest = hashlib.sha256(b"an admin's password").hexdigest()
    credentials = {"user": {"username": "boss"}, "password": {"digest": digest, "algorithm": "sha-256"}}
    result = (await anybody.call("login", credentials, anonymous=True))["result"]
    assert (result["id"], result["type"]) == (ADMIN_ID, "password")
    assert isinstance(result["tokenExpires"]["$date"], int)
    again = (await anybody.call("login", {"resume": result["token"]}, anonymous=True))["result"]
    assert (again["id"], again["type"]) == (ADMIN_ID, "resume")


@pytest.mark.parametrize(
    "credentials",
    [{"user": {"username": "boss"}, "password": "wrong"}, {"user": {"username": "nobody"}, "password": "wrong"}],
)
async def test_failed_login_does_not_say_why(anybody: Client, credentials: dict[str, Any]) -> None:
    error = (await anybody.call("login", credentials, anonymous=True))["error"]
    assert (error["error"], error["reason"]) == (403, "User not found or incorrect password")
    assert "details" not in error


async def test_login_with_wrong_types(anybody: Client) -> None:
    wrong: tuple[Any, ...] = ({"user": {"username": {"$ne": ""}}, "password": "x"}, "boss", None, [], {"user": "boss"})
    for credentials in wrong:
        assert (await anybody.call("login", credentials, anonymous=True))["error"]["error"] == 400


async def test_logout(admin: Client) -> None:
    assert "error" not in await admin.call("logout")
    await admin.get("me", 401)


async def test_dates_stay_ejson(admin: Client) -> None:
    permissions = (await admin.call("permissions/get"))["result"]
    assert len(permissions) == 196
    dated = [permission["_updatedAt"] for permission in permissions if "_updatedAt" in permission]
    assert all(isinstance(date["$date"], int) for date in dated)
    since = (await admin.call("permissions/get", {"$date": 0}))["result"]
    assert since.keys() == {"update", "remove"}
    future = (await admin.call("permissions/get", {"$date": 32503680000000}))["result"]
    assert future == {"update": [], "remove": []}


async def test_surplus_arguments(admin: Client) -> None:
    """Clients append an empty string, or a second factor, to whatever they call."""
    assert len((await admin.call("permissions/get", ""))["result"]) == 196
    assert "error" not in await admin.call("UserPresence:online", "")
    assert "error" not in await admin.call("UserPresence:setDefaultStatus", "busy", "")
    factor = {"twoFactorCode": "1", "twoFactorMethod": "totp"}
    assert len((await admin.call("permissions/get", factor))["result"]) == 196
    assert (await admin.call("permissions/get", "no date"))["error"]["error"] == 400


async def test_settings(anybody: Client, admin: Client) -> None:
    alice = await admin.make_user("alice")
    public = (await anybody.call("public-settings/get", anonymous=True))["result"]
    assert len(public) >= 404
    assert {"_id", "value", "type"} <= public[0].keys()
    since = (await alice.call("public-settings/get", {"$date": 32503680000000}))["result"]
    assert since == {"update": [], "remove": []}
    assert (await alice.call("private-settings/get"))["result"] == []
    assert len((await admin.call("private-settings/get"))["result"]) > 800
    assert (await admin.call("saveSettings", [{"_id": "Site_Name", "value": "Ours"}]))["result"] is True
    assert (await admin.call("saveSetting", "Site_Name", "Yours"))["result"] is True
    assert (await admin.get("settings/Site_Name"))["value"] == "Yours"
    assert "error" in await alice.call("saveSetting", "Site_Name", "Mine")


async def test_roles(admin: Client) -> None:
    alice = await admin.make_user("alice")
    assert (await alice.call("getUserRoles"))["result"] == [{"_id": ADMIN_ID, "username": "boss", "roles": ["admin"]}]
    assert (await admin.call("authorization:addUserToRole", "admin", "alice"))["result"] is True
    assert {one["username"] for one in (await alice.call("getUserRoles"))["result"]} == {"boss", "alice"}
    assert (await admin.call("authorization:removeUserFromRole", "admin", "alice", None))["result"] is True
    await admin.call("authorization:addPermissionToRole", "view-statistics", "user")
    await alice.get("instances.get")
    await admin.call("authorization:removeRoleFromPermission", "view-statistics", "user")
    await alice.get("instances.get", 403)
    assert "error" in await alice.call("authorization:addUserToRole", "admin", "alice")
    assert (await admin.call("authorization:deleteRole", "admin"))["error"]["error"] == "error-delete-protected-role"


async def test_presence_without_a_connection(admin: Client) -> None:
    for method in ("UserPresence:online", "UserPresence:away"):
        assert await admin.call(method) == {"msg": "result", "id": "7"}
    assert await admin.call("setUserStatus", "away", "at lunch") == {"msg": "result", "id": "7"}
    assert (await admin.get("users.getStatus"))["message"] == "at lunch"
    assert (await admin.call("getUserStatusText", ADMIN_ID))["result"] == "at lunch"
    assert (await admin.call("listCustomUserStatus"))["result"] == []


async def test_licenses(anybody: Client) -> None:
    assert "custom-roles" in (await anybody.call("license:getModules", anonymous=True))["result"]
    assert (await anybody.call("license:isEnterprise", anonymous=True))["result"] is True
    assert (await anybody.call("license:hasLicense", "engagement-dashboard", anonymous=True))["result"] is False


async def test_registration(anybody: Client) -> None:
    form = {"email": "alice@example.org", "pass": PASSWORD, "username": "alice", "name": "Alice", "confirm-pass": "x"}
    user_id = (await anybody.call("registerUser", form, anonymous=True))["result"]
    alice = await anybody.login("alice")
    assert alice.user_id == user_id
    assert (await anybody.call("registerUser", form, anonymous=True))["error"]["error"] == "error-field-unavailable"
    assert "error" in await anybody.call("registerUser", {"email": None}, anonymous=True)


async def test_who_registers_may_choose_the_username_afterwards(anybody: Client, admin: Client) -> None:
    await admin.make_user("al.smith")
    form = {"id": "", "token": "", "name": "Al Smith", "pass": PASSWORD}
    for number in (1, 2):
        address = f"al{number}@example.org"
        user_id = (await anybody.call("registerUser", {**form, "email": address}, anonymous=True))["result"]
        found = (await admin.get("users.info", userId=user_id))["user"]
        assert found["username"] == f"al.smith-{number}"
    al = await anybody.login("al2@example.org")
    assert (await al.call("setUsername", "alfred"))["result"] == "alfred"
    assert (await al.get("me"))["username"] == "alfred"


async def test_own_data(admin: Client) -> None:
    alice = await admin.make_user("alice")
    profile = {"realname": "Al", "username": "al", "bio": "me", "statusText": "here", "typedPassword": ""}
    assert (await alice.call("saveUserProfile", profile, {}))["result"] is True
    me = await alice.get("me")
    assert (me["name"], me["username"], me["bio"], me["statusText"]) == ("Al", "al", "me", "here")
    assert (await alice.call("setUsername", "alice"))["result"] == "alice"
    assert (await alice.call("setRealName", "Alice"))["result"] == "Alice"
    assert (await alice.call("setUsername", "boss"))["error"]["error"] == "error-field-unavailable"
    assert (await alice.call("saveUserPreferences", {"hideRoles": True}))["result"] is True
    assert "error" not in await alice.call("userSetUtcOffset", -3)
    me = await alice.get("me")
    assert (me["settings"]["preferences"]["hideRoles"], me["utcOffset"]) == (True, -3)
    assert (await alice.call("checkUsernameAvailability", "boss"))["result"] is False
    assert (await alice.call("getPasswordPolicy"))["result"]["enabled"] is False


async def test_own_password(admin: Client, anybody: Client) -> None:
    alice = await admin.make_user("alice")
    alice.headers |= {"X-2fa-Code": hashlib.sha256(PASSWORD.encode()).hexdigest(), "X-2fa-Method": "password"}
    assert (await alice.call("setUserPassword", "another one"))["result"] == 1
    await anybody.login("alice", "another one")
    factor = {"twoFactorCode": "wrong", "twoFactorMethod": "password"}
    assert (await alice.call("setUserPassword", "a third one", factor))["error"]["error"] == "error-invalid-password"
    factor = {"twoFactorCode": "another one", "twoFactorMethod": "password"}
    assert (await alice.call("setUserPassword", "a third one", factor))["result"] == 1
    assert await anybody.call("loadLocale", "de", anonymous=True) == {"msg": "result", "id": "7"}


async def test_administration_of_users(admin: Client) -> None:
    data = {"username": "alice", "name": "Alice", "email": "a@example.org", "password": PASSWORD, "roles": ["user"]}
    user_id = (await admin.call("insertOrUpdateUser", {**data, "verified": True}))["result"]
    assert (await admin.call("insertOrUpdateUser", {"_id": user_id, "name": "Al"}))["result"] is True
    alice = await admin.login("alice")
    assert (await alice.get("me"))["name"] == "Al"
    assert (await admin.call("insertOrUpdateUser", {"username": {"$ne": ""}}))["error"]["error"] == 400
    assert "error" in await alice.call("insertOrUpdateUser", {"_id": ADMIN_ID, "name": "x"})
    assert "error" in await alice.call("setUserActiveStatus", ADMIN_ID, False)
    assert (await admin.call("setUserActiveStatus", user_id, False))["result"] is True
    await alice.get("me", 401)


async def test_errors_speak_of_no_parameters_of_rest(alice: Client) -> None:
    error = (await alice.call("sendMessage", {"rid": 7}))["error"]
    assert (error["error"], error["reason"], "details" in error) == (400, "Match failed", False)
    assert error_object(UserNotFound(), "other") == {
        "isClientSafe": True,
        "error": "error-invalid-user",
        "reason": "Invalid user",
        "message": "Invalid user [error-invalid-user]",
        "errorType": "Meteor.Error",
    }
    assert error_object(UserNotFound("User gone", code="error-gone"), "other")["reason"] == "User gone"
