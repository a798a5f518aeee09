"""Logging in and out, and what a token is worth afterwards."""

import asyncio
import base64
import hashlib
import time

import pytest

from palaver.api import Auth
from palaver.auth import passwords, tokens
from palaver.auth.rules import digest_of
from palaver.commit import now
from palaver.errors import InvalidInput, LoginFailed, LoginRequired, NotAllowed, PalaverError, WrongCredentials
from palaver.events import user_actor, user_stream
from palaver.v1.auth_pb2 import LoginRequest, LogoutRequest
from tests.auth.helpers import (
    ADMIN,
    PASSWORD,
    authenticate,
    create_user,
    grant,
    loaded,
    login,
    set_active,
    set_setting,
    update_user,
)
from tests.services import ADMIN_PASSWORD, RunningServices
from tests.waiting import eventually

Password = LoginRequest.Password


async def test_every_form_of_name_and_password(auth: Auth) -> None:
    user = await create_user(auth, "Alice")
    forms = [
        Password(username="alice", plain=PASSWORD),
        Password(username="ALICE", sha256=digest_of(PASSWORD)),
        Password(email="alice@EXAMPLE.org", plain=PASSWORD),
        Password(user_id=user["_id"], sha256=digest_of(PASSWORD).upper()),
        Password(name_or_email="alice", plain=PASSWORD),
        Password(name_or_email="alice@example.org", plain=PASSWORD),
    ]
    for form in forms:
        reply = await auth.login(LoginRequest(password=form))
        assert (reply.user_id, reply.type) == (user["_id"], "password")
        assert loaded(reply.user)["username"] == "Alice"
        assert (await authenticate(auth, reply.token)).user_id == user["_id"]


async def test_a_login_is_the_hash_of_a_token_that_lives_as_long_as_the_setting_says(
    auth: Auth, running: RunningServices
) -> None:
    await create_user(auth, "alice")
    await set_setting(auth, "Accounts_LoginExpiration", 2)
    reply = await login(auth, "alice", address="192.0.2.1", user_agent="a browser")
    hashed = base64.b64encode(hashlib.sha256(reply.token.encode()).digest()).decode()
    assert reply.hashed_token == hashed
    assert abs(reply.expires_at - now() - 2 * 86_400_000) < 60_000
    stored = await running.node.database.get("tokens", hashed)
    assert stored is not None
    assert (stored["address"], stored["user_agent"], stored["type"]) == ("192.0.2.1", "a browser", "password")
    assert reply.token not in repr(stored)
    assert loaded(reply.user)["lastLogin"] == stored["issued_at"]
    events = await running.node.database.list_events(user_stream(reply.user_id), 0)
    assert all(reply.token.encode() not in event.SerializeToString() for event in events)


@pytest.mark.parametrize(
    "form",
    [
        Password(username="alice", plain="wrong"),
        Password(username="alice", plain=""),
        Password(username="alice"),
        Password(username="alice", plain=digest_of(PASSWORD)),
        Password(username="alice", sha256=PASSWORD),
        Password(username="alice", sha256="0" * 64),
        Password(username="alice", plain="x" * 100_000),
        Password(username="nobody", plain=PASSWORD),
        Password(username="", plain=PASSWORD),
        Password(username='{"$ne": ""}', plain=PASSWORD),
        Password(username=".*", plain=PASSWORD),
        Password(email="alice", plain=PASSWORD),
        Password(name_or_email="ali@ce", plain=PASSWORD),
        Password(user_id="alice", plain=PASSWORD),
        Password(username="rocket.cat", plain=""),
        Password(username="rocket.cat", plain="nobody"),
    ],
)
async def test_wrong_credentials(auth: Auth, form: LoginRequest.Password) -> None:
    await create_user(auth, "alice")
    with pytest.raises(WrongCredentials) as raised:
        await auth.login(LoginRequest(password=form))
    error = raised.value
    assert (error.error_code, error.error_reason, error.details) == ("403", WrongCredentials.reason, {})


async def test_a_login_needs_a_credential(auth: Auth) -> None:
    for request in (LoginRequest(), LoginRequest(password=Password(plain=PASSWORD))):
        with pytest.raises(InvalidInput) as raised:
            await auth.login(request)
        assert raised.value.error_code == "400"


async def test_resume_gives_the_same_token_again(auth: Auth) -> None:
    await create_user(auth, "alice")
    first = await login(auth, "alice")
    again = await auth.login(LoginRequest(resume=first.token))
    assert (again.type, again.token, again.user_id) == ("resume", first.token, first.user_id)
    assert (again.hashed_token, again.expires_at) == (first.hashed_token, first.expires_at)
    assert loaded(again.user)["username"] == "alice"


@pytest.mark.parametrize("token", ["", "x", "x" * 100_000, '{"$exists": true}', "\u0000", "ü"])
async def test_unknown_tokens(auth: Auth, token: str) -> None:
    with pytest.raises(LoginRequired) as authenticated:
        await authenticate(auth, token)
    assert not isinstance(authenticated.value, LoginFailed)
    with pytest.raises(LoginFailed) as resumed:
        await auth.login(LoginRequest(resume=token))
    for error in (authenticated.value, resumed.value):
        assert (error.error_code, error.error_reason) == ("403", tokens.LOGGED_OUT)


async def test_the_hash_of_a_token_is_no_token(auth: Auth) -> None:
    await create_user(auth, "alice")
    reply = await login(auth, "alice")
    with pytest.raises(LoginRequired):
        await authenticate(auth, reply.hashed_token)


async def test_a_token_belongs_to_one_user(auth: Auth) -> None:
    alice, bob = await create_user(auth, "alice"), await create_user(auth, "bob")
    reply = await login(auth, "alice")
    assert (await authenticate(auth, reply.token, alice["_id"])).user_id == alice["_id"]
    with pytest.raises(LoginRequired):
        await authenticate(auth, reply.token, bob["_id"])


async def test_an_expired_token(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    await create_user(auth, "alice")
    reply = await login(auth, "alice")
    monkeypatch.setattr(tokens, "now", lambda: reply.expires_at)
    for _ in range(2):
        with pytest.raises(LoginRequired) as raised:
            await authenticate(auth, reply.token)
        assert raised.value.error_reason == tokens.EXPIRED


@pytest.mark.parametrize("known", [False, True])
async def test_a_revoked_token_is_refused_at_once(auth: Auth, known: bool) -> None:
    user = await create_user(auth, "alice")
    actor = user_actor(user["_id"])
    ended, kept = await login(auth, "alice"), await login(auth, "alice")
    if known:
        await authenticate(auth, ended.token)
    await auth.logout(LogoutRequest(actor=actor, hashed_token=ended.hashed_token))
    with pytest.raises(LoginRequired, match="logged out by the server"):
        await authenticate(auth, ended.token)
    with pytest.raises(LoginFailed, match="logged out by the server"):
        await auth.login(LoginRequest(resume=ended.token))
    assert (await authenticate(auth, kept.token)).user_id == user["_id"]


async def test_logging_out_the_others_and_all(auth: Auth) -> None:
    user = await create_user(auth, "alice")
    actor = user_actor(user["_id"])
    replies = [await login(auth, "alice") for _ in range(3)]
    for reply in replies:
        await authenticate(auth, reply.token)
    await auth.logout(LogoutRequest(actor=actor, hashed_token=replies[0].hashed_token, others=True))
    await authenticate(auth, replies[0].token)
    for reply in replies[1:]:
        with pytest.raises(LoginRequired):
            await authenticate(auth, reply.token)
    await auth.logout(LogoutRequest(actor=actor, all=True))
    with pytest.raises(LoginRequired):
        await authenticate(auth, replies[0].token)
    await auth.logout(LogoutRequest(actor=actor, all=True))  # again is no error


async def test_logging_somebody_else_out_needs_a_permission(auth: Auth) -> None:
    alice, bob = await create_user(auth, "alice"), await create_user(auth, "bob")
    reply = await login(auth, "bob")
    request = LogoutRequest(actor=user_actor(alice["_id"]), user_id=bob["_id"], all=True)
    with pytest.raises(NotAllowed):
        await auth.logout(request)
    # Another one's token can't be ended by its hash either.
    await auth.logout(LogoutRequest(actor=user_actor(alice["_id"]), hashed_token=reply.hashed_token))
    await authenticate(auth, reply.token)
    await auth.logout(LogoutRequest(actor=ADMIN, user_id=bob["_id"]))
    with pytest.raises(LoginRequired):
        await authenticate(auth, reply.token)
    await grant(auth, "logout-other-user", "user")
    await auth.logout(request)


async def test_a_deactivated_user_comes_in_nowhere(auth: Auth) -> None:
    user = await create_user(auth, "alice")
    reply = await login(auth, "alice")
    await authenticate(auth, reply.token)
    await set_active(auth, user["_id"], False)
    with pytest.raises(LoginFailed) as by_password:
        await login(auth, "alice")
    assert by_password.value.error_code == "error-user-is-not-activated"
    assert by_password.value.error_reason == "User is not activated"
    with pytest.raises(LoginFailed) as wrong:
        await login(auth, "alice", "wrong")
    assert wrong.value.error_code == "403"  # who doesn't know the password learns nothing
    with pytest.raises(LoginRequired):
        await authenticate(auth, reply.token)
    with pytest.raises(LoginFailed):
        await auth.login(LoginRequest(resume=reply.token))
    with pytest.raises(LoginRequired):
        await auth.logout(LogoutRequest(actor=user_actor(user["_id"]), all=True))
    with pytest.raises(LoginRequired):
        await update_user(auth, user["_id"], user["_id"], {"name": "x"}, own=True)
    await set_active(auth, user["_id"], True)
    with pytest.raises(LoginRequired):
        await authenticate(auth, reply.token)
    await authenticate(auth, (await login(auth, "alice")).token)


async def test_a_login_and_a_deactivation_at_once(auth: Auth) -> None:
    user = await create_user(auth, "alice")
    logins = [asyncio.create_task(login(auth, "alice")) for _ in range(5)]
    await set_active(auth, user["_id"], False)
    for attempt in logins:
        try:
            reply = await attempt
        except LoginFailed:
            continue
        with pytest.raises(LoginRequired):
            await authenticate(auth, reply.token)


async def test_too_many_failures_block_the_user(auth: Auth) -> None:
    await create_user(auth, "alice")
    await create_user(auth, "bob")
    await set_setting(auth, "Block_Multiple_Failed_Logins_Attempts_Until_Block_by_User", 3)
    for _ in range(3):
        with pytest.raises(LoginFailed, match="403"):
            await login(auth, "alice", "wrong")
    with pytest.raises(LoginFailed) as raised:
        await login(auth, "alice")
    assert raised.value.error_code == "error-login-blocked-for-user"
    await login(auth, "bob")
    await set_setting(auth, "Block_Multiple_Failed_Logins_Enabled", False)
    await login(auth, "alice")


async def test_too_many_failures_block_the_address(auth: Auth) -> None:
    await create_user(auth, "alice")
    await set_setting(auth, "Block_Multiple_Failed_Logins_Attempts_Until_Block_By_Ip", 3)
    for name in ("a", "b", "c"):
        with pytest.raises(LoginFailed, match="403"):
            await login(auth, name, "wrong", address="192.0.2.1")
    with pytest.raises(LoginFailed) as raised:
        await login(auth, "alice", address="192.0.2.1")
    assert raised.value.error_code == "error-login-blocked-for-ip"
    await login(auth, "alice", address="192.0.2.2")
    await set_setting(auth, "Block_Multiple_Failed_Logins_Ip_Whitelist", "198.51.100.1, 192.0.2.1")
    await login(auth, "alice", address="192.0.2.1")


@pytest.mark.parametrize("kind", ["user", "By_Ip"])
async def test_guesses_at_once_are_blocked_as_those_one_after_another(auth: Auth, kind: str) -> None:
    await create_user(auth, "alice")
    await set_setting(auth, f"Block_Multiple_Failed_Logins_Attempts_Until_Block_{kind.replace('user', 'by_User')}", 3)
    guesses = [login(auth, "alice" if kind == "user" else f"a{n}", "wrong", address="192.0.2.1") for n in range(20)]
    errors = await asyncio.gather(*guesses, return_exceptions=True)
    codes = [error.error_code for error in errors if isinstance(error, LoginFailed)]
    assert codes.count("403") == 3
    assert codes.count(f"error-login-blocked-for-{'user' if kind == 'user' else 'ip'}") == 17


async def test_neighbours_of_one_ipv6_network_are_one_address(auth: Auth) -> None:
    await create_user(auth, "alice")
    await set_setting(auth, "Block_Multiple_Failed_Logins_Attempts_Until_Block_By_Ip", 3)
    for number in range(3):
        with pytest.raises(LoginFailed, match="403"):
            await login(auth, f"a{number}", "wrong", address=f"2001:db8:0:1::{number}")
    with pytest.raises(LoginFailed) as raised:
        await login(auth, "alice", address="2001:db8:0:1:ffff::7")
    assert raised.value.error_code == "error-login-blocked-for-ip"
    await login(auth, "alice", address="2001:db8:0:2::7")
    await set_setting(auth, "Block_Multiple_Failed_Logins_Ip_Whitelist", "2001:db8:0:1::/64")
    await login(auth, "alice", address="2001:db8:0:1:ffff::7")


async def test_unverified_addresses_wait_outside_if_the_setting_says_so(auth: Auth) -> None:
    await create_user(auth, "alice")
    await create_user(auth, "bob", verified=True)
    await set_setting(auth, "Accounts_EmailVerification", True)
    await login(auth, "bob")
    await login(auth, "boss", ADMIN_PASSWORD)
    with pytest.raises(LoginFailed) as raised:
        await login(auth, "alice")
    assert raised.value.error_code == "error-invalid-email"


async def test_apps_do_not_log_in(auth: Auth) -> None:
    await create_user(auth, "helper", type="app")
    with pytest.raises(LoginFailed) as raised:
        await login(auth, "helper")
    assert raised.value.error_code == "error-app-user-is-not-allowed-to-login"


async def test_an_unknown_user_costs_as_much_as_a_wrong_password(
    auth: Auth, running: RunningServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_user(auth, "alice")
    verified: list[str] = []
    verify = passwords.Passwords._verify

    def count(self: passwords.Passwords, stored: str, digest: str) -> bool:
        verified.append(stored)
        return verify(self, stored, digest)

    monkeypatch.setattr(passwords.Passwords, "_verify", count)
    for name, secret in (("alice", "wrong"), ("nobody", "wrong"), ("rocket.cat", "wrong"), ("nobody", "")):
        with pytest.raises(LoginFailed):
            await login(auth, name, secret)
    assert len(verified) == 4
    assert all(stored.startswith("$argon2id$") for stored in verified)


async def test_a_crowd_that_logs_in_waits_in_line(auth: Auth) -> None:
    await create_user(auth, "alice")
    replies = await asyncio.gather(*(login(auth, "alice") for _ in range(20)))
    assert len({reply.token for reply in replies}) == 20


async def test_a_crowd_has_an_end(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    await create_user(auth, "alice")
    verify = passwords.Passwords._verify

    def verify_slowly(self: passwords.Passwords, stored: str, digest: str) -> bool:
        time.sleep(0.1)
        return verify(self, stored, digest)

    monkeypatch.setattr(passwords.Passwords, "_verify", verify_slowly)
    monkeypatch.setattr(passwords, "_MAX_WAITING", 1)
    results = await asyncio.gather(*(login(auth, "alice") for _ in range(10)), return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    assert 0 < len(failed) < 10
    assert all(isinstance(error, PalaverError) and error.error_code == "error-unavailable" for error in failed)


async def test_failures_elsewhere_count(auth: Auth, running: RunningServices) -> None:
    """A password is guessed against all processes at once."""
    await create_user(auth, "alice")
    await set_setting(auth, "Block_Multiple_Failed_Logins_Attempts_Until_Block_by_User", 4)
    async with running.another("auth", "auth-2") as node:
        elsewhere = node.services.auth
        for _ in range(2):
            for one in (auth, elsewhere):
                with pytest.raises(LoginFailed, match="403"):
                    await login(one, "alice", "wrong")
        logins = node.roles["auth"]._logins, running.nodes["auth"].roles["auth"]._logins  # type: ignore[attr-defined]
        await eventually(lambda: all(one._attempts._counts["User:alice"].failures == 4 for one in logins))
        for one in (auth, elsewhere):
            with pytest.raises(LoginFailed) as raised:
                await login(one, "alice")
            assert raised.value.error_code == "error-login-blocked-for-user"
        await set_setting(auth, "Block_Multiple_Failed_Logins_Attempts_Until_Block_by_User", 5)
        await login(auth, "alice")
        await eventually(lambda: not any(one._attempts._counts for one in logins))
