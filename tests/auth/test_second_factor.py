"""Authenticator apps as a second factor: at the login, and before what a login alone is not enough for."""

import asyncio
import dataclasses
from collections.abc import Awaitable

import orjson
import pytest

from palaver.api import Auth
from palaver.auth.second_factor import SecondFactor
from palaver.auth.totp import code_at
from palaver.errors import InvalidInput, LoginFailed, NotAllowed, PalaverError, SecondFactorRequired
from palaver.events import user_actor, user_stream
from palaver.log.secrets import without_secrets
from palaver.v1.auth_pb2 import (
    AuthenticatorRequest,
    CheckSecondFactorRequest,
    CreateTokenRequest,
    GetUserRequest,
    IssuePersonalTokenRequest,
    LoginReply,
    LoginRequest,
    UpdateSettingRequest,
)
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
from tests.services import RunningServices

AT = 1_800_000_000


class App:
    """Somebody's authenticator app, whose clock is the server's."""

    def __init__(self, auth: Auth, user_id: str, secret: str, clock: list[float]) -> None:
        self.auth = auth
        self.actor = user_actor(user_id)
        self.secret = secret
        self.clock = clock
        self.codes: list[str] = []

    def code(self, steps: int = 0) -> str:
        return code_at(self.secret, int(self.clock[0]) // 30 + steps)

    def new_code(self) -> str:
        """The next one: no code counts twice."""
        self.clock[0] += 30
        return self.code()


@pytest.fixture
def clock(running: RunningServices) -> list[float]:
    """Outside of the test mode, at a time that the test moves."""
    node = running.nodes["auth"]
    node.config = dataclasses.replace(node.config, test_mode=False)
    found = [float(AT)]
    second_factor: SecondFactor = node.roles["auth"]._second_factor  # type: ignore[attr-defined]
    second_factor._clock = lambda: found[0]
    return found


async def ask(auth: Auth, user_id: str, login: LoginReply | None = None, code: str = "", method: str = "") -> None:
    hashed_token = login.hashed_token if login is not None else ""
    await auth.check_second_factor(
        CheckSecondFactorRequest(actor=user_actor(user_id), code=code, method=method, hashed_token=hashed_token)
    )


async def set_up(auth: Auth, username: str, clock: list[float]) -> App:
    """The user with an app, who has shown their password to set it up."""
    reply = await login(auth, username)
    await ask(auth, reply.user_id, reply, PASSWORD)
    request = AuthenticatorRequest(actor=user_actor(reply.user_id), hashed_token=reply.hashed_token)
    begun = await auth.begin_authenticator(request)
    app = App(auth, reply.user_id, begun.secret, clock)
    request.code = app.code()
    app.codes = list((await auth.enable_authenticator(request)).codes)
    clock[0] += 30
    return app


async def refused(attempt: Awaitable[object]) -> SecondFactorRequired:
    with pytest.raises(SecondFactorRequired) as raised:
        await attempt
    return raised.value


async def test_it_counts_when_a_code_was_shown(auth: Auth, running: RunningServices, clock: list[float]) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    mine, other = await login(auth, "alice"), await login(auth, "alice")
    request = AuthenticatorRequest(actor=user_actor(alice), hashed_token=mine.hashed_token)
    await refused(auth.begin_authenticator(request))  # a stolen login can't
    await ask(auth, alice, mine, PASSWORD)
    begun = await auth.begin_authenticator(request)
    assert begun.url.startswith("otpauth://totp/")
    assert begun.secret in begun.url
    await login(auth, "alice")
    request.code = "000000"
    with pytest.raises(InvalidInput) as raised:
        await auth.enable_authenticator(request)
    assert raised.value.error_code == "invalid-totp"
    request.code = code_at(begun.secret, AT // 30)
    enabled = await auth.enable_authenticator(request)
    assert (len(set(enabled.codes)), enabled.remaining) == (12, 12)
    await authenticate(auth, mine.token)
    with pytest.raises(PalaverError):
        await authenticate(auth, other.token)
    with pytest.raises(InvalidInput) as again:
        await auth.begin_authenticator(AuthenticatorRequest(actor=request.actor, hashed_token=mine.hashed_token))
    assert again.value.error_code == "error-2fa-already-enabled"
    shown = loaded((await auth.get_user(GetUserRequest(actor=request.actor, user_id=alice))).user)
    assert shown["services"]["totp"] == {"enabled": True}
    for event in await running.node.database.list_events(user_stream(alice), 0):
        assert begun.secret.encode() not in without_secrets(event).SerializeToString()
        assert not any(code.encode() in event.SerializeToString() for code in enabled.codes)


async def test_a_login_asks_for_a_code(auth: Auth, clock: list[float]) -> None:
    await create_user(auth, "alice")
    app = await set_up(auth, "alice", clock)
    with pytest.raises(LoginFailed) as wrong:
        await login(auth, "alice", "wrong", second_factor_code=app.code())
    assert wrong.value.error_code == "403"  # who doesn't know the password learns nothing
    asked = await refused(login(auth, "alice"))
    assert (asked.error_code, asked.details) == (
        "totp-required",
        {"method": "totp", "availableMethods": ["totp"], "emailOrUsername": "alice"},
    )
    for code, method in (("123", ""), (PASSWORD, ""), (app.code(7), "totp")):
        error = await refused(login(auth, "alice", second_factor_code=code, second_factor_method=method))
        assert error.error_code == "totp-invalid"
    other = {"second_factor_code": PASSWORD, "second_factor_method": "password"}
    assert (await refused(login(auth, "alice", **other))).error_code == "totp-required"
    reply = await login(auth, "alice", second_factor_code=app.code())
    await ask(auth, reply.user_id, reply)  # it has just been shown
    await auth.login(LoginRequest(resume=reply.token))  # never asked for


async def test_no_code_counts_twice(auth: Auth, clock: list[float]) -> None:
    await create_user(auth, "alice")
    app = await set_up(auth, "alice", clock)
    code = app.code()
    results = await asyncio.gather(
        *(login(auth, "alice", second_factor_code=code) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(result, LoginReply) for result in results) == 1
    await login(auth, "alice", second_factor_code=app.new_code())


async def test_a_backup_code_works_once(auth: Auth, clock: list[float]) -> None:
    await create_user(auth, "alice")
    app = await set_up(auth, "alice", clock)
    results = await asyncio.gather(
        *(login(auth, "alice", second_factor_code=app.codes[0]) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(result, LoginReply) for result in results) == 1
    await login(auth, "alice", second_factor_code=f" {app.codes[1]} ")
    request = AuthenticatorRequest(actor=app.actor)
    assert (await auth.count_backup_codes(request)).remaining == 10
    with pytest.raises(InvalidInput):
        await auth.renew_backup_codes(AuthenticatorRequest(actor=app.actor, code="000000"))
    renewed = await auth.renew_backup_codes(AuthenticatorRequest(actor=app.actor, code=app.new_code()))
    assert len(renewed.codes) == 12
    await refused(login(auth, "alice", second_factor_code=app.codes[2]))
    await login(auth, "alice", second_factor_code=renewed.codes[0])


async def test_guessing_ends_whatever_passwords_may(auth: Auth, running: RunningServices, clock: list[float]) -> None:
    await create_user(auth, "alice")
    node = running.nodes["auth"]
    strict, node.config = node.config, dataclasses.replace(node.config, test_mode=True)
    await set_setting(auth, "Block_Multiple_Failed_Logins_Enabled", False)
    node.config = strict
    app = await set_up(auth, "alice", clock)
    for _ in range(10):
        assert (await refused(login(auth, "alice", second_factor_code="000000"))).error_code == "totp-invalid"
    error = await refused(login(auth, "alice", second_factor_code=app.code()))
    assert error.error_code == "totp-max-attempts"


async def test_many_guesses_at_once_are_no_more_than_one_after_another(auth: Auth, clock: list[float]) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    reply = await login(auth, "alice")
    guesses = (refused(ask(auth, alice, reply, f"guess {number}", "password")) for number in range(20))
    codes = [error.error_code for error in await asyncio.gather(*guesses)]
    assert codes.count("totp-invalid") == 10
    assert codes.count("totp-max-attempts") == 10


async def test_before_what_a_login_is_not_enough_for(auth: Auth, clock: list[float]) -> None:
    await create_user(auth, "alice", roles=["admin"])
    app = await set_up(auth, "alice", clock)
    alice = app.actor.id
    reply = await login(auth, "alice", second_factor_code=app.codes[0])
    token = IssuePersonalTokenRequest(actor=app.actor, name="robot", hashed_token=reply.hashed_token)
    weak = await auth.issue_personal_token(token)
    found = await authenticate(auth, weak.token)
    change = UpdateSettingRequest(
        actor=app.actor, setting_id="Site_Name", value=orjson.dumps("X"), hashed_token=found.hashed_token
    )
    assert (await refused(auth.update_setting(change))).details["method"] == "totp"
    request = CheckSecondFactorRequest(actor=app.actor, hashed_token=found.hashed_token)
    for code, method in ((PASSWORD, "password"), ("", "totp")):
        request.code, request.method = code, method
        assert (await refused(auth.check_second_factor(request))).error_code == "totp-required"
    request.code, request.method = app.new_code(), "totp"
    await auth.check_second_factor(request)
    await auth.update_setting(change)
    await ask(auth, alice, LoginReply(hashed_token=found.hashed_token))


@pytest.mark.parametrize("setting", ["Enabled", "By_TOTP_Enabled"])
async def test_the_settings_may_ask_for_none(
    auth: Auth, running: RunningServices, clock: list[float], setting: str
) -> None:
    await create_user(auth, "alice")
    app = await set_up(auth, "alice", clock)
    node = running.nodes["auth"]
    strict, node.config = node.config, dataclasses.replace(node.config, test_mode=True)
    await login(auth, "alice")
    await set_setting(auth, f"Accounts_TwoFactorAuthentication_{setting}", False)
    node.config = strict
    await login(auth, "alice")
    with pytest.raises(NotAllowed) as raised:
        await auth.begin_authenticator(AuthenticatorRequest(actor=app.actor))
    assert raised.value.error_code == "error-two-factor-not-enabled"


async def test_giving_it_up_takes_a_code(auth: Auth, clock: list[float]) -> None:
    await create_user(auth, "alice")
    app = await set_up(auth, "alice", clock)
    assert not (await auth.disable_authenticator(AuthenticatorRequest(actor=app.actor, code="000000"))).disabled
    await refused(login(auth, "alice"))
    assert (await auth.disable_authenticator(AuthenticatorRequest(actor=app.actor, code=app.code()))).disabled
    await login(auth, "alice")
    assert not (await auth.disable_authenticator(AuthenticatorRequest(actor=app.actor, code=app.codes[0]))).disabled
    with pytest.raises(InvalidInput):
        await auth.count_backup_codes(AuthenticatorRequest(actor=app.actor))


async def test_who_has_lost_it_is_helped_by_who_may(auth: Auth, clock: list[float]) -> None:
    await create_user(auth, "alice")
    bob = (await create_user(auth, "bob"))["_id"]
    app = await set_up(auth, "alice", clock)
    reply = await login(auth, "alice", second_factor_code=app.code())
    by_bob = await login(auth, "bob")
    await ask(auth, bob, by_bob, PASSWORD)
    request = AuthenticatorRequest(actor=user_actor(bob), user_id=app.actor.id, hashed_token=by_bob.hashed_token)
    with pytest.raises(NotAllowed):
        await auth.reset_authenticator(request)
    await grant(auth, "edit-other-user-totp", "admin", "user")
    await auth.reset_authenticator(request)
    with pytest.raises(PalaverError):
        await authenticate(auth, reply.token)
    await login(auth, "alice")


async def test_who_may_not_come_in_is_told_so_first(auth: Auth, clock: list[float]) -> None:
    await create_user(auth, "alice")
    app = await set_up(auth, "alice", clock)
    await set_active(auth, app.actor.id, False)
    with pytest.raises(LoginFailed) as raised:
        await login(auth, "alice")
    assert raised.value.error_code == "error-user-is-not-activated"


async def test_another_address_takes_more_than_the_password(auth: Auth, clock: list[float]) -> None:
    """Who reads somebody's letters is sent a new password."""
    alice = (await create_user(auth, "alice"))["_id"]
    changes = {"email": "mallory@example.org"}
    given = {"own": True, "current_password": PASSWORD}
    mine = await login(auth, "alice")
    changed = await update_user(auth, alice, alice, changes, hashed_token=mine.hashed_token, **given)
    assert changed["emails"][0]["address"] == "mallory@example.org"
    app = await set_up(auth, "alice", clock)
    stolen = await auth.create_token(CreateTokenRequest(actor=ADMIN, user_id=alice))
    given["hashed_token"] = (await authenticate(auth, stolen.token)).hashed_token
    changes = {"email": "alice@example.org"}
    assert (await refused(update_user(auth, alice, alice, changes, **given))).details["method"] == "totp"
    await update_user(auth, alice, alice, {"email": "mallory@example.org", "name": "Alice"}, **given)  # the same
    await ask(auth, alice, LoginReply(hashed_token=str(given["hashed_token"])), app.new_code())
    changed = await update_user(auth, alice, alice, changes, **given)
    assert changed["emails"] == [{"address": "alice@example.org", "verified": False}]
