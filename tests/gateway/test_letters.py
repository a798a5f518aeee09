"""Letters as clients ask for them: forgotten passwords, proven addresses, codes."""

import base64
import dataclasses
import hashlib
import re
from collections.abc import AsyncIterator

import pytest

from tests.gateway.rest import PASSWORD, Client, new_user
from tests.smtp import SENDER, Mailbox, body, smtp_server

NEW_PASSWORD = "another one of theirs"


@pytest.fixture
async def mailbox(admin: Client) -> AsyncIterator[Mailbox]:
    async with smtp_server() as found:
        for id, value in (("SMTP_Host", "127.0.0.1"), ("SMTP_Port", str(found.port)), ("From_Email", SENDER)):
            await admin.post(f"settings/{id}", value=value)
        yield found


async def found_in(mailbox: Mailbox, pattern: str) -> str:
    found = re.search(pattern, body(await mailbox.next_letter()), re.MULTILINE)
    assert found is not None
    return found[1]


async def test_without_a_server(admin: Client, anybody: Client) -> None:
    assert (await admin.get("smtp.check"))["isSMTPConfigured"] is False
    for path, form in (
        ("users.forgotPassword", {"email": "boss@example.org"}),
        ("users.sendConfirmationEmail", {"email": "boss@example.org"}),
        ("users.sendWelcomeEmail", {"email": "boss@example.org"}),
        ("sendInvitationEmail", {"emails": ["friend@example.org"]}),
        ("users.2fa.sendEmailCode", {"emailOrUsername": "boss"}),
        ("users.2fa.enableEmail", {}),
        ("users.create", new_user("alice", sendWelcomeEmail=True)),
    ):
        assert (await admin.post(path, 400, **form))["errorType"] == "error-smtp-not-configured", path
    await admin.get("users.info", 400, username="alice")
    assert (await admin.call("sendSMTPTestEmail"))["error"]["error"] == "error-smtp-not-configured"


async def test_a_forgotten_password(admin: Client, anybody: Client, mailbox: Mailbox) -> None:
    assert (await admin.get("smtp.check"))["isSMTPConfigured"] is True
    alice = await admin.make_user("alice")
    await anybody.post("users.forgotPassword", 400)
    await anybody.post("users.forgotPassword", email="nobody@example.org")
    await anybody.post("users.forgotPassword", email="alice@example.org")
    token = await found_in(mailbox, r"/reset-password/(\S+)")
    await anybody.get("pw.getPolicyReset", 400)
    assert (await anybody.get("pw.getPolicyReset", token=token))["enabled"] is False
    wrong = await anybody.call("resetPassword", "x", NEW_PASSWORD, anonymous=True)
    assert (wrong["error"]["error"], wrong["error"]["reason"]) == (403, "Token expired")
    done = (await anybody.call("resetPassword", token, NEW_PASSWORD, anonymous=True))["result"]
    assert done["id"] == alice.user_id
    assert done["tokenExpires"]["$date"] > 0
    await alice.get("me", 401)
    await anybody.login("alice", NEW_PASSWORD)


async def test_a_proven_address(admin: Client, anybody: Client, mailbox: Mailbox) -> None:
    alice = await admin.make_user("alice", verified=False)
    await alice.post("users.sendConfirmationEmail", 400, email="boss@example.org")
    await alice.post("users.sendConfirmationEmail", email="alice@example.org")
    token = await found_in(mailbox, r"/verify-email/(\S+)")
    assert "token" in (await anybody.call("verifyEmail", token, anonymous=True))["result"]
    assert (await alice.get("me"))["emails"] == [{"address": "alice@example.org", "verified": True}]


async def test_letters_of_an_administrator(admin: Client, alice: Client, mailbox: Mailbox) -> None:
    await alice.post("users.sendWelcomeEmail", 403, email="alice@example.org")
    await admin.post("users.sendWelcomeEmail", email="alice@example.org")
    await mailbox.next_letter()
    await admin.post("users.create", **new_user("carol", sendWelcomeEmail=True))
    assert (await mailbox.next_letter())["To"] == "carol@example.org"
    assert (await admin.call("sendSMTPTestEmail"))["result"]["params"] == ["boss@example.org"]
    await mailbox.next_letter()


async def test_codes(admin: Client, anybody: Client, alice: Client, mailbox: Mailbox) -> None:
    await alice.post("users.2fa.disableEmail")
    await alice.post("users.2fa.enableEmail")
    assert (await alice.get("me"))["services"]["email2fa"] == {"enabled": True}
    admin.node.config = dataclasses.replace(admin.node.config, test_mode=False)
    form = {"user": "alice", "password": PASSWORD}
    asked = await anybody.post("login", 401, **form)
    assert (asked["error"], asked["details"]["method"]) == ("totp-required", "email")
    assert asked["details"]["codeExpires"].endswith("Z")
    first = await found_in(mailbox, r"^(\d{6})$")
    missing = await anybody.post("users.2fa.sendEmailCode", 400)
    assert missing["errorType"] == "error-parameter-required"
    await anybody.post("users.2fa.sendEmailCode", emailOrUsername="nobody")
    await anybody.post("users.2fa.sendEmailCode", emailOrUsername="alice")
    second = await found_in(mailbox, r"^(\d{6})$")
    assert first != second
    headers = {"X-2fa-Code": second, "X-2fa-Method": "email"}
    assert (await anybody.request("POST", "login", json=form, headers=headers)).status_code == 200
    answer = await alice.post("users.2fa.disableEmail", 400)
    assert answer["details"]["method"] == "email"
    headers = {"X-2fa-Code": await found_in(mailbox, r"^(\d{6})$"), "X-2fa-Method": "email"}
    assert (await alice.request("POST", "users.2fa.disableEmail", json={}, headers=headers)).status_code == 200
    await anybody.login("alice")


async def test_where_links_lead(anybody: Client) -> None:
    """To a page whose own script alone may run; no token stands in it."""
    for page in ("reset-password", "verify-email"):
        answer = await anybody.http.get(f"http://chat.example.org/{page}/user.<script>token")
        assert answer.status_code == 200
        assert "<script>token" not in answer.text
        script = answer.text.partition("<script>")[2].partition("</script>")[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_people_are_invited_by_mail(admin: Client, alice: Client, mailbox: Mailbox) -> None:
    await alice.post("sendInvitationEmail", 403, emails=["friend@example.org"])
    await admin.post("sendInvitationEmail", 400, emails="friend@example.org")
    wrong = await admin.post("sendInvitationEmail", 400, emails=["friend@example.org", "nobody at all"])
    assert wrong["errorType"] == "error-invalid-email"
    await admin.post("sendInvitationEmail", emails=["friend@example.org", "other@example.org", "friend@example.org"])
    letters = [await mailbox.next_letter() for _ in range(2)]
    assert sorted(letter["To"] for letter in letters) == ["friend@example.org", "other@example.org"]
    assert letters[0]["Subject"].startswith("You have been invited to ")
    assert "http://chat.example.org" in body(letters[0])
