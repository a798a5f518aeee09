"""Logging in and out over REST, and oneself: `/login`, `/logout`, `/me`, `/info`, `/pw.getPolicy`."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.rest import PASSWORD, Client, new_user, read, running_api
from tests.services import ADMIN_ID, ADMIN_PASSWORD

DIGEST = hashlib.sha256(ADMIN_PASSWORD.encode()).hexdigest()


@pytest.mark.parametrize(
    "body",
    [
        {"user": "boss", "password": ADMIN_PASSWORD},
        {"user": "BOSS", "password": ADMIN_PASSWORD},
        {"user": "boss@example.org", "password": ADMIN_PASSWORD},
        {"username": "boss", "password": ADMIN_PASSWORD},
        {"email": "boss@example.org", "password": ADMIN_PASSWORD},
        {"user": {"username": "boss"}, "password": ADMIN_PASSWORD},
        {"user": {"email": "boss@example.org"}, "password": ADMIN_PASSWORD},
        {"user": {"id": ADMIN_ID}, "password": ADMIN_PASSWORD},
        {"user": "boss", "password": {"digest": DIGEST, "algorithm": "sha-256"}},
        {"user": "boss", "password": {"hashed": DIGEST}},
        {"user": "boss", "password": ADMIN_PASSWORD, "code": ""},
        {"totp": {"login": {"user": {"username": "boss"}, "password": {"digest": DIGEST, "algorithm": "sha-256"}}}},
        {"user": "boss", "password": ADMIN_PASSWORD, "clientVersion": "4.72.0"},
    ],
)
async def test_login(anybody: Client, body: dict[str, Any]) -> None:
    answer = await anybody.post("login", **body)
    assert answer["status"] == "success"
    assert "success" not in answer
    data = answer["data"]
    assert data["userId"] == data["me"]["_id"] == ADMIN_ID
    assert len(data["authToken"]) >= 43
    assert data["me"]["username"] == "boss"
    assert data["me"]["settings"]["preferences"]["newRoomNotification"] == "door"
    assert data["me"]["services"] == {"password": {"exists": True}}


async def test_login_by_form(anybody: Client) -> None:
    form = {"user": "boss", "password": ADMIN_PASSWORD}
    answer = read(await anybody.request("POST", "login", data=form))
    assert answer["data"]["userId"] == ADMIN_ID


async def test_resume(admin: Client, anybody: Client) -> None:
    token = admin.headers["X-Auth-Token"]
    data = (await anybody.post("login", resume=token))["data"]
    assert (data["userId"], data["authToken"]) == (ADMIN_ID, token)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"user": "boss", "password": "wrong"},
            {"status": "error", "error": "Unauthorized", "message": "Unauthorized"},
        ),
        (
            {"user": "nobody", "password": "wrong"},
            {"status": "error", "error": "Unauthorized", "message": "Unauthorized"},
        ),
        (
            {"user": "boss", "password": {"digest": "00", "algorithm": "sha-256"}},
            {"status": "error", "error": "Unauthorized", "message": "Unauthorized"},
        ),
        (
            {"resume": "wrong"},
            {
                "status": "error",
                "error": 403,
                "message": "You've been logged out by the server. Please log in again.",
            },
        ),
        ({}, {"status": "error", "error": 400, "message": "Unrecognized options for login request"}),
        ({"user": "boss"}, {"status": "error", "error": 400, "message": "Unrecognized options for login request"}),
        (
            {"ldap": True, "username": "boss", "ldapPass": "x"},
            {"status": "error", "error": 400, "message": "Unrecognized options for login request"},
        ),
    ],
)
async def test_login_refused(anybody: Client, body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert await anybody.post("login", 401, **body) == expected


@pytest.mark.parametrize(
    "body",
    [
        {"user": {"$regex": ".*"}, "password": ADMIN_PASSWORD},
        {"user": {"username": {"$regex": ".*"}}, "password": ADMIN_PASSWORD},
        {"username": {"$ne": ""}, "password": ADMIN_PASSWORD},
        {"user": ["boss"], "password": ADMIN_PASSWORD},
        {"user": "boss", "password": True},
        {"user": "boss", "password": {"$ne": ""}},
        {"user": "boss", "password": {"digest": {"$ne": ""}, "algorithm": "sha-256"}},
        {"user": "boss", "password": {"digest": DIGEST, "algorithm": 5}},
        {"resume": {"$ne": ""}},
        {"resume": True},
        {"totp": {"login": {"user": {"username": {"$ne": ""}}, "password": ADMIN_PASSWORD}, "code": "1"}},
        {"totp": {"login": [], "code": "1"}},
        {"totp": "boss"},
        {"user": {}, "password": ADMIN_PASSWORD},
    ],
)
async def test_login_with_wrong_types(anybody: Client, body: dict[str, Any]) -> None:
    answer = await anybody.post("login", 400, **body)
    assert answer["success"] is False


async def test_deactivated_user(anybody: Client, admin: Client) -> None:
    user = await admin.make_user("alice")
    await admin.post("users.setActiveStatus", userId=user.user_id, activeStatus=False)
    refused = await anybody.post("login", 401, user="alice", password=PASSWORD)
    assert refused["error"] == "error-user-is-not-activated"
    await user.get("me", 401)
    await anybody.post("login", 401, resume=user.headers["X-Auth-Token"])


async def test_many_wrong_passwords_block(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_api(tmp_path) as nobody:
        admin = await nobody.login("boss", ADMIN_PASSWORD)
        await admin.post("settings/Block_Multiple_Failed_Logins_Enabled", value=True)
        await admin.post("settings/Block_Multiple_Failed_Logins_By_User", value=True)
        await admin.post("settings/Block_Multiple_Failed_Logins_Attempts_Until_Block_by_User", value=3)
        await admin.post("users.create", **new_user("alice"))
        for _ in range(3):
            await nobody.post("login", 401, user="alice", password="wrong")
        answer = await nobody.post("login", 401, user="alice", password=PASSWORD)
        assert answer["error"] == "error-login-blocked-for-user"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_logout(admin: Client, method: str) -> None:
    assert (await admin.get("me"))["username"] == "boss"
    answer = read(await admin.request(method, "logout"))
    assert answer == {"status": "success", "data": {"message": "You've been logged out!"}}
    await admin.get("me", 401)
    read(await admin.request(method, "logout"), 401)


async def test_me(admin: Client) -> None:
    me = await admin.get("me")
    assert me["_id"] == ADMIN_ID
    assert me["email"] == "boss@example.org"
    assert me["emails"] == [{"address": "boss@example.org", "verified": True}]
    assert me["roles"] == ["admin"]
    assert me["avatarUrl"] == "http://chat.example.org/avatar/boss"
    assert (me["status"], me["statusConnection"]) == ("offline", "offline")
    assert me["services"] == {"password": {"exists": True}}
    assert me["createdAt"].endswith("Z")


async def test_preferences_in_me(admin: Client) -> None:
    """Exactly one for every default, and one's own choice before it."""
    lines = (Path(__file__).parents[1] / "api" / "settings.jsonl").read_text().splitlines()
    prefix = "Accounts_Default_User_Preferences_"
    names = {id.removeprefix(prefix) for line in lines if (id := json.loads(line)["_id"]).startswith(prefix)}
    names.remove("omnichannelTranscriptPDF")
    assert len(names) == 35
    preferences = (await admin.get("me"))["settings"]["preferences"]
    assert preferences.keys() == names
    await admin.post("users.setPreferences", data={"sendOnEnter": "desktop"})
    preferences = (await admin.get("me"))["settings"]["preferences"]
    assert preferences["sendOnEnter"] == "desktop"
    assert preferences.keys() == names
    await admin.post("settings/Accounts_Default_User_Preferences_hideRoles", value=True)
    assert (await admin.get("me"))["settings"]["preferences"]["hideRoles"] is True


async def test_me_with_fields(admin: Client) -> None:
    me = await admin.get("me", fields='{"username":1}')
    assert me == {"_id": ADMIN_ID, "username": "boss", "success": True}
    assert (await admin.get("me", 400, fields="{"))["errorType"] == "error-invalid-fields"


async def test_info(anybody: Client, admin: Client) -> None:
    for headers in ({}, {"X-Auth-Token": "unknown", "X-User-Id": "unknown"}, {"X-Auth-Token": "", "X-User-Id": ""}):
        answer = read(await anybody.request("GET", "info", headers=headers))
        assert answer["version"] == "6.14"
        assert "info" not in answer
    found = await anybody.http.get("http://chat.example.org/api/info")
    assert read(found)["version"] == "6.14"
    answer = await admin.get("info")
    assert answer["version"] == "6.14.0"
    assert answer["info"]["version"] == "6.14.0"
    assert answer["info"]["server"]["name"] == "Palaver"


async def test_reported_version_is_configured(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_api(tmp_path, api_version="7.1.2") as nobody:
        assert (await nobody.get("info"))["version"] == "7.1"


async def test_instances(anybody: Client, admin: Client) -> None:
    await anybody.get("instances.get", 401)
    user = await admin.make_user("alice")
    assert await user.get("instances.get", 403) == {"success": False, "error": "unauthorized"}
    assert isinstance((await admin.get("instances.get"))["instances"], list)


async def test_password_policy(anybody: Client, admin: Client) -> None:
    assert await anybody.get("pw.getPolicy") == {"enabled": False, "policy": [], "success": True}
    await admin.post("settings/Accounts_Password_Policy_Enabled", value=True)
    answer = await anybody.get("pw.getPolicy")
    assert answer["enabled"] is True
    assert answer["policy"] == [
        ["get-password-policy-minLength", {"minLength": 7}],
        ["get-password-policy-forbidRepeatingCharacters"],
        ["get-password-policy-forbidRepeatingCharactersCount", {"forbidRepeatingCharactersCount": 3}],
        ["get-password-policy-mustContainAtLeastOneLowercase"],
        ["get-password-policy-mustContainAtLeastOneUppercase"],
        ["get-password-policy-mustContainAtLeastOneNumber"],
        ["get-password-policy-mustContainAtLeastOneSpecialCharacter"],
    ]
