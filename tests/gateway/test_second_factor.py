"""What a login alone is not enough for: the password is asked for again."""

import dataclasses
import time

import pytest

from palaver.auth.rules import digest_of
from palaver.auth.tokens import hash_token
from palaver.auth.totp import STEP_SECONDS, code_at
from palaver.errors import SecondFactorRequired
from palaver.events import user_actor
from palaver.v1.auth_pb2 import UpdateSettingRequest, UpdateUserRequest
from tests.gateway.rest import PASSWORD, Client, as_admin, new_user
from tests.services import ADMIN_PASSWORD

ASKED = {"method": "password", "availableMethods": [], "emailOrUsername": "boss"}


@pytest.fixture
async def strict(admin: Client) -> Client:
    """The administrator, outside of the test mode."""
    admin.node.config = dataclasses.replace(admin.node.config, test_mode=False)
    return admin


def password(code: str, method: str = "password") -> dict[str, str]:
    return {"X-2fa-Code": code, "X-2fa-Method": method}


async def change(client: Client, headers: dict[str, str] | None = None) -> tuple[int, dict[str, object]]:
    answer = await client.request("POST", "settings/Site_Name", json={"value": "Changed"}, headers=headers or {})
    return answer.status_code, answer.json()


async def test_the_password_is_asked_for(strict: Client) -> None:
    for headers in ({}, password(""), password(ADMIN_PASSWORD, "totp")):
        status, body = await change(strict, headers)
        assert status == 400
        assert body == {
            "success": False,
            "error": "TOTP Required [totp-required]",
            "errorType": "totp-required",
            "details": ASKED,
        }
    for wrong in ("wrong", digest_of("wrong"), "x" * 10_000):
        status, body = await change(strict, password(wrong))
        assert (status, body["errorType"], body["details"]) == (400, "totp-invalid", ASKED)
    assert strict.node.access.setting("Site_Name") != "Changed"


@pytest.mark.parametrize("code", [ADMIN_PASSWORD, digest_of(ADMIN_PASSWORD), digest_of(ADMIN_PASSWORD).upper()])
async def test_a_success_is_remembered_for_this_login(strict: Client, anybody: Client, code: str) -> None:
    assert (await change(strict, password(code)))[0] == 200
    assert (await change(strict))[0] == 200
    other = await as_admin(anybody)
    assert (await change(other))[0] == 400


async def test_nothing_is_remembered_when_the_setting_says_so(admin: Client) -> None:
    await admin.post("settings/Accounts_TwoFactorAuthentication_RememberFor", value=0)
    admin.node.config = dataclasses.replace(admin.node.config, test_mode=False)
    assert (await change(admin, password(ADMIN_PASSWORD)))[0] == 200
    assert (await change(admin))[0] == 400


@pytest.mark.parametrize("setting", ["Enabled", "Enforce_Password_Fallback"])
async def test_the_settings_may_ask_for_none(admin: Client, setting: str) -> None:
    await admin.post(f"settings/Accounts_TwoFactorAuthentication_{setting}", value=False)
    admin.node.config = dataclasses.replace(admin.node.config, test_mode=False)
    assert (await change(admin))[0] == 200


async def test_guessing_ends(strict: Client) -> None:
    limit = strict.node.access.setting("Block_Multiple_Failed_Logins_Attempts_Until_Block_by_User")
    for _ in range(limit):
        assert (await change(strict, password("wrong")))[1]["errorType"] == "totp-invalid"
    assert (await change(strict, password(ADMIN_PASSWORD)))[1]["errorType"] == "totp-max-attempts"


async def test_only_whoever_is_logged_in_is_asked(strict: Client) -> None:
    await strict.post("users.create", **new_user("alice"))
    alice = await strict.login("alice")
    answer = await alice.post("users.update", 400, userId=strict.user_id, data={"name": "x"})
    assert answer["errorType"] == "totp-required"
    await Client(strict.http, strict.node).post("users.update", 401, userId=strict.user_id, data={"name": "x"})


async def test_auth_takes_no_gateways_word_for_it(strict: Client) -> None:
    """What is asked of auth itself without the factor is refused there."""
    await strict.post("users.create", **new_user("alice"))
    alice = await strict.login("alice")
    auth, actor = strict.node.services.auth, user_actor(strict.user_id)
    setting = UpdateSettingRequest(actor=actor, setting_id="Site_Name", value=b'"Changed"')
    user = UpdateUserRequest(actor=actor, user_id=alice.user_id, set=b'{"name":"Changed"}')
    for hashed_token in ("", "another login's", hash_token(strict.headers["X-Auth-Token"])):
        setting.hashed_token = user.hashed_token = hashed_token
        with pytest.raises(SecondFactorRequired):
            await auth.update_setting(setting)
        with pytest.raises(SecondFactorRequired):
            await auth.update_user(user)
    answer = await strict.post("users.setPreferences", userId=alice.user_id, data={"language": "de"})
    assert answer["user"]["settings"]["preferences"] == {"language": "de"}
    body = {"userId": alice.user_id, "data": {"name": "New"}}
    changed = await strict.request("POST", "users.update", json=body, headers=password(ADMIN_PASSWORD))
    assert (changed.status_code, changed.json()["user"]["name"]) == (200, "New")
    await auth.update_setting(setting)  # by the same login


async def test_methods(strict: Client) -> None:
    frame = await strict.call("saveSetting", "Site_Name", "Changed")
    assert (frame["error"]["error"], frame["error"]["details"]) == ("totp-required", ASKED)
    factor = {"twoFactorCode": "wrong", "twoFactorMethod": "password"}
    assert (await strict.call("saveSetting", "Site_Name", "Changed", factor))["error"]["error"] == "totp-invalid"
    factor["twoFactorCode"] = digest_of(ADMIN_PASSWORD)
    assert "error" not in await strict.call("saveSetting", "Site_Name", "Changed", factor)
    assert strict.node.access.setting("Site_Name") == "Changed"


async def test_an_authenticator_app(strict: Client, anybody: Client) -> None:
    factor = {"twoFactorCode": ADMIN_PASSWORD, "twoFactorMethod": "password"}
    assert (await strict.call("2fa:enable"))["error"]["error"] == "totp-required"
    begun = (await strict.call("2fa:enable", factor))["result"]
    assert begun["url"].startswith("otpauth://totp/")
    assert (await strict.call("2fa:validateTempToken", "0"))["error"]["error"] == "invalid-totp"
    step = int(time.time()) // STEP_SECONDS
    codes = (await strict.call("2fa:validateTempToken", code_at(begun["secret"], step)))["result"]["codes"]
    assert (await strict.call("2fa:checkCodesRemaining"))["result"] == {"remaining": len(codes)}
    assert (await strict.get("me"))["services"]["totp"] == {"enabled": True}

    form = {"user": "boss", "password": ADMIN_PASSWORD}
    asked = await anybody.post("login", 401, **form)
    assert (asked["status"], asked["error"], asked["message"]) == ("error", "totp-required", "TOTP Required")
    assert asked["details"]["method"] == "totp"
    wrong = await anybody.post("login", 401, **form, code="000000")
    assert wrong["error"] == "totp-invalid"
    assert (await anybody.post("login", **form, code=codes[0]))["status"] == "success"
    by_header = await anybody.request("POST", "login", json=form, headers=password(codes[1], "totp"))
    assert by_header.status_code == 200
    wrapped = {"totp": {"login": {"user": {"username": "boss"}, "password": ADMIN_PASSWORD}, "code": codes[2]}}
    assert "token" in (await anybody.call("login", wrapped, anonymous=True))["result"]
    inner = {"user": {"username": "boss"}, "password": ADMIN_PASSWORD}
    error = (await anybody.call("login", inner, anonymous=True))["error"]
    assert (error["error"], error["details"]["method"]) == ("totp-required", "totp")

    assert (await strict.call("2fa:regenerateCodes", codes[3]))["result"]["codes"] != codes
    assert (await strict.call("2fa:disable", "000000"))["result"] is False


async def test_an_app_that_is_lost(strict: Client) -> None:
    await strict.post("users.create", **new_user("alice"))
    alice = await strict.login("alice")
    shown = await alice.request("POST", "users.resetTOTP", json={}, headers=password(PASSWORD))
    assert shown.json()["success"] is True
    await alice.get("me", 401)
    alice = await strict.login("alice")
    other = await alice.request("POST", "users.resetTOTP", json={"username": "boss"}, headers=password(PASSWORD))
    assert (other.status_code, other.json()["errorType"]) == (400, "error-not-allowed")
    done = await strict.request(
        "POST", "users.resetTOTP", json={"userId": alice.user_id}, headers=password(ADMIN_PASSWORD)
    )
    assert done.status_code == 200
    await alice.get("me", 401)
