"""Letters of the auth service: links that work once, and codes by e-mail as a second factor."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Awaitable

import orjson
import pytest

from palaver import failpoints, mail
from palaver.api import Auth
from palaver.auth import email_codes, links
from palaver.auth.letters import fill
from palaver.commit import now
from palaver.errors import InvalidInput, LoginFailed, LoginRequired, NotAllowed, SecondFactorRequired, Unavailable
from palaver.events import user_actor, user_stream
from palaver.log.secrets import without_secrets
from palaver.mail import MailFailed, MailNotConfigured
from palaver.v1.auth_pb2 import (
    AuthenticatorRequest,
    LoginReply,
    RegisterUserRequest,
    ResetPasswordRequest,
    SendLetterRequest,
    SetEmailSecondFactorRequest,
    UpdateUserRequest,
    VerifyEmailRequest,
)
from tests.auth.helpers import ADMIN, PASSWORD, authenticate, create_user, login, set_active, set_setting, update_user
from tests.services import ADMIN_ID, ADMIN_PASSWORD, RunningServices
from tests.smtp import Mailbox, body, smtp_server, use_mail

NEW_PASSWORD = "Another 1 of theirs"


@pytest.fixture
async def mailbox(auth: Auth) -> AsyncIterator[Mailbox]:
    """The workspace's mail."""
    async with smtp_server() as found:
        await use_mail(auth, found)
        yield found


@pytest.fixture
def strict(running: RunningServices, mailbox: Mailbox) -> None:
    """Outside of the test mode, from here on."""
    node = running.nodes["auth"]
    node.config = dataclasses.replace(node.config, test_mode=False)


async def link_in(mailbox: Mailbox, page: str) -> str:
    """The token of the link in the next letter."""
    letter = await mailbox.next_letter()
    (found,) = re.findall(rf"http://chat\.example\.org/{page}/(\S+)", body(letter))
    return str(found)


async def forgot(auth: Auth, email: str) -> None:
    await auth.send_password_link(SendLetterRequest(email=email))


async def reset(auth: Auth, token: str, password: str = NEW_PASSWORD) -> LoginReply:
    return await auth.reset_password(ResetPasswordRequest(token=token, plain=password))


async def refused(attempt: Awaitable[object]) -> SecondFactorRequired:
    with pytest.raises(SecondFactorRequired) as raised:
        await attempt
    return raised.value


# -- a new password ----------------------------------------------------------------------------------------------------


async def test_a_forgotten_password(auth: Auth, running: RunningServices, mailbox: Mailbox) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    old = await login(auth, "alice")
    await forgot(auth, "ALICE@example.org")
    token = await link_in(mailbox, "reset-password")
    assert mailbox.recipients == ["alice@example.org"]
    reply = await reset(auth, token)
    assert reply.user_id == alice
    await authenticate(auth, reply.token)
    with pytest.raises(LoginRequired):
        await authenticate(auth, old.token)
    with pytest.raises(LoginFailed):
        await login(auth, "alice")
    await login(auth, "alice", NEW_PASSWORD)
    with pytest.raises(LoginFailed, match="Token expired"):
        await reset(auth, token, "once more")
    user = await running.node.database.get("users", alice)
    assert user is not None
    assert user["emails"][0]["verified"] is True  # who reads the letters has shown that
    events = await running.node.database.list_events(user_stream(alice), 0)
    assert all(token.encode() not in event.SerializeToString() for event in events)
    assert all(b"hashed" not in without_secrets(event).SerializeToString() for event in events)


async def test_nobody_learns_who_is_there(auth: Auth, mailbox: Mailbox) -> None:
    user = await create_user(auth, "alice")
    await create_user(auth, "robot", type="bot")
    await set_active(auth, user["_id"], False)
    for email in ("nobody@example.org", "alice@example.org", "robot@example.org", "", "alice", '{"$ne":""}'):
        await forgot(auth, email)
    await forgot(auth, "boss@example.org")
    await forgot(auth, "boss@example.org")  # one is on its way
    await link_in(mailbox, "reset-password")
    assert mailbox.letters == []
    assert mailbox.recipients == ["boss@example.org"]


async def test_links_that_are_none(auth: Auth, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    for token in ("", ".", "x", f"{alice}.", f"{alice}.x", "x" * 100_000, f"{alice}.\ud83d"):
        with pytest.raises(LoginFailed):
            await reset(auth, token.encode("utf-8", "replace").decode())
    await forgot(auth, "alice@example.org")
    token = await link_in(mailbox, "reset-password")
    with pytest.raises(LoginFailed):
        await auth.verify_email(VerifyEmailRequest(token=token))
    at = now()
    monkeypatch.setattr(links, "now", lambda: at + 86_400_001)
    with pytest.raises(LoginFailed, match="Token expired"):
        await reset(auth, token)


async def test_a_link_ends_with_its_address(auth: Auth, running: RunningServices, mailbox: Mailbox) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    await forgot(auth, "alice@example.org")
    token = await link_in(mailbox, "reset-password")
    changes = orjson.dumps({"email": "new@example.org"})
    await auth.update_user(UpdateUserRequest(actor=ADMIN, user_id=alice, set=changes))
    with pytest.raises(LoginFailed, match="Token expired"):
        await reset(auth, token)
    await login(auth, "alice")


async def test_who_asks_for_a_letter_does_not_wait_for_what_becomes_of_it(
    auth: Auth, running: RunningServices, mailbox: Mailbox
) -> None:
    await create_user(auth, "alice")
    reached = asyncio.Event()

    def fail() -> None:
        reached.set()
        raise Unavailable("Nothing can be written")

    failpoints.arm("commit.before_answer", fail)
    try:
        await forgot(auth, "alice@example.org")
        async with asyncio.timeout(30):
            await reached.wait()
    finally:
        failpoints.disarm()
    await set_setting(auth, "From_Email", "chat@")
    await create_user(auth, "bob")
    failed = mail.SENT.labels("failed")._value.get()
    await forgot(auth, "bob@example.org")
    async with asyncio.timeout(30):
        while mail.SENT.labels("failed")._value.get() == failed:
            await asyncio.sleep(0.01)
    await login(auth, "alice")
    assert running.nodes["auth"].failure is None


async def test_a_new_password_obeys_the_policy(auth: Auth, mailbox: Mailbox) -> None:
    await create_user(auth, "alice")
    await forgot(auth, "alice@example.org")
    token = await link_in(mailbox, "reset-password")
    await set_setting(auth, "Accounts_Password_Policy_Enabled", True)
    with pytest.raises(InvalidInput) as raised:
        await reset(auth, token, "weak")
    assert raised.value.error_code == "error-password-policy-not-met"
    with pytest.raises(InvalidInput):  # nobody can tell what it is
        await auth.reset_password(ResetPasswordRequest(token=token, sha256="0" * 64))
    await reset(auth, token)


async def test_without_a_server_nobody_is_told_of_letters(auth: Auth) -> None:
    user = await create_user(auth, "alice")
    actor = user_actor(user["_id"])
    with pytest.raises(MailNotConfigured):
        await forgot(auth, "alice@example.org")
    for call in (
        auth.send_confirmation(SendLetterRequest(actor=actor, email="alice@example.org")),
        auth.send_welcome(SendLetterRequest(actor=ADMIN, email="alice@example.org")),
        auth.send_test_letter(SendLetterRequest(actor=ADMIN)),
        auth.send_second_factor_code(SendLetterRequest(email="alice")),
        auth.set_email_second_factor(SetEmailSecondFactorRequest(actor=actor, enabled=True)),
    ):
        with pytest.raises(MailNotConfigured):
            await call
    await set_setting(auth, "Accounts_PasswordReset", False)
    with pytest.raises(NotAllowed):
        await forgot(auth, "alice@example.org")


# -- a proven address --------------------------------------------------------------------------------------------------


async def test_who_registers_proves_their_address(auth: Auth, mailbox: Mailbox) -> None:
    await set_setting(auth, "Accounts_EmailVerification", True)
    await auth.register_user(
        RegisterUserRequest(username="alice", email="alice@example.org", password=PASSWORD, name="Alice")
    )
    with pytest.raises(LoginFailed) as raised:
        await login(auth, "alice")
    assert raised.value.error_code == "error-invalid-email"
    token = await link_in(mailbox, "verify-email")
    reply = await auth.verify_email(VerifyEmailRequest(token=token))
    await authenticate(auth, reply.token)
    await login(auth, "alice")
    with pytest.raises(LoginFailed):
        await auth.verify_email(VerifyEmailRequest(token=token))


async def test_whose_address_is_confirmed(auth: Auth, mailbox: Mailbox) -> None:
    alice, bob = [(await create_user(auth, name))["_id"] for name in ("alice", "bob")]
    for email in ("bob@example.org", "nobody@example.org", ""):
        with pytest.raises(InvalidInput):
            await auth.send_confirmation(SendLetterRequest(actor=user_actor(alice), email=email))
    await auth.send_confirmation(SendLetterRequest(actor=user_actor(alice), email="alice@example.org"))
    await auth.send_confirmation(SendLetterRequest(actor=ADMIN, email="bob@example.org"))
    tokens = [await link_in(mailbox, "verify-email") for _ in range(2)]
    assert {token.rpartition(".")[0] for token in tokens} == {alice, bob}


async def test_other_letters(auth: Auth, mailbox: Mailbox) -> None:
    alice = await create_user(auth, "alice", name="<b>Alice</b>")
    with pytest.raises(NotAllowed):
        await auth.send_welcome(SendLetterRequest(actor=user_actor(alice["_id"]), email="alice@example.org"))
    with pytest.raises(InvalidInput):
        await auth.send_welcome(SendLetterRequest(actor=ADMIN, email="nobody@example.org"))
    await auth.send_welcome(SendLetterRequest(actor=ADMIN, email="alice@example.org"))
    letter = await mailbox.next_letter()
    assert letter["Subject"].startswith("Welcome to ")
    assert "http://chat.example.org" in body(letter)
    assert (await auth.send_test_letter(SendLetterRequest(actor=ADMIN))).email == "boss@example.org"
    await mailbox.next_letter()
    await set_setting(auth, "Accounts_UserAddedEmail_Email", "<p>[name] [nothing] {Nothing} {Login}</p>")
    await auth.send_welcome(SendLetterRequest(actor=ADMIN, email="alice@example.org"))
    html = body(await mailbox.next_letter(), "html")
    assert "<p>&lt;b&gt;Alice&lt;/b&gt; [nothing] {Nothing} Log in</p>" in html
    assert "[email_style]" not in html
    mailbox.refusal = "554 No"
    with pytest.raises(MailFailed):
        await auth.send_welcome(SendLetterRequest(actor=ADMIN, email="alice@example.org"))


def test_values_are_no_templates() -> None:
    assert fill("{Login} [name] [email]", {"name": "[email] {Login}", "email": "x"}) == "Log in [email] {Login} x"


# -- codes -------------------------------------------------------------------------------------------------------------


async def code_in(mailbox: Mailbox) -> str:
    (found,) = re.findall(r"^(\d{6})$", body(await mailbox.next_letter()), re.MULTILINE)
    return str(found)


@pytest.mark.usefixtures("strict")
async def test_a_login_asks_for_a_code_by_mail(auth: Auth, running: RunningServices, mailbox: Mailbox) -> None:
    await create_user(auth, "alice", verified=True)  # has it from the beginning: a setting
    await create_user(auth, "bob")  # whose address nobody has verified
    await login(auth, "bob")
    with pytest.raises(LoginFailed):
        await login(auth, "alice", "wrong")
    asked = await refused(login(auth, "alice"))
    assert asked.error_code == "totp-required"
    expires = asked.details.pop("codeExpires")
    assert expires["$date"] > 0
    assert asked.details == {
        "method": "email",
        "availableMethods": ["email"],
        "emailOrUsername": "alice",
        "codeGenerated": True,
        "codeCount": 1,
    }
    assert (await refused(login(auth, "alice"))).details["codeGenerated"] is False
    code = await code_in(mailbox)
    assert mailbox.letters == []
    wrong = "0" * 6
    assert (await refused(login(auth, "alice", second_factor_code=wrong))).error_code == "totp-invalid"
    await login(auth, "alice", second_factor_code=f" {code} ", second_factor_method="email")
    assert (await refused(login(auth, "alice", second_factor_code=code))).error_code == "totp-invalid"


@pytest.mark.usefixtures("strict")
async def test_another_code(auth: Auth, mailbox: Mailbox) -> None:
    await create_user(auth, "alice", verified=True)
    for who in ("nobody", "boss", "nobody@example.org"):
        await auth.send_second_factor_code(SendLetterRequest(email=who))
    await refused(login(auth, "alice"))
    first = await code_in(mailbox)
    await auth.send_second_factor_code(SendLetterRequest(email="alice@example.org"))
    second = await code_in(mailbox)
    await auth.send_second_factor_code(SendLetterRequest(email="alice"))  # right after another
    assert (await refused(login(auth, "alice"))).details["codeCount"] == 2
    await login(auth, "alice", second_factor_code=first)
    await refused(login(auth, "alice", second_factor_code=second))  # with the one that was used they all end
    assert mailbox.recipients == ["alice@example.org"] * 2


@pytest.mark.usefixtures("strict")
async def test_guessing_a_code_ends_it(auth: Auth, mailbox: Mailbox) -> None:
    await create_user(auth, "alice", verified=True)
    await refused(login(auth, "alice"))
    code = await code_in(mailbox)
    for _ in range(5):
        assert (await refused(login(auth, "alice", second_factor_code="x"))).error_code == "totp-invalid"
    assert (await refused(login(auth, "alice", second_factor_code=code))).error_code == "totp-invalid"


@pytest.mark.usefixtures("strict")
async def test_a_letter_that_fails_is_no_code(auth: Auth, mailbox: Mailbox) -> None:
    await create_user(auth, "alice", verified=True)
    mailbox.refusal = "554 No"
    with pytest.raises(MailFailed):
        await login(auth, "alice")
    mailbox.refusal = ""
    assert (await refused(login(auth, "alice"))).details["codeGenerated"] is True


async def test_who_wants_no_codes(auth: Auth, mailbox: Mailbox, running: RunningServices) -> None:
    alice = (await create_user(auth, "alice", verified=True))["_id"]
    bob = (await create_user(auth, "bob"))["_id"]
    with pytest.raises(InvalidInput) as raised:
        await auth.set_email_second_factor(SetEmailSecondFactorRequest(actor=user_actor(bob), enabled=True))
    assert raised.value.error_code == "error-no-verified-email"
    await auth.set_email_second_factor(SetEmailSecondFactorRequest(actor=user_actor(alice)))
    node = running.nodes["auth"]
    node.config = dataclasses.replace(node.config, test_mode=False)
    await login(auth, "alice")
    await auth.set_email_second_factor(SetEmailSecondFactorRequest(actor=user_actor(alice), enabled=True))
    await refused(login(auth, "alice"))
    await refused(auth.set_email_second_factor(SetEmailSecondFactorRequest(actor=user_actor(alice))))


@pytest.mark.usefixtures("strict")
async def test_a_link_is_no_second_factor(auth: Auth, mailbox: Mailbox) -> None:
    await create_user(auth, "alice", verified=True)
    await forgot(auth, "alice@example.org")
    token = await link_in(mailbox, "reset-password")
    assert (await refused(reset(auth, token))).details["method"] == "email"
    code = await code_in(mailbox)
    await login(auth, "alice", NEW_PASSWORD, second_factor_code=code)
    await refused(auth.begin_authenticator(AuthenticatorRequest(actor=ADMIN)))
    await login(auth, "boss", ADMIN_PASSWORD)


async def test_the_old_address_hears_of_a_new_one(auth: Auth, mailbox: Mailbox) -> None:
    alice = (await create_user(auth, "alice"))["_id"]
    await update_user(auth, alice, alice, {"email": "mallory@example.org"}, own=True, current_password=PASSWORD)
    letter = await mailbox.next_letter()
    assert (letter["To"], "was changed" in letter["Subject"]) == ("alice@example.org", True)
    assert "alice is no longer this one" in body(letter)
    await update_user(auth, ADMIN_ID, alice, {"email": ""})
    assert (await mailbox.next_letter())["To"] == "mallory@example.org"
    await update_user(auth, ADMIN_ID, alice, {"email": "alice@example.org"})  # there was none
    await update_user(auth, ADMIN_ID, alice, {"email": "alice@example.org", "name": "A"})
    assert mailbox.letters == []


async def test_nobody_is_buried_in_codes(
    auth: Auth, running: RunningServices, mailbox: Mailbox, strict: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks, and however often: no more than five that work at once."""
    monkeypatch.setattr(email_codes, "_PAUSE_SECONDS", 0.001)
    await create_user(auth, "alice", verified=True)
    async with asyncio.timeout(30):
        while len(mailbox.letters) < 5:  # a lease of NATS ends a second later than one in a process
            await auth.send_second_factor_code(SendLetterRequest(email="alice"))
            await asyncio.sleep(0.05)
    for number in range(40):
        await auth.send_second_factor_code(SendLetterRequest(email=("alice", "alice@example.org")[number % 2]))
        await asyncio.sleep(0.05)
    assert len(mailbox.letters) == 5
