"""The way out for e-mail, against a real SMTP server on loopback."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme

from palaver import mail
from palaver.mail import Mail, MailFailed, MailInDoubt, MailNotConfigured, plain_text
from tests.smtp import SENDER, body, smtp_server

HTML = (
    "<!DOCTYPE html><head><title>no</title></head><h1>Hällo &amp; more</h1><p>See <a href='http://x/?a=1'>here</a>.</p>"
)


def settings(port: int, **changed: Any) -> dict[str, Any]:
    return {
        "SMTP_Protocol": "smtp",
        "SMTP_Host": "127.0.0.1",
        "SMTP_Port": str(port),
        "SMTP_IgnoreTLS": True,
        "SMTP_Username": "",
        "SMTP_Password": "",
        "From_Email": SENDER,
        "email_plain_text_only": False,
        **changed,
    }


@pytest.fixture
def certificates(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of a server whose authority this process trusts."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    make = ssl.create_default_context

    def trusting() -> ssl.SSLContext:
        context = make()
        authority.configure_trust(context)
        return context

    monkeypatch.setattr(ssl, "create_default_context", trusting)
    return server


async def send(port: int, tls: str = "credentials", **changed: Any) -> None:
    sender = Mail(settings(port, **changed).__getitem__, tls)
    try:
        await sender.send("alice@example.org", "A subject\r\nBcc: mallory@example.org", HTML)
    finally:
        sender.close()


async def test_a_letter_arrives_in_both_forms() -> None:
    async with smtp_server() as mailbox:
        await send(mailbox.port)
        letter = await mailbox.next_letter()
        assert mailbox.recipients == ["alice@example.org"]
    assert (letter["To"], letter["From"]) == ("alice@example.org", SENDER)
    assert letter["Subject"] == "A subject Bcc: mallory@example.org"
    assert letter["Bcc"] is None
    assert letter["Message-ID"].endswith("@example.org>")
    assert body(letter).split("\n")[0] == "Hällo & more"
    assert "here: http://x/?a=1" in body(letter)
    assert "<h1>Hällo &amp; more</h1>" in body(letter, "html")


async def test_one_form_if_the_setting_says_so() -> None:
    async with smtp_server() as mailbox:
        await send(mailbox.port, email_plain_text_only=True)
        letter = await mailbox.next_letter()
        assert letter.get_content_type() == "text/plain"


async def test_with_a_name_and_a_password() -> None:
    async with smtp_server(login=("palaver", "s3cret")) as mailbox:
        await send(mailbox.port, "never", SMTP_Username="palaver", SMTP_Password="s3cret")
        await mailbox.next_letter()
        for name, secret in (("palaver", "wrong"), ("", "")):
            with pytest.raises(MailFailed):
                await send(mailbox.port, "never", SMTP_Username=name, SMTP_Password=secret)
        assert mailbox.letters == []


async def test_a_password_goes_only_encrypted(certificates: ssl.SSLContext) -> None:
    login = {"SMTP_Username": "palaver", "SMTP_Password": "s3cret"}
    async with smtp_server(login=("palaver", "s3cret")) as mailbox:
        with pytest.raises(MailFailed):  # whoever is between them may have taken the offer of STARTTLS away
            await send(mailbox.port, **login)
        assert mailbox.passwords == []
    async with smtp_server(login=("palaver", "s3cret"), tls=certificates) as mailbox:
        for ignores in (True, False):
            await send(mailbox.port, SMTP_IgnoreTLS=ignores, **login)
            await mailbox.next_letter()
    async with smtp_server() as mailbox:
        with pytest.raises(MailFailed):
            await send(mailbox.port, "always")
        await send(mailbox.port)
        await mailbox.next_letter()


@pytest.mark.parametrize("is_implicit", [False, True])
async def test_encrypted(certificates: ssl.SSLContext, is_implicit: bool) -> None:
    async with smtp_server(tls=certificates, is_implicit=is_implicit) as mailbox:
        await send(mailbox.port, SMTP_IgnoreTLS=False, SMTP_Protocol="smtps" if is_implicit else "smtp")
        await mailbox.next_letter()


async def test_to_nobody_else() -> None:
    """A server whose certificate nobody trusts gets nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with smtp_server(tls=context) as mailbox:
        with pytest.raises(MailFailed):
            await send(mailbox.port, SMTP_IgnoreTLS=False)
        assert mailbox.letters == []


async def test_what_fails_says_so() -> None:
    async with smtp_server() as mailbox:
        mailbox.refusal = "554 No"
        with pytest.raises(MailFailed):
            await send(mailbox.port)
        port = mailbox.port
    with pytest.raises(MailFailed):
        await send(port)
    for changed in (
        {"SMTP_Port": "many"},
        {"SMTP_Port": "99999"},
        {"From_Email": "no address"},
        {"From_Email": "chat@"},
        {"From_Email": "chat@[x"},
    ):
        with pytest.raises(MailFailed):
            await send(port, **changed)
    for changed in ({"SMTP_Host": " "}, {"From_Email": ""}):
        with pytest.raises(MailNotConfigured):
            await send(port, **changed)


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_STEP_SECONDS", 0.2)
    released = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    with pytest.raises(MailFailed):
        await send(server.sockets[0].getsockname()[1])
    released.set()
    server.close()


@asynccontextmanager
async def saying(*after_data: bytes) -> AsyncIterator[int]:
    """The port of a server that takes letters up to their last line, says this then, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n")
        while line := await reader.readline():
            if line.upper().startswith(b"DATA"):
                writer.write(b"354 Go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"".join(after_data))
                break
            writer.write(b"250 OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_letter_whose_answer_is_lost_is_in_doubt() -> None:
    async with saying() as port:
        with pytest.raises(MailInDoubt):
            await send(port)
    async with saying(b"451 Later\r\n") as port:
        with pytest.raises(MailFailed) as failed:
            await send(port)
        assert not isinstance(failed.value, MailInDoubt)


@pytest.mark.parametrize("goodbye", [b"", b"421 Too busy\r\n"])
async def test_a_letter_that_is_taken_is_sent_whatever_becomes_of_the_goodbye(goodbye: bytes) -> None:
    async with saying(b"250 OK\r\n", goodbye) as port:
        await send(port)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", "\n"),
        ("plain", "plain\n"),
        ("<p>a<p>b", "a\n\nb\n"),
        ("<style>x</style><p>a  \n b</p>", "a b\n"),
        ("<a href='u'>v</a></a>", "v: u\n"),
        ("<a>v</a> &lt;w&gt;", "v <w>\n"),
    ],
)
def test_the_same_without_html(html: str, text: str) -> None:
    assert plain_text(html) == text
