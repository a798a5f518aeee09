"""Registering oneself, as far as the settings allow."""

from typing import Any

import pytest

from palaver.api import Auth
from palaver.errors import Conflict, InvalidInput, PalaverError
from palaver.v1.auth_pb2 import RegisterUserRequest, UserReply
from tests.auth.helpers import PASSWORD, loaded, login, set_active, set_setting


async def register(auth: Auth, username: str, **fields: Any) -> UserReply:
    fields = {"email": f"{username}@example.org", "password": PASSWORD, "name": username, **fields}
    return await auth.register_user(RegisterUserRequest(username=username, **fields))


async def test_somebody_registers(auth: Auth) -> None:
    user = loaded((await register(auth, "alice", name=" Alice ")).user)
    assert (user["name"], user["roles"], user["active"]) == ("Alice", ["user"], True)
    assert user["emails"] == [{"address": "alice@example.org", "verified": False}]
    await login(auth, "alice")


async def test_registration_obeys_the_settings(auth: Auth) -> None:
    await set_setting(auth, "Accounts_RegistrationForm", "Disabled")
    with pytest.raises(InvalidInput) as disabled:
        await register(auth, "alice")
    assert disabled.value.error_code == "error-user-registration-disabled"
    await set_setting(auth, "Accounts_RegistrationForm", "Secret URL")
    await set_setting(auth, "Accounts_RegistrationForm_SecretURL", "hush")
    for secret in ("", "Hush", "hush "):
        with pytest.raises(InvalidInput) as wrong:
            await register(auth, "alice", secret=secret)
        assert wrong.value.error_code == "error-user-registration-secret"
    await register(auth, "alice", secret="hush")
    await set_setting(auth, "Accounts_RegistrationForm_SecretURL", "")
    with pytest.raises(InvalidInput):
        await register(auth, "bob", secret="")
    await set_setting(auth, "Accounts_RegistrationForm", "Public")
    await set_setting(auth, "Accounts_AllowedDomainsList", "example.net")
    with pytest.raises(InvalidInput) as domain:
        await register(auth, "bob")
    assert domain.value.error_code == "error-invalid-domain"
    await set_setting(auth, "Accounts_Registration_Users_Default_Roles", "guest")
    bob = loaded((await register(auth, "bob", email="bob@example.net")).user)
    assert bob["roles"] == ["guest"]


async def test_a_new_user_may_have_to_wait_for_approval(auth: Auth) -> None:
    await set_setting(auth, "Accounts_ManuallyApproveNewUsers", True)
    user = loaded((await register(auth, "alice", reason="let me in")).user)
    assert (user["active"], user["reason"]) == (False, "let me in")
    with pytest.raises(PalaverError) as raised:
        await login(auth, "alice")
    assert raised.value.error_code == "error-user-is-not-activated"
    assert "reason" not in await set_active(auth, user["_id"], True)
    await login(auth, "alice")


@pytest.mark.parametrize("username", ["admin", "ADMIN", "system", "all", "here", "rocket.cat", "boss"])
async def test_names_that_nobody_may_choose(auth: Auth, username: str) -> None:
    with pytest.raises(Conflict) as raised:
        await register(auth, username, email="me@example.org")
    assert raised.value.error_code == "error-field-unavailable"


@pytest.mark.parametrize("missing", ["username", "email", "password", "name"])
async def test_registration_needs_everything(auth: Auth, missing: str) -> None:
    fields = {"username": "alice", "email": "a@example.org", "name": "Alice"}
    for nothing in ("", " ") if missing == "name" else ("",):
        with pytest.raises(InvalidInput) as raised:
            await register(auth, **{**fields, missing: nothing})
        assert raised.value.error_code == "error-the-field-is-required"
        assert raised.value.details == {"field": missing.capitalize()}


async def test_a_name_is_needed_where_the_settings_say_so(auth: Auth) -> None:
    await set_setting(auth, "Accounts_RequireNameForSignUp", False)
    assert "name" not in loaded((await register(auth, "alice", name=" ")).user)
